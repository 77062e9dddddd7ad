"""Detection columns of tables: where boxes and their classes usually are, and whether boxes are corners or sizes.

Two shapes are usual: a list of objects, ``[{"bbox": [...], "category": 0}, ...]``, and lists side by side,
``{"bbox": [[...], ...], "category": [0, ...]}``. The numbers of a box may be [x1, y1, x2, y2] or, as in COCO, [x, y,
width, height]; nothing in a table says which, so it is said by the user or follows from all boxes together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mirg.data.importers.raw import FrameName, RawBox, RawImage, RawObject, RawSample, asks_for_every
from mirg.data.importers.rows import Refused, chosen, is_box
from mirg.errors import DataError
from mirg.families import RELATIVE_MAX

BoxFormat = Literal["boxes", "boxes_xywh"]  # corners, or corner and size, by the names that --columns gives them

_HOLDERS = ("objects", "annotations", "detections", "object", "annotation")
_BOXES = ("bbox", "bboxes", "boxes", "box")
_TOP = ("bbox", "bboxes")  # separate columns; "boxes" is a column whose format is known
_CLASSES = ("category", "categories", "category_name", "label", "labels", "class", "classes", "class_name", "name")
_NUMBERED = ("category_id", "category_ids", "label_id", "class_id")
_CROWDS = ("iscrowd", "is_crowd", "crowd")
_PARTS = {"labels": (*_CLASSES, *_NUMBERED), "iscrowd": _CROWDS}
_FEW = 0.01  # share of boxes that a format may fail to explain: they are refused row by row
_EDGE = 1.0  # pixels, or units of 0-1000, by which a box may leave its image: rounding


def inside(value: Any, column: str) -> Any:
    """The value at ``objects.bbox`` of an example; of a list of objects, the list of their values."""
    for part in column.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = [item.get(part) for item in value]
        elif value != []:  # an empty list of objects is an empty list of boxes
            return None
    return value


def box_column(example: Mapping[str, Any]) -> str | None:
    """The column that holds boxes under one of the usual names; None if no column has one."""
    for holder in _HOLDERS:
        for key in _keys(example.get(holder)):
            if key in _BOXES:
                return f"{holder}.{key}"
    return next((name for name in _TOP if name in example), None)


def beside(example: Mapping[str, Any], boxes: str, part: Literal["labels", "iscrowd"]) -> str | None:
    """The column of classes, or of crowd flags, in the same objects as the column ``boxes``; None without one."""
    holder, dot, _ = boxes.rpartition(".")
    keys = list(_keys(inside(example, holder))) if dot else list(example) if boxes in _TOP else []
    found = next((key for key in _PARTS[part] if key in keys), None)
    return found and f"{holder}{dot}{found}"


def telling(examples: Iterable[Mapping[str, Any]], boxes: str | None) -> Mapping[str, Any]:
    """The first example whose boxes show their keys; else the first one."""
    seen: list[Mapping[str, Any]] = []
    for example in examples:
        if inside(example, boxes) if boxes else box_column(example):
            return example
        seen = seen or [example]
    return seen[0] if seen else {}


def _keys(value: Any) -> Iterable[str]:
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, Mapping)), None)
    return value.keys() if isinstance(value, Mapping) else ()


@dataclass
class Numbering:
    """What the column of image numbers counts from, over the whole table: not what its name says is a DataError."""

    source: str
    columns: Mapping[str, str]
    zeros: int = 0
    beyond: int = 0  # the first row whose index is the number of its images

    def add(self, number: int, row: Mapping[str, Any]) -> None:
        """The values of one example. DataError if image_number counts from 0."""
        numbers, indices, images = (row.get(name) for name in ("image_number", "image_index", "images"))
        if 0 in (numbers if isinstance(numbers, list) else [numbers]):
            raise self._refused(number, "counts images from 0", "image_number", "image_index")
        indices = indices if isinstance(indices, list) else [indices]
        self.zeros += 0 in indices
        if not self.beyond and (len(images) if isinstance(images, list) else 1) in indices:
            self.beyond = number

    def end(self) -> None:
        """DataError if image_index never holds 0 and seems to count from 1."""
        if self.beyond and not self.zeros:
            raise self._refused(self.beyond, "counts images from 1: none is 0", "image_index", "image_number")

    def _refused(self, row: int, problem: str, name: str, right: str) -> DataError:
        column = self.columns.get(name, name)
        reason = f"{self.source}: row {row}: the column {column} {problem}"
        return DataError(reason, hint=f"--columns {right}={column}")


def class_names(features: Any, column: str) -> Sequence[str] | None:
    """The names of a ClassLabel at ``objects.category`` of the table's features; None if it is not a ClassLabel."""
    for part in column.split("."):
        features = _bare(features)
        features = features.get(part) if isinstance(features, Mapping) else None
    return getattr(_bare(features), "names", None)


def _bare(feature: Any) -> Any:
    """What a list of the ``datasets`` library is a list of."""
    while True:
        inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
        if inner is None:
            return feature
        feature = inner


def named(value: Any, names: Sequence[str]) -> Any:
    """``value``, a class number or a list of them, as names; a number that is not a class is unchanged."""
    if isinstance(value, list):
        return [named(item, names) for item in value]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return names[value] if whole and 0 <= value < len(names) else value


def asks_for_all(name: str, path: str, boxes: Sequence[RawBox]) -> RawSample:
    """The sample of an image without a question, as of COCO: all objects of one label, chosen by its id ``name``.

    Refused if there is no object, or one without a label: the others of its kind would not be all.
    """
    labels = sorted({box.label for box in boxes})
    if not labels:
        raise Refused("boxes", "are empty, and there is no question", "it is a photograph without boxes")
    if not labels[0]:
        raise Refused("labels", "are missing, and there is no question", "--columns question=… or labels=… says where")
    asked = chosen(labels, name)
    image = RawImage(path, objects=tuple(RawObject(box.label, box.numbers) for box in boxes))
    return asks_for_every(name, image, asked, (box for box in boxes if box.label == asked))


@dataclass
class FormatEvidence:
    """How many boxes cannot be corners, and how many cannot be a corner and a size."""

    frame: FrameName | None
    total: int = 0
    not_corners: int = 0
    not_sizes: int = 0

    def add(self, boxes: Any, size: tuple[int, int] | None) -> None:
        """The boxes of one example; ``size`` is (width, height) of its image in pixels, None if it is not known."""
        if isinstance(boxes, list) and boxes and not any(isinstance(box, list | tuple) for box in boxes):
            boxes = [boxes]
        for box in boxes if isinstance(boxes, list) else ():
            if is_box(box):
                a, b, c, d = box
                right, lower = self._edges(max(box), size)
                self.total += 1
                self.not_corners += not (c > a and d > b and c <= right and d <= lower)
                self.not_sizes += not (c > 0 and d > 0 and a + c <= right and b + d <= lower)

    def _edges(self, largest: float, size: tuple[int, int] | None) -> tuple[float, float]:
        """The largest coordinates that a box of the image may have; infinite if that is not known."""
        if self.frame == "fraction" or (self.frame in (None, "auto") and largest <= 1.0):
            return (1.0001, 1.0001)
        if self.frame == "relative_1000":
            return (RELATIVE_MAX + _EDGE, RELATIVE_MAX + _EDGE)
        if size is None or self.frame == "resized_pixels":
            return (float("inf"), float("inf"))
        least = RELATIVE_MAX if self.frame in (None, "auto") else 0
        return (max(size[0], least) + _EDGE, max(size[1], least) + _EDGE)

    def settle(self, source: str, column: str) -> BoxFormat:
        """The only format that explains the boxes. DataError, with the option for it, if there are two or none."""
        few = _FEW * self.total
        wrong: dict[BoxFormat, int] = {"boxes": self.not_corners, "boxes_xywh": self.not_sizes}
        fits: list[BoxFormat] = [name for name, count in wrong.items() if count <= few]
        if len(fits) == 1 and self.total:
            return fits[0]
        may = "may be [x1, y1, x2, y2] or [x, y, width, height]" if fits else "are in neither of the known formats"
        hint = f"--columns boxes={column} says the first, --columns boxes_xywh={column} the second"
        raise DataError(f"{source}: the {self.total:,} boxes of the column {column} {may}", hint=hint)

    def contradict(self, said: BoxFormat, source: str, column: str, hint: str = "") -> None:
        """DataError if the boxes are not in the format that was said, but all in the other one."""
        better: BoxFormat = "boxes" if said == "boxes_xywh" else "boxes_xywh"
        wrong, other = self.not_corners, self.not_sizes
        if said == "boxes_xywh":
            wrong, other = other, wrong
        few = _FEW * self.total
        if wrong < 2 or wrong <= few or other > few:
            return
        shapes: dict[BoxFormat, str] = {"boxes": "[x1, y1, x2, y2]", "boxes_xywh": "[x, y, width, height]"}
        raise DataError(
            f"{source}: {wrong:,} of {self.total:,} boxes of the column {column} are not {shapes[said]}; all fit "
            f"{shapes[better]}",
            hint=hint or f"--columns {better}={column}",
        )
