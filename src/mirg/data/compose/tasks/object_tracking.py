"""object_tracking: an object is marked in Image-1; where is it in a later frame?

Frames are those of the source, where images carry frame numbers (``ImageRef.frame``), or are made: an object of one
photograph moves along a path over another one.
"""

from __future__ import annotations

import math

from mirg.answers.markup import box_markup
from mirg.data.compose.alter import MAX_HIDDEN, cut_out
from mirg.data.compose.bench import Bench, notes_of
from mirg.data.compose.draft import Draft, Drop, Shown, target
from mirg.data.compose.edits import pasted
from mirg.data.compose.pixels import fraction_box, share_inside
from mirg.data.compose.texture import Place
from mirg.data.compose.views import rounded
from mirg.geometry import Box
from mirg.samples import ObjectNote

REAL_SHARE = 0.5  # of the samples, where the source has frames
LEAST_STEP = 0.04  # of the longer side of the image, from a frame to the next
_PATHS = 40
_SIDES = (0.15, 0.35)  # of the moving object's longer side, as a share of that of the image


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; the frame that is asked for is any but the first."""
    real = bool(bench.pool.films) and bench.rng.random() < REAL_SHARE
    frames, boxes, label = _real(bench) if real else _made(bench)
    number = _asked(bench, len(frames))
    return Draft(
        task="object_tracking", images=frames, kind="object_tracking", subject=label,
        targets=(target(number, boxes[number - 1], label),), relation="same_object", image_hidden=False, choices=1,
        slots={"box": box_markup(1, boxes[0]), "k": str(number)}, meta={"made": frames[0].pixels is not None},
    )  # fmt: skip


def _asked(bench: Bench, count: int) -> int:
    return 2 + int(bench.turn * (count - 1))


def _length(bench: Bench, most: int) -> int:
    low, high = bench.recipe.frames
    return bench.rng.randint(min(low, most), min(high, most))


def _real(bench: Bench) -> tuple[tuple[Shown, ...], list[Box], str]:
    """Frames of one film in the order of time, in each of which the label is alone."""
    film = bench.pool.films[bench.rng.randrange(len(bench.pool.films))]
    keys = sorted({key for index in film for key in bench.image(index).by_label if bench.pool.single(index, key)})
    if not keys:
        raise Drop("no object of the frames has its label for itself")
    key = keys[bench.rng.randrange(len(keys))]
    seen = [index for index in film if bench.pool.single(index, key)]
    if len(seen) < 2:
        raise Drop("the object is in one frame only")
    count = _length(bench, len(seen))
    start = bench.rng.randint(0, len(seen) - count)
    chosen = seen[start : start + count]
    things = [bench.image(index).named(key)[0] for index in chosen]
    frames = tuple(bench.original(index, "frame", frame=bench.image(index).ref.frame) for index in chosen)
    return frames, [thing.box for thing in things], things[0].label


def _made(bench: Bench) -> tuple[tuple[Shown, ...], list[Box], str]:
    """An object of one photograph on a path over another, which has no object of its label."""
    donor, thing = bench.subject()
    (index,) = bench.others(1, like=thing.key, avoid=[thing.key], used=[donor], noted=True)
    photo = bench.pixels.photo(index)
    piece = cut_out(bench, donor, thing)
    places = _path(bench, piece.size, photo.size, _length(bench, bench.recipe.frames[1]))
    boxes = [rounded(fraction_box(place, photo.size)) for place in places]
    frames = []
    for frame, (place, box) in enumerate(zip(places, boxes, strict=True), 1):
        # What the object covers is no longer seen in this frame.
        left = [note for note in notes_of(bench.image(index)) if share_inside(note.box, box) <= 1 - MAX_HIDDEN]
        notes = (*left, ObjectNote(label=thing.label, box=box))
        frames.append(Shown(index, "frame", notes, pasted(photo, piece, place), frame=frame, also=donor))
    return tuple(frames), boxes, thing.label


def _path(bench: Bench, piece: tuple[int, int], size: tuple[int, int], count: int) -> list[Place]:
    """Places along a bent line, the object growing or shrinking a little; Drop where none fits into the image."""
    for _ in range(_PATHS):
        sizes, points = _line(bench, piece, size, count)
        asked = _asked(bench, count) - 1
        x, y = bench.point(size)
        left, top = x - points[asked][0], y - points[asked][1]
        places = [
            (round(left + a - width / 2), round(top + b - height / 2), width, height)
            for (a, b), (width, height) in zip(points, sizes, strict=True)
        ]
        if all(_allowed(bench, place, size) for place in places):
            return places
    raise Drop("no path of the object stays in the image")


def _line(
    bench: Bench, piece: tuple[int, int], size: tuple[int, int], count: int
) -> tuple[list[tuple[int, int]], list[tuple[float, float]]]:
    """Sizes of the object and centres of it, pixels, from frame to frame; the first centre is (0, 0)."""
    rng = bench.rng
    scale = rng.uniform(*_SIDES) * max(size) / max(piece)
    growth, heading, bend = rng.uniform(0.95, 1.06), rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.5)
    step = rng.uniform(LEAST_STEP, 4 * LEAST_STEP) * max(size)
    x, y = 0.0, 0.0
    sizes, points = [], []
    for _ in range(count):
        sizes.append((max(1, round(piece[0] * scale)), max(1, round(piece[1] * scale))))
        points.append((x, y))
        x, y = x + step * math.cos(heading), y + step * math.sin(heading)
        heading, scale = heading + bend, scale * growth
    return sizes, points


def _allowed(bench: Bench, place: Place, size: tuple[int, int]) -> bool:
    """Whether a place lies in the image and is of a size that may be asked for."""
    x, y, width, height = place
    low, high = bench.recipe.target_area
    inside = 0 <= x <= size[0] - width and 0 <= y <= size[1] - height
    return inside and low <= width * height / (size[0] * size[1]) <= high
