"""Tasks about an object that is marked in Image-1: correspondence, same_instance, object_tracking."""

from __future__ import annotations

import math

from mirg.answers.markup import box_markup
from mirg.data.compose.alter import MAX_HIDDEN, cut_out
from mirg.data.compose.bench import Bench, Draft, Drop, Shown, notes_of, target
from mirg.data.compose.edits import pasted
from mirg.data.compose.pixels import Place, fraction_box, share_inside
from mirg.data.compose.pool import CELLS, Identity, PoolImage, Spot
from mirg.data.compose.views import rounded
from mirg.geometry import Box
from mirg.samples import ObjectNote


def correspondence(bench: Bench) -> Draft:
    """An object is marked in Image-1: which other image shows one of its category, and where? No third image does."""
    count = bench.count(least=3)
    index, thing = bench.subject(least=2)
    spots = bench.pool.singles[thing.key]
    first, number = spots[bench.rng.randrange(len(spots))]
    if bench.image(first).family == bench.image(index).family:
        raise Drop("both objects of this label are in one image, or images of one set")
    start = bench.image(first).things[number]
    others = bench.others(count - 2, like=thing.key, avoid=[thing.key], used=[index, first])
    rest = [bench.original(other, "distractor") for other in others]
    images, place = bench.arranged(bench.original(index), rest)
    return Draft(
        task="correspondence", images=(bench.original(first, "reference"), *images), kind="correspondence",
        subject=thing.label, targets=(target(place + 1, thing.box, thing.label),), relation="corresponds_to",
        image_hidden=True, choices=count - 1, slots={"box": box_markup(1, start.box)},
        meta={"reference": start.label},
    )  # fmt: skip


def same_instance(bench: Bench) -> Draft:
    """An object is marked in Image-1: which other image shows this very object, and where? No third image does.

    Objects are the same one if their annotation gives them one ``instance_id``, as a person in the pictures of two
    cameras. Other images may show other objects of the same label.
    """
    count = bench.count(least=3)
    identity, (index, number) = _subject(bench)
    thing = bench.image(index).things[number]
    spots = [spot for spot in bench.pool.instances[identity] if spot[0] != index]
    first, start = spots[bench.rng.randrange(len(spots))]
    used = {first, index}
    rest = [bench.original(_other(bench, identity, used), "distractor") for _ in range(count - 2)]
    images, place = bench.arranged(bench.original(index), rest)
    return Draft(
        task="same_instance", images=(bench.original(first, "reference"), *images), kind="same_instance",
        subject=thing.label, targets=(target(place + 1, thing.box, thing.label),), relation="same_object",
        image_hidden=True, choices=count - 1,
        slots={"box": box_markup(1, bench.image(first).things[start].box)}, meta={"instance": identity[1]},
    )  # fmt: skip


def _subject(bench: Bench) -> tuple[Identity, Spot]:
    """An object and the image that is the answer; Drop if no object is identified in two images."""
    pool = bench.pool
    found = pool.instances if bench.cell_turn is None else pool.instance_cells[int(bench.cell_turn * CELLS)]
    if not pool.instances:
        raise Drop("no object has the same instance_id in two images")
    if not found:
        raise Drop("no such object in this part of an image")
    identity = list(found)[bench.rng.randrange(len(found))]
    return identity, found[identity][bench.rng.randrange(len(found[identity]))]


def _other(bench: Bench, identity: Identity, used: set[int]) -> int:
    """An image that does not show the object, preferably one with others of its label; it is added to ``used``.

    Images of one family are used together: they may be cameras of one scene.
    """
    taken = {bench.image(index).key for index in used}

    def allowed(image: PoolImage) -> bool:
        return image.key not in taken and image.lacks_instance(identity)

    index = bench.drawn([identity[2]], allowed, identity[2])
    if index is None:
        raise Drop("too few images that are known not to show this object")
    used.add(index)
    return index


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
        task="object_tracking", images=frames, kind="object_tracking", subject=label,
        targets=(target(number, boxes[number - 1], label),), relation="same_object", image_hidden=False, choices=1,
        slots={"box": box_markup(1, boxes[0]), "k": str(number)}, meta={"made": frames[0].pixels is not None},
    )  # fmt: skip


def _asked(bench: Bench, count: int) -> int:
    return 2 + int(bench.turn * (count - 1))


def _length(bench: Bench, most: int) -> int:
    low, high = bench.recipe.frames
    return bench.rng.randint(min(low, most), min(high, most))


def _real_frames(bench: Bench) -> tuple[tuple[Shown, ...], list[Box], str]:
    """Frames of one film in the order of time, each with one object of the label."""
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


def _made_frames(bench: Bench) -> tuple[tuple[Shown, ...], list[Box], str]:
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
    """Places along a bent line, the object growing or shrinking a little; Drop if none fits into the image."""
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
