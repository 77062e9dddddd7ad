"""The files of tracking sequences: frames, and the boxes of every object (``mirg.data.importers.video_tracks``).

This file knows the folders and the layout of GOT-10k and LaSOT, ``mirg.data.importers.mot_files`` that of MOT.
"""

from __future__ import annotations

import configparser
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mirg.data.importers.film_frames import Sequence, find_frames, flags_of, settings_of
from mirg.data.importers.lines import number_lines
from mirg.data.importers.mot_files import read_mot
from mirg.data.importers.options import ImportOptions
from mirg.data.importers.raw import Numbers
from mirg.data.importers.rows import Refused, name_or
from mirg.errors import ImageError
from mirg.images import image_size

# Files of flags, one per frame, with the values that they may hold and the one that says that the object is not seen.
_ABSENCE = {
    "absence.label": ((0, 1), 1),
    "cover.label": (tuple(range(9)), 0),  # the visible share in eighths
    "full_occlusion.txt": ((0, 1), 1),
    "out_of_view.txt": ((0, 1), 1),
}


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
        if got:
            _got(sequence, place)
        else:
            read_mot(sequence, place)
        if sequence.size is None and sequence.frames and options.look != "none":
            sequence.size = image_size(sequence.frames[0])
        _refuse_other_boxes(sequence)
    except Refused as refused:
        sequence.problem = (refused.refusal.field, refused.refusal.reason, refused.refusal.hint)
    except (OSError, configparser.Error) as error:
        sequence.problem = (sequence.file, f"cannot be read: {error}", "")
    except ImageError as error:
        sequence.problem = ("frames", error.message, error.hint)
    return sequence


def _refuse_other_boxes(sequence: Sequence) -> None:
    """Refused if most boxes leave the frame as x,y,w,h, and all lie inside of it as x1,y1,x2,y2; or if no side of any
    box reaches a pixel.
    """
    boxes = [box for track in sequence.tracks.values() for _, box in track]
    if boxes and all(max(box) <= 1.0 for box in boxes):
        raise Refused("boxes", f"all {len(boxes)} boxes are fractions, not pixels", "multiply by the size of a frame")
    if not sequence.size or not boxes:
        return
    width, height = sequence.size
    outside = sum(x + w > width + 1 or y + h > height + 1 for x, y, w, h in boxes)
    if 2 * outside > len(boxes) and all(x < x2 <= width and y < y2 <= height for x, y, x2, y2 in boxes):
        reason = f"{outside} of {len(boxes)} boxes leave the frame as x,y,w,h, and none does as x1,y1,x2,y2"
        raise Refused("boxes", reason, "write x,y,width,height")


def _got(sequence: Sequence, place: Path) -> None:
    find_frames(sequence, place / "img", place)
    count = len(sequence.frames)
    rows = number_lines(place / "groundtruth.txt", "groundtruth.txt")
    boxes = [_got_box(k, row) for k, row in enumerate(rows, 1)]
    if len(rows) != count:
        raise Refused("groundtruth.txt", f"has {len(rows)} lines for {count} frames", "one line per frame")
    absent: set[int] = set()
    for name, (allowed, unseen) in _ABSENCE.items():
        if (place / name).is_file():
            absent |= {k for k, flag in enumerate(flags_of(place / name, count, allowed)) if flag == unseen}
    sequence.tracks[""] = [(k, box) for k, box in enumerate(boxes) if box is not None and k not in absent]
    told = settings_of(place / "meta_info.ini", "METAINFO")
    sequence.labels[""] = name_or(told.get("object_class", "").strip(), "")
    size = re.findall(r"\d{1,5}", told.get("resolution", ""))
    if len(size) == 2 and int(size[0]) and int(size[1]):
        sequence.size = (int(size[0]), int(size[1]))


def _got_box(number: int, row: list[float]) -> Numbers | None:
    """The box of a line; None for a line that says that the object is not seen: NaN, no area, or -1 throughout."""
    if len(row) != 4:
        hint = "eight numbers are the corners of a rotated box: write the box around it" if len(row) == 8 else ""
        raise Refused("groundtruth.txt", f"line {number} is not x,y,w,h", hint)
    x, y, width, height = row
    if all(math.isnan(value) for value in row) or set(row) == {-1.0}:
        return None
    if any(math.isnan(value) for value in row) or width < 0 or height < 0:
        raise Refused("groundtruth.txt", f"line {number} is not x,y,w,h: {x:g},{y:g},{width:g},{height:g}")
    return (x, y, width, height) if width and height else None
