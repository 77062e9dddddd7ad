"""COCO: ``annotations.json`` with the objects and targets of every image, each box once.

Schema: cocodataset.org, "Data format", object detection. Boxes are ``[x, y, width, height]`` in pixels of the upright
original, not rounded. Questions, roles and trajectories have no place in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mirg.exports.plan import Format, Plan, Row
from mirg.exports.tables import json_bytes
from mirg.geometry import Box

DATA_FILE = "annotations.json"
UNNAMED = "object"


class CocoWriter:
    """Images and boxes go to two files while rows come, and are put together at the end: memory is one box per box."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._path = folder / DATA_FILE
        self._plan = plan
        self._images: dict[str, int] = {}
        self._categories: dict[str, int] = {}
        self._boxes: set[tuple[int, int, Box]] = set()
        self._image_part = _Part(folder / ".images")
        self._box_part = _Part(folder / ".boxes")

    def add(self, row: Row) -> None:
        """Write what is new: images, and boxes that no earlier sample told."""
        numbers = []
        for ref, path in zip(row.sample.images, row.images, strict=True):
            width, height = ref.size
            numbers.append(self._image(path, width, height))
        for number, ref in zip(numbers, row.sample.images, strict=True):
            for note in ref.objects:
                self._box(number, note.label, note.box, ref.size, "object")
        for target in row.sample.targets:
            ref = row.sample.images[target.image - 1]
            self._box(numbers[target.image - 1], target.label, target.box, ref.size, "target")

    def finish(self) -> dict[str, int]:
        """Put the parts together."""
        self.close()
        card = self._plan.card
        info = {"description": card.description or card.name, "version": card.schema_version}
        categories = [{"id": k, "name": name, "supercategory": ""} for name, k in self._categories.items()]
        with self._path.open("wb") as whole:
            whole.write(b'{"info": ' + json_bytes(info) + b', "licenses": [],\n"categories": ' + json_bytes(categories))
            for name, part in (("images", self._image_part), ("annotations", self._box_part)):
                whole.write(f',\n"{name}": ['.encode())
                with part.path.open("rb") as stream:
                    shutil.copyfileobj(stream, whole)
                whole.write(b"]")
                part.path.unlink()
            whole.write(b"}\n")
        return {DATA_FILE: len(self._images)}

    def close(self) -> None:
        """Close the parts."""
        self._image_part.stream.close()
        self._box_part.stream.close()

    def _image(self, path: str, width: int, height: int) -> int:
        if path not in self._images:
            self._images[path] = len(self._images) + 1
            number = self._images[path]
            self._image_part.add({"id": number, "file_name": path, "width": width, "height": height})
        return self._images[path]

    def _box(self, image: int, label: str, box: Box, size: tuple[int, int], kind: str) -> None:
        name = label or UNNAMED
        category = self._categories.setdefault(name, len(self._categories) + 1)
        if (image, category, box) in self._boxes:
            return
        self._boxes.add((image, category, box))
        x, y = box[0] * size[0], box[1] * size[1]
        width, height = box[2] * size[0] - x, box[3] * size[1] - y
        self._box_part.add(
            {
                "id": len(self._boxes),
                "image_id": image,
                "category_id": category,
                "bbox": [x, y, width, height],
                "area": width * height,
                "iscrowd": 0,
                "kind": kind,
            }
        )


class _Part:
    """The elements of a JSON list, with commas between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path.open("wb")
        self._first = True

    def add(self, value: dict[str, Any]) -> None:
        self.stream.write((b"\n" if self._first else b",\n") + json_bytes(value))
        self._first = False


def _settings(plan: Plan) -> list[str]:
    return [f"COCO({str(plan.out.absolute() / DATA_FILE)!r})"]


COCO = Format(name="coco", open=CocoWriter, settings=_settings, rendered=False)
