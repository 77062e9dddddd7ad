"""RefCOCO, RefCOCO+ and RefCOCOg: a phrase about one image, and the box that it describes.

``path`` is a JSON-lines file of Qwen-VL's evaluation (rows ``{image, sent, bbox, height, width}``, bbox as corners), a
folder of such files, or the table that lmms-lab publishes on the hub (a folder, a parquet file, or its name; columns
``image``, ``answer``, ``bbox`` and ``question_id``, bbox as corner and size, one box with several phrases). Boxes are
pixels of the original image. Every phrase is a sample. The task names set and split, ``refcoco+_testA``, because
published numbers are Acc@0.5 of each split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any

from mirg.data.importers.detection import BoxFormat, FormatEvidence
from mirg.data.importers.hf import open_table, readable, size_of, stored, with_bytes
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.rows import Refused, box_of, each, mapping, name_or, paths_of, row_id, text_of, whole
from mirg.data.importers.stream import read_rows
from mirg.errors import DataError

_SET = re.compile(r"refcoco(\+|[-_]?plus|p(?![a-z])|g(?![a-z]))?", re.IGNORECASE)
_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|test[ab]?)(?![a-z])", re.IGNORECASE)
_COCO = re.compile(r"(?:^|_)(\d{12})(?:_\d+)?\.jpg$")  # REFER adds the number of the reference: …_16.jpg
_COLUMNS = ("image", "answer", "bbox")
_PEEKED = 500  # rows whose boxes show whether they are corners or sizes
_HINT = "kind refcoco reads corners from JSON lines, and corner and size from the table of lmms-lab"


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per line of the JSON files, or per example of the table. DataError for the pickled files of REFER."""
    files = _json_files(path)
    for file in files:
        yield from _json(file, options)
    if files:
        return
    pickled = path if path.suffix in (".p", ".pkl") else next(iter(sorted(path.glob("refs*.p"))), None)
    if pickled:
        raise DataError(
            f"{pickled} is a pickle, which can run code when it is read",
            hint="give refcoco_val.jsonl of Qwen-VL's evaluation, or the hub name lmms-lab/RefCOCO with --split val",
        )
    yield from _table(path, options)


def _json_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*.json*") if _SET.match(file.name) and split_of(file.name))
    return [path] if {".json", ".jsonl"} & set(path.suffixes) else []


def split_of(name: str) -> str:
    """The split that the name of a file or folder says (``testA`` of ``refcoco_testA.jsonl``); empty if none."""
    found = _SPLIT.findall(name)
    return re.sub("[ab]$", lambda end: end[0].upper(), found[-1].lower()) if found else ""


def _place(path: Path, split: str) -> dict[str, str]:
    """Set, split and task of the rows of a file, a folder or a hub name."""
    endings = _SET.findall((path.resolve() if path.exists() else path).as_posix())
    ending = endings[-1].lower() if endings else ""
    name = f"refcoco{'+' if ending not in ('', 'g') else ending}" if endings else "referring"
    return {"set": name, "split": split, "task": f"{name}_{split}" if split else name}


def _json(file: Path, options: ImportOptions) -> Iterator[Row]:
    place, pictures = _place(file, split_of(file.name)), Pictures(options.root, "image")
    rows = read_rows(file)
    peeked = list(islice(rows, _PEEKED))
    sized = ((value, _size(value)) for _, value in peeked if isinstance(value, dict))
    _expect("boxes", sized, file, options)
    for number, value in chain(peeked, rows):
        if isinstance(value, dict):
            value = value | place | {"id": row_id(value, "row").removeprefix("row-")}
            try:
                value["image"] = pictures.first(_spellings(value.get("image")))
            except Refused as refused:
                value = refused.refusal._replace(id=_name(value))
        yield Row(file.name, number, value)


def _spellings(name: Any) -> list[str]:
    """``name``, and how the releases of COCO from 2014 and 2017 call its file. Refused if it is not a path."""
    (path,) = paths_of([name], "image")
    file = PurePosixPath(path).name
    found = _COCO.search(file)
    return [path, file, f"COCO_train2014_{found[1]}.jpg", f"{found[1]}.jpg"] if found else [path]


def _table(path: Path, options: ImportOptions) -> Iterator[Row]:
    place = _place(path, split_of(path.name) if path.is_file() else options.split)
    table = open_table(path, options.split)
    with readable(path):
        examples = with_bytes(table)
        first = next(iter(examples), {})
        missing = [name for name in _COLUMNS if name not in first]
        if missing:
            reason = f"{path} has no column {', '.join(missing)}: it is not a table of RefCOCO"
            raise DataError(reason, hint="give lmms-lab/RefCOCO, lmms-lab/RefCOCOplus or lmms-lab/RefCOCOg")
        sized = ((one, size_of(one, {"images": "image"}, options.root)) for one in islice(examples, _PEEKED))
        _expect("boxes_xywh", sized, path, options)
        for number, example in enumerate(examples, 1):
            value = {name: cell for name, cell in example.items() if name not in ("image", "segmentation")}
            given = {"id": example.get("question_id")}
            value |= place | {"id": row_id(value | given, "row").removeprefix("row-"), "sizes": True}
            yield Row(path.name, number, value | {"image": stored(example["image"], options.stored)})


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 else None


def _expect(
    form: BoxFormat,
    rows: Iterable[tuple[Mapping[str, Any], tuple[int, int] | None]],
    path: Path,
    options: ImportOptions,
) -> None:
    """DataError if the boxes of ``rows``, each with the size of its image, are not of ``form`` but of the other one."""
    evidence = FormatEvidence(options.frame or "pixels")
    for row, size in rows:
        evidence.add(row.get("bbox"), size)
    evidence.contradict(form, str(path), "bbox", _HINT)


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per phrase of a row; a table's ids end in the number of the phrase."""
    if isinstance(value, Refusal):
        return [value]
    try:
        row = mapping(value)
        phrases = row["sent"] if "sent" in row else row.get("answer")
        if phrases == []:
            raise Refused("answer", "holds no phrase")
        name = _name(row)
    except Refused as refused:
        return [refused.refusal]
    several = isinstance(phrases, list)
    parts = [(f"{name}-{k}", phrase) for k, phrase in enumerate(phrases, 1)] if several else [(name, phrases)]
    return each(parts, partial(_sample, row))


def _name(row: Mapping[str, Any]) -> str:
    return f"{name_or(row.get('task'), 'refcoco')}-{text_of(row.get('id'), 'id')}"


def _sample(row: dict[str, Any], name: str, given: Any) -> RawSample:
    phrase = text_of(given, "sent" if "sent" in row else "answer").strip()
    if not phrase:
        raise Refused("sent" if "sent" in row else "answer", "is empty")
    numbers = x1, y1, x2, y2 = box_of(row.get("bbox"), "bbox")
    if row.get("sizes"):
        if x2 <= 0 or y2 <= 0:
            raise Refused("bbox", f"{x2:g} x {y2:g} pixels have no area")
        numbers = (x1, y1, x1 + x2, y1 + y2)
    width, height = (0 if row.get(side) is None else whole(row[side], side) for side in ("width", "height"))
    (path,) = paths_of([row.get("image")], "image")
    known = {key: row[key] for key in ("set", "split") if name_or(row.get(key), "")}
    return RawSample(
        id=name,
        task=name_or(row.get("task"), "refcoco"),
        images=(RawImage(path, width, height),),
        question=(f"Find the region that this phrase describes: {phrase}",),
        targets=(RawBox(1, numbers),),
        meta={"subject": phrase} | known,
    )


_ABOUT = "RefCOCO, RefCOCO+ and RefCOCOg: Qwen-VL's JSON lines, or lmms-lab's tables (a folder or a hub name)"
SOURCE = Source("refcoco", _ABOUT, read, convert, "pixels", stores=True)
