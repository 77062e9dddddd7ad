"""The frames of films by the names of their files, and the boxes in ``gt/gt.txt`` of MOT and of tools that write it.

Files are ordered by the number in their names (2 before 10), never by the alphabet. If the names leave the order open,
the film is refused: a box would be taken for that of another frame.

What the columns of gt.txt mean is decided once for the whole file. All kinds begin with frame, id, x, y, width, height
and a flag that is 1, or 0 for entries that do not count. Trackers write the same columns with a confidence, or -1, in
place of the flag: such a file is refused.

* MOT16, MOT17, MOT20 (9 columns): then class and visible share; pixels count from 1;
* CVAT (9 or 10 columns, with ``gt/labels.txt``): then class, named by the line of labels.txt, and visible share;
  pixels count from 0;
* MOT15 (10 columns): then world coordinates or -1. They name no class;
* 6 or 7 columns, or -1 for class and visible share: no class either.
"""

from __future__ import annotations

import configparser
import math
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mirg.data.importers.files import lines_of, number_lines
from mirg.data.importers.raw import Numbers, Refusal
from mirg.data.importers.rows import Refused, name_or
from mirg.images import SUFFIXES

_DIGITS = re.compile(r"(\d+)", re.ASCII)
_HINT = "name the frames so that they differ in one number only: 000001.jpg, 000002.jpg"


Track = list[tuple[int, Numbers]]  # (position among the frames, from 0; x, y, width, height in pixels)


@dataclass
class Sequence:
    """One film. ``frames`` are absolute paths, ``numbers`` their frame numbers; ``tracks`` by the object's id.

    ``unnamed`` says of objects without an entry in ``labels`` why the files do not name them.
    """

    name: str
    file: str
    frames: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    size: tuple[int, int] | None = None  # (width, height) in pixels
    tracks: dict[str, Track] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)
    problem: Refusal | None = None


def find_frames(sequence: Sequence, *folders: Path) -> None:
    """Set the frames of a sequence to the image files of the first folder that has any. Refused if none has."""
    for folder in folders:
        if folder.is_dir():
            sequence.frames, sequence.numbers = frame_files(folder)
            if sequence.frames:
                return
    raise Refused("frames", "there are no image files", f"expected in {', '.join(folder.name for folder in folders)}")


def frame_files(folder: Path) -> tuple[list[str], list[int]]:
    """The image files of ``folder`` in the order of the film, and their frame numbers.

    Empty if the folder has no images. Refused if the names leave the order open: no number, two numbers that vary, or
    one number twice (``1.jpg`` and ``01.jpg``). Hidden files (``._1.jpg``) are left out.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    numbers = frame_numbers([file.stem for file in files]) if files else []
    ordered = sorted(zip(numbers, map(str, files), strict=True))
    for (number, file), (following, other) in pairwise(ordered):
        if number == following:
            reason = f"frame number {number} is in two names: {Path(file).name} and {Path(other).name}"
            raise Refused("frames", reason, _HINT)
    return [file for _, file in ordered], [number for number, _ in ordered]


def frame_numbers(stems: list[str]) -> list[int]:
    """The frame number in every file name: the one number that varies among names that are otherwise alike.

    Refused if there is no such number, or more than one.
    """
    parts = [_DIGITS.split(stem) for stem in stems]
    words = {tuple(part.casefold() for part in name[::2]): stem for name, stem in zip(parts, stems, strict=True)}
    if len(words) > 1:
        one, other, *_ = words.values()
        raise Refused("frames", f"frame names are not alike: {one!r} and {other!r}", _HINT)
    columns = list(zip(*(map(int, name[1::2]) for name in parts), strict=True))
    varying = list({column for column in columns if len(set(column)) > 1})  # one number may be there twice
    if len(varying) > 1:
        example = f"{stems[0]!r} and {stems[-1]!r}"
        raise Refused("frames", f"frame names hold more than one number that varies: {example}", _HINT)
    if not columns or (not varying and len(stems) > 1):
        raise Refused("frames", f"frame names hold no number that tells their order: {stems[0]!r}", _HINT)
    return list(varying[0] if varying else columns[-1])


def flags_of(file: Path, count: int, allowed: Collection[int]) -> list[int]:
    """``count`` whole numbers, one per frame, in one line or in many. Refused if there are not as many, or others."""
    flags = [value for line in number_lines(file, file.name) for value in line]
    if len(flags) != count:
        raise Refused(file.name, f"has {len(flags)} values for {count} frames", "one value per frame")
    wrong = next((value for value in flags if value not in allowed), None)
    if wrong is not None:
        raise Refused(file.name, f"holds {wrong:g}, which is not a flag", f"expected {', '.join(map(str, allowed))}")
    return [int(value) for value in flags]


def settings_of(file: Path, section: str) -> dict[str, str]:
    """One section of an .ini file, its keys in lower case; empty if there is no such file or section."""
    if not file.is_file():
        return {}
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.read_string("\n".join(lines_of(file, file.name)))
    return dict(found[section]) if found.has_section(section) else {}


_FIELD = "gt/gt.txt"
_LINE = "frame,id,x,y,w,h,conf,class,visibility"
_VISDRONE = "convert VisDrone to COCO, with track_id and ignored regions: kind coco"
_VISIBLE = 0.1  # share of an object that must be visible: MOT also annotates what is hidden
_MOT_CLASSES = {
    1: "pedestrian", 2: "person on a vehicle", 3: "car", 4: "bicycle", 5: "motorbike", 6: "vehicle", 7: "person",
    8: "distractor", 9: "occluder", 10: "occluder on the ground", 11: "occluder full", 12: "reflection", 13: "crowd",
}  # fmt: skip
# They are not objects to point at. CVAT writes MOT's own names into labels.txt if a task has them.
_NO_OBJECTS = {_MOT_CLASSES[k] for k in range(8, 14)} | {"occluder on ground", "occluder on grnd", "ignore", "ignored"}


class _Layout(NamedTuple):
    """``classes``: the names of column 8, None if it holds no class; ``unnamed``: why; ``first``: of the pixels."""

    classes: dict[int, str] | None
    first: float
    unnamed: str = ""


class _Line(NamedTuple):
    """One box: ``at`` is the position of its frame, from 0."""

    at: int
    key: str
    box: Numbers
    label: str


def read_mot(sequence: Sequence, place: Path) -> None:
    """Fill a sequence from the folder ``place``. Refused if a line, or the meaning of the columns, is not clear."""
    told = settings_of(place / "seqinfo.ini", "Sequence")
    find_frames(sequence, place / Path(told.get("imdir", "") or "img1").name)
    width, height = (told.get(key, "") for key in ("imwidth", "imheight"))
    if width.isdecimal() and height.isdecimal() and int(width) and int(height):
        sequence.size = (int(width), int(height))
    rows = number_lines(place / "gt" / "gt.txt", _FIELD)
    _positions(sequence.numbers, rows)
    _leave_out(sequence, {int(row[0]) for row in rows if row and math.isfinite(row[0])})
    layout = _layout(rows, place / "gt" / "labels.txt")
    position = _positions(sequence.numbers, rows)
    tracks: defaultdict[str, dict[int, Numbers]] = defaultdict(dict)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(rows, 1):
        line = _line(number, row, layout, position)
        if line is None:
            continue
        if line.at in tracks[line.key]:
            raise Refused(_FIELD, f"line {number}: object {line.key} has a second box in frame {int(row[0])}")
        tracks[line.key][line.at] = line.box
        labels[line.key].add(line.label)
    if not tracks:
        raise Refused(_FIELD, "holds no visible object")
    for key in sorted(tracks, key=int):
        sequence.tracks[key] = sorted(tracks[key].items())
        _name(sequence, key, labels[key], layout)


def _leave_out(sequence: Sequence, annotated: set[int]) -> None:
    """Without the frames of which no line tells anything: it is not known that they were annotated."""
    pairs = [pair for pair in zip(sequence.frames, sequence.numbers, strict=True) if pair[1] in annotated]
    sequence.frames, sequence.numbers = [file for file, _ in pairs], [number for _, number in pairs]


def _layout(rows: list[list[float]], labels: Path) -> _Layout:
    counts = {len(row) for row in rows}
    if len(counts) > 1:
        first = next(k for k, row in enumerate(rows, 1) if len(row) != len(rows[0]))
        raise Refused(_FIELD, f"line {first} has {len(rows[first - 1])} columns, line 1 has {len(rows[0])}")
    count = counts.pop() if counts else 9
    if count not in (6, 7, 9, 10):
        raise Refused(_FIELD, f"line 1 is not {_LINE}", f"{count} columns are of no known layout")
    if any(math.isnan(value) for row in rows for value in row):
        raise Refused(_FIELD, "holds NaN", "leave out the lines of frames in which an object is not seen")
    _refuse_predictions(rows)
    if count < 9:
        return _Layout(None, 1.0, f"gt.txt has {count} columns, none for the class")
    more = [row[7:] for row in rows]
    if labels.is_file():
        names = lines_of(labels, "gt/labels.txt")
        _check_classes(more, "gt/labels.txt")
        return _Layout({k: name.strip() for k, name in enumerate(names, 1) if name.strip()}, 0.0)
    if all(value == -1 for row in more for value in row):
        return _Layout(None, 1.0, "gt.txt has -1 for the class")
    if count == 10:
        return _world(more)
    _check_classes(more, "MOT16")
    return _Layout(_MOT_CLASSES, 1.0)


def _refuse_predictions(rows: list[list[float]]) -> None:
    """Refused if column 7 is a confidence: annotators write 0 or 1, trackers a score, or -1 in every line."""
    for number, row in enumerate(rows, 1):
        if len(row) > 6 and row[6] not in (0, 1):
            reason = f"line {number}: column 7 is {row[6]:g}, not 0 or 1: these are predictions of a tracker"
            raise Refused(_FIELD, reason, "import the annotation; write 1 into column 7 if these boxes are the truth")


def _world(more: list[list[float]]) -> _Layout:
    """Ten columns without labels.txt are MOT15, unless all of them could be class and visible share as well."""
    if all(x in _MOT_CLASSES and 0 <= y <= 1 for x, y, _ in more):
        raise Refused(
            _FIELD,
            "columns 8 to 10 may be world coordinates (MOT15) or class and visibility (MOT16)",
            "MOT16 has 9 columns; gt/labels.txt names the classes of a file of 10",
        )
    if all(x in range(12) and y in (0, 1) and z in (0, 1, 2) for x, y, z in more):
        raise Refused(_FIELD, "columns 8 to 10 may be category, truncation and occlusion (VisDrone)", _VISDRONE)
    return _Layout(None, 1.0, "gt.txt has world coordinates (MOT15) and no class")


def _check_classes(more: list[list[float]], table: str) -> None:
    """Refused if columns 8 and 9 of any line cannot be class and visible share."""
    for number, (kind, visible, *_) in enumerate(more, 1):
        if kind != int(kind) or not 0 <= visible <= 1:
            reason = f"line {number}: columns 8 and 9 ({kind:g}, {visible:g}) are not class and visibility of {table}"
            raise Refused(_FIELD, reason, "world coordinates of MOT15 have 10 columns, and no gt/labels.txt")


def _positions(numbers: list[int], rows: list[list[float]]) -> dict[int, int]:
    """Frame number to position. Refused if the files count frames from 0 and the lines may count them from 1."""
    if 0 in numbers and 1 in numbers and rows and not any(row[0] == 0 for row in rows):
        raise Refused(
            "frames",
            "the files count frames from 0, and gt.txt has no line of frame 0: it may count from 1",
            "name the frames by the numbers of gt.txt",
        )
    return {number: k for k, number in enumerate(numbers)}


def _line(number: int, row: list[float], layout: _Layout, position: dict[int, int]) -> _Line | None:
    """One line; None for what does not count. Refused if it names a frame, object or class that there is not."""
    frame, key, x, y, width, height = row[:6]
    if frame != int(frame) or key != int(key) or key < 0:
        hint = "id -1 marks boxes of no track" if key == -1 else ""
        raise Refused(_FIELD, f"line {number}: frame {frame:g} and id {key:g} are not a frame and a track", hint)
    if int(frame) not in position:
        hint = "names of image files hold the frame number that gt.txt uses"
        raise Refused(_FIELD, f"line {number}: frame {int(frame)} has no image", hint)
    if width < 0 or height < 0:
        raise Refused(_FIELD, f"line {number}: width {width:g} and height {height:g} are not a size")
    if len(row) > 6 and not row[6]:
        return None
    label = _class(number, row, layout)
    hidden = layout.classes is not None and row[8] < _VISIBLE
    if hidden or " ".join(label.casefold().replace("_", " ").split()) in _NO_OBJECTS:
        return None
    return _Line(position[int(frame)], str(int(key)), (x - layout.first, y - layout.first, width, height), label)


def _class(number: int, row: list[float], layout: _Layout) -> str:
    if layout.classes is None or row[7] == -1:
        return ""
    kind = int(row[7])
    if kind not in layout.classes:
        own = layout.classes is not _MOT_CLASSES
        table = f"gt/labels.txt ({len(layout.classes)} names)" if own else "MOT's table, and there is no gt/labels.txt"
        raise Refused(_FIELD, f"line {number}: class {kind} is not in {table}", "line k of gt/labels.txt names class k")
    return name_or(layout.classes[kind], "")


def _name(sequence: Sequence, key: str, labels: set[str], layout: _Layout) -> None:
    named = sorted(labels - {""})
    if len(labels) == 1 and named:
        sequence.labels[key] = named[0]
    elif named:
        sequence.unnamed[key] = f"its lines do not agree on one class: {', '.join(named)}"
    else:
        sequence.unnamed[key] = layout.unnamed or "gt.txt has -1 for the class"
