"""The content of an answer block as numbers: both styles, the decorations of every family, no coordinate frames.

Text style: an image name, then boxes as ``(x1,y1),(x2,y2)``, ``[x1,y1,x2,y2]`` or ``[[x1,y1,x2,y2]]``. JSON style:
objects ``{"image": 2, "bbox_2d": [x1, y1, x2, y2]}``. No target: ``none`` or ``[]``. Anything else is noise, and is
reported. The time is linear: a box is one token, and what is neither box nor name is read up to :data:`MOST_NOISE`
characters.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mirg.answers.image_names import Name, ascii_forms, capped, names_in
from mirg.answers.json_style import parse_json
from mirg.answers.places import UNCLEAR, Span, images_of
from mirg.answers.raw import MOST_BOXES, TOO_MANY, RawAnswer, RawBox, image_of

# Characters and pieces that are not part of an answer; more of them come from a loop. Boxes are not counted.
MOST_NOISE = 4_096

_SHORT = r"[-+]?[0-9]{1,12}(?:\.[0-9]{1,18})?"
_B = r"[ ]{0,3}"
_AND = rf"{_B},{_B}"
# ``(1,2),(3,4)``, ``(1,2,3,4)``, ``[1,2,3,4]`` and ``[[1,2,3,4]]`` in one pattern; that its brackets agree is checked
# afterwards.
_BOX = rf"(\(|\[\[?){_B}({_SHORT}){_AND}({_SHORT}){_B}(,|\){_B},?{_B}\(){_B}({_SHORT}){_AND}({_SHORT}){_B}(\)|\]\]?)"
_CLOSING = {"(": ")", "[": "]", "[[": "]]"}
# Every alternative is a plain run: no nested repetition without a bound, nothing lazy, so each character is read a
# bounded number of times. Only ASCII digits are digits.
_REST = r"""
    | (?P<image>image[-_ #]{0,2}[0-9]+(?![0-9a-z_]|[-.,][0-9]))
    | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | (?P<open>[(\[][(\[ ]*|<\|box_start\|>|<box>)
    | (?P<close>[)\]][)\] ]*|<\|box_end\|>|</box>)
    | (?P<label><\|object_ref_start\|>|<ref>)
    | (?P<unlabel><\|object_ref_end\|>|</ref>)
    | (?P<skip>[\s,:;.]+|<\|begin_of_box\|>|<\|end_of_box\|>)
    | (?P<infinite>[-+]?(?:nan|inf|infinity)\b)
    | (?P<word>[a-z]+|<+|[^\sa-z0-9()\[\],:;.<+-]+|\S)
"""
_FLAGS = re.VERBOSE | re.IGNORECASE | re.ASCII
_NAMED = rf"(?:image[-_ #]{{0,2}}([0-9]+){_B}:?{_B})?"
_WRAPPED = rf"(?:<\|box_start\|>|<box>)?{_BOX}(?:<\|box_end\|>|</box>)?"
_TOKEN = re.compile(rf"(?P<box>{_NAMED}({_WRAPPED})[\s,;.]*) {_REST}", _FLAGS)
_PART = re.compile(rf"(?P<box>(?!)) {_REST}", _FLAGS)
_LABEL = re.compile(r"<\|object_ref_start\|>.{0,999}?<\|object_ref_end\|>|<ref>.{0,999}?</ref>", re.DOTALL)
_WIDE = "full-width characters"
_LONGEST_NUMBER = 400  # characters; a longer one is infinity


def parse_text(body: str) -> RawAnswer:
    """Read an answer in text style; total, linear in the length."""
    plain = ascii_forms(body)
    state = _State(plain)
    add, place = state.boxes.append, state.places.append
    known: dict[tuple[int | None, str], RawBox] = {}  # a text that loops repeats its boxes
    for match in _TOKEN.finditer(plain):
        if len(state.boxes) > MOST_BOXES:
            return RawAnswer((), TOO_MANY)
        kind = match.lastgroup or "word"
        if kind == "box" and not state.numbers and not state.labelled:
            box = known.get((state.image, match[0]))
            if box is not None and not state.depth and not state.waiting:
                add(box)
                place(match)
                state.image = box.image
                continue
            box = box or _box(match, state.image)
            if box is not None:
                known[state.image, match[0]] = box
                state.whole(box, match)
                continue
        state.take(kind, match[0], match.start())
        if state.loose > MOST_NOISE:
            return RawAnswer((), f"more than {MOST_NOISE} characters that are no part of an answer")
    found = state.finish()
    if plain != body and ("ref" not in body or _without_labels(plain) != _without_labels(body)):
        return replace(found, noise=found.noise or _WIDE, tolerated=_WIDE)
    return found


def _box(match: re.Match[str], image: int | None) -> RawBox | None:
    """The box of a token, in its own image or else in ``image``; None if its brackets do not agree."""
    name, _, opening, x1, y1, middle, x2, y2, closing = match.groups()[1:10]
    if _CLOSING[opening] != closing or (opening != "(" and middle != ","):
        return None
    return RawBox(capped(name) if name else image, (float(x1), float(y1), float(x2), float(y2)))


def _without_labels(text: str) -> str:
    return _LABEL.sub("", text)


class _State:
    """Brackets are counted, numbers gathered: two are half a box, four are a box, anything else is a broken one."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.boxes: list[RawBox] = []
        self.places: list[re.Match[str] | Span] = []  # of the boxes
        self.numbers: list[float] = []
        self.begin = 0  # of the first of them
        self.image: int | None = None
        self.waiting = False  # an image was named and no box has followed yet
        self.depth = 0
        self.noise: str | None = None
        self.loose = 0  # characters that are not part of an answer, brackets that are not a box
        self.words = False
        self.cut = False
        self.labelled = False

    def whole(self, box: RawBox, match: re.Match[str]) -> None:
        """A box that is one token, maybe with the name in front of it."""
        if (self.waiting or self.depth) and match[2]:
            self._end_of_image(match.start())
        self.image = box.image
        self.boxes.append(box)
        self.places.append(match)
        self.waiting = False

    def take(self, kind: str, token: str, start: int) -> None:
        """The next token."""
        if self.labelled:
            self.labelled = kind != "unlabel"
            self.loose += kind != "unlabel"
        elif kind == "box":
            self._parts(token, start)
        elif kind == "image":
            self._name(token, start)
        elif kind != "skip":
            self.loose += 1
            self._part(kind, token, start)

    def _part(self, kind: str, token: str, start: int) -> None:
        if kind == "number" or kind == "infinite":
            self._number(token, start)
        elif kind == "open":
            self.depth += max(token.count("(") + token.count("["), 1)
        elif kind == "close":
            self._close(max(token.count(")") + token.count("]"), 1), start + len(token))
        elif kind == "label":
            self.labelled = True
        else:
            self.words = True
            self.loose += len(token)
            self.noise = self.noise or f"the text {token[:20]!r}"

    def _parts(self, token: str, start: int) -> None:
        """A box with brackets that do not agree, or behind a number: its pieces are counted like any others."""
        for match in _PART.finditer(token):
            self.take(match.lastgroup or "word", match[0], start + match.start())

    def _number(self, token: str, start: int) -> None:
        if self.depth > 0:
            self.begin = start if not self.numbers else self.begin
            self.numbers.append(float(token) if len(token) < _LONGEST_NUMBER else float("inf"))
        else:
            self.noise = self.noise or f"the number {token[:20]} outside brackets"
            self.loose += len(token)

    def _close(self, count: int, end: int) -> None:
        self.depth -= count
        if self.depth < 0:
            self.depth = 0
            self.noise = self.noise or "a bracket too many"
        if len(self.numbers) not in (0, 2):
            self._box(end)

    def _box(self, end: int) -> None:
        if len(self.numbers) != 4:
            self.noise = self.noise or f"a box of {len(self.numbers)} numbers"
        self.boxes.append(RawBox(self.image, tuple(self.numbers)))
        self.places.append((self.begin, end))
        self.numbers = []
        self.waiting = False

    def _name(self, token: str, start: int) -> None:
        self._end_of_image(start)
        self.image = capped(token.lower().removeprefix("image").lstrip("-_ #"))
        self.loose += 4 * self.waiting
        self.waiting = True

    def _end_of_image(self, end: int) -> None:
        if self.numbers:
            if self.depth:
                self.numbers.pop()  # the last number may itself be cut
                self.noise = self.noise or "a box that is cut off"
                self.cut = True
            self._box(end)
        if self.waiting:
            self.noise = self.noise or f"Image-{self.image} is named without a box"
        if self.depth:
            self.depth = 0
            self.noise = self.noise or "a bracket that is not closed"

    def finish(self) -> RawAnswer:
        """What was read."""
        self._end_of_image(len(self.body))
        if not self.boxes:
            return RawAnswer((), f"no box, and not exactly 'none': {self.noise or 'nothing was named'}")
        # A first box without a name in front of it: the names may stand behind their boxes.
        behind = self.boxes[0].image is None and self.image is not None
        boxes = self._placed() if self.words or behind else self.boxes
        if behind and self.waiting and boxes[0].image is None:  # "(…) Image-2, (…) Image-3": which is whose?
            boxes = [box._replace(image=None, name=None) for box in boxes]
        noise = self.noise or ("a label that never ends" if self.labelled else None)
        return RawAnswer(tuple(boxes), None, noise, "the answer is cut off" if self.cut else None)

    def _placed(self) -> list[RawBox]:
        """Between words, an image may be named in any way: "(…) in the second image", "图2"."""
        labels = [match.span() for match in _LABEL.finditer(self.body)]
        names = [name for name in names_in(self.body) if not any(s <= name.start < e for s, e in labels)]
        found: list[RawBox] = []
        spans = [place if isinstance(place, tuple) else place.span(3) for place in self.places]
        for box, name in zip(self.boxes, images_of(self.body, spans, names), strict=True):
            found.append(box._replace(image=_read_as(name), name=name))
        return found


def _read_as(name: Name | None) -> int | None:
    return None if name is None or name is UNCLEAR else image_of(name)


__all__ = ["RawAnswer", "RawBox", "parse"]


def parse(body: str) -> RawAnswer:
    """Read the content of an answer block; total, linear in the length."""
    body = _unfenced(body.strip())
    if not body:
        return RawAnswer((), "the answer is empty")
    if body.strip(" .\"'").lower() == "none":
        return RawAnswer(())
    if body[0] == "[" and not body.strip("[] \t\r\n") and body.count("[") == body.count("]") == 1:
        return RawAnswer((), json=True)
    if "{" in body or "｛" in body:
        found = parse_json(body)
        if found is not None:
            return found
    return parse_text(body)


def _unfenced(body: str) -> str:
    """``body`` without a Markdown code fence around it."""
    if not body.startswith("```"):
        return body
    first, _, rest = body[3:].partition("\n")
    inside = rest if first.strip().lower() in ("", "json", "text") else body[3:].removeprefix("json")
    return inside.removesuffix("```").strip()
