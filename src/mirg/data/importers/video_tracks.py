"""Films with tracked objects: a few frames of a film, an object shown by its box in the first, its boxes in the others.

``path`` is a sequence, or a folder above any number of them, of two kinds:

* GOT-10k (and LaSOT): ``groundtruth.txt`` with a line x,y,w,h per frame, frames beside it or in ``img/``,
  ``absence.label`` (or ``full_occlusion.txt``, ``out_of_view.txt``) with 1 where the object cannot be seen;
* MOT: ``gt/gt.txt`` (its columns: :mod:`mirg.data.importers.mot_files`), frames in ``img1/``, ``seqinfo.ini``.

Frames are in the order of the numbers in their names. An object that the files do not name is called "object", and
``meta["unnamed"]`` says why.

Every object gives samples of ``options.frames`` frames, ``options.stride`` apart, that share no frame. Frames without
the object have no target; frames of which no line of ``gt.txt`` tells anything are left out, since nothing says that
they were annotated. Boxes are clipped to the frame, since MOT draws them on beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.film_frames import Problem, Sequence
from mirg.data.importers.options import ImportOptions
from mirg.data.importers.raw import Numbers, Outcome, RawBox, RawImage, RawSample, Refusal, Row, Source
from mirg.data.importers.rows import short
from mirg.data.importers.video_files import sequences
from mirg.errors import DataError


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
    problem: Problem | None = None


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
    """Samples of one object; a Refusal where it is never seen in two of the frames of a sample."""
    if not isinstance(value, Film):
        return [Refusal("row", f"{short(value)} is not an object of a sequence")]
    name = f"{value.sequence}-{value.key}" if value.key else value.sequence
    if value.problem:
        return [Refusal(*value.problem, id=name)]
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
    """x, y, width, height as corners inside the frame; None where nothing is left inside of it."""
    x, y, width, height = box
    x1, y1, x2, y2 = x, y, x + width, y + height
    if size:
        x1, x2 = (min(max(v, 0.0), float(size[0])) for v in (x1, x2))
        y1, y2 = (min(max(v, 0.0), float(size[1])) for v in (y1, y2))
    return (x1, y1, x2, y2) if x2 - x1 >= 1.0 and y2 - y1 >= 1.0 else None


SOURCE = Source(
    "video-tracks", "tracked objects in films: GOT-10k and MOT folders", read, convert, "pixels", maps_labels=True
)
