"""COCO: ``annotations.json`` with the objects and targets of every image, each box once.

Schema: cocodataset.org, "Data format", object detection. Boxes are ``[x, y, width, height]`` in pixels of the upright
original, not rounded. Questions, roles and trajectories have no place in it. Crowds and ignored regions keep their
flags, ``attributes`` holds the rest of an object's attributes, and an image says how far its annotation is complete: by
LVIS's lists of category ids, and by ``incomplete`` and ``vocabulary`` (``mirg.samples.coverage``). An image without
objects says by ``absent`` which label its sample asks for.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirg.data.exporters.files import JsonTable, json_bytes
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.geometry import Box
from mirg.samples import ImageRef, ObjectNote, Sample
from mirg.samples.coverage import CATEGORIES, CROWD, IGNORE, ONLY_TARGETS, Coverage, label_key

DATA_FILE = "annotations.json"
UNNAMED = "object"


class CocoWriter:
    """Boxes go to a file while rows come, and all is put together at the end: an image stays in memory, a box does not.

    Only the place of a box is remembered, so that each is written once.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._path = folder / DATA_FILE
        self._plan = plan
        self._images: dict[str, _Image] = {}
        self._categories: dict[str, dict[str, Any]] = {}  # by the key of their label
        self._boxes: set[tuple[int, str, Box]] = set()
        self._box_part = JsonTable(folder / ".boxes", (b"\n", b",\n", b""))

    def add(self, row: Row) -> None:
        """Write what is new: images, and boxes that no earlier sample has."""
        sample = row.sample
        images = [self._image(path, ref) for ref, path in zip(sample.images, row.images, strict=True)]
        targets = {(target.image, label_key(target.label), target.box) for target in sample.targets}
        for k, (image, ref) in enumerate(zip(images, sample.images, strict=True), 1):
            image.take(sample, ref)
            for note in ref.objects:
                asked = (k, label_key(note.label), note.box) in targets
                self._box(image, note, ref.size, "target" if asked else "object")
        for target in sample.targets:
            note = ObjectNote(label=target.label, box=target.box)
            self._box(images[target.image - 1], note, sample.images[target.image - 1].size, "target")

    def finish(self) -> dict[str, int]:
        """Put the parts together."""
        self.close()
        card = self._plan.card
        info = {"description": card.description or card.name, "version": card.schema_version}
        images = [image.row(self._category) for image in self._images.values()]  # may add categories
        with self._path.open("wb") as whole:
            whole.write(b'{"info": ' + json_bytes(info) + b', "licenses": []')
            for name, rows in (("categories", self._categories.values()), ("images", images)):
                lines = b",".join(b"\n" + json_bytes(row) for row in rows)
                whole.write(f',\n"{name}": ['.encode() + lines + b"]")
            whole.write(b',\n"annotations": [')
            if self._box_part.n:
                with self._box_part.path.open("rb") as stream:
                    shutil.copyfileobj(stream, whole)
                self._box_part.path.unlink()
            whole.write(b"]}\n")
        return {DATA_FILE: len(images)}

    def close(self) -> None:
        """Close the part."""
        self._box_part.close()

    def _image(self, path: str, ref: ImageRef) -> _Image:
        if path not in self._images:
            self._images[path] = _Image(len(self._images) + 1, path, ref.size)
        return self._images[path]

    def _box(self, image: _Image, note: ObjectNote, size: tuple[int, int], kind: str) -> None:
        name = note.label or UNNAMED
        category = self._category(name, note.attributes.get("supercategory"))
        place = (image.number, label_key(name), note.box)
        if place in self._boxes:
            return
        self._boxes.add(place)
        if note.label:
            image.held.add(label_key(note.label))
        x, y = note.box[0] * size[0], note.box[1] * size[1]
        width, height = note.box[2] * size[0] - x, note.box[3] * size[1] - y
        rest = {k: v for k, v in note.attributes.items() if k not in ("supercategory", CROWD, IGNORE)}
        entry: dict[str, Any] = {
            "id": len(self._boxes), "image_id": image.number, "category_id": category,
            "bbox": [x, y, width, height], "area": width * height,
            "iscrowd": int(bool(note.attributes.get(CROWD))), "kind": kind,
        }  # fmt: skip
        entry |= {"attributes": rest} if rest else {}
        entry |= {"ignore": 1} if note.attributes.get(IGNORE) else {}
        entry |= {"unnamed": 1} if not note.label else {}
        self._box_part.add(entry)

    def _category(self, name: str, supercategory: object = "") -> int:
        """The id of the category called ``name``; a supercategory is taken from the first object that has one."""
        new = {"id": len(self._categories) + 1, "name": name, "supercategory": ""}
        category = self._categories.setdefault(label_key(name), new)
        if isinstance(supercategory, str):
            category["supercategory"] = category["supercategory"] or supercategory
        return category["id"]


@dataclass(slots=True)
class _Image:
    """What is collected about one image; ``held`` are the keys of the labels that it has boxes of."""

    number: int
    path: str
    size: tuple[int, int]
    held: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)  # of the categories it was annotated for, by key
    coverage: Coverage = field(default_factory=Coverage)
    noted: bool = False
    own: dict[str, Any] = field(default_factory=dict)  # of the sample that is about this image and no other
    samples: int = 0

    def take(self, sample: Sample, ref: ImageRef) -> None:
        """Note what a sample says about this image."""
        coverage = Coverage.of(sample)
        self.coverage = self.coverage.joined(coverage)
        self.noted |= bool(ref.objects) or coverage.annotated
        listed = sample.meta.get(CATEGORIES)
        for name in listed if isinstance(listed, list) else []:
            self.names.setdefault(label_key(str(name)), str(name))
        if len(sample.images) == 1:
            self.samples += 1
            image_set = sample.meta.get("image_set")
            self.own = {"sample_id": sample.id} | ({"image_set": image_set} if isinstance(image_set, str) else {})
            subject = sample.meta.get("subject")
            if coverage.annotated and isinstance(subject, str) and not (sample.targets or ref.objects):
                self.own["absent"] = subject

    def row(self, category: Callable[[str], int]) -> dict[str, Any]:
        """The entry of the file."""
        entry: dict[str, Any] = {
            "id": self.number, "file_name": self.path, "width": self.size[0], "height": self.size[1],
        }  # fmt: skip
        reasons = self.coverage.incomplete | (frozenset() if self.noted else {ONLY_TARGETS})
        if reasons:
            entry["incomplete"] = sorted(reasons)
        if self.coverage.categories is None and len(self.coverage.vocabularies) == 1:
            entry["vocabulary"] = min(self.coverage.vocabularies)
        elif self.coverage.said:
            # Of several vocabularies the lists are not known: nothing is said to be complete.
            known = self.coverage.categories or frozenset()
            entry["neg_category_ids"] = [category(self.names.get(k, k)) for k in sorted(known - self.held)]
            entry["not_exhaustive_category_ids"] = [category(k) for k in sorted(self.held - known)]
        return entry | (self.own if self.samples == 1 else {})  # an import of the file gives the sample its id again


def _settings(plan: Plan) -> list[str]:
    return [f"COCO({str(plan.out.absolute() / DATA_FILE)!r})"]


COCO = Format(name="coco", open=CocoWriter, settings=_settings, rendered=False)
