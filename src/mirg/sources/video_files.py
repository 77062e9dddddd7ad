"""The files of tracking sequences: frames, and the boxes of every object (``mirg.sources.video_tracks``)."""

from __future__ import annotations

import configparser
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mirg.errors import ImageError
from mirg.images import SUFFIXES, image_size
from mirg.sources.options import ImportOptions
from mirg.sources.raw import Numbers

_NUMBERS = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan", re.IGNORECASE | re.ASCII)
_VISIBLE = 0.1  # share of an object that must be visible: MOT annotates what is hidden, too
_ABSENCE = ("absence.label", "full_occlusion.txt", "out_of_view.txt")
# MOT's classes; others are no objects to point at (distractors, reflections, occluders).
_MOT_CLASSES = {
    1: "pedestrian", 2: "person on a vehicle", 3: "car", 4: "bicycle", 5: "motorbike", 6: "vehicle", 7: "person",
}  # fmt: skip

# (field, reason, hint)
Problem = tuple[str, str, str]
Track = list[tuple[int, Numbers]]  # (position among the frames, from 0; x, y, width, height in pixels)


@dataclass
class Sequence:
    """One film. ``frames`` are absolute paths, ``numbers`` their frame numbers; ``tracks`` by the object's id."""

    name: str
    file: str
    frames: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    size: tuple[int, int] | None = None  # (width, height) in pixels
    tracks: dict[str, Track] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    problem: Problem | None = None


def sequences(root: Path, options: ImportOptions) -> Iterator[Sequence]:
    """Every sequence at or below ``root``, in the order of their names; the files of one that is broken say so."""
    for folder, below, files in os.walk(root):
        below.sort()
        place = Path(folder)
        name = place.relative_to(root).as_posix() if place != root else root.name
        if "groundtruth.txt" in files:
            yield _checked(Sequence(name, f"{name}/groundtruth.txt"), place, options, got=True)
            below.clear()
        elif (place / "gt" / "gt.txt").is_file():
            yield _checked(Sequence(name, f"{name}/gt/gt.txt"), place, options, got=False)
            below.clear()


def _checked(sequence: Sequence, place: Path, options: ImportOptions, *, got: bool) -> Sequence:
    try:
        problem = _got(sequence, place) if got else _mot(sequence, place)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        problem = (sequence.file, f"cannot be read: {error}", "")
    if sequence.size is None and sequence.frames and options.look != "none":
        try:
            sequence.size = image_size(sequence.frames[0])
        except ImageError as error:
            problem = problem or ("frames", error.message, error.hint)
    sequence.problem = problem
    return sequence


def _find_frames(sequence: Sequence, *folders: Path) -> Problem | None:
    for folder in folders:
        if folder.is_dir():
            files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
            if files:
                sequence.frames = [str(file) for file in files]
                sequence.numbers = [_frame_number(file, k) for k, file in enumerate(files, 1)]
                return None
    return ("frames", "there are no image files", f"expected in {', '.join(folder.name for folder in folders)}")


def _frame_number(file: Path, default: int) -> int:
    digits = re.findall(r"\d{1,12}", file.stem)
    return int(digits[-1]) if digits else default


def _got(sequence: Sequence, place: Path) -> Problem | None:
    if problem := _find_frames(sequence, place / "img", place):
        return problem
    lines = (place / "groundtruth.txt").read_text(encoding="utf-8").split("\n")
    rows = [[float(v) for v in _NUMBERS.findall(line)] for line in lines if line.strip()]
    wrong = next((k for k, row in enumerate(rows, 1) if len(row) != 4), None)
    if wrong:
        return ("groundtruth.txt", f"line {wrong} is not x,y,w,h", "")
    if len(rows) != len(sequence.frames):
        return ("groundtruth.txt", f"has {len(rows)} lines for {len(sequence.frames)} frames", "one line per frame")
    absent: set[int] = set()
    for name in _ABSENCE:
        if (place / name).is_file():
            flags = [float(v) for v in _NUMBERS.findall((place / name).read_text(encoding="utf-8"))]
            if len(flags) != len(rows):
                return (name, f"has {len(flags)} values for {len(rows)} frames", "one value per frame")
            absent |= {k for k, flag in enumerate(flags) if flag}
    sequence.tracks[""] = [
        (k, (x, y, w, h)) for k, (x, y, w, h) in enumerate(rows) if k not in absent and w > 0 and h > 0
    ]
    _got_meta(sequence, place / "meta_info.ini")
    return None


def _got_meta(sequence: Sequence, file: Path) -> None:
    if not file.is_file():
        return
    meta = configparser.ConfigParser(interpolation=None, strict=False)
    meta.read_string(file.read_text(encoding="utf-8"))
    told = meta["METAINFO"] if meta.has_section("METAINFO") else {}
    label = told.get("object_class", "").strip()
    if label.isprintable() and len(label) < 80:
        sequence.labels[""] = label
    size = re.findall(r"\d{1,5}", told.get("resolution", ""))
    if len(size) == 2 and int(size[0]) and int(size[1]):
        sequence.size = (int(size[0]), int(size[1]))


def _mot(sequence: Sequence, place: Path) -> Problem | None:
    if problem := _find_frames(sequence, place / "img1"):
        return problem
    if (place / "seqinfo.ini").is_file():
        info = configparser.ConfigParser(interpolation=None, strict=False)
        info.read_string((place / "seqinfo.ini").read_text(encoding="utf-8"))
        told = info["Sequence"] if info.has_section("Sequence") else {}
        width, height = (told.get(key, "") for key in ("imWidth", "imHeight"))
        if width.isdigit() and height.isdigit() and int(width) and int(height):
            sequence.size = (int(width), int(height))
    position = {number: k for k, number in enumerate(sequence.numbers)}
    tracks: defaultdict[int, dict[int, Numbers]] = defaultdict(dict)
    for number, line in enumerate((place / "gt" / "gt.txt").read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        row = [float(v) for v in _NUMBERS.findall(line)]
        if len(row) < 6 or not all(abs(v) < 1e9 for v in row):
            return ("gt/gt.txt", f"line {number} is not frame,id,x,y,w,h,conf,class,visibility", "")
        at = position.get(int(row[0]))
        if at is None:
            return ("gt/gt.txt", f"line {number}: frame {int(row[0])} has no image", "")
        conf, kind, visible = [*row[6:9], *(1.0, 1.0, 1.0)[len(row[6:9]) :]]
        if not conf or int(kind) not in _MOT_CLASSES or visible < _VISIBLE:
            continue
        key = int(row[1])
        if at in tracks[key]:
            return ("gt/gt.txt", f"line {number}: object {key} has a second box in frame {int(row[0])}", "")
        tracks[key][at] = (row[2] - 1.0, row[3] - 1.0, row[4], row[5])  # its pixels count from 1
        sequence.labels[str(key)] = _MOT_CLASSES[int(kind)]
    sequence.tracks = {str(key): sorted(tracks[key].items()) for key in sorted(tracks)}
    return None if sequence.tracks else ("gt/gt.txt", "holds no visible object", "")
