"""MIG-Bench, in its original and its revised version: two formats, each of which refuses the other's file.

The file names one box per item and never the image it lies in. :func:`target_images` derives that image from the task
and the text, image numbers counting from 1. Defects of the published file are reported and nothing is dropped, because
a response belongs to an item by its position in the file. The numbers of the two versions are never in one table.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mirg.answers import ordinals
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.rows import is_box
from mirg.data.importers.texts import image_names, numbers_of, referred, with_boxes
from mirg.errors import DataError
from mirg.geometry import Box
from mirg.samples import Relation, Role
from mirg.storage import read_json


class _Task(NamedTuple):
    name: str  # in the papers
    relation: Relation = "none"
    roles: tuple[Role, Role] = ("candidate", "candidate")  # of the first image, of the others
    answer_in: str = ""  # the image that holds the answer: "second", or the last one that is "named"


# In the order of the published tables.
_TASKS: dict[str, _Task] = {
    "diff": _Task("Static", "changed_object"),
    "view_diff": _Task("Robust", "changed_object", answer_in="second"),
    "common_object": _Task("Common", "same_category", answer_in="named"),
    "object_tracking": _Task("OT", "same_object", ("reference", "frame"), "named"),
    "multi_view": _Task("MV", "same_object", ("reference", "candidate"), "named"),
    "region": _Task("Region", "part_of", ("source", "reference")),
    "refer_grounding": _Task("Refer", "same_category", ("reference", "candidate"), "second"),
    "group_grounding": _Task("GG"),
    "reasoning": _Task("Reason", answer_in="second"),
    "correspondence": _Task("Co-Re", "corresponds_to", ("reference", "candidate"), "second"),
}
PAPER_NAMES = {task: known.name for task, known in _TASKS.items()}
_REGION = re.compile(rf"\b({ordinals.ANY}) region\b", re.IGNORECASE)
_REVISED_SCALE = 1000.0  # answers of the revised version are thousandths of the image


@dataclass(frozen=True)
class Item:
    """One annotated item. ``answer`` is in fractions in both versions (it may be defective).

    ``targets`` holds the numbers (from 1) of the images in which the answer may be given: usually one; two if the
    question names no image and either one of the pair is right (Static of the original version); none if the text does
    not tell. ``image_hidden`` is true if the question does not say which image holds the answer.
    """

    index: int
    task: str
    images: tuple[str, ...]
    question: str
    answer: Box
    additional_info: str
    targets: tuple[int, ...]

    @property
    def image_hidden(self) -> bool:
        """Whether the model must find the image: Group Grounding, and a Static pair whose question names no image."""
        return len(self.targets) > 1 or self.task == "group_grounding"


@dataclass(frozen=True)
class Defect:
    """Something wrong with the published annotation of item ``index``; the item is scored nevertheless."""

    index: int
    kind: str
    detail: str


@dataclass(frozen=True)
class Annotations:
    """All items in file order (``items[i].index == i``), the defects found, and the version."""

    items: tuple[Item, ...]
    defects: tuple[Defect, ...]
    revised: bool = False


def load_annotations(path: str | Path, *, revised: bool | None = False) -> Annotations:
    """Read and check an annotation file. The file has fractions as answers, in the revised version integers 0-1000.

    With ``revised=None`` the answers tell the version. Raises ``StorageError`` if the file cannot be read or is not
    JSON, :class:`DataError` with the row if it does not have the schema of MIG-Bench, or is of the other version.
    """
    rows = read_json(path)
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: expected a JSON list of items", hint="give MIG-Bench's MIG_data.json")
    large = _in_thousandths(rows)
    revised = large if revised is None else revised
    if large != revised:
        _refuse_other_version(path, revised)
    items = tuple(_item(path, index, row, revised) for index, row in enumerate(rows))
    return Annotations(items, tuple(find_defects(items)), revised)


def target_images(task: str, n_images: int, question: str, additional_info: str) -> tuple[int, ...]:
    """The numbers of the images in which the answer may lie; empty if the text does not say, or contradicts the task.

    >>> target_images("object_tracking", 6, "... please locate it in the 4th image. ", "")
    (4,)
    >>> target_images("diff", 2, "Give the coordinates of their difference in the 1th image.", "")
    (1,)
    """
    said, told = ([name.number for name in image_names(text, n_images)] for text in (question, additional_info))
    if task == "diff":  # an edited pair of the same layout: without a name the box is right in either image
        found = tuple(dict.fromkeys(said)) or (1, 2)
        found = found if len(found) == 1 or not said else ()
    elif task == "region":  # the source image; "the Nth region picture" is image N + 1
        asked = [ordinals.number(match.group(1)) + 1 for match in _REGION.finditer(question)]
        found = (1,) if all(2 <= image <= n_images for image in asked) else ()
    elif _TASKS[task].answer_in == "second":
        found = (2,) if said[-1:] in ([], [2]) else ()
    elif _TASKS[task].answer_in == "named":
        found = tuple(said[-1:])
    else:  # group_grounding: the question hides the image
        found = tuple(dict.fromkeys(told))
        found = found if len(found) == 1 else ()
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
            defects.append(Defect(item.index, "outside_image", f"{list(item.answer)} is partly outside the image"))
        if not item.targets:
            defects.append(Defect(item.index, "no_target_image", "the text does not say which image holds the answer"))
        key = json.dumps([item.task, item.images, item.question, item.answer])
        if key in seen:
            defects.append(Defect(item.index, "duplicate", f"same as item {seen[key]}"))
        seen.setdefault(key, item.index)
    return defects


def _item(path: str | Path, index: int, row: object, revised: bool) -> Item:
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
    if not is_box(answer):
        raise _bad_row(path, index, "answer must be four finite numbers [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (float(v) / (_REVISED_SCALE if revised else 1.0) for v in answer)
    images = tuple(images)
    return Item(index, task, images, question, (x1, y1, x2, y2), info, target_images(task, len(images), question, info))


def _in_thousandths(rows: list[object]) -> bool:
    """Whether most answers are larger than fractions can be, as those of the revised version are."""
    boxes = [row.get("answer") for row in rows if isinstance(row, Mapping)]
    return sum(1 for box in boxes if is_box(box) and math.fsum(box) > 8.0) > len(rows) // 2


def _refuse_other_version(path: str | Path, revised: bool) -> NoReturn:
    """The revised version (0-1000 answers, other labels) has other published numbers; never mix the two."""
    if revised:
        raise DataError(
            f"{path}: most answers are fractions; this looks like the ORIGINAL MIG-Bench",
            hint="the format migbench and --version original are for it: numbers of the two versions do not compare",
        )
    raise DataError(
        f"{path}: most answers are not fractions; this looks like the REVISED MIG-Bench (0-1000 answers)",
        hint="give the original file (MIG_data.json), or use the format migbench-revised and --version revised: "
        "numbers of the two versions do not compare",
    )


def _bad_row(path: str | Path, index: int, problem: str) -> DataError:
    return DataError(f"{path}: item {index}: {problem}", hint="the file does not have MIG-Bench's schema")


def _rows(path: Path, _: ImportOptions, *, revised: bool) -> Iterator[Row]:
    """The items of one version. DataError for a file of another schema, or of the other version."""
    annotations = load_annotations(path, revised=revised)
    defects = {defect.index: defect for defect in reversed(annotations.defects)}  # the first one of an item is reported
    for item in annotations.items:
        yield Row(path.name, item.index + 1, (item, defects.get(item.index), revised))


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per item; items with a defect of the published file are refused with it."""
    item, defect, revised = value
    name = f"{'migbench-revised' if revised else 'migbench'}-{item.index:04d}"
    if defect is not None:
        field = {"no_target_image": "additional_info", "duplicate": "question"}.get(defect.kind, "answer")
        return [Refusal(field, defect.detail, f"known defect of the published file ({defect.kind})", name)]
    task, either = _TASKS[item.task], len(item.targets) > 1
    subject = next((phrase for _, phrase in referred(item.question) if phrase), "")
    meta = {"index": item.index} | ({"either_image": list(item.targets)} if either else {})
    x1, y1, x2, y2 = (round(1000.0 * v, 6) for v in item.answer) if revised else item.answer
    return [
        RawSample(
            id=name,
            task=item.task,
            images=tuple(RawImage(path, role=task.roles[k > 0]) for k, path in enumerate(item.images)),
            question=with_boxes(item.question, lambda box: RawBox(1, numbers_of(box), frame="relative_1000")),
            targets=(RawBox(item.targets[-1], (x1, y1, x2, y2)),),
            relation=task.relation,
            image_hidden=item.image_hidden,
            meta=meta | ({"subject": subject} if subject else {}),
        )
    ]


_ORIGINAL_ROWS, _REVISED_ROWS = partial(_rows, revised=False), partial(_rows, revised=True)
SOURCE = Source("migbench", "MIG-Bench's MIG_data.json, original version", _ORIGINAL_ROWS, convert, "fraction")
REVISED = Source(
    "migbench-revised", "MIG-Bench as revised with UniVG-R1 (0-1000 answers)", _REVISED_ROWS, convert, "relative_1000"
)
