"""The annotation file of MIG-Bench (original version): loading, target images, known defects.

The file names one box per item and never the image it lies in. :func:`target_images` derives that image from the task
and the text, image numbers counting from 1. Defects of the published file are reported and nothing is dropped, because
a response belongs to an item by its position in the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mirg.answers import ordinals
from mirg.errors import DataError
from mirg.geometry import Box
from mirg.storage import read_json

# The ten tasks in the order of the published tables, with the papers' names.
PAPER_NAMES: dict[str, str] = {
    "diff": "Static",
    "view_diff": "Robust",
    "common_object": "Common",
    "object_tracking": "OT",
    "multi_view": "MV",
    "region": "Region",
    "refer_grounding": "Refer",
    "group_grounding": "GG",
    "reasoning": "Reason",
    "correspondence": "Co-Re",
}
_SECOND_IMAGE = ("view_diff", "refer_grounding", "reasoning", "correspondence")
_NUMBERED = ("common_object", "object_tracking", "multi_view")
_NTH_IMAGE = re.compile(r"\bin the ([0-9]{1,3})(?:st|nd|rd|th) image\b", re.IGNORECASE)
_ORDINAL_IMAGE = re.compile(rf"\b({ordinals.ANY_WORD}) image\b", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One annotated item. ``answer`` is in fractions, as published (it may be defective).

    ``targets`` holds the numbers (from 1) of the images in which the answer may be given: one, two where either of a
    pair is right (Static), none where the file does not tell.
    """

    index: int
    task: str
    images: tuple[str, ...]
    question: str
    answer: Box
    additional_info: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Defect:
    """Something wrong with the published annotation of item ``index``; the item is scored all the same."""

    index: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Annotations:
    """All items in file order (``items[i].index == i``) and the defects found."""

    items: tuple[Item, ...]
    defects: tuple[Defect, ...]


def load_annotations(path: str | Path, *, revised: bool = False) -> Annotations:
    """Read and check an annotation file; answers are fractions, in the revised version 0-1000.

    Raises ``StorageError`` where it cannot be read or is not JSON, :class:`DataError` with the row where it does not
    have the schema of MIG-Bench, or is of the other version.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: expected a JSON list of items", hint="give MIG-Bench's MIG_data.json")
    _refuse_other_version(path, rows, revised)
    items = tuple(_item(path, index, row) for index, row in enumerate(rows))
    return Annotations(items=items, defects=tuple(find_defects(items)))


def target_images(task: str, n_images: int, question: str, additional_info: str) -> tuple[int, ...]:
    """The numbers of the images in which the answer may lie; empty where the text does not tell.

    >>> target_images("object_tracking", 6, "... please locate it in the 4th image. ", "")
    (4,)
    """
    if task == "diff":
        found: tuple[int, ...] = (1, 2)  # an edited pair of the same layout: the box is right in either
    elif task == "region":
        found = (1,)  # the source image; "the Nth region picture" is image N + 1
    elif task in _SECOND_IMAGE:
        found = (2,)
    elif task in _NUMBERED:
        found = tuple(int(match.group(1)) for match in _last(_NTH_IMAGE, question))
    else:  # group_grounding: the question hides the image
        found = tuple(ordinals.number(m.group(1)) for m in _first(_ORDINAL_IMAGE, additional_info))
    return found if all(1 <= image <= n_images for image in found) else ()


def find_defects(items: tuple[Item, ...]) -> list[Defect]:
    """Inverted boxes, coordinates outside 0-1, items without a target image, duplicates; in file order."""
    defects: list[Defect] = []
    seen: dict[str, int] = {}
    for item in items:
        x1, y1, x2, y2 = item.answer
        if x1 >= x2 or y1 >= y2:
            defects.append(Defect(item.index, "inverted_box", f"answer {list(item.answer)} can never be met"))
        if min(item.answer) < 0.0 or max(item.answer) > 1.0:
            defects.append(Defect(item.index, "outside_image", f"answer {list(item.answer)} leaves the image"))
        if not item.targets:
            defects.append(Defect(item.index, "no_target_image", "the text does not tell which image holds the answer"))
        key = json.dumps([item.task, item.images, item.question, item.answer])
        if key in seen:
            defects.append(Defect(item.index, "duplicate", f"same as item {seen[key]}"))
        seen.setdefault(key, item.index)
    return defects


def _item(path: str | Path, index: int, row: object) -> Item:
    if not isinstance(row, Mapping):
        raise _bad_row(path, index, "not an object")
    task, question, images, answer = (row.get(key) for key in ("task", "question", "images", "answer"))
    info = row.get("additional_info", "")
    if task not in PAPER_NAMES:
        raise _bad_row(path, index, f"task is {task!r}, known: {', '.join(PAPER_NAMES)}")
    if not isinstance(question, str) or not isinstance(info, str):
        raise _bad_row(path, index, "question and additional_info must be texts")
    if not isinstance(images, list) or not images or not all(isinstance(image, str) for image in images):
        raise _bad_row(path, index, "images must be a list of paths")
    box = _box(answer)
    if box is None:
        raise _bad_row(path, index, "answer must be four finite numbers [x1, y1, x2, y2]")
    return Item(index, task, tuple(images), question, box, info, target_images(task, len(images), question, info))


def _box(answer: object) -> Box | None:
    if not isinstance(answer, list) or len(answer) != 4:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 1e9 for v in answer):
        return None  # the comparison is false for NaN, too
    x1, y1, x2, y2 = (float(v) for v in answer)
    return (x1, y1, x2, y2)


def _refuse_other_version(path: str | Path, rows: list[object], revised: bool) -> None:
    """The revised version (0-1000 answers, other labels) has other published numbers; never mix the two."""
    boxes = [_box(row.get("answer")) for row in rows if isinstance(row, Mapping)]
    large = sum(1 for box in boxes if box is not None and math.fsum(box) > 8.0)
    if not revised and large > len(rows) // 2:
        raise DataError(
            f"{path}: most answers are not fractions; this looks like the REVISED MIG-Bench (0-1000 answers)",
            hint="give the original annotation file: numbers of the two versions cannot be compared",
        )
    if revised and large <= len(rows) // 2:
        raise DataError(
            f"{path}: most answers are fractions; this looks like the ORIGINAL MIG-Bench",
            hint="import it as migbench: numbers of the two versions cannot be compared",
        )


def _first(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    match = pattern.search(text)
    return [match] if match else []


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-1:]


def _bad_row(path: str | Path, index: int, problem: str) -> DataError:
    return DataError(f"{path}: item {index}: {problem}", hint="the file does not have MIG-Bench's schema")
