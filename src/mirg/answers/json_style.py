"""Answers in JSON: objects with a box and an image under their usual keys, in any nesting.

What is not known is not guessed: a box under an unknown key, two keys that disagree, or an image that is not understood
make the answer unsafe as a truth, and the reader of model output counts no such box.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

from mirg.answers.image_names import UNKNOWN, Name, folded, image_in_key, is_image_key, name_of_value, names_in
from mirg.answers.raw import MOST_BOXES, TOO_MANY, RawAnswer, RawBox, image_of
from mirg.answers.repair import repaired

_DEEPEST = 32
MENDED = "JSON that had to be repaired"
MOST_LOOSE = 512  # objects without a box, and different keys; more of them come from a loop
_TOO_LOOSE = f"more than {MOST_LOOSE} parts of the JSON that hold no box"
_TWICE = "\0twice"  # marks an object that has a key twice; no key of a text can be equal to it
_NOT_UNDERSTOOD = Name(0, 0, UNKNOWN)

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
_GAP = re.compile(r"[\s,;]*")
_JSON_START = re.compile(r"[\[{](?=\s{0,40}(?:[\[{\]}\"'“‘(-]|[0-9]|[A-Za-z_]\w{0,30}[\"']?\s{0,8}[:：]))")


class Order(NamedTuple):
    """Whether a key holds a box, and in which order; ``known`` False: it looks like one and is not understood."""

    known: bool
    yx: bool = False


@lru_cache(maxsize=1024)
def box_order(key: str) -> Order | None:
    """What ``key`` says about a box under it; None if it is not a key of a box."""
    plain = folded(key)
    if _FORM_KEYS.fullmatch(plain):  # "bbox_format": "xyxy"
        return None
    if plain in YX_KEYS:
        return Order(True, yx=True)
    if plain in BOX_KEYS:
        return Order(True)
    return Order(False) if _BOX_LIKE.fullmatch(plain) or _OTHER_SHAPES.fullmatch(plain) else None


def parse_json(body: str) -> RawAnswer | None:
    """The answer in JSON style; None if there is no JSON in ``body``."""
    found = _values(body)
    if found is None:
        return None
    values, around, noise, unsafe = found
    if not values:
        return RawAnswer((), noise, noise, unsafe, json=True)
    reader = _Reader()
    reader.noise, reader.unsafe = noise, unsafe
    reader.tolerated = noise if noise == MENDED else None
    for value in values:
        if type(value) is dict and reader.usual(value):
            continue
        reader.take(value, None, 0, top=True)
        if reader.loose > MOST_LOOSE:
            return RawAnswer((), _TOO_LOOSE, json=True)
        if len(reader.boxes) > MOST_BOXES:
            return RawAnswer((), TOO_MANY, json=True)
    if not reader.boxes and (values != [[]] or noise):
        why = reader.noise or "no box in the JSON"
        return RawAnswer((), why, why, reader.unsafe, json=True, around=around)
    return RawAnswer(
        tuple(reader.boxes), None, reader.noise, reader.unsafe, reader.tolerated, True, around, reader.doubtful
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        made[_TWICE] = True
    return made


# An int of 5,000 digits is an error, a float of them is infinity.
_DECODER = json.JSONDecoder(parse_int=float, object_pairs_hook=_object)


_RAW_BOX = RawBox._make
_SCAN: Any = _DECODER.scan_once  # type: ignore[attr-defined]  # without the checks of raw_decode, which take as long as the value itself


def _values(body: str) -> tuple[list[Any], tuple[str, str], str | None, str | None] | None:
    """(values, text around them, noise, why it is unsafe); None if there is no JSON value in ``body``."""
    first = _JSON_START.search(body)
    if first is None:
        return None
    start = first.start()
    before = _plain(body[:start])
    values: list[Any] = []
    limit = 2 * MOST_LOOSE
    noise, unsafe = ("text before the JSON" if before else None), None
    while start < len(body):
        try:
            value, start = _SCAN(body, start)
            values.append(value)
            if len(values) > limit:
                if "[" not in body[:start]:
                    return [], (before, ""), _TOO_LOOSE, None
                if limit > MOST_BOXES:
                    break
                limit = MOST_BOXES + MOST_LOOSE
            if body.startswith((",{", ",["), start):
                start += 1
                continue
        except (ValueError, RecursionError, StopIteration) as error:
            mended = _mended(body, start)
            if mended is None:
                if values and not _JSON_START.match(body, start):
                    break
                at = error.value if isinstance(error, StopIteration) else getattr(error, "pos", None)
                where = f" at character {at}" if at is not None else ""
                problem = f"the JSON does not parse{where}"
                return values, (before, ""), noise or problem if values else problem, problem
            more, start, cut = mended
            values += more
            noise = noise or ("the JSON is cut off" if cut else MENDED)
            unsafe = unsafe or ("the answer is cut off" if cut else None)
            break
        gap = _GAP.match(body, start)
        start = gap.end() if gap else start
    after = _plain(body[start:])
    noise = noise or ("text after the JSON" if after else None)
    return values, (before, after), noise, unsafe


def _mended(body: str, start: int) -> tuple[list[Any], int, bool] | None:
    if not _JSON_START.match(body, start):
        return None
    found = repaired(body, start)
    if found is None:
        return None
    try:
        return _DECODER.decode(found.text), found.end, found.cut
    except (ValueError, RecursionError):
        return None


def _plain(text: str) -> str:
    """Text around JSON without the fence."""
    return re.sub(r"```[a-z]{0,8}", "", text).strip()


class _Reader:
    """Walks JSON values and gathers boxes; ``noise`` and ``unsafe`` keep the first reason each."""

    def __init__(self) -> None:
        self.boxes: list[RawBox] = []
        self.noise: str | None = None
        self.unsafe: str | None = None
        self.tolerated: str | None = None
        self.doubtful: str | None = None
        self.loose = 0  # objects and values without a box
        self.keys: set[str] = set()
        self.numbered: dict[float, tuple[int | None, Name | None]] = {}  # names that are numbers

    def note(self, what: str, *, unsafe: bool = False) -> None:
        """Something that is not part of an answer; ``unsafe``: nor can it be left out of a truth."""
        self.noise = self.noise or what
        if unsafe:
            self.unsafe = self.unsafe or what

    def tolerate(self, what: str) -> None:
        """Something with one meaning that is not what any family writes."""
        self.note(what)
        self.tolerated = self.tolerated or what

    def take(self, value: Any, name: Name | None, depth: int, *, top: bool = False) -> None:
        """The boxes of a value; ``name`` is the image that the object around it names."""
        if self.loose > MOST_LOOSE or len(self.boxes) > MOST_BOXES:
            return
        if depth > _DEEPEST:
            self.note("JSON that is nested too deeply", unsafe=True)
        elif isinstance(value, dict):
            if name is not None or not self.usual(value):
                self._row(value, name, depth)
        elif isinstance(value, list) and (top or depth) and all(isinstance(item, dict | list) for item in value):
            self.loose += not value
            for item in value:
                if name is not None or not isinstance(item, dict) or not self.usual(item):
                    self.take(item, name, depth + 1)
        elif isinstance(value, list) and depth and name is not None and _flat_box(value):
            self._add(value, name, yx=False, label="")
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for item in value:
                self.take(item, name, depth + 1)
        else:
            self.loose += 1
            self.note("a JSON value that is not an object", unsafe=True)

    def usual(self, row: dict[str, Any]) -> bool:
        """Take the object that the writer of this package writes, without a look at every spelling."""
        if len(row) != 2 + ("label" in row):
            return False
        get = row.get
        value, image, label = get("bbox_2d") or get("bbox"), get("image"), get("label", "")
        if type(value) is not list or type(image) is not float or type(label) is not str or not _four(value):
            return False
        named = self.numbered.get(image)
        if named is None:
            name = name_of_value(image)
            named = self.numbered[image] = image_of(name), name
        self.boxes.append(_RAW_BOX((named[0], tuple(value), False, named[1], label)))
        return True

    def _row(self, row: dict[str, Any], outer: Name | None, depth: int) -> None:
        self.keys.update(row)
        if len(self.keys) > MOST_LOOSE:
            self.loose += len(row)
            return
        if any(image_in_key(key) != key for key in row):
            plain = {image_in_key(key): value for key, value in row.items()}
            row = plain if len(plain) == len(row) else {**plain, _TWICE: True}
        if _TWICE in row:
            self.note("a JSON object that has a key twice", unsafe=True)
        name = _NOT_UNDERSTOOD if _TWICE in row else self._name(row, outer)
        label = next((str(row[key]) for key in row if folded(key) in _LABELS and isinstance(row[key], str)), "")
        held = self._held(row)
        count = len(self.boxes)
        if held is not None:
            self._add(held[0], name, yx=held[1], label=label)
        inner = False
        for key, value in row.items():
            inner = self._inner(key, value, name, depth) or inner
        if held is None and not inner and len(self.boxes) == count:
            self.loose += 1
            numbers = all(key.isdecimal() for key in row) and bool(row)
            what = "numbers as keys, of images or of objects" if numbers else "a JSON object without a box"
            self.note(what, unsafe=_says_a_place(row))

    def _inner(self, key: str, value: Any, name: Name | None, depth: int) -> bool:
        """Whether objects or boxes were found under a key that is not a key of a box."""
        order = box_order(key)
        if order is not None and not _holds_objects(value, order):
            return False
        if is_image_key(key) and isinstance(value, str | float | bool | None):
            return False
        keyed = name_of_value(key) if names_in(key) else None
        if keyed is not None and isinstance(value, list | dict | str | None):
            self.tolerate(f"the key {key[:20]!r}")
            if isinstance(value, list) and _flat_box(value):
                self._add(value, keyed, yx=False, label="")
            elif isinstance(value, list | dict) and value:
                self.take(value, keyed, depth + 1)
            return True
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value)):
            self.tolerate(f"the key {key[:20]!r}")
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
                if folded(key) not in _PLAIN_IMAGE or not (_plainly(value) or found.number == UNKNOWN):
                    self.tolerate(f"the image {str(value)[:20]!r} under {key[:20]!r}")
                names.append(found)
        if not names:
            doubtful = next((key for key, value in row.items() if _may_name(key, value)), None)
            self.doubtful = self.doubtful or (doubtful if outer is None else None)
            return outer
        if outer is not None:
            names.append(outer)
        return names[0] if len({_same(name) for name in names}) == 1 else self._disagree(names)

    def _disagree(self, names: list[Name]) -> Name:
        """Several names: a file name beside a number is left to whoever knows the files."""
        files = [name for name in names if name.file]
        others = [name for name in names if not name.file]
        if len({name.file for name in files}) == 1 and len({_same(name) for name in others}) == 1:
            return others[0]._replace(file=files[0].file)
        self.note("a JSON object that names several images", unsafe=True)
        return _NOT_UNDERSTOOD

    def _held(self, row: dict[str, Any]) -> tuple[Any, bool] | None:
        """(the value that holds the box, whether its order is y first) of an object."""
        found: list[tuple[str, Any, bool]] = []
        for key, value in row.items():
            order = box_order(key)
            plain = folded(key)
            if order is None or not isinstance(value, list | dict | str):
                if order is None and _other_form(plain, value):
                    self.note(f"the form {str(value)[:20]!r} of a box", unsafe=True)
                continue
            if _holds_objects(value, order) and not (isinstance(value, list) and _points(value)):
                continue  # "boxes": [{...}, {...}]
            if order.known:
                found.append((plain, value, order.yx))
            elif not _OTHER_SHAPES.fullmatch(plain):
                self.note(f"the key {key[:20]!r} holds a box in an unknown form", unsafe=True)
        folded_keys = {folded(key): value for key, value in row.items()}
        for corners in _CORNERS:
            if all(isinstance(folded_keys.get(corner), float) for corner in corners):
                found.append(("corners", [folded_keys[corner] for corner in corners], False))
        if not found:
            return None
        if found[0][0] not in _PLAIN:
            self.tolerate(f"the key {found[0][0][:20]!r}")
        first = _in_order(found[0][1], found[0][2])
        if any(_in_order(value, yx) != first for _, value, yx in found[1:]):
            self.note("a JSON object with two boxes that differ", unsafe=True)
            return [], False
        return found[0][1], found[0][2]

    def _add(self, value: Any, name: Name | None, *, yx: bool, label: str) -> None:
        """The box or boxes under a key."""
        if isinstance(value, dict):
            folded_keys = {folded(key): item for key, item in value.items()}
            corners = next((c for c in _CORNERS if all(isinstance(folded_keys.get(k), float) for k in c)), None)
            self.tolerate("a box that is an object")
            self.unsafe = self.unsafe if corners else self.unsafe or "a box that is an object without its corners"
            value, yx = ([folded_keys[k] for k in corners], False) if corners else ([], False)
        elif isinstance(value, str):
            numbers = _NUMBER_LIST.fullmatch(value)
            self.tolerate("a box that is a text")
            self.unsafe = self.unsafe if numbers else self.unsafe or "a box that is a text without four numbers"
            value = [float(v) for v in numbers.groups()] if numbers else []
        for numbers in _boxes_in(value):
            if len(numbers) != 4:
                self.note(f"a box of {len(numbers)} numbers", unsafe=True)
            self.boxes.append(RawBox(image_of(name), numbers, yx, name, label))


def _plainly(value: Any) -> bool:
    """Whether an image is named as it always could be: by a number, or as Image-2."""
    return isinstance(value, float) or (isinstance(value, str) and bool(_PLAIN_NAME.fullmatch(value.strip())))


def _may_name(key: str, value: Any) -> bool:
    """Whether a part of an object that is no image key may name an image: {"view": 2}, {"label": "mug in image 2"}."""
    return folded(key) in _DOUBTFUL or (isinstance(value, str) and bool(names_in(value)))


_PLAIN_NAME = re.compile(r"(?:image[-_ #]{0,2})?[0-9]+", re.IGNORECASE | re.ASCII)


def _same(name: Name) -> tuple[object, ...]:
    return (name.number, name.ordinal, name.file)


def _holds_objects(value: Any, order: Order) -> bool:
    """Whether a value under a key of boxes holds objects with boxes, or boxes by image: {"image_1": [...]}."""
    if isinstance(value, dict):
        by_image = bool(value) and all(names_in(key) and name_of_value(key) is not None for key in value)
        return by_image and order == Order(True)
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _points(value: list[Any]) -> bool:
    return all(isinstance(v, dict) and {folded(k) for k in v} <= {"x", "y", "z"} for v in value)


def _says_a_place(row: dict[str, Any]) -> bool:
    """Whether an object without a readable box seems to hold one nevertheless."""
    places = (row[key] for key in row if box_order(key) is not None)
    lists = any(isinstance(value, list) and value for value in row.values())
    return lists or any(value not in (None, "none", "None") for value in places)


def _other_form(key: str, value: Any) -> bool:
    """Whether a key such as ``bbox_format`` says that the box is not [x1, y1, x2, y2]."""
    said = isinstance(value, str) and key != "type" and _FORM_KEYS.fullmatch(key)
    return bool(said) and not _XYXY.search(value)


def _four(value: list[Any]) -> bool:
    if len(value) != 4:
        return False
    a, b, c, d = value
    return type(a) is type(b) is type(c) is type(d) is float


def _flat_box(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(v, float) for v in value)


def _in_order(value: Any, yx: bool) -> Any:
    if yx and isinstance(value, list) and len(value) == 4 and _flat_box(value):
        return [value[1], value[0], value[3], value[2]]
    return (value, yx) if yx else value


def _boxes_in(value: Any) -> list[tuple[float, ...]]:
    """[1, 2, 3, 4] is a box, and so is [[1, 2], [3, 4]]; [[1, 2, 3, 4], [5, 6, 7, 8]] are two."""
    if not isinstance(value, list):
        return [()]
    if len(value) == 1 and isinstance(value[0], list) and any(isinstance(v, list) for v in value[0]):
        value = value[0]
    if value and all(isinstance(v, list) and len(v) == 4 for v in value):
        return [_numbers(v) for v in value]
    if len(value) > 1 and all(isinstance(v, list) and any(isinstance(w, list) for w in v) for v in value):
        return [_numbers([w for item in v for w in (item if isinstance(item, list) else [item])]) for v in value]
    return [_numbers([w for item in value for w in (item if isinstance(item, list) else [item])])]


def _numbers(values: list[Any]) -> tuple[float, ...]:
    return tuple(v for v in values if isinstance(v, float))
