"""Answers in JSON: objects with a box and an image under their usual keys, in any nesting.

What is not known is not guessed: a box under an unknown key, two keys that disagree, or an image that is not understood
make the answer unsafe as a truth, and the reader of model output counts no such box.
"""

from __future__ import annotations

import contextlib
import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from mirg.answers.blocks import MOST_BOXES, TOO_MANY, RawAnswer, RawBox, image_of
from mirg.answers.image_names import UNKNOWN, Name, folded, image_in_key, is_image_key, name_of_value, names_in
from mirg.answers.repair import repaired
from mirg.frames import swapped

_DEEPEST = 33
_MENDED, _CUT = "JSON that had to be repaired", "the JSON is cut off"
MOST_LOOSE = 512  # objects without a box, and different keys; more of them come from a loop
_TOO_LOOSE = f"more than {MOST_LOOSE} parts of the JSON that hold no box"
_TWICE = "\0twice"  # marks an object that has a key twice; no key of a text can be equal to it
_NOT_UNDERSTOOD = Name(0, 0, UNKNOWN)
_FOUR_NUMBERS = [float] * 4

# Keys of [x1, y1, x2, y2], folded. "boxes" and "bboxes" hold several.
_BOX_KEYS = """
    bbox2d bbox box bboxes boxes bboxes2d boundingbox boundingboxes coordinates coords bboxxyxy boxxyxy xyxy bbox2dxyxy
    bboxcoordinates boxcoordinates boundingboxcoordinates 坐标 边界框 邊界框 检测框 框坐标 座標
"""
BOX_KEYS = frozenset(_BOX_KEYS.split())
# Gemini and Gemma 4 write [y1, x1, y2, x2] under this key.
YX_KEYS = frozenset(("box2d", "boxes2d", "box2ds", "bboxyxyx", "boxyxyx", "yxyx"))
# Keys that a format of this field uses without any note: their objects are what the writer of this package writes.
_PLAIN = frozenset(("bbox2d", "bbox", "box"))
_PLAIN_IMAGE = frozenset(("image", "imageindex", "imageid"))
# Keys that may number an image as well as anything else.
_DOUBTFUL = frozenset(
    ("idx", "index", "no", "number", "num", "view", "page", "panel", "slot", "camera", "cam", "screen")
)
# Keys that hold a place in another form. Beside a known box they only say more of the same object.
_OTHER_SHAPES = re.compile(r"points?2?d?|polygons?|masks?|segmentations?|segments?|keypoints?|rle|centers?|centre|area")
_BOX_LIKE = re.compile(r".*(?:b?box|xywh|cxcywh|rect|coord|corner|quad|region2d|location2d).*|poly.*|roi")
_FORM_KEYS = re.compile(r"(?:b?box|coord\w*)?(?:format|mode|type|order)")
_XYXY = re.compile(r"x_?y_?x_?y|x_?1,? ?y_?1,? ?x_?2,? ?y_?2|x_?min,? ?y_?min,? ?x_?max,? ?y_?max", re.IGNORECASE)
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_LABELS = ("label", "name", "object", "category", "class", "labelname", "objectname", "ref", "description")
_NUMBER_LIST = re.compile(
    r"\s*[\[(]?\s*" + r"[\s,]+".join([r"(-?\d{1,9}(?:\.\d{1,18})?)"] * 4) + r"\s*[\])]?\s*", re.ASCII
)
_PLAIN_NAME = re.compile(r"(?:image[-_ #]{0,2})?[0-9]+", re.IGNORECASE | re.ASCII)
_FENCE = re.compile(r"```[a-z]{0,8}")
_GAP = re.compile(r"[\s,;]*")
_JSON_START = re.compile(r"[\[{](?=\s{0,40}(?:[\[{\]}\"'“‘(-]|[0-9]|[A-Za-z_]\w{0,30}[\"']?\s{0,8}[:：]))")


class Order(NamedTuple):
    """Whether a key holds a box; ``known`` False: it looks like one and is not understood. ``yx`` as in RawBox."""

    known: bool
    yx: bool | None = None


@lru_cache(maxsize=1024)
def box_order(key: str) -> Order | None:
    """What ``key`` says about a box under it; None if it is not a key of a box."""
    plain = folded(key)
    if _FORM_KEYS.fullmatch(plain):  # "bbox_format": "xyxy"
        return None
    if plain in YX_KEYS:
        return Order(True, yx=True)
    if plain in BOX_KEYS:
        return Order(True, yx=False if plain.endswith("xyxy") else None)
    return Order(False) if _BOX_LIKE.fullmatch(plain) or _OTHER_SHAPES.fullmatch(plain) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else {**made, _TWICE: True}


# An int of 5,000 digits is an error, a float of them is infinity.
_DECODER = json.JSONDecoder(parse_int=float, object_pairs_hook=_object)


def parse_json(body: str, box_key: str = "bbox_2d") -> RawAnswer | None:
    """The answer in JSON style; None if there is no JSON in ``body``. A box under ``box_key`` needs no note."""
    first = _JSON_START.search(body)
    if first is None:
        return None
    start = first.start()
    before = _FENCE.sub("", body[:start]).strip()
    noise, unsafe = ("text before the JSON" if before else None), None
    reader, all_values = _Reader(_PLAIN | {folded(box_key)}), list[Any]()
    while start < len(body):
        values, end, problem = _values_at(body, start)
        if not all_values and not values:
            return RawAnswer((), problem, problem, problem, json=True)
        if not values and not _JSON_START.match(body, start):
            break
        noise = noise or problem
        unsafe = {None: None, _MENDED: None, _CUT: "the answer is cut off"}.get(problem, problem)
        all_values += values
        for value in values:
            reader.take(value, None, 0)
        if reader.loose > MOST_LOOSE:
            return RawAnswer((), _TOO_LOOSE, json=True)
        if len(reader.boxes) > MOST_BOXES:
            return RawAnswer((), TOO_MANY, json=True)
        gap = _GAP.match(body, end) if problem is None else None
        start = gap.end() if gap else end
        if problem is not None:
            break
    after = _FENCE.sub("", body[start:]).strip()
    noise = noise or ("text after the JSON" if after else None)
    tolerated = _MENDED if noise == _MENDED else reader.tolerated
    if not reader.boxes and (all_values != [[]] or noise):
        why = noise or reader.noise or "no box in the JSON"
        return RawAnswer((), why, why, unsafe or reader.unsafe, json=True, around=(before, after))
    noise, unsafe = noise or reader.noise, unsafe or reader.unsafe
    return RawAnswer(tuple(reader.boxes), None, noise, unsafe, tolerated, True, (before, after), reader.doubtful)


def _values_at(body: str, start: int) -> tuple[list[Any], int, str | None]:
    """The value at ``start``, its end, and what is wrong with it. No value: the rest of ``body`` is not read."""
    try:
        value, end = _DECODER.raw_decode(body, start)
        return [value], end, None
    except (ValueError, RecursionError) as error:
        found = repaired(body, start) if _JSON_START.match(body, start) else None
        if found is not None:
            with contextlib.suppress(ValueError, RecursionError):
                return _DECODER.decode(found.text), found.end, _CUT if found.cut else _MENDED
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        return [], len(body), f"the JSON does not parse{where}"


class _Reader:
    """Walks JSON values and gathers boxes; ``noise`` and ``unsafe`` keep the first reason each."""

    def __init__(self, plain: frozenset[str]) -> None:
        self.plain = plain  # keys of a box without any note
        self.boxes: list[RawBox] = []
        self.noise: str | None = None
        self.unsafe: str | None = None
        self.tolerated: str | None = None
        self.doubtful: str | None = None
        self.loose = 0  # objects and values without a box
        self.keys: set[str] = set()

    def note(self, what: str, *, unsafe: bool = False, tolerated: bool = False) -> None:
        """Something that is not part of an answer. ``unsafe``: nor can it be left out of a truth. ``tolerated``: it has
        one meaning and is not what any family writes.
        """
        self.noise = self.noise or what
        self.unsafe = self.unsafe or (what if unsafe else None)
        self.tolerated = self.tolerated or (what if tolerated else None)

    def take(self, value: Any, name: Name | None, depth: int) -> None:
        """The boxes of a value; ``name`` is the image that the object around it names."""
        if self.loose > MOST_LOOSE or len(self.boxes) > MOST_BOXES:
            return
        if depth > _DEEPEST:
            self.note("JSON that is nested too deeply", unsafe=True)
        elif isinstance(value, dict):
            if name is not None or not self._take_usual(value):
                self._take_object(value, name, depth)
        elif isinstance(value, list) and name is not None and _is_flat(value):
            self._add(value, name)
        elif isinstance(value, list) and (_holds_objects(value) or all(isinstance(item, list) for item in value)):
            self.loose += not value
            for item in value:
                self.take(item, name, depth + 1)
        else:
            self.loose += 1
            self.note("a JSON value that is not an object", unsafe=True)

    def _take_usual(self, row: dict[str, Any]) -> bool:
        """Take the object that the writer of this package writes, without a look at every spelling."""
        value, image, label = row.get("bbox_2d") or row.get("bbox"), row.get("image"), row.get("label", "")
        if type(value) is not list or type(image) is not float or type(label) is not str:
            return False
        if len(row) != 2 + ("label" in row) or list(map(type, value)) != _FOUR_NUMBERS:
            return False
        name = name_of_value(image)
        self.boxes.append(RawBox(image_of(name), tuple(value), None, name, label))
        return True

    def _take_object(self, row: dict[str, Any], outer: Name | None, depth: int) -> None:
        self.keys.update(row)
        if len(self.keys) > MOST_LOOSE:
            self.loose += len(row)
            return
        plain = {image_in_key(key): value for key, value in row.items()}
        row = plain if len(plain) == len(row) else {**plain, _TWICE: True}
        if _TWICE in row:
            self.note("a JSON object that has a key twice", unsafe=True)
        name = _NOT_UNDERSTOOD if _TWICE in row else self._name(row, outer)
        held = self._held(row)
        count = len(self.boxes)
        if held is not None:
            label = next((row[key] for key in row if folded(key) in _LABELS and isinstance(row[key], str)), "")
            self._add(held[0], name, label, yx=held[1])
        inner = [self._take_inner(key, value, name, depth) for key, value in row.items()]
        if held is None and not any(inner) and len(self.boxes) == count:
            self.loose += 1
            numbers = all(key.isdecimal() for key in row) and bool(row)
            what = "numbers as keys, of images or of objects" if numbers else "a JSON object without a box"
            places = (row[key] for key in row if box_order(key) is not None)
            lists = any(isinstance(value, list) and value for value in row.values())
            self.note(what, unsafe=lists or any(value not in (None, "none", "None") for value in places))

    def _take_inner(self, key: str, value: Any, name: Name | None, depth: int) -> bool:
        """Whether objects or boxes were found under a key that is not a key of a box."""
        order = box_order(key)
        if order is not None and not _holds_more(value, order):
            return False
        if is_image_key(key) and isinstance(value, str | float | bool | None):
            return False
        keyed = name_of_value(key) if names_in(key) else None
        if keyed is not None and isinstance(value, list | dict | str | None):
            self.note(f"the key {key[:20]!r}", tolerated=True)
            if isinstance(value, list | dict) and value:
                self.take(value, keyed, depth + 1)
            return True
        if isinstance(value, dict) or _holds_objects(value):
            self.note(f"the key {key[:20]!r}", tolerated=True)
            self.take(value, name, depth + 1)
            return True
        return False

    def _name(self, row: dict[str, Any], outer: Name | None) -> Name | None:
        names = []
        for key, value in row.items():
            known = is_image_key(key)
            if known is None and isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
                continue  # "images": [{...}, {...}]
            if known is None and not names_in(key):
                self.note(f"the key {key[:20]!r} names an image in an unknown way", unsafe=True)
                names.append(_NOT_UNDERSTOOD)
            elif known and not isinstance(value, dict) and (found := name_of_value(value)) is not None:
                # As it always could be named: by a number, or as Image-2.
                plain = isinstance(value, float) or (isinstance(value, str) and _PLAIN_NAME.fullmatch(value.strip()))
                if folded(key) not in _PLAIN_IMAGE or not (plain or found.number == UNKNOWN):
                    self.note(f"the image {str(value)[:20]!r} under {key[:20]!r}", tolerated=True)
                names.append(found)
        if outer is None and not names:  # {"view": 2}, {"label": "mug in image 2"}
            may_name = (k for k, v in row.items() if folded(k) in _DOUBTFUL or (isinstance(v, str) and names_in(v)))
            self.doubtful = self.doubtful or next(may_name, None)
        if not names:
            return outer
        if outer is not None:
            names.append(outer)
        # A file name beside a number is left to whoever knows the files.
        files, others = ({_same(name): name for name in names if bool(name.file) is file} for file in (True, False))
        if len(files) + len(others) == 1:
            return names[0]
        if len(files) == len(others) == 1:
            return next(iter(others.values()))._replace(file=next(iter(files.values())).file)
        self.note("a JSON object that names several images", unsafe=True)
        return _NOT_UNDERSTOOD

    def _held(self, row: dict[str, Any]) -> tuple[Any, bool | None] | None:
        """(the value that holds the box, what is said of its order) of an object."""
        found: list[tuple[str, Any, bool | None]] = []
        for key, value in row.items():
            order, plain = box_order(key), folded(key)
            if order is None:
                form = isinstance(value, str) and plain != "type" and _FORM_KEYS.fullmatch(plain)
                if form and not _XYXY.search(value):  # "bbox_format": "xywh"
                    self.note(f"the form {value[:20]!r} of a box", unsafe=True)
            elif not isinstance(value, list | dict | str) or (_holds_more(value, order) and not _points(value)):
                continue  # "boxes": [{...}, {...}]
            elif order.known:
                found.append((plain, value, order.yx))
            elif not _OTHER_SHAPES.fullmatch(plain):
                self.note(f"the key {key[:20]!r} holds a box in an unknown form", unsafe=True)
        if corners := _corners(row):
            found.append(("corners", corners, False))
        if not found:
            return None
        key, value, yx = found[0]
        if key not in self.plain:
            self.note(f"the key {key[:20]!r}", tolerated=True)
        if any(_in_order(*other[1:]) != _in_order(value, yx) for other in found):
            self.note("a JSON object with two boxes that differ", unsafe=True)
            return [], False
        return value, yx

    def _add(self, value: Any, name: Name | None, label: str = "", *, yx: bool | None = None) -> None:
        """The box or boxes under a key."""
        problem = ""
        if isinstance(value, dict):
            self.note("a box that is an object", tolerated=True)
            value, yx, problem = _corners(value), False, "a box that is an object without its corners"
        elif isinstance(value, str):
            self.note("a box that is a text", tolerated=True)
            numbers = _NUMBER_LIST.fullmatch(value)
            value = [float(v) for v in numbers.groups()] if numbers else []
            problem = "a box that is a text without four numbers"
        for box in _boxes_in(value):
            if len(box) != 4:
                self.note(problem or f"a box of {len(box)} numbers", unsafe=True)
            self.boxes.append(RawBox(image_of(name), box, yx, name, label))


def _same(name: Name) -> tuple[object, ...]:
    return (name.number, name.ordinal, name.file)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(v, dict) for v in value)


def _holds_more(value: Any, order: Order) -> bool:
    """Whether a value under a key of boxes holds objects with boxes, or boxes by image: {"image_1": [...]}."""
    if isinstance(value, dict):
        return order.known and not order.yx and bool(value) and all(map(names_in, value))
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _points(value: Any) -> bool:
    return isinstance(value, list) and all({folded(k) for k in v} <= {"x", "y", "z"} for v in value)


def _corners(row: dict[str, Any]) -> list[float]:
    """The corners that an object has under a key each, or []."""
    plain = {folded(key): value for key, value in row.items()}
    corners = ([plain.get(key) for key in keys] for keys in _CORNERS)
    return next(([v for v in four if isinstance(v, float)] for four in corners if _is_flat(four)), [])


def _is_flat(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(v, float) for v in value)


def _in_order(value: Any, yx: bool | None) -> Any:
    if yx and isinstance(value, list) and len(value) == 4 and _is_flat(value):
        return list(swapped(value))
    return (value, yx) if yx else value


def _boxes_in(value: list[Any]) -> list[tuple[float, ...]]:
    """[1, 2, 3, 4] is a box, and so is [[1, 2], [3, 4]]; [[1, 2, 3, 4], [5, 6, 7, 8]] are two."""
    if len(value) == 1 and isinstance(value[0], list) and any(isinstance(v, list) for v in value[0]):
        value = value[0]
    pairs = len(value) > 1 and all(isinstance(v, list) and any(isinstance(w, list) for w in v) for v in value)
    if pairs or (value and all(isinstance(v, list) and len(v) == 4 for v in value)):
        return [_numbers(v) for v in value]
    return [_numbers(value)]


def _numbers(values: list[Any]) -> tuple[float, ...]:
    return tuple(w for v in values for w in (v if isinstance(v, list) else [v]) if isinstance(w, float))
