"""MIG-Bench as samples, its original and its revised version: two formats, each of which refuses the other's file.

The target image is derived from task and text (``mirg.data.importers.migbench_items``). The numbers of the two versions
are never in one table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mirg.data.importers.migbench_items import Defect, Item, load_annotations
from mirg.data.importers.options import ImportOptions
from mirg.data.importers.raw import Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.texts import with_boxes
from mirg.samples import Relation, Role

_RELATIONS: dict[str, Relation] = {
    "diff": "changed_object",
    "view_diff": "changed_object",
    "common_object": "same_category",
    "object_tracking": "same_object",
    "multi_view": "same_object",
    "region": "part_of",
    "refer_grounding": "same_category",
    "correspondence": "corresponds_to",
}
_REFERENCE_FIRST = frozenset({"object_tracking", "multi_view", "refer_grounding", "correspondence"})


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The items of the original version. DataError for a file of another schema, or of the revised version."""
    return _rows(path, revised=False)


def read_revised(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The items of the revised version (0-1000 answers). DataError for another file, or the original version."""
    return _rows(path, revised=True)


def _rows(path: Path, *, revised: bool) -> Iterator[Row]:
    annotations = load_annotations(path, revised=revised)
    defects: dict[int, Defect] = {}
    for defect in annotations.defects:  # the first defect of an item is reported
        defects.setdefault(defect.index, defect)
    for item in annotations.items:
        yield Row(path.name, item.index + 1, (item, defects.get(item.index), revised))


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per item; items with a defect of the published file are refused with it."""
    item, defect, revised = value
    name = f"{'migbench-revised' if revised else 'migbench'}-{item.index:04d}"
    if defect is not None:
        field = {"no_target_image": "additional_info", "duplicate": "question"}.get(defect.kind, "answer")
        return [Refusal(field, defect.detail, f"known defect of the published file ({defect.kind})", name)]
    either = len(item.targets) > 1
    x1, y1, x2, y2 = (round(1000.0 * v, 6) for v in item.answer) if revised else item.answer
    return [
        RawSample(
            id=name,
            task=item.task,
            images=tuple(RawImage(path, role=_role(item, k)) for k, path in enumerate(item.images, 1)),
            question=with_boxes(item.question, lambda _: 1),
            targets=(RawBox(item.targets[-1], (x1, y1, x2, y2)),),
            relation=_RELATIONS.get(item.task, "none"),
            image_hidden=item.image_hidden,
            meta={"index": item.index} | ({"either_image": list(item.targets)} if either else {}),
        )
    ]


def _role(item: Item, number: int) -> Role:
    if item.task == "object_tracking":
        return "reference" if number == 1 else "frame"
    if item.task == "region":
        return "source" if number == 1 else "reference"
    return "reference" if number == 1 and item.task in _REFERENCE_FIRST else "candidate"


SOURCE = Source("migbench", "MIG-Bench's MIG_data.json, original version", read, convert, "fraction")
REVISED = Source(
    "migbench-revised", "MIG-Bench as revised with UniVG-R1 (0-1000 answers)", read_revised, convert, "relative_1000"
)
