"""Films with tracked objects: a few frames of a film, an object shown by its box in the first, its boxes in the others.

``path`` is a sequence, or a folder above any number of them, of two kinds:

* GOT-10k (and LaSOT): ``groundtruth.txt`` with a line x,y,w,h per frame, frames beside it or in ``img/``,
  ``absence.label`` (or ``full_occlusion.txt``, ``out_of_view.txt``) with 1 where the object cannot be seen;
* MOT: ``gt/gt.txt``, frames in ``img1/``, ``seqinfo.ini``.

Frames are in the order of the numbers in their names (2 before 10), never of the alphabet. If the names leave the order
open, the film is refused: a box would be taken for that of another frame. An object that the files do not name is
called "object", and ``meta["unnamed"]`` says why.

What the columns of gt.txt mean is decided once for the whole file. All kinds begin with frame, id, x, y, width, height
and a flag that is 1, or 0 for entries that do not count. Trackers write the same columns with a confidence, or -1, in
place of the flag: such a file is refused.

* MOT16, MOT17, MOT20 (9 columns): then class and visible share; pixels count from 1;
* CVAT (9 or 10 columns, with ``gt/labels.txt``): then class, named by the line of labels.txt, and visible share;
  pixels count from 0;
* MOT15 (10 columns): then world coordinates or -1. They name no class;
* 6 or 7 columns, or -1 for class and visible share: no class either.

Every object gives samples of ``options.frames`` frames, ``options.stride`` apart, that share no frame. Frames without
the object have no target. Frames that no line of ``gt.txt`` mentions are left out, because nothing says that they were
annotated. Boxes are clipped to the frame, because MOT draws them beyond it.
"""

from __future__ import annotations

import configparser
import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.files import lines_of, number_lines
from mirg.data.importers.raw import ImportOptions, Numbers, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.rows import Refused, name_or, short
from mirg.errors import DataError, ImageError
from mirg.images import SUFFIXES, image_size

_DIGITS = re.compile(r"(\d+)", re.ASCII)
_HINT = "name the frames so that they differ in one number only: 000001.jpg, 000002.jpg"
# Files of flags, one per frame, with the values that they may hold and the one that says that the object is not seen.
_ABSENCE = {
    "absence.label": ((0, 1), 1),
    "cover.label": (tuple(range(9)), 0),  # the visible share in eighths
    "full_occlusion.txt": ((0, 1), 1),
    "out_of_view.txt": ((0, 1), 1),
}


class Film(NamedTuple):
    """One object of a sequence: ``frames`` are absolute paths, ``numbers`` their frame numbers.

    ``track`` holds x, y, width and height in pixels by the position of the frame, from 0. ``key`` is the object's id,
    empty if the sequence has only one object; ``unnamed`` says why the files do not name it.
    """

    sequence: str
    frames: list[str]
    numbers: list[int]
    size: tuple[int, int] | None  # (width, height) in pixels
    track: dict[int, Numbers]
    key: str = ""
    label: str = ""
    unnamed: str = ""


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per object of every sequence below ``path``, in the order of names. DataError if nothing is found."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    root, found = path.resolve(), False
    for folder, below, files in os.walk(root):
        below.sort()
        place = Path(folder)
        name = place.relative_to(root).as_posix() if place != root else root.name
        got = "groundtruth.txt" in files
        if got or (place / "gt" / "gt.txt").is_file():
            below.clear()
            found = True
            file = f"{name}/groundtruth.txt" if got else f"{name}/gt/gt.txt"
            for number, value in enumerate(_films(place, name, options, got=got), 1):
                yield Row(file, number, value)
    if not found:
        hint = "groundtruth.txt beside the frames or above img (GOT-10k, LaSOT), or gt/gt.txt beside img1 (MOT)"
        raise DataError(f"{path} holds no sequence", hint=f"expected {hint}")


def _films(place: Path, name: str, options: ImportOptions, *, got: bool) -> list[Film] | list[Refusal]:
    """The objects of a sequence, or the reason why it is refused."""
    try:
        films = [_got(place, name)] if got else _mot(place, name)
        if films[0].size is None and films[0].frames and options.look != "none":
            size = image_size(films[0].frames[0])
            films = [film._replace(size=size) for film in films]
        _refuse_other_boxes(films)
    except Refused as refused:
        return [refused.refusal._replace(id=name)]
    except (OSError, configparser.Error) as error:
        file = "groundtruth.txt" if got else "gt/gt.txt"
        return [Refusal(f"{name}/{file}", f"cannot be read: {error}", id=name)]
    except ImageError as error:
        return [Refusal("frames", error.message, error.hint, name)]
    return films


def _refuse_other_boxes(films: list[Film]) -> None:
    """Refused if most boxes leave the frame as x,y,w,h, and all lie inside of it as x1,y1,x2,y2; or if no side of any
    box reaches a pixel.
    """
    boxes = [box for film in films for box in film.track.values()]
    if boxes and all(max(box) <= 1.0 for box in boxes):
        raise Refused("boxes", f"all {len(boxes)} boxes are fractions, not pixels", "multiply by the size of a frame")
    if not films[0].size or not boxes:
        return
    width, height = films[0].size
    outside = sum(x + w > width + 1 or y + h > height + 1 for x, y, w, h in boxes)
    if 2 * outside > len(boxes) and all(x < x2 <= width and y < y2 <= height for x, y, x2, y2 in boxes):
        reason = f"{outside} of {len(boxes)} boxes leave the frame as x,y,w,h, and none does as x1,y1,x2,y2"
        raise Refused("boxes", reason, "write x,y,width,height")


def _got(place: Path, name: str) -> Film:
    frames, numbers = _frames_in(place / "img", place)
    count = len(frames)
    rows = number_lines(place / "groundtruth.txt", "groundtruth.txt")
    boxes = [_got_box(k, row) for k, row in enumerate(rows, 1)]
    if len(rows) != count:
        raise Refused("groundtruth.txt", f"has {len(rows)} lines for {count} frames", "one line per frame")
    absent: set[int] = set()
    for file, (allowed, unseen) in _ABSENCE.items():
        if (place / file).is_file():
            absent |= {k for k, flag in enumerate(flags_of(place / file, count, allowed)) if flag == unseen}
    track = {k: box for k, box in enumerate(boxes) if box is not None and k not in absent}
    told = _settings(place / "meta_info.ini", "METAINFO")
    size = _size(re.findall(r"\d{1,5}", told.get("resolution", "")))
    return Film(name, frames, numbers, size, track, label=name_or(told.get("object_class", "").strip(), ""))


def _size(sides: list[str]) -> tuple[int, int] | None:
    """(width, height) in pixels, None unless there are two whole numbers above 0."""
    numbers = [int(side) for side in sides if side.isdecimal() and int(side)]
    return (numbers[0], numbers[1]) if len(numbers) == len(sides) == 2 else None


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


def _frames_in(*folders: Path) -> tuple[list[str], list[int]]:
    """The frames and their numbers in the first folder that has any. Refused if none has."""
    for folder in folders:
        if folder.is_dir():
            frames, numbers = frame_files(folder)
            if frames:
                return frames, numbers
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


def _settings(file: Path, section: str) -> dict[str, str]:
    """One section of an .ini file, its keys in lower case; empty if there is no such file or section."""
    if not file.is_file():
        return {}
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.read_string("\n".join(lines_of(file, file.name)))
    return dict(found[section]) if found.has_section(section) else {}


_FIELD = "gt/gt.txt"
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


def _mot(place: Path, name: str) -> list[Film]:
    """The objects of a sequence of MOT. Refused if a line, or the meaning of the columns, is not clear."""
    told = _settings(place / "seqinfo.ini", "Sequence")
    frames, numbers = _frames_in(place / Path(told.get("imdir", "") or "img1").name)
    rows = number_lines(place / "gt" / "gt.txt", _FIELD)
    if 0 in numbers and 1 in numbers and rows and not any(row[0] == 0 for row in rows):
        reason = "the files count frames from 0, and gt.txt has no line of frame 0: it may count from 1"
        raise Refused("frames", reason, "name the frames by the numbers of gt.txt")
    # Frames of which no line tells anything are left out: it is not known that they were annotated.
    annotated = {int(row[0]) for row in rows if row and math.isfinite(row[0])}
    pairs = [pair for pair in zip(frames, numbers, strict=True) if pair[1] in annotated]
    frames, numbers = [file for file, _ in pairs], [number for _, number in pairs]
    position = {number: k for k, number in enumerate(numbers)}
    layout = _layout(rows, place / "gt" / "labels.txt")
    tracks: defaultdict[str, dict[int, Numbers]] = defaultdict(dict)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(rows, 1):
        label = _label(number, row, layout, position)
        if label is not None:
            frame, key, x, y, width, height = row[:6]
            track = tracks[str(int(key))]
            if position[int(frame)] in track:
                raise Refused(_FIELD, f"line {number}: object {int(key)} has a second box in frame {int(frame)}")
            track[position[int(frame)]] = (x - layout.first, y - layout.first, width, height)
            labels[str(int(key))].add(label)
    if not tracks:
        raise Refused(_FIELD, "holds no visible object")
    size = _size([told.get(key, "") for key in ("imwidth", "imheight")])
    films: list[Film] = []
    for key in sorted(tracks, key=int):
        named = sorted(labels[key] - {""})
        label, unnamed = "", layout.unnamed or "gt.txt has -1 for the class"
        if len(labels[key]) == 1 and named:
            label, unnamed = named[0], ""
        elif named:
            unnamed = f"its lines do not agree on one class: {', '.join(named)}"
        films.append(Film(name, frames, numbers, size, tracks[key], key, label, unnamed))
    return films


def _layout(rows: list[list[float]], labels: Path) -> _Layout:
    counts = {len(row) for row in rows}
    if len(counts) > 1:
        first = next(k for k, row in enumerate(rows, 1) if len(row) != len(rows[0]))
        raise Refused(_FIELD, f"line {first} has {len(rows[first - 1])} columns, line 1 has {len(rows[0])}")
    count = counts.pop() if counts else 9
    if count not in (6, 7, 9, 10):
        reason = "line 1 is not frame,id,x,y,w,h,conf,class,visibility"
        raise Refused(_FIELD, reason, f"{count} columns are of no known layout")
    if any(math.isnan(value) for row in rows for value in row):
        raise Refused(_FIELD, "holds NaN", "leave out the lines of frames in which an object is not seen")
    for number, row in enumerate(rows, 1):
        # Annotators write 0 or 1 into column 7, trackers a score, or -1 in every line.
        if len(row) > 6 and row[6] not in (0, 1):
            reason = f"line {number}: column 7 is {row[6]:g}, not 0 or 1: these are predictions of a tracker"
            raise Refused(_FIELD, reason, "import the annotation; write 1 into column 7 if these boxes are the truth")
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


def _world(more: list[list[float]]) -> _Layout:
    """Ten columns without labels.txt are MOT15, unless all of them could be class and visible share as well."""
    if all(x in _MOT_CLASSES and 0 <= y <= 1 for x, y, _ in more):
        reason = "columns 8 to 10 may be world coordinates (MOT15) or class and visibility (MOT16)"
        raise Refused(_FIELD, reason, "MOT16 has 9 columns; gt/labels.txt names the classes of a file of 10")
    if all(x in range(12) and y in (0, 1) and z in (0, 1, 2) for x, y, z in more):
        reason = "columns 8 to 10 may be category, truncation and occlusion (VisDrone)"
        raise Refused(_FIELD, reason, "convert VisDrone to COCO, with track_id and ignored regions: kind coco")
    return _Layout(None, 1.0, "gt.txt has world coordinates (MOT15) and no class")


def _check_classes(more: list[list[float]], table: str) -> None:
    """Refused if columns 8 and 9 of any line cannot be class and visible share."""
    for number, (kind, visible, *_) in enumerate(more, 1):
        if kind != int(kind) or not 0 <= visible <= 1:
            reason = f"line {number}: columns 8 and 9 ({kind:g}, {visible:g}) are not class and visibility of {table}"
            raise Refused(_FIELD, reason, "world coordinates of MOT15 have 10 columns, and no gt/labels.txt")


def _label(number: int, row: list[float], layout: _Layout, position: dict[int, int]) -> str | None:
    """The label of a line, empty if it has none; None for a line that does not count.

    Refused if it names a frame, object or class that there is not.
    """
    frame, key, _, _, width, height = row[:6]
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
    if layout.classes is None:
        return ""
    kind, label = int(row[7]), ""
    if row[7] != -1:
        if kind not in layout.classes:
            own = layout.classes is not _MOT_CLASSES
            table = (
                f"gt/labels.txt ({len(layout.classes)} names)" if own else "MOT's table, and there is no gt/labels.txt"
            )
            hint = "line k of gt/labels.txt names class k"
            raise Refused(_FIELD, f"line {number}: class {kind} is not in {table}", hint)
        label = name_or(layout.classes[kind], "")
    hidden = row[8] < _VISIBLE
    return None if hidden or " ".join(label.casefold().replace("_", " ").split()) in _NO_OBJECTS else label


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """Samples of one object; a Refusal if it is never seen in two of the frames of a sample."""
    if isinstance(value, Refusal):
        return [value]
    if not isinstance(value, Film):
        return [Refusal("row", f"{short(value)} is not an object of a sequence")]
    name = f"{value.sequence}-{value.key}" if value.key else value.sequence
    if options.labels:
        label = options.labels.of(value.label)
        if label is None:
            return [Refusal("labels", f"the label of an object is dropped by the label map: {value.label!r}", "", name)]
        value = value._replace(label=label)
    boxes = {at: box for at, given in value.track.items() if (box := _clipped(given, value.size))}
    samples: list[Outcome] = []
    start, count = 0, len(value.frames)
    while start < count:
        window = list(range(start, min(start + options.frames * options.stride, count), options.stride))
        if start in boxes and any(at in boxes for at in window[1:]):
            samples.append(_sample(f"{name}-{value.numbers[start]}", value, window, boxes))
            start = window[-1] + options.stride
        else:
            start += options.stride
    hint = "a smaller --stride takes frames that are nearer to each other"
    return samples or [Refusal("boxes", "the object is not seen in two frames of one sample", hint, name)]


def _sample(name: str, film: Film, window: list[int], boxes: dict[int, Numbers]) -> RawSample:
    label = film.label or "object"
    article = "an" if label[0].lower() in "aeiou" else "a"
    size = film.size or (0, 0)
    meta = {"subject": label, "image_set": film.sequence, "track": film.key, "unnamed": film.unnamed}
    return RawSample(
        id=name,
        task="object_tracking",
        images=tuple(
            RawImage(film.frames[at], *size, role="frame" if k else "reference", frame=film.numbers[at])
            for k, at in enumerate(window)
        ),
        question=(
            f"These are frames of one film. Image-1 shows {article} {label} at ",
            RawBox(1, boxes[window[0]]),
            ". Find it in the other images.",
        ),
        targets=tuple(RawBox(k, boxes[at], film.label) for k, at in enumerate(window[1:], 2) if at in boxes),
        relation="same_object",
        meta={key: value for key, value in meta.items() if value},
    )


def _clipped(box: Numbers, size: tuple[int, int] | None) -> Numbers | None:
    """x, y, width, height as corners inside the frame; None if nothing is left inside of it."""
    x, y, width, height = box
    x1, y1, x2, y2 = x, y, x + width, y + height
    if size:
        x1, x2 = (min(max(v, 0.0), float(size[0])) for v in (x1, x2))
        y1, y2 = (min(max(v, 0.0), float(size[1])) for v in (y1, y2))
    return (x1, y1, x2, y2) if x2 - x1 >= 1.0 and y2 - y1 >= 1.0 else None


SOURCE = Source(
    "video-tracks", "tracked objects in films: GOT-10k and MOT folders", read, convert, "pixels", maps_labels=True
)
