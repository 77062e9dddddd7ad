"""Datasets of Hugging Face ``datasets``: a folder written by ``save_to_disk``, parquet or JSON files, or a hub name.

``options.columns`` says which column is which (``question=text,images=pictures``; ``objects.bbox`` is a key inside of a
column, which may hold one object of lists or a list of objects). ``boxes`` are [x1, y1, x2, y2], ``boxes_xywh`` [x, y,
width, height]; ``image_number`` counts the images of the boxes from 1, ``image_index`` from 0. Instead of boxes,
``answer`` may hold a text that is read like that of a conversation, and instead of a question there may be
``messages``, or ``prompt`` and ``completion``. ``record`` holds a whole sample, as ``mirg data export`` writes it.
Images are paths, or pictures inside the dataset, which are copied.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.data.importers.answered import is_hidden, marked_up
from mirg.data.importers.conversations import asked_and_answered, conversation, is_record, recorded, turn_sample
from mirg.data.importers.detection import (
    BoxFormat,
    FormatEvidence,
    Numbering,
    asks_for_all,
    beside,
    box_column,
    class_names,
    inside,
    named,
    telling,
)
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Row, Source
from mirg.data.importers.rows import Refused, box_of, each, mapping, name_or, paths_of, row_id, short, text_of, whole
from mirg.data.importers.texts import ANY_BOX, Images, shown, told
from mirg.errors import ConfigError, DataError, ImageError
from mirg.images import header_of, image_size

if TYPE_CHECKING:
    import datasets

COLUMNS = (
    "id", "task", "question", "images", "boxes", "boxes_xywh", "image_number", "image_index", "labels", "iscrowd",
    "answer", "messages", "prompt", "completion", "record",
)  # fmt: skip
_RECORDS = ("record", "reward_model.ground_truth", "answer")  # of mirg's exports for TRL, verl, EasyR1 and as Parquet
_FORMATS: tuple[BoxFormat, BoxFormat] = ("boxes", "boxes_xywh")
_TABS = {"sep": "\t", "chunksize": 64}  # a table of images in base64 has megabytes in a row
_PEEKED = 500  # examples whose boxes show whether they are corners or sizes
_SUFFIXES = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp", b"II*\0": ".tif",
    b"MM\0*": ".tif",
}  # fmt: skip
_HINT = "--columns says which column is which: question=text,images=pictures,boxes=objects.bbox"


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per example, with the columns that are used; pictures are written below ``options.stored``.

    ConfigError without the package ``datasets``, or for a column that does not exist; DataError if there is no data.
    """
    table = open_table(path, options.split)
    with readable(path):
        examples = with_bytes(table)
        known = next((options.columns[name] for name in _FORMATS if name in options.columns), None)
        columns = _columns(telling(islice(examples, _PEEKED), known), options.columns, table.features)
        columns = _with_format(columns, examples, path, options)
        classes = class_names(table.features, columns.get("labels", ""))
        kept = {field: field for field in options.meta.values()}
        numbering = Numbering(str(path), columns)
        for number, example in enumerate(examples, 1):
            value = {name: inside(example, column) for name, column in (kept | columns).items()}
            numbering.add(number, value)
            value["images"] = stored(value.get("images"), options.stored)
            if classes:
                value["labels"] = named(value["labels"], classes)
            yield Row(path.name, number, value)
        numbering.end()


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Errors of the library while it reads the table ``path`` are a DataError."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        hint = "the file may be cut off, or of another format"
        raise DataError(f"{path} cannot be read: {error}", hint=hint) from error


def open_table(
    path: Path, split: str, *, config: str = "", data_file: str = ""
) -> datasets.Dataset | datasets.IterableDataset:
    """The split of a folder, a file or a hub name. ConfigError without the package, DataError if there is no data.

    ``config`` is a part of a dataset on the hub, and ``data_file`` one of its files.
    """
    try:
        import datasets
    except ImportError as error:
        raise ConfigError("this kind needs the package `datasets`", hint="pip install 'mirg[train]'") from error
    try:
        if path.is_file():
            kinds = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".tsv": "csv"}
            kind, form = kinds.get(path.suffix.lower(), "json"), _form(path.name)
            return datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True, **form)
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            found = datasets.load_from_disk(str(path))
            if not isinstance(found, datasets.DatasetDict):
                return found
            if split not in found:
                raise DataError(f"{path} has no split {split!r}", hint=f"--split, one of: {', '.join(map(str, found))}")
            return found[split]
        options = {"data_files": data_file, **_form(data_file)} if data_file else {}
        return datasets.load_dataset(path.as_posix(), config or None, split=split, streaming=True, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        what = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = "--split names one of its splits" if "split" in what else "a folder, a file, or a hub name"
        raise DataError(f"{path} cannot be read as a dataset: {what}", hint=hint) from error


def _form(name: str) -> dict[str, Any]:
    """How a file is read, beside its kind."""
    return _TABS if name.lower().endswith(".tsv") else {}


def with_bytes(table: datasets.Dataset | datasets.IterableDataset) -> Iterable[dict[str, Any]]:
    """The examples of a table, their pictures as the bytes they are."""
    import datasets

    bare = datasets.Image(decode=False)
    for name, feature in (table.features or {}).items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, bare)
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            table = table.cast_column(name, type(feature)(bare))
    return table  # type: ignore[return-value]


def _columns(example: Mapping[str, Any], said: Mapping[str, str], features: Any) -> dict[str, str]:
    """Which column each part of a sample comes from: the one that is said, else the one with its name or a usual one.

    Boxes whose format nothing says are at "boxes_unsaid". Class numbers without names are left out unless the user
    says that they are the labels.
    """
    unknown = next((name for name in said if name not in COLUMNS), None)
    if unknown:
        raise ConfigError(f"--columns {unknown}=…: nothing is called so", hint=f"known: {', '.join(COLUMNS)}")
    missing = next((column for column in said.values() if example and column.partition(".")[0] not in example), None)
    if missing:
        raise ConfigError(f"no column {missing!r}", hint=f"there are: {', '.join(example)}")
    found = {name: name for name in COLUMNS if name in example} | dict(said)
    if "images" not in found and "image" in example:
        found["images"] = "image"
    record = next((column for column in _RECORDS if is_record(inside(example, column))), None)
    if record and not said.keys() - {"images"}:
        return {"record": record, "images": found.get("images", "images")}
    boxes = next((found[name] for name in _FORMATS if name in found), None)
    if boxes is None and not found.keys() & {"answer", "messages", "prompt", "record"}:
        boxes = box_column(example)
        found |= {"boxes_unsaid": boxes} if boxes else {}
    if boxes:
        labels, crowds = beside(example, boxes, "labels"), beside(example, boxes, "iscrowd")
        if labels and (class_names(features, labels) or not _numbered(inside(example, labels))):
            found.setdefault("labels", labels)
        if crowds:
            found.setdefault("iscrowd", crowds)
    return found


def _numbered(value: Any) -> bool:
    return any(map(_numbered, value)) if isinstance(value, list) else isinstance(value, int)


def _with_format(
    columns: dict[str, str], examples: Iterable[dict[str, Any]], path: Path, options: ImportOptions
) -> dict[str, str]:
    """The columns with boxes as "boxes" or "boxes_xywh". DataError if they are neither, or not what was said."""
    name = next((name for name in (*_FORMATS, "boxes_unsaid") if name in columns), None)
    if name is None:
        return columns
    column = columns[name]
    evidence = FormatEvidence(options.frame)
    for example in islice(examples, _PEEKED):
        evidence.add(inside(example, column), size_of(example, columns, options.root))
    if name == "boxes_unsaid":
        return {part: columns[part] for part in columns if part != name} | {evidence.settle(str(path), column): column}
    evidence.contradict(_FORMATS[name != "boxes"], str(path), column)
    return columns


def size_of(example: Mapping[str, Any], columns: Mapping[str, str], root: str) -> tuple[int, int] | None:
    """(width, height) of the only image of an example in pixels; None if it is not known, or there are several."""
    width, height = example.get("width"), example.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return (width, height)
    cell = inside(example, columns.get("images", ""))
    if isinstance(cell, list):
        cell = cell[0] if len(cell) == 1 else None
    data, file = (cell.get("bytes"), cell.get("path")) if isinstance(cell, Mapping) else (cell, cell)
    try:
        if data and isinstance(data, bytes):
            return header_of(data, "of an example").size
        return image_size(Path(root) / file) if isinstance(file, str) and "\0" not in file else None
    except ImageError:
        return None  # the import refuses the row when it looks at the image


def stored(value: Any, folder: str) -> Any:
    """Pictures of a cell as paths: bytes are written to ``folder``, each picture once."""
    if isinstance(value, list):
        return [stored(item, folder) for item in value]
    if isinstance(value, Mapping):
        data = value.get("bytes")
        return stored(data, folder) if data else value.get("path", value.get("image"))
    if isinstance(value, bytes):
        suffix = next((end for start, end in _SUFFIXES.items() if value.startswith(start)), ".png")
        file = Path(folder) / f"{hashlib.sha256(value).hexdigest()[:24]}{suffix}"
        if not file.exists():
            file.write_bytes(value)
        return str(file)
    if hasattr(value, "save"):  # a picture that was decoded nevertheless
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return stored(buffer.getvalue(), folder)
    return value


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per example: its boxes (an empty list means that there is no object), or those of its answer."""
    name, first = None, options.image_index_from
    try:
        row = mapping(value)
        paths = paths_of(row.get("images"))
        # The folder of stored pictures has another name in every run, and an id must not.
        name = row_id(row | {"images": [path.removeprefix(f"{options.stored}/") for path in paths]}, "hf")
        messages = _messages(row)
        if row.get("record") is not None:
            return [recorded(text_of(row["record"], "record"), paths)]
        if messages is None:
            return [_sample(name, row, paths, first)]
        value = {"id": name, "task": row.get("task"), "images": list(paths), "messages": messages}
        talk = conversation(value, "hf", placeholders_needed=False, first=first)
        return each([(turn.id, turn) for turn in talk.turns], partial(turn_sample, talk, first))
    except Refused as refused:
        found = refused.refusal._replace(id=name)
        return [found._replace(hint=_HINT) if found.reason == "is missing" and not found.hint else found]


def _sample(name: str, row: dict[str, Any], paths: tuple[str, ...], first: int | None) -> RawSample:
    annotated = any(row.get(part) is not None for part in _FORMATS)
    if "question" not in row and len(paths) == 1 and annotated:
        return asks_for_all(name, paths[0], _targets(row, 1))
    asked = told(text_of(row.get("question"), "question"), Images(paths, first), "question", strict=False)
    question = shown(asked)
    if question.images not in (0, len(paths)):
        raise Refused("question", f"{question.images} placeholders for {len(paths)} images")
    if question.problem:
        raise Refused("question", question.problem)
    task = name_or(row.get("task"), "grounding")
    if not annotated:
        if row.get("answer") is None:
            raise Refused("boxes", "neither boxes nor an answer", _HINT)
        answer = text_of(row.get("answer"), "answer")
        return asked_and_answered(name, task, paths, question.text, answer, first=first)
    targets = _targets(row, len(paths))
    images = tuple(RawImage(path) for path in paths)
    parts = marked_up(question.text, len(paths), "question", frame=None, pattern=ANY_BOX)
    hidden = is_hidden(question.text, len(paths), targets)
    return RawSample(name, task, images, parts, targets, image_hidden=hidden)


def _messages(row: Mapping[str, Any]) -> list[Any] | None:
    """The messages of a row that is a conversation; None if its question is a separate column."""
    if row.get("question") is not None or (row.get("messages") is None and row.get("prompt") is None):
        return None
    if row.get("messages") is not None:
        return row["messages"]
    parts = [("user", row["prompt"]), ("assistant", row.get("completion"))]
    turns = [
        part if isinstance(part, list) else [{"role": role, "content": part}]
        for role, part in parts
        if part is not None
    ]
    return [turn for some in turns for turn in some]


def _targets(row: dict[str, Any], images: int) -> tuple[RawBox, ...]:
    corners = row.get("boxes") is not None
    field = "boxes" if corners else "boxes_xywh"
    given = row[field]
    if not isinstance(given, list):
        raise Refused(field, "is not a list of boxes", _HINT)
    if given and not any(isinstance(box, list | tuple) for box in given):
        given = [given]  # one flat box
    numbers = _numbers(row, len(given), images)
    labels = _each(row.get("labels"), "labels", len(given), "")
    targets = []
    crowds = _each(row.get("iscrowd"), "iscrowd", len(given), 0)
    for k, (box, label) in enumerate(zip(given, labels, strict=True)):
        x1, y1, x2, y2 = box_of(box, f"{field}.{k}")
        if crowds[k]:
            raise Refused(f"iscrowd.{k}", "marks a crowd, which is not one object", "leave crowds out of the boxes")
        if isinstance(label, int) and not isinstance(label, bool):
            hint = "the column must hold names, or be a ClassLabel"
            raise Refused(f"labels.{k}", f"class {short(label)} has no name", hint)
        label = "" if label is None else text_of(label, f"labels.{k}")
        targets.append(RawBox(numbers[k], (x1, y1, x2, y2) if corners else (x1, y1, x1 + x2, y1 + y2), label))
    return tuple(targets)


def _numbers(row: dict[str, Any], count: int, images: int) -> list[int]:
    for name, first in (("image_number", 1), ("image_index", 0)):
        if row.get(name) is not None:
            found = [whole(v, name) for v in _each(row[name], name, count)]
            wrong = next((number for number in found if not first <= number < first + images), None)
            if wrong is not None:
                raise Refused(name, f"image {wrong} does not exist, counted from {first}, there are {images} images")
            return [number - first + 1 for number in found]
    if images > 1 and count:
        raise Refused("image_number", f"does not say which of the {images} images a box lies in", _HINT)
    return [1] * count


def _each(value: Any, field: str, count: int, default: Any = None) -> list[Any]:
    """One value for every box: a list of as many, or one for all."""
    if not isinstance(value, list):
        return [default if value is None else value] * count
    if len(value) != count:
        raise Refused(field, f"{len(value)} of them for {count} boxes")
    return value


_ABOUT = "a datasets folder, parquet or JSON files, or a hub name"
SOURCE = Source("hf", _ABOUT, read, convert, "auto", stores=True, names_images=True)
