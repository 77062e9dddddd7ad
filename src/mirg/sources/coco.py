"""COCO boxes: one sample per image, which asks for all objects of one category; every object is kept as annotation.

``mirg data compose`` makes multi-image tasks of these. ``path`` is an ``instances_*.json``.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mirg.errors import DataError
from mirg.sources.options import ImportOptions
from mirg.sources.raw import Outcome, RawBox, RawImage, RawObject, RawSample, Refusal, Row, Source
from mirg.sources.stream import read_members

_HINT = "see the COCO data format: images, annotations and categories"


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per image with its annotations; the file is streamed, boxes and names stay in memory.

    DataError where the file is none of COCO's.
    """
    names: dict[Any, tuple[str, str]] = {}
    dropped: set[Any] = set()  # categories that the label map drops
    images: list[tuple[int, dict[str, Any] | object]] = []
    boxes: defaultdict[Any, list[tuple[Any, Any, bool]]] = defaultdict(list)
    seen: set[str] = set()
    counts: defaultdict[str, int] = defaultdict(int)
    for key, value in read_members(path):
        seen.add(key)
        if value == []:
            continue
        counts[key] += 1
        if key == "images":
            kept = value
            if isinstance(value, dict):
                kept = {name: value.get(name) for name in ("id", "file_name", "width", "height")}
            images.append((counts[key], kept))
        elif key == "categories" and isinstance(value, dict):
            name = str(value.get("name", ""))
            label = options.labels.of(name) if options.labels else name
            if label is None:
                dropped.add(_key(value.get("id")))
            else:
                names[value.get("id")] = (label, str(value.get("supercategory", "")))
        elif key == "annotations" and isinstance(value, dict):
            boxes[_key(value.get("image_id"))].append(
                (value.get("category_id"), value.get("bbox"), bool(value.get("iscrowd")))
            )
    missing = {"images", "annotations", "categories"} - seen
    if missing:
        raise DataError(f"{path} has no {', '.join(sorted(missing))}: it is no COCO file", hint=_HINT)
    known = {_key(image.get("id")) for _, image in images if isinstance(image, dict)}
    for number, image in images:
        mine = boxes.pop(_key(image.get("id")), []) if isinstance(image, dict) else []
        named = [(names.get(category), box, crowd) for category, box, crowd in mine if _key(category) not in dropped]
        yield Row(f"{path.name} images", number, {"image": image, "objects": named})
    for image_id, left in boxes.items():
        if image_id not in known:
            yield Row(f"{path.name} annotations", len(left), {"unlisted": image_id, "objects": left})


def _key(value: Any) -> Any:
    """An id that a dictionary takes."""
    return value if isinstance(value, int | str) else repr(value)


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per image: "Point to every dog.", of a category drawn by the file name; images without boxes none."""
    image, things = value.get("image"), value["objects"]
    if "unlisted" in value:
        reason = f"{len(things)} annotations of image {value['unlisted']!r}, which is not listed"
        return [Refusal("image_id", reason, "add the image")]
    if not isinstance(image, dict):
        return [Refusal("images", f"{str(image)[:60]} is no object", _HINT)]
    path, width, height = image.get("file_name"), image.get("width") or 0, image.get("height") or 0
    name = f"coco-{image.get('id')}"
    if not isinstance(path, str) or not path:
        return [Refusal("file_name", "is no path", _HINT, name)]
    if not all(isinstance(side, int) and side >= 0 for side in (width, height)):
        return [Refusal("width", f"{width!r} x {height!r} is no size in pixels", _HINT, name)]
    outcomes: list[Outcome] = []
    objects: list[RawObject] = []
    for category, box, crowd in things:
        problem = _problem(category, box)
        if problem:
            outcomes.append(Refusal("bbox", problem, _HINT, name))
            continue
        x, y, w, h = (float(v) for v in box)
        attributes: dict[str, Any] = {"supercategory": category[1]} if category[1] else {}
        if crowd:
            attributes["iscrowd"] = True
        objects.append(RawObject(category[0], (x, y, x + w, y + h), attributes))
    labels = sorted(
        {thing.label for thing in objects} - {t.label for t in objects if (t.attributes or {}).get("iscrowd")}
    )
    if not labels:
        return outcomes or [Refusal("objects", "no object that could be asked for", "", name)]
    asked = labels[int(hashlib.sha256(path.encode()).hexdigest(), 16) % len(labels)]
    targets = tuple(RawBox(1, thing.numbers, asked) for thing in objects if thing.label == asked)
    outcomes.append(
        RawSample(
            id=name,
            task="detection",
            images=(RawImage(path, width, height, objects=tuple(objects)),),
            question=(f"Point to every {asked}.",),
            targets=targets,
            meta={"subject": asked},
        )
    )
    return outcomes


def _problem(category: Any, box: Any) -> str:
    if category is None:
        return "its category_id is in no category"
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        return f"{str(box)[:60]} is not [x, y, width, height]"
    return "" if box[2] > 0 and box[3] > 0 else f"[{', '.join(f'{v:g}' for v in box)}] has no area"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


SOURCE = Source(
    "coco", "COCO instances JSON: boxes of single images, for mirg data compose", read, convert, "pixels",
    maps_labels=True,
)  # fmt: skip
