"""A close-up of one object, refused where it would show a second one."""

from __future__ import annotations

from mirg.data.compose.bench import Bench, notes_of
from mirg.data.compose.draft import Drop, Shown
from mirg.data.compose.pixels import shrink
from mirg.data.compose.pool import Thing
from mirg.data.compose.views import MIN_VISIBLE, View, around
from mirg.samples import Role

MAX_RIVAL = 0.15  # share of a close-up that another object may take which is seen nearly whole
MIN_SIDE = 96  # pixels of the long edge: smaller close-ups are enlarged


def close_up(bench: Bench, index: int, thing: Thing, role: Role) -> tuple[Shown, View]:
    """A window around ``thing``, which has its label for itself in the image; Drop where it shows another object too.

    An object of another label may be in it where it is small there (a tie on a person) or where little of it is seen
    (the person behind the tie).
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
