"""The content of an answer block as numbers: both styles, the decorations of every family, no coordinate frames.

Text style: an image name, then boxes as ``(x1,y1),(x2,y2)``, ``[x1,y1,x2,y2]`` or ``[[x1,y1,x2,y2]]``. JSON style:
objects ``{"image": 2, "bbox_2d": [x1, y1, x2, y2]}``. No target: ``none`` or ``[]``. Anything else is noise, and is
reported. The time is linear: a box is one token, and what is neither box nor name is read up to :data:`MOST_NOISE`
characters.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mirg.answers.blocks import MOST_BOXES, TOO_MANY, RawAnswer, RawBox, image_of
from mirg.answers.image_names import ascii_forms, capped, names_in
from mirg.answers.json_style import parse_json
from mirg.answers.places import UNCLEAR, Span, images_of

# Characters and pieces that are not part of an answer; more of them come from a loop. Boxes are not counted.
MOST_NOISE = 4_096

_SHORT = r"[-+]?[0-9]{1,12}(?:\.[0-9]{1,18})?"
_B = r"[ ]{0,3}"
_AND = rf"{_B},{_B}"
# ``(1,2),(3,4)``, ``(1,2,3,4)``, ``[1,2,3,4]`` and ``[[1,2,3,4]]`` in one pattern; that its brackets agree is checked
# afterwards.
_BOX = rf"(\(|\[\[?){_B}({_SHORT}){_AND}({_SHORT}){_B}(,|\){_B},?{_B}\(){_B}({_SHORT}){_AND}({_SHORT}){_B}(\)|\]\]?)"
_GLM_OPEN, _GLM_CLOSE = "<|begin_of_box|>", "<|end_of_box|>"  # around an answer of GLM-V
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


def parse(body: str, box_key: str = "bbox_2d") -> RawAnswer:
    """Read the content of an answer block; total, linear in the length. ``box_key``: that of the model's family."""
    body = body.strip().removeprefix(_GLM_OPEN).removesuffix(_GLM_CLOSE).strip()
    if body.startswith("```"):  # a Markdown code fence
        first, _, rest = body[3:].partition("\n")
        inside = rest if first.strip().lower() in ("", "json", "text") else body[3:].removeprefix("json")
        body = inside.removesuffix("```").strip()
    if not body:
        return RawAnswer((), "the answer is empty")
    if body.strip(" .\"'").lower() == "none":
        return RawAnswer(())
    if body[0] == "[" and not body.strip("[] \t\r\n") and body.count("[") == body.count("]") == 1:
        return RawAnswer((), json=True)
    found = parse_json(body, box_key) if "{" in body or "｛" in body else None
    return found or _parse_text(body)


def _parse_text(body: str) -> RawAnswer:
    plain = ascii_forms(body)
    text = _Text(plain)
    for match in _TOKEN.finditer(plain):
        if len(text.boxes) > MOST_BOXES:
            return RawAnswer((), TOO_MANY)
        kind = match.lastgroup or "word"
        if kind != "box" or text.numbers or text.labelled or not text.take_box(match):
            text.take(kind, match[0], match.start())
        if text.loose > MOST_NOISE:
            return RawAnswer((), f"more than {MOST_NOISE} characters that are no part of an answer")
    found = text.finish()
    if plain != body and _LABEL.sub("", plain) != _LABEL.sub("", body):
        return replace(found, noise=found.noise or _WIDE, tolerated=_WIDE)
    return found


class _Text:
    """Brackets are counted, numbers gathered: two are half a box, four are a box, anything else is a broken one."""

    def __init__(self, body: str) -> None:
        self.body = body
        self.boxes: list[RawBox] = []
        self.places: list[re.Match[str] | Span] = []  # of the boxes
        self.known: dict[str, tuple[str, tuple[float, ...]]] = {}  # a text that loops repeats its boxes
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

    def take_box(self, match: re.Match[str]) -> bool:
        """Take a box that is one token, maybe with the name in front of it; False if its brackets do not agree."""
        found = self.known.get(match[0])
        if found is None:
            name, _, opening, x1, y1, middle, x2, y2, closing = match.groups()[1:10]
            if _CLOSING[opening] != closing or (opening != "(" and middle != ","):
                return False
            found = self.known[match[0]] = name, (float(x1), float(y1), float(x2), float(y2))
        name, numbers = found
        if name:
            if self.waiting or self.depth:
                self._end_image(match.start())
            self.image = capped(name)
        self.boxes.append(RawBox(self.image, numbers))
        self.places.append(match)
        self.waiting = False
        return True

    def take(self, kind: str, token: str, start: int) -> None:
        """Take the next token; a box is one here if it is behind a number or its brackets do not agree."""
        if self.labelled:
            self.labelled = kind != "unlabel"
            self.loose += self.labelled
        elif kind == "box":
            for match in _PART.finditer(token):
                self.take(match.lastgroup or "word", match[0], start + match.start())
        elif kind == "image":
            self._end_image(start)
            self.image = capped(token.lower().removeprefix("image").lstrip("-_ #"))
            self.loose += 4 * self.waiting
            self.waiting = True
        elif kind != "skip":
            self.loose += 1
            self._take_part(kind, token, start)

    def _take_part(self, kind: str, token: str, start: int) -> None:
        if kind in ("number", "infinite") and self.depth:
            self.begin = self.begin if self.numbers else start
            self.numbers.append(float(token) if len(token) < _LONGEST_NUMBER else float("inf"))
        elif kind == "open":
            self.depth += max(token.count("(") + token.count("["), 1)
        elif kind == "close":
            self.depth -= max(token.count(")") + token.count("]"), 1)
            if self.depth < 0:
                self.depth = 0
                self._note("a bracket too many")
            if len(self.numbers) not in (0, 2):
                self._end_box(start + len(token))
        elif kind == "label":
            self.labelled = True
        else:
            number = kind in ("number", "infinite")
            self.words = self.words or not number
            self.loose += len(token)
            self._note(f"the number {token[:20]} outside brackets" if number else f"the text {token[:20]!r}")

    def _note(self, what: str) -> None:
        self.noise = self.noise or what

    def _end_box(self, end: int) -> None:
        if len(self.numbers) != 4:
            self._note(f"a box of {len(self.numbers)} numbers")
        self.boxes.append(RawBox(self.image, tuple(self.numbers)))
        self.places.append((self.begin, end))
        self.numbers = []
        self.waiting = False

    def _end_image(self, end: int) -> None:
        if self.numbers:
            if self.depth:
                self.numbers.pop()  # the last number may itself be cut
                self._note("a box that is cut off")
                self.cut = True
            self._end_box(end)
        if self.waiting:
            self._note(f"Image-{self.image} is named without a box")
        if self.depth:
            self.depth = 0
            self._note("a bracket that is not closed")

    def finish(self) -> RawAnswer:
        """What was read."""
        self._end_image(len(self.body))
        if not self.boxes:
            return RawAnswer((), f"no box, and not exactly 'none': {self.noise or 'nothing was named'}")
        # A first box without a name in front of it: the names may stand behind their boxes.
        behind = self.boxes[0].image is None and self.image is not None
        boxes = self._in_named_images() if self.words or behind else self.boxes
        if behind and self.waiting and boxes[0].image is None:  # "(…) Image-2, (…) Image-3": which is whose?
            boxes = [box._replace(image=None, name=None) for box in boxes]
        noise = self.noise or ("a label that never ends" if self.labelled else None)
        return RawAnswer(tuple(boxes), None, noise, "the answer is cut off" if self.cut else None)

    def _in_named_images(self) -> list[RawBox]:
        """Between words, an image may be named in any way: "(…) in the second image", "图2"."""
        labels = [match.span() for match in _LABEL.finditer(self.body)]
        names = [name for name in names_in(self.body) if not any(s <= name.start < e for s, e in labels)]
        spans = [place if isinstance(place, tuple) else place.span(3) for place in self.places]
        return [
            box._replace(image=None if name is UNCLEAR else image_of(name), name=name)
            for box, name in zip(self.boxes, images_of(self.body, spans, names), strict=True)
        ]
