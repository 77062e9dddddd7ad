"""Tasks with close-ups of objects: refer (which image shows the object?), region (where is it in Image-1?)."""

from __future__ import annotations

from mirg.data.compose.bench import Bench, Draft, Drop, Shown, notes_of, target
from mirg.data.compose.pixels import shrink
from mirg.data.compose.pool import Thing
from mirg.data.compose.views import MIN_VISIBLE, View, around, wandered
from mirg.geometry import iou
from mirg.samples import Role

MAX_RIVAL = 0.15  # largest share of a close-up that another visible object may take
MIN_SIDE = 96  # pixels of the long edge: smaller close-ups are enlarged


def close_up(bench: Bench, index: int, thing: Thing, role: Role) -> tuple[Shown, View]:
    """A window around ``thing``, the only object of its label in the image; Drop if it shows another object.

    It may show an object of another label if that is small (a tie on a person) or mostly outside (the person behind the
    tie).
    """
    view = around(bench.rng, thing.box, bench.pixels.size(index)).snapped(bench.pixels.size(index))
    for other in bench.image(index).things:
        if other is thing or view.visible(other.box) < MIN_VISIBLE:
            continue
        if other.key == thing.key or view.covered(other.box) > MAX_RIVAL:
            raise Drop("the close-up shows another object")
    pixels = shrink(view.render(bench.pixels.full(index)), max(round(0.6 * bench.recipe.side), MIN_SIDE))
    if max(pixels.size) < MIN_SIDE:
        scale = MIN_SIDE / max(pixels.size)
        pixels = pixels.resize((max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))))
    return Shown(index, role, view.notes(notes_of(bench.image(index))), pixels), view


TRIM = 0.25


def refer(bench: Bench) -> Draft:
    """Image-1 is a close-up of an object: which other image shows it, and where? No other image shows its label.

    In half of the samples every candidate is another view of its photograph (window, scale, light), in the other half
    every candidate is the photograph itself: how an image is stored says nothing about the answer.
    """
    count = bench.count(least=3)
    index, thing = bench.subject()
    others = bench.others(count - 2, like=thing.key, avoid=[thing.key], used=[index])
    reference, _ = close_up(bench, index, thing, "reference")
    views = bench.rng.random() < 0.5
    if views:
        view = View((0.0, 0.0, 1.0, 1.0))
        for _ in range(20):
            tried = wandered(bench.rng, TRIM).snapped(bench.pixels.size(index))
            if tried.visible(thing.box) > 1 - 1e-9:
                view = tried
                break
        holder, box = _seen(bench, index, view), view.box(thing.box)
        rest = [
            _seen(bench, other, wandered(bench.rng, TRIM).snapped(bench.pixels.size(other)), "distractor")
            for other in others
        ]
    else:
        holder, box = bench.original(index), thing.box
        rest = [bench.original(other, "distractor") for other in others]
    images, number = bench.arranged(holder, rest)
    return Draft(
        task="refer", images=(reference, *images), kind="refer", subject=thing.label,
        targets=(target(number + 1, box, thing.label),), relation="same_object", image_hidden=True,
        choices=count - 1, slots={"k": "1"}, meta={"other_view": views},
    )  # fmt: skip


def _seen(bench: Bench, index: int, view: View, role: Role = "candidate") -> Shown:
    pixels = shrink(view.render(bench.pixels.full(index)), bench.recipe.side)
    return Shown(index, role, view.notes(notes_of(bench.image(index))), pixels)


MAX_SHARED = 0.3  # IoU of the windows of two close-ups


def region(bench: Bench) -> Draft:
    """Image-1 is a photograph, the others are close-ups of its objects: where in Image-1 is one of them?

    The close-up that the question names has the role ``reference``.
    """
    count = bench.count()
    index, thing = bench.subject()
    asked, view = close_up(bench, index, thing, "reference")
    windows = [view.window]
    rest = []
    spots = [key for key in bench.image(index).by_label if key != thing.key]
    for key in bench.rng.sample(spots, len(spots)):
        other = bench.pool.single(index, key)
        if other is None or len(rest) == count - 2:
            continue
        try:
            shown, view = close_up(bench, index, other, "distractor")
        except Drop:
            continue  # try another object
        if all(iou(view.window, window) <= MAX_SHARED for window in windows):
            rest.append(shown)
            windows.append(view.window)
    crops, place = bench.arranged(asked, rest)
    return Draft(
        task="region", images=(bench.original(index, "source"), *crops), kind="region", subject=thing.label,
        targets=(target(1, thing.box, thing.label),), relation="part_of", image_hidden=False,
        choices=1, slots={"k": str(place + 1)}, meta={"asked_image": place + 1},
    )  # fmt: skip
