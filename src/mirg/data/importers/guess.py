"""What a file or folder looks like, for the message of an import that was given another kind.

Formats without an importer are recognised as well: the message says which format to choose in the tool that wrote them
(``docs/how-to/annotation-tools.md``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.files import read_xml
from mirg.data.importers.label_studio import looks_like_task
from mirg.data.importers.rows import Refused
from mirg.data.importers.stream import read_members, read_rows
from mirg.errors import DataError, MirgError, StorageError
from mirg.images import SUFFIXES

LISTED = "`mirg data kinds` lists the formats"
_MEMBERS = 5000  # of a JSON object, that are read
_FILES = 200  # of a folder, whose names are compared
_TRIES = 4  # files of one suffix that are opened


_TOOL = "export COCO from the tool, kind coco"
_CONVERT = "convert it to COCO, kind coco"
_READER = "write a reader of two functions, as examples/custom_source.py"


class Format(NamedTuple):
    """A format by the name that its users call it; ``kind`` is that of its importer, ``advice`` is for one without."""

    name: str
    kind: str = ""
    advice: str = _TOOL


_Test = Callable[[dict[str, Any]], bool]


def _keys(*keys: str) -> _Test:
    return lambda value: all(key in value for key in keys)


def _holds(key: str, text: str) -> _Test:
    """Whether the value of a key has ``text`` somewhere in it."""
    return lambda value: key in value and text in str(value[key])


def _any_has(*keys: str) -> _Test:
    return lambda value: any(isinstance(one, dict) and all(key in one for key in keys) for one in value.values())


# One row of a JSON list or of JSON lines; the first that fits counts.
_ROWS: tuple[tuple[Format, _Test], ...] = (
    (Format("a Label Studio export", "label-studio"), looks_like_task),
    (Format("COCO results", advice="these are predictions: import the annotations"), _keys("bbox", "score")),
    (Format("MIG-Bench", "migbench"), _keys("need_format", "additional_info")),
    (Format("ms-swift rows", "ms-swift"), _keys("messages", "objects")),
    (Format("MGrounding rows", "mgrounding"), _holds("conversations", "<|box_start|>")),
    (Format("LLaMA-Factory rows", "sharegpt"), _keys("images", "messages")),
    (Format("LLaMA-Factory rows", "sharegpt"), _keys("images", "conversations")),
    (Format("UniVG-R1 rows", "univg"), _keys("images", "question", "answer")),
    (Format("CreateML JSON"), _holds("annotations", "'coordinates'")),
    (Format("BDD100K or Scalabel JSON"), _holds("labels", "'box2d'")),
    (Format("a Labelbox export"), _keys("data_row", "projects")),
    (Format("a Labelbox export"), _keys("Labeled Data", "Label")),
    (Format("a manifest of SageMaker Ground Truth"), _keys("source-ref")),
    (Format("rows of VLM-R1 or UniVG-R1", "univg"), _keys("problem", "solution")),
    (Format("ODVG rows of Grounding DINO", advice=_CONVERT), _keys("filename", "detection")),
    (Format("ODVG rows of Grounding DINO", advice=_CONVERT), _keys("filename", "grounding")),
    (Format("GRIT rows of Kosmos-2", advice=_READER), _keys("noun_chunks", "ref_exps")),
    (Format("rows of RefCOCO", "refcoco"), _keys("sent", "bbox")),
    (Format("ReasonVOS", "reasonvos"), _keys("image_list", "bbox_list")),
    (Format("LISA's rows of UniVG-R1", "lisa"), _keys("image_path", "instruction", "boxes")),
    (Format("rows of RefCOCO", advice="name their columns: kind hf, with --columns"), _keys("sentences", "bbox")),
    (Format("rows of PaliGemma or Florence"), _keys("prefix", "suffix")),
    (Format("requests of Gemini", advice="write messages and images: kind sharegpt"), _keys("contents")),
)
# One JSON object, of whose lists the first elements are there.
_OBJECTS: tuple[tuple[Format, _Test], ...] = (
    (Format("LVIS JSON", "coco"), _holds("images", "'neg_category_ids'")),
    (Format("MC-Bench", "mc-bench"), _holds("images", "'positive_sample'")),
    (Format("COCO instances JSON", "coco"), _keys("images", "annotations")),
    (Format("a Supervisely annotation", advice=f"{_TOOL}: app Export to COCO"), _keys("objects", "size")),
    (Format("a Supervisely project", advice=f"{_TOOL}: app Export to COCO"), _keys("classes", "tags")),
    (Format("ReasonSeg", "lisa"), _keys("shapes", "is_sentence")),
    (Format("LabelMe JSON", advice="convert it with labelme2coco: kind coco"), _keys("shapes", "imagePath")),
    (Format("a VIA project", advice=f"{_TOOL}: Export Annotations (COCO format)"), _keys("_via_img_metadata")),
    (Format("VIA JSON", advice=f"{_TOOL}: Export Annotations (COCO format)"), _any_has("filename", "regions")),
    (Format("a VoTT asset", advice="export Pascal VOC from VoTT: kind voc"), _keys("asset", "regions")),
    (Format("a VoTT project", advice="export Pascal VOC from VoTT: kind voc"), _keys("assets", "tags")),
    (Format("Darwin JSON of V7"), _keys("annotations", "item")),
    (Format("Darwin JSON of V7"), _keys("annotations", "dataset")),
    (Format("Darwin JSON of V7"), _keys("annotations", "image")),
    (Format("a FiftyOne export", advice=f"{_TOOL}: COCODetectionDataset"), _holds("samples", "'filepath'")),
    (Format("MMDetection JSON", advice=_CONVERT), _keys("metainfo", "data_list")),
    (Format("Datumaro JSON", advice="convert it with datum (-f coco): kind coco"), _keys("categories", "items")),
)  # fmt: skip
# Rows of these kinds resemble each other, so that what the reader says comes first.
_TEXTS = {"sharegpt", "ms-swift", "mgrounding", "univg", "hf", "migbench", "migbench-revised"}
_READ_TABLES = {"refcoco"}  # beside hf
_TALKS = {"messages", "conversations", "query", "instruction", "question", "problem", "objects"}  # of a row of texts
_TABLES = {".tfrecord", ".tfrecords", ".record", ".record-00000-of-00001"}
# XML by the name of its root.
_ROOTS = {
    "annotation": Format("Pascal VOC", "voc"),
    "annotations": Format("CVAT XML", "cvat"),
    "dataset": Format("imglab XML of dlib"),
}
_TXT = Format(
    "a text file of boxes",
    advice="give the folder of its dataset: kinds yolo, video-tracks; convert WIDER and DOTA to COCO",
)
_CSV = Format("a table (CSV)", advice="export COCO, Pascal VOC or YOLO from the tool: kinds coco, voc, yolo")
# Files whose suffix says enough.
_SUFFIXES = {
    **dict.fromkeys(_TABLES, Format("TFRecord")),
    **dict.fromkeys((".yaml", ".yml"), Format("the data.yaml of a YOLO dataset", "yolo")),
    **dict.fromkeys((".csv", ".tsv"), _CSV),
    **dict.fromkeys((".parquet", ".arrow"), Format("a table of the datasets library", "hf")),
}


@contextlib.contextmanager
def explained(kind: str, path: Path) -> Iterator[None]:
    """Errors say that ``path`` looks like another format than ``kind``, if it does."""
    try:
        yield
    except (DataError, StorageError) as error:
        found = looks_like(path)
        if found is None or found.kind == kind or (found.kind == "hf" and kind in _READ_TABLES):
            raise
        what = f"use kind {found.kind}" if found.kind else found.advice
        guess = f"this looks like {found.name}: {what}; {LISTED}"
        said = "" if LISTED in error.hint else error.hint
        hints = [said, guess] if kind in _TEXTS and found.kind in _TEXTS else [guess, said]
        raise type(error)(error.message, hint="; ".join(hint for hint in hints if hint)) from error


def looks_like(path: Path) -> Format | None:
    """The format that ``path`` seems to be of, None if it is not recognised. Never raises."""
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except (OSError, MirgError, Refused, RecursionError):
        return None


def _folder(path: Path) -> Format | None:
    if any(path.rglob("groundtruth.txt")) or any(path.rglob("gt/gt.txt")):
        return Format("tracked films (MOT, GOT-10k)", "video-tracks")
    files = sorted(islice((file for file in path.rglob("*") if file.is_file() and file.name[0] != "."), _FILES))
    suffixes = [file.suffix.lower() for file in files]
    for suffix in (".xml", ".json", ".jsonl", *_TABLES):
        some = islice((file for file in files if file.suffix.lower() == suffix), _TRIES)
        recognised = next((found for file in some if (found := _file(file)) is not None), None)
        if recognised is not None:
            return recognised
    if {".parquet", ".arrow"} & set(suffixes):
        return Format("a folder of the datasets library", "hf")
    if ".txt" in suffixes and ({".yaml", ".yml"} & set(suffixes) or any("labels" in file.parts for file in files)):
        return Format("a YOLO dataset", "yolo")
    if suffixes and set(suffixes) <= SUFFIXES:
        return Format("a folder of photographs without labels", "photos")
    return None


def _file(path: Path) -> Format | None:
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix == ".txt":
        return _TXT if _holds_boxes(path) else None
    if suffix == ".xml":
        return _ROOTS.get(next(read_xml(path)).tag)
    return _json(path)


def _holds_boxes(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as stream:
        lines = [line.replace(",", " ").split() for line in islice(stream, 10)]
    return any(sum(word.replace(".", "", 1).lstrip("-").isdecimal() for word in line) >= 4 for line in lines)


def _json(path: Path) -> Format | None:
    """The first row of a list or of JSON lines, or one object, whose members are read in part."""
    with path.open("rb") as stream:
        first = stream.read(4096).decode("utf-8", "ignore").replace("\0", "").lstrip("\ufeff \t\r\n")[:1]
    if first == "[" or path.suffix.lower() in (".jsonl", ".ndjson"):
        row = next(read_rows(path), (0, None))[1]
        return _first(_ROWS, row)
    whole: dict[str, Any] = {}
    with contextlib.suppress(DataError):  # what came before the damage says enough
        for key, value in islice(read_members(path), _MEMBERS):
            if key in whole and len(str(whole[key])) < 1000:
                whole[key] = [whole[key], value]
            whole.setdefault(key, value)
    found = _first(_OBJECTS, whole) or _first(_ROWS, whole)
    # An object may hold rows of texts under one of its keys, or under each of them.
    keys = [key for key, value in whole.items() if isinstance(value, dict) and _TALKS & value.keys()]
    if found or not keys:
        return found
    name = f"one object that holds rows under {keys[0][:40]!r}"
    return Format(name, advice="write the rows into a separate file, as a list or one in each line")


def _first(formats: tuple[tuple[Format, _Test], ...], value: object) -> Format | None:
    if not isinstance(value, dict):
        return None
    return next((found for found, fits in formats if fits(value)), None)
