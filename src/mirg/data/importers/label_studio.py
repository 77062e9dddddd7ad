"""Label Studio: the export JSON (tasks with annotations) and JSON-MIN (tasks with their results at the top).

Boxes are in percent of the image. Rectangles are read, and polygons as the box around them; the label is that of the
rectangle, or of the result with the same region id (labels, choices). Predictions and cancelled annotations are not
used. ``data`` names images by upload paths, storage paths or URLs: the file below ``--root`` that fits is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from mirg.data.importers.annotated import Annotated, Unusable, around, boxed, convert, inside, turned
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, RawObject, Refusal, Row, Source
from mirg.data.importers.rows import Refused, is_box, is_number, mapping, row_id, short, text_of, whole
from mirg.data.importers.stream import read_rows
from mirg.errors import DataError
from mirg.images import SUFFIXES

# Results that are not objects of the image: relations between them, and answers about the whole image or a region.
_NO_OBJECTS = {"relation", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker"}
_NAMING = ("labels", "choices")  # they name a region, or say something of the whole image


def _objects(results: list[dict[str, Any]]) -> list[RawObject | Unusable]:
    """The objects of one annotation, in the order of its results; several of them are about one region by its id.

    Refused if the image was rotated in the tool.
    """
    shapes: set[object] = set()
    names: dict[tuple[str, object], list[str]] = {}
    for result in results:
        kind, region, value = result.get("type"), result.get("id"), result.get("value")
        if isinstance(kind, str) and isinstance(region, str) and isinstance(value, dict):
            if kind in _NAMING:
                names.setdefault((kind, region), []).extend(_words(value, kind))
            elif kind not in _NO_OBJECTS:
                shapes.add(region)
    found = (_object(result, shapes, names) for result in results)
    return [thing for thing in found if thing is not None]


def _object(
    result: dict[str, Any], shapes: set[object], names: dict[tuple[str, object], list[str]]
) -> RawObject | Unusable | None:
    """The object of a result, None if it is about none; ``shapes`` and ``names`` are those of regions, by their ids."""
    kind, value = result.get("type"), result.get("value")
    region = result.get("id") if isinstance(result.get("id"), str) else None
    if isinstance(kind, str) and kind in _NO_OBJECTS:
        return None
    if not isinstance(kind, str) or not isinstance(value, dict):
        return Unusable("", "result without type and value")
    if kind in _NAMING and ("x" not in value or region in shapes):
        return None
    if result.get("image_rotation") or value.get("image_rotation"):
        raise Refused("image_rotation", "image was rotated in Label Studio", "set the rotation of the image to 0")
    labels = _words(value, kind) or next((found for key in _NAMING if (found := names.get((key, region)))), [])
    if len(labels) != 1:
        shown = f", {', '.join(labels)[:60]}" if labels else ""
        return Unusable("", f"result with {len(labels)} labels: {kind}{shown}", "give each object one label")
    if kind in ("rectanglelabels", "rectangle", "labels"):
        return _rectangle(labels[0], value)
    if kind in ("polygonlabels", "polygon"):
        return _polygon(labels[0], value)
    return Unusable(labels[0], f"result is not a box of an image: {kind}, {labels[0]!r}", "export rectangles")


def _words(value: dict[str, Any], kind: str) -> list[str]:
    words = value.get(kind)
    return [word.strip() for word in words if isinstance(word, str)] if isinstance(words, list) else []


def _rectangle(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    numbers = [value.get(key) for key in ("x", "y", "width", "height")]
    if not is_box(numbers):
        return Unusable(label, f"object without a box in numbers: {label!r}")
    x, y, width, height = (number / 100 for number in numbers)
    rotated = turned(label, short(value.get("rotation", 0)))
    return rotated or boxed(label, inside((x, y, x + width, y + height)))


def _polygon(label: str, value: dict[str, Any]) -> RawObject | Unusable:
    points = value.get("points")
    points = points if isinstance(points, list) else []
    if len(points) < 3 or not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points):
        return Unusable(label, f"object without points in numbers: {label!r}")
    return around(label, [inside((x / 100, y / 100)) for x, y in points], {"shape": "polygon"})


_UPLOAD = re.compile(r".*/data/upload/(?:\d+/)?([^/]+)$")
_HASH = re.compile(r"^[0-9a-f]{8}-(?=.)")
_LOCAL = "/data/local-files/?d="


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per task. DataError if the first row is not a task."""
    names: list[str] = []
    pictures = Pictures(options.root, "data")
    labels: set[str] = set()
    for number, value in read_rows(path):
        if number == 1 and not looks_like_task(value):
            hint = "expected a list of tasks: JSON or JSON-MIN"
            raise DataError(f"{path} is not an export of Label Studio", hint=hint)
        try:
            results, image = _task(value)
            names.append(_name(image, pictures))
            labels |= {thing.label for thing in _objects(results) if thing.label}
        except Refused:
            continue  # its reason is given below
    pictures.claim(names)
    for number, value in read_rows(path):
        yield Row(path.name, number, _row(value, number, pictures, sorted(labels)))


def looks_like_task(value: object) -> bool:
    """Whether a JSON value has the shape of a task, in either export."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("data"), dict):
        return any(key in value for key in ("annotations", "completions", "predictions"))
    return bool(_min_results(value)) or {"annotation_id", "annotator"} <= value.keys()


def _row(value: object, number: int, pictures: Pictures, labels: list[str]) -> Annotated | Refusal:
    name = f"label-studio-{number}"
    try:
        name = f"label-studio-{row_id(mapping(value), 'task')}"
        results, image = _task(value)
        path = pictures.find(_name(image, pictures))
        return Annotated(name, path, *_size(results), _objects(results), labels, annotated=True)
    except Refused as refused:
        return refused.refusal._replace(id=name)


def _task(value: object) -> tuple[list[dict[str, Any]], str]:
    """The results of the one annotation that counts, and what the task says of its image. Refused if one is missing."""
    task = mapping(value, "task")
    data = task.get("data")
    if not isinstance(data, dict) and not looks_like_task(task):
        raise Refused("data", "is missing: this is not a task of Label Studio")
    results = _results(task) if isinstance(data, dict) else _min_results(task)
    return results, _image_of(data if isinstance(data, dict) else task)


def _size(results: list[dict[str, Any]]) -> tuple[int, int]:
    """(width, height) that the results agree on, zeros without results. Refused if they differ."""
    told: set[tuple[int, int]] = set()
    for result in results:
        if "original_width" in result:
            width, height = (whole(result.get(f"original_{side}"), f"original_{side}") for side in ("width", "height"))
            told.add((width, height))
    if len(told) > 1:
        raise Refused("original_width", "results of one image give it different sizes", "the image was replaced")
    return told.pop() if told else (0, 0)


def _results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the annotation that counts. Refused if no annotation, or more than one, does."""
    given = task.get("annotations", task.get("completions"))
    made = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    kept = [one for one in made if not one.get("was_cancelled")]
    if len(kept) > 1:
        truth = [one for one in kept if one.get("ground_truth") is True]
        if len(truth) != 1:
            reason = f"task has {len(kept)} annotations: it cannot be known which one is right"
            raise Refused("annotations", reason, "mark one as ground truth, or delete the others in Label Studio")
        kept = truth
    if not kept:
        what = "only cancelled annotations" if made else "no annotation"
        what += ", and predictions do not count" if task.get("predictions") else ""
        raise Refused("annotations", f"task has {what}", "annotate the task, and export again")
    results = kept[0].get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise Refused("result", "is not a list of results")
    return results


def _min_results(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of a task of JSON-MIN: its lists of boxes, under the names of the controls."""
    found: list[dict[str, Any]] = []
    for value in task.values():
        for item in value if isinstance(value, list) else ():
            if isinstance(item, dict) and {"x", "y", "width", "height"} <= item.keys():
                found.append({**item, "type": "rectanglelabels", "value": item})
            elif isinstance(item, dict) and "original_width" in item:
                kind = next((key for key in item if key.endswith("labels")), "unknown")
                found.append({**item, "type": kind, "value": item})
    return found


def _image_of(data: dict[str, Any]) -> str:
    """What the task says of its image. Refused if it shows several, or none."""
    if any(isinstance(value, list) and any(map(_is_image, value)) for value in data.values()):
        raise Refused("data", "task shows a list of images: a result does not say which one it is in")
    texts = [value for key, value in data.items() if _is_image(value) or (key == "image" and isinstance(value, str))]
    if len({text.rsplit("/", 1)[-1] for text in texts}) != 1:
        raise Refused("data", f"task names {len(texts)} images, and one is expected", "export tasks of single images")
    return text_of(texts[0], "data")


def _is_image(value: object) -> bool:
    if not isinstance(value, str):
        return False
    return _LOCAL in value or PurePosixPath(value.partition("?")[0]).suffix.casefold() in SUFFIXES


def _name(text: str, pictures: Pictures) -> str:
    """The first of the names that a task may mean by what it says of its image which fits a file.

    A URL loses its host's scheme and its query, the path of a local storage what stands before it, an upload its folder
    and, in the last names, the digest that Label Studio puts before the name of the file. If no name fits, it is the
    most literal one.
    """
    if _LOCAL in text:
        text = text.partition(_LOCAL)[2].partition("&")[0]
    elif "://" in text:
        text = text.partition("://")[2].partition("?")[0].partition("#")[0]
    names = [text, unquote(text)]
    uploads = [found[1] for name in names if (found := _UPLOAD.match(f"/{name}"))]
    names = [*uploads, *(_HASH.sub("", name) for name in uploads)] or names
    return next((name for name in names if pictures.fits(name)), names[0])


SOURCE = Source(
    "label-studio", "Label Studio: JSON and JSON-MIN exports of images", read, convert, "fraction", maps_labels=True
)
