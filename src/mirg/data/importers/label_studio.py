"""Label Studio: the export JSON (tasks with annotations) and JSON-MIN (tasks with their results at the top).

Boxes are in percent of the image. Rectangles are read, and polygons as the box around them; the label is that of the
rectangle, or of the result with the same region id (labels, choices). Predictions and cancelled annotations are no
annotations. ``data`` names images by upload paths, storage paths or URLs: the file below ``--root`` that fits is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from mirg.data.importers.annotated import Annotated, Unusable, outcomes
from mirg.data.importers.label_studio_results import Regions
from mirg.data.importers.options import ImportOptions
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import Outcome, RawObject, Refusal, Row, Source
from mirg.data.importers.rows import Refused, mapping, row_id, text_of, whole
from mirg.data.importers.stream import read_rows
from mirg.errors import DataError
from mirg.images import SUFFIXES

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
            raise DataError(
                f"{path} is not an export of Label Studio", hint="expected a list of tasks: JSON or JSON-MIN"
            )
        try:
            task = _Task(mapping(value, "task"))
            names.append(_name(task.image, pictures))
            labels |= {thing.label for thing in task.objects() if thing.label}
        except Refused:
            continue  # its reason is given below
    pictures.claim(names)
    for number, value in read_rows(path):
        yield Row(path.name, number, _row(value, number, pictures, sorted(labels)))


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """The sample of one task; refusals for results that are not boxes."""
    if isinstance(value, Refusal):
        return [value]
    if not isinstance(value, Annotated):
        return [Refusal("row", "is not a task of Label Studio")]
    return outcomes(value, options)


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
        task = _Task(mapping(value, "task"))
        path = pictures.find(_name(task.image, pictures))
        width, height = task.size()
        return Annotated(name, path, width, height, task.objects(), labels, annotated=True)
    except Refused as refused:
        return refused.refusal._replace(id=name)


class _Task:
    """One task: the name of its image, and the results of the one annotation that counts. Refused if it has none."""

    def __init__(self, task: dict[str, Any]) -> None:
        data = task.get("data")
        if not isinstance(data, dict) and not looks_like_task(task):
            raise Refused("data", "is missing: this is not a task of Label Studio")
        self.results = _results(task) if isinstance(data, dict) else _min_results(task)
        self.image = _image_of(data if isinstance(data, dict) else task)

    def size(self) -> tuple[int, int]:
        """(width, height) that the results agree on, zeros without results. Refused if they differ."""
        told: set[tuple[int, int]] = set()
        for result in self.results:
            if "original_width" in result:
                sides = [whole(result.get(f"original_{side}"), f"original_{side}") for side in ("width", "height")]
                told.add((sides[0], sides[1]))
        if len(told) > 1:
            raise Refused("original_width", "results of one image give it different sizes", "the image was replaced")
        return told.pop() if told else (0, 0)

    def objects(self) -> list[RawObject | Unusable]:
        """The objects of the annotation, in the order of its results. Refused if the image was rotated in the tool."""
        regions = Regions(self.results)
        return [thing for result in self.results if (thing := regions.object_of(result)) is not None]


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


def _names(text: str) -> list[str]:
    """The names that a task may mean by what it says of its image, the most literal first.

    A URL loses its host's scheme and its query, the path of a local storage what stands before it, an upload its folder
    and, in the last names, the digest that Label Studio puts before the name of the file.
    """
    if _LOCAL in text:
        text = text.partition(_LOCAL)[2].partition("&")[0]
    elif "://" in text:
        text = text.partition("://")[2].partition("?")[0].partition("#")[0]
    names = [text, unquote(text)]
    uploads = [found[1] for name in names if (found := _UPLOAD.match(f"/{name}"))]
    return [*uploads, *(_HASH.sub("", name) for name in uploads)] or names


def _name(text: str, pictures: Pictures) -> str:
    """The first of the names that fits a file, else the most literal one."""
    names = _names(text)
    return next((name for name in names if pictures.fits(name)), names[0])


SOURCE = Source(
    "label-studio", "Label Studio: JSON and JSON-MIN exports of images", read, convert, "fraction", maps_labels=True
)
