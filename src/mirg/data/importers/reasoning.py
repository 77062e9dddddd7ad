"""The sets of reasoning grounding: an instruction that has to be thought about, and one box.

UniVG-R1's zero-shot scripts read them as JSON lists in pixels, [x1, y1, x2, y2]. LISA's ReasonSeg has rows
``{image_path, instruction, boxes}`` and LLM-Seg40K ``{image_path, question, bbox}``, both with a list of boxes of which
the first is the answer. ReasonVOS has ``{image_list, question, bbox_list}``: frames of a film with a box each, written
as text, and the question is about the third frame. ReasonSeg is also read in its published form, a folder of
photographs with a JSON of polygons beside each; the box is then the one around the polygons of the target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, Numbers, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.refcoco import split_of
from mirg.data.importers.rows import Refused, box_of, each, is_number, mapping, paths_of, row_id, text_of
from mirg.data.importers.stream import read_rows
from mirg.errors import DataError, ImageError
from mirg.images import image_size

ASKED = 3  # frame of ReasonVOS, counted from 1, in which the published script asks for the box
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_ABSENT = "the published script counts such an item as wrong for every model"


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The rows of a JSON list; of a folder, one row per JSON of ReasonSeg. DataError if a folder holds none."""
    pictures, split = Pictures(options.root), split_of(path.stem)
    for file, number, value in _folder(path, options) if path.is_dir() else _list(path):
        if isinstance(value, dict):
            key = "image_list" if "image_list" in value else "image_path"
            found = split_of(PurePosixPath(file).parent.name) if path.is_dir() else ""
            value = value | {"id": row_id(value, "row").removeprefix("row-"), "split": found or split}
            try:
                found = [pictures.first([name]) for name in paths_of(value.get(key), key)]
                value[key] = found if key == "image_list" else found[0]
            except Refused as refused:
                value = refused.refusal._replace(id=_name(_set_of(value), value))
        yield Row(file, number, value)


def _list(path: Path) -> Iterator[tuple[str, int, Any]]:
    return ((path.name, number, value) for number, value in read_rows(path))


def _folder(path: Path, options: ImportOptions) -> Iterator[tuple[str, int, Any]]:
    files = sorted(path.rglob("*.json"))
    if not files:
        raise DataError(f"{path} holds no JSON file of ReasonSeg", hint="give the folder val or test, or lisa_val.json")
    for file in files:
        name = file.relative_to(path).as_posix()
        try:
            yield name, 1, _polygons(file, options)
        except Refused as refused:
            yield name, 1, refused.refusal._replace(id=name)


def _polygons(file: Path, options: ImportOptions) -> dict[str, Any]:
    """A JSON of ReasonSeg as a row with the box around the polygons of its target, inside the photograph."""
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")  # in which some of the published files are written
    try:
        note = mapping(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise Refused("json", f"cannot be read: {error}") from error
    shapes = [one for one in _list_of(note.get("shapes")) if isinstance(one, dict) and one.get("label") == "target"]
    points = [point for shape in shapes for point in _list_of(shape.get("points"))]
    photograph = file.with_suffix(".jpg")
    try:
        width, height = image_size(photograph) if photograph.is_file() else (10**9, 10**9)
    except ImageError:
        width, height = 10**9, 10**9  # the import refuses the row when it looks at the image
    boxes: list[list[float]] = []
    if points and all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in points):
        xs, ys = zip(*points, strict=True)
        boxes = [[max(min(xs), 0), max(min(ys), 0), min(max(xs), width), min(max(ys), height)]]
    root = Path(options.root)
    path = photograph.resolve()
    return {
        "id": file.stem,
        "image_path": path.relative_to(root).as_posix() if path.is_relative_to(root) else photograph.name,
        "instruction": note.get("text"),
        "boxes": boxes,
    }


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """The sample of a row; one for each text if there are several."""
    if isinstance(value, Refusal):
        return [value]
    try:
        row = mapping(value)
        kind = _set_of(row)
        name, asked = _name(kind, row), row["instruction"] if "instruction" in row else row.get("question")
    except Refused as refused:
        return [refused.refusal]
    make = partial(_of_film if kind == "reasonvos" else _of_photograph, kind, row)
    if isinstance(asked, list) and asked:
        texts = [(name if len(asked) == 1 else f"{name}-{k}", text) for k, text in enumerate(asked, 1)]
    else:
        texts = [(name, asked)]
    return each(texts, make)


def _set_of(row: Mapping[str, Any]) -> str:
    if "image_list" in row:
        return "reasonvos"
    return "lisa" if "instruction" in row else "llmseg"


def _task(kind: str, row: Mapping[str, Any]) -> str:
    return f"{kind}_{row['split']}" if row.get("split") in ("train", "val", "test") else kind


def _name(kind: str, row: Mapping[str, Any]) -> str:
    return f"{_task(kind, row)}-{text_of(row.get('id'), 'id')}"


def _of_photograph(kind: str, row: dict[str, Any], name: str, given: Any) -> RawSample:
    instruction = _instruction(given)
    field = "boxes" if "boxes" in row else "bbox"
    box, others = _written(row.get(field), field), len(_flat(row.get(field))) // 4 - 1
    return RawSample(
        id=name,
        task=_task(kind, row),
        images=(RawImage(paths_of([row.get("image_path")], "image_path")[0]),),
        question=(f"Find what this instruction asks for: {instruction}",),
        targets=(RawBox(1, box),),
        meta={"subject": instruction} | ({"other_boxes": others} if others > 0 else {}),
    )


def _of_film(kind: str, row: dict[str, Any], name: str, given: Any) -> RawSample:
    instruction, paths = _instruction(given), paths_of(row.get("image_list"), "image_list")
    if len(paths) < ASKED:
        raise Refused("image_list", f"{len(paths)} frames, and the question is about frame {ASKED}")
    boxes = row.get("bbox_list")
    if not isinstance(boxes, list) or len(boxes) != len(paths):
        raise Refused("bbox_list", "is not a list with one box for each frame")
    folders = {PurePosixPath(path.replace("\\", "/")).parent.name for path in paths}
    film = folders.pop() if len(folders) == 1 else ""
    words = f"These images are frames of one video, in order. Find in Image-{ASKED} what this instruction asks for"
    return RawSample(
        id=name,
        task=_task(kind, row),
        images=tuple(RawImage(path, role="frame", frame=k) for k, path in enumerate(paths)),
        question=(f"{words}: {instruction}",),
        targets=(RawBox(ASKED, _written(boxes[ASKED - 1], f"bbox_list.{ASKED - 1}")),),
        meta={"subject": instruction} | ({"image_set": film} if film else {}),
    )


def _instruction(given: Any) -> str:
    instruction = text_of(given, "instruction").strip()
    if not instruction:
        raise Refused("instruction", "is empty")
    return instruction


def _list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _flat(value: Any) -> list[Any]:
    """The numbers of a box, or of a list of boxes or corners."""
    return [number for item in _list_of(value) for number in (item if isinstance(item, list) else [item])]


def _written(box: Any, field: str) -> Numbers:
    """The first box of a list, or of a text such as ``[12, 34, 56, 78]``. Refused if there is no number."""
    numbers = [float(word) for word in _NUMBER.findall(box[:200])] if isinstance(box, str) else _flat(box)
    if not numbers:
        raise Refused(field, "holds no box", _ABSENT)
    return box_of(numbers[:4], field)


_FILES = "of UniVG-R1's scripts"
LISA = Source("lisa", f"ReasonSeg and LLM-Seg40K, JSON {_FILES}; or ReasonSeg's folders", read, convert, "pixels")
REASONVOS = Source("reasonvos", f"ReasonVOS, JSON {_FILES}: a box in the third frame", read, convert, "pixels")
