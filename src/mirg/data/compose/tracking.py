"""The task object_tracking: frames of a film, or frames in which an object of one photograph moves over another."""

from __future__ import annotations

import math

from mirg.answers.markup import box_markup
from mirg.data.compose.alter import MAX_HIDDEN, cut_out
from mirg.data.compose.bench import Bench, Draft, Drop, Shown
from mirg.data.compose.edits import pasted, rounded
from mirg.data.compose.pixels import Place, fraction_box, share_inside
from mirg.geometry import Box
from mirg.samples import ObjectNote, Target

REAL_SHARE = 0.5  # of the samples, if the source has frames
LEAST_STEP = 0.04  # of the longer side of the image, from a frame to the next
_PATHS = 40
_SIDES = (0.15, 0.35)  # of the moving object's longer side, as a share of that of the image


def object_tracking(bench: Bench) -> Draft:
    """An object is marked in Image-1: where is it in a given later frame?

    Frames are those of the source if its images have frame numbers (``ImageRef.frame``). Otherwise they are made: an
    object of one photograph moves along a path over another one.
    """
    real = bool(bench.pool.films) and bench.rng.random() < REAL_SHARE
    frames, boxes, label = _real_frames(bench) if real else _made_frames(bench)
    number = _asked(bench, len(frames))
    return Draft(
        tuple(frames), "object_tracking", label, (Target(image=number, box=boxes[number - 1], label=label),),
        "same_object", image_hidden=False, slots={"box": box_markup(1, boxes[0]), "k": str(number)},
        meta={"made": frames[0].pixels is not None},
    )  # fmt: skip


def _asked(bench: Bench, count: int) -> int:
    return 2 + int(bench.turn * (count - 1))


def _real_frames(bench: Bench) -> tuple[list[Shown], list[Box], str]:
    """Frames of one film in the order of time, each with one object of the label."""
    film = bench.rng.choice(bench.pool.films)
    keys = sorted({key for index in film for key in bench.image(index).by_label if bench.pool.single(index, key)})
    if not keys:
        raise Drop("no object of the frames has its label for itself")
    key = bench.rng.choice(keys)
    seen = [index for index in film if bench.pool.single(index, key)]
    if len(seen) < 2:
        raise Drop("the object is in one frame only")
    count = bench.rng.randint(*(min(number, len(seen)) for number in bench.recipe.frames))
    start = bench.rng.randint(0, len(seen) - count)
    images = {index: bench.image(index) for index in seen[start : start + count]}
    things = [image.named(key)[0] for image in images.values()]
    frames = [bench.original(index, "frame", frame=image.ref.frame) for index, image in images.items()]
    return frames, [thing.box for thing in things], things[0].label


def _made_frames(bench: Bench) -> tuple[list[Shown], list[Box], str]:
    """An object of one photograph on a path over another, which has no object of its label."""
    donor, thing = bench.subject()
    (index,) = bench.others(1, thing.key, [donor], noted=True)
    photo = bench.pixels.photo(index)
    piece = cut_out(bench, donor, thing)
    places = _path(bench, piece.size, photo.size, bench.rng.randint(*bench.recipe.frames))
    boxes = [rounded(fraction_box(place, photo.size)) for place in places]
    frames = []
    for frame, (place, box) in enumerate(zip(places, boxes, strict=True), 1):
        # What the object covers is no longer seen in this frame.
        left = [note for note in bench.image(index).notes if share_inside(note.box, box) <= 1 - MAX_HIDDEN]
        notes = (*left, ObjectNote(label=thing.label, box=box))
        frames.append(Shown(index, "frame", notes, pasted(photo, piece, place), frame=frame, also=donor))
    return frames, boxes, thing.label


def _path(bench: Bench, piece: tuple[int, int], size: tuple[int, int], count: int) -> list[Place]:
    """Places along a bent line, the object growing or shrinking a little; Drop if none fits into the image."""
    for _ in range(_PATHS):
        line = _line(bench, piece, size, count)
        x, y = bench.point(size)
        asked_x, asked_y, _, _ = line[_asked(bench, count) - 1]
        left, top = x - asked_x, y - asked_y
        places = [(round(left + a - w / 2), round(top + b - h / 2), w, h) for a, b, w, h in line]
        if all(0 <= x <= size[0] - w and 0 <= y <= size[1] - h and bench.fits(w, h, size) for x, y, w, h in places):
            return places
    raise Drop("no path of the object stays in the image")


def _line(
    bench: Bench, piece: tuple[int, int], size: tuple[int, int], count: int
) -> list[tuple[float, float, int, int]]:
    """Centre and size (x, y, width, height) of the object from frame to frame, pixels; it begins at (0, 0)."""
    rng = bench.rng
    scale = rng.uniform(*_SIDES) * max(size) / max(piece)
    growth, heading, bend = rng.uniform(0.95, 1.06), rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.5)
    step = rng.uniform(LEAST_STEP, 4 * LEAST_STEP) * max(size)
    x, y = 0.0, 0.0
    line = []
    for _ in range(count):
        line.append((x, y, max(1, round(piece[0] * scale)), max(1, round(piece[1] * scale))))
        x, y = x + step * math.cos(heading), y + step * math.sin(heading)
        heading, scale = heading + bend, scale * growth
    return line
