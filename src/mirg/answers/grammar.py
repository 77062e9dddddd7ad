"""The content of an answer block as numbers: both styles, every family's decorations, no knowledge of frames.

Text style: an image name, then boxes as ``(x1,y1),(x2,y2)``, ``[x1,y1,x2,y2]`` or ``[[x1,y1,x2,y2]]``. JSON style:
objects ``{"image": 2, "bbox_2d": [x1, y1, x2, y2]}``. No target: ``none`` or ``[]``. The rest is noise, and is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

# A hundred boxes in either style. Longer answers come from a loop; the bound also bounds the time.
LONGEST_ANSWER = 8_192

# Larger image numbers are read as this one, which no sample has.
IMAGE_CAP = 999_999_999


class RawBox(NamedTuple):
    """A box as written: ``image`` None where none was named, and as many numbers as were there."""

    image: int | None
    numbers: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """``failure`` is None where an answer was read; no boxes then means an explicit "none".

    ``noise`` names the first thing in the block that is not part of an answer, or None.
    """

    boxes: tuple[RawBox, ...]
    failure: str | None = None
    noise: str | None = None


def parse(body: str) -> RawAnswer:
    """Read the content of an answer block; total, linear in the length."""
    if len(body) > LONGEST_ANSWER:
        return RawAnswer((), f"the answer is longer than {LONGEST_ANSWER} characters")
    body = _unfenced(body.strip())
    if not body:
        return RawAnswer((), "the answer is empty")
    if body.strip(" .\"'").lower() == "none":
        return RawAnswer(())
    if "{" in body or body[0] == "[":
        found = _json(body)
        if found is not None:
            return found
    return _text(body)


def _unfenced(body: str) -> str:
    """``body`` without a Markdown code fence around it."""
    if not body.startswith("```"):
        return body
    first, _, rest = body[3:].partition("\n")
    inside = rest if first.strip().lower() in ("", "json", "text") else body[3:].removeprefix("json")
    return inside.strip().removesuffix("```").strip()


# --- JSON style ------------------------------------------------------------------------------------------------------

_DECODER = json.JSONDecoder(parse_int=float)  # an int of 5,000 digits is an error, a float of them is infinity
_IMAGE_KEYS = ("image", "image_index", "image_id")
_BOX_KEYS = ("bbox_2d", "bbox", "box")


def _json(body: str) -> RawAnswer | None:
    """The answer in JSON style; None where this is the text style after all (``[1,2,3,4]`` is both)."""
    start = min(i for i in (body.find("["), body.find("{")) if i >= 0)
    values, noise = [], "text before the JSON" if start else None
    while start < len(body):
        try:
            value, start = _DECODER.raw_decode(body, start)
        except (ValueError, RecursionError) as error:
            if not values:
                return _broken(body, error)
            noise = noise or "text after the JSON"
            break
        values.append(value)
        start = _next(body, start)
    if "{" not in body and (noise or values[0]):  # `[1,2],[3,4]`, `[1,2,3,4] Image-2`: tokens, not JSON
        return None
    rows = [row for value in values for row in (value if isinstance(value, list) else [value])]
    boxes: list[RawBox] = []
    for row in rows:
        found, why = _row(row)
        boxes += found
        noise = noise or why
    if rows and not boxes:
        return RawAnswer((), noise or "no box in the JSON")
    return RawAnswer(tuple(boxes), None, noise)


def _broken(body: str, error: Exception) -> RawAnswer | None:
    if "{" not in body:
        return None
    where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
    return RawAnswer((), f"the JSON does not parse{where}")


def _next(body: str, start: int) -> int:
    """The next thing after a JSON value, past blanks and commas."""
    while start < len(body) and (body[start].isspace() or body[start] == ","):
        start += 1
    return start


def _row(row: object) -> tuple[list[RawBox], str | None]:
    """The boxes of one JSON object, and what is wrong with it."""
    if not isinstance(row, dict):
        return [], "a JSON value that is not an object"
    image = next((_image_number(row[key]) for key in _IMAGE_KEYS if key in row), None)
    value = next((row[key] for key in _BOX_KEYS if key in row), None)
    if not isinstance(value, list):
        return [], "a JSON object without a box"
    if value and all(isinstance(v, list) and len(v) == 4 for v in value):  # several boxes of one object
        boxes = [RawBox(image, _numbers(v)) for v in value]
    else:
        flat = [v for item in value for v in (item if isinstance(item, list) else [item])]
        boxes = [RawBox(image, _numbers(flat))]
    wrong = next((len(b.numbers) for b in boxes if len(b.numbers) != 4), None)
    return boxes, None if wrong is None else f"a box of {wrong} numbers"


def _numbers(values: list[object]) -> tuple[float, ...]:
    return tuple(v for v in values if isinstance(v, float))


def _image_number(value: object) -> int | None:
    """2, 2.0, "2" and "Image-2" are image 2; anything else names an image that is not there (0)."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and 0 <= value <= IMAGE_CAP else 0
    if isinstance(value, str):
        found = _IMAGE_NAME.fullmatch(value.strip())
        return _capped(found[1]) if found else 0
    return None if value is None else 0


def _capped(digits: str) -> int:
    return int(digits) if len(digits) <= 9 else IMAGE_CAP


# --- text style ------------------------------------------------------------------------------------------------------

_IMAGE_NAME = re.compile(r"(?:image[-_ #]{0,2})?([0-9]+)", re.IGNORECASE | re.ASCII)

# Every alternative is a plain run: no nested repetition, nothing lazy, so each character is looked at a bounded
# number of times. Only ASCII digits are digits.
_TOKEN = re.compile(
    r"""
      (?P<image>image[-_ #]{0,2}[0-9]+)
    | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | (?P<open>[(\[]|<\|box_start\|>|<box>)
    | (?P<close>[)\]]|<\|box_end\|>|</box>)
    | (?P<label><\|object_ref_start\|>|<ref>)
    | (?P<unlabel><\|object_ref_end\|>|</ref>)
    | (?P<skip>[,:;.]|<\|begin_of_box\|>|<\|end_of_box\|>)
    | (?P<infinite>[-+]?(?:nan|inf|infinity)\b)
    | (?P<word>[a-z]+|<+|[^\sa-z0-9()\[\],:;.<+-]+|\S)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


def _text(body: str) -> RawAnswer:
    state = _TextState()
    labelled = False
    for kind, token in _tokens(body):
        if labelled:
            labelled = kind != "unlabel"
        elif kind == "label":
            labelled = True
        else:
            state.take(kind, token)
    return state.finish(labelled)


def _tokens(body: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(body):
        yield match.lastgroup or "word", match[0]


class _TextState:
    """Brackets are counted, numbers gathered: two are half a box, four are a box, anything else is a broken one."""

    def __init__(self) -> None:
        self.boxes: list[RawBox] = []
        self.numbers: list[float] = []
        self.image: int | None = None
        self.waiting = False  # an image was named and no box has followed yet
        self.depth = 0
        self.noise: str | None = None

    def take(self, kind: str, token: str) -> None:
        if kind == "number" or kind == "infinite":
            self._number(token)
        elif kind == "open":
            self.depth += 1
        elif kind == "close":
            self._close()
        elif kind == "image":
            self._name(token)
        elif kind != "skip":
            self.noise = self.noise or f"the text {token[:20]!r}"

    def _number(self, token: str) -> None:
        if self.depth > 0:
            self.numbers.append(float(token))
        else:
            self.noise = self.noise or f"the number {token[:20]} outside brackets"

    def _close(self) -> None:
        self.depth -= 1
        if self.depth < 0:
            self.depth = 0
            self.noise = self.noise or "a bracket too many"
        if len(self.numbers) not in (0, 2):
            self._box()

    def _box(self) -> None:
        if len(self.numbers) != 4:
            self.noise = self.noise or f"a box of {len(self.numbers)} numbers"
        self.boxes.append(RawBox(self.image, tuple(self.numbers)))
        self.numbers = []
        self.waiting = False

    def _name(self, token: str) -> None:
        self._end_of_image()
        self.image = _capped(token.lower().removeprefix("image").lstrip("-_ #"))
        self.waiting = True

    def _end_of_image(self) -> None:
        if self.numbers:
            self._box()
        if self.waiting:
            self.noise = self.noise or f"Image-{self.image} is named without a box"
        if self.depth:
            self.depth = 0
            self.noise = self.noise or "a bracket that is not closed"

    def finish(self, labelled: bool) -> RawAnswer:
        self._end_of_image()
        if not self.boxes:
            return RawAnswer((), f"no box, and not exactly 'none': {self.noise or 'nothing was named'}")
        noise = "a label that never ends" if labelled else None
        return RawAnswer(tuple(self.boxes), None, self.noise or noise)
