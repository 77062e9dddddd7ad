"""Films with tracked objects: a few frames of a film, an object shown by its box in the first, its boxes in the others.

``path`` is a sequence, or a folder above any number of them, of two kinds:

* GOT-10k (and LaSOT): ``groundtruth.txt`` with a line x,y,w,h per frame, frames beside it or in ``img/``,
  ``absence.label`` (or ``full_occlusion.txt``, ``out_of_view.txt``) with 1 where the object cannot be seen;
* MOT: ``gt/gt.txt`` (its columns: :mod:`mirg.data.importers.films`), frames in ``img1/``, ``seqinfo.ini``.

Frames are in the order of the numbers in their names. An object that the files do not name is called "object", and
``meta["unnamed"]`` says why.

Every object gives samples of ``options.frames`` frames, ``options.stride`` apart, that share no frame. Frames without
the object have no target. Frames that no line of ``gt.txt`` mentions are left out, because nothing says that they were
annotated. Boxes are clipped to the frame, because MOT draws them beyond it.
"""

from __future__ import annotations

import configparser
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.files import number_lines
from mirg.data.importers.films import Sequence, find_frames, flags_of, read_mot, settings_of
from mirg.data.importers.raw import ImportOptions, Numbers, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.rows import Refused, name_or, short
from mirg.errors import DataError, ImageError
from mirg.images import image_size

# Files of flags, one per frame, with the values that they may hold and the one that says that the object is not seen.
_ABSENCE = {
    "absence.label": ((0, 1), 1),
    "cover.label": (tuple(range(9)), 0),  # the visible share in eighths
    "full_occlusion.txt": ((0, 1), 1),
    "out_of_view.txt": ((0, 1), 1),
}


def sequences(root: Path, options: ImportOptions) -> Iterator[Sequence]:
    """Every sequence at or below ``root``, in the order of their names; a broken one has the reason in ``problem``."""
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
        sequence.problem = refused.refusal
    except (OSError, configparser.Error) as error:
        sequence.problem = Refusal(sequence.file, f"cannot be read: {error}")
    except ImageError as error:
        sequence.problem = Refusal("frames", error.message, error.hint)
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


class Film(NamedTuple):
    """One object of a sequence; ``key`` is empty if a sequence has only one object. See :class:`Sequence`."""

    sequence: str
    frames: list[str]
    numbers: list[int]
    size: tuple[int, int] | None
    key: str = ""
    label: str = ""
    unnamed: str = ""
    track: tuple[tuple[int, Numbers], ...] = ()
    problem: Refusal | None = None


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per object of every sequence below ``path``, in the order of names. DataError if nothing is found."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    found = False
    for sequence in sequences(path.resolve(), options):
        found = True
        yield from _rows(sequence)
    if not found:
        hint = (
            "expected groundtruth.txt beside the frames or above img (GOT-10k, LaSOT), or gt/gt.txt beside img1 (MOT)"
        )
        raise DataError(f"{path} holds no sequence", hint=hint)


def _rows(sequence: Sequence) -> Iterator[Row]:
    film = Film(sequence.name, sequence.frames, sequence.numbers, sequence.size, problem=sequence.problem)
    if film.problem:
        yield Row(sequence.file, 1, film)
        return
    for number, (key, track) in enumerate(sequence.tracks.items(), 1):
        label, unnamed = sequence.labels.get(key, ""), sequence.unnamed.get(key, "")
        yield Row(sequence.file, number, film._replace(key=key, label=label, unnamed=unnamed, track=tuple(track)))


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """Samples of one object; a Refusal if it is never seen in two of the frames of a sample."""
    if not isinstance(value, Film):
        return [Refusal("row", f"{short(value)} is not an object of a sequence")]
    name = f"{value.sequence}-{value.key}" if value.key else value.sequence
    if value.problem:
        return [value.problem._replace(id=name)]
    if options.labels:
        label = options.labels.of(value.label)
        if label is None:
            return [Refusal("labels", f"the label of an object is dropped by the label map: {value.label!r}", "", name)]
        value = value._replace(label=label)
    boxes = {at: box for at, given in value.track if (box := _clipped(given, value.size))}
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
    size = film.size or (0, 0)
    return RawSample(
        id=name,
        task="object_tracking",
        images=tuple(
            RawImage(film.frames[at], *size, role="frame" if k else "reference", frame=film.numbers[at])
            for k, at in enumerate(window)
        ),
        question=(
            f"These are frames of one film. Image-1 shows {_article(label)} {label} at ",
            RawBox(1, boxes[window[0]]),
            ". Find it in the other images.",
        ),
        targets=tuple(RawBox(k, boxes[at], film.label) for k, at in enumerate(window[1:], 2) if at in boxes),
        relation="same_object",
        meta=_meta(film),
    )


def _meta(film: Film) -> dict[str, str]:
    told = {"subject": film.label or "object", "image_set": film.sequence, "track": film.key, "unnamed": film.unnamed}
    return {key: value for key, value in told.items() if value}


def _article(label: str) -> str:
    return "an" if label[:1].lower() in set("aeiou") else "a"


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
