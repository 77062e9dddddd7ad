"""refer: Image-1 is a close-up of an object; which other image shows this very object, and where?"""

from __future__ import annotations

from mirg.data.compose.bench import Bench, notes_of
from mirg.data.compose.closeup import close_up
from mirg.data.compose.draft import Draft, Shown, target
from mirg.data.compose.pixels import shrink
from mirg.data.compose.views import View, wandered
from mirg.samples import Role

TRIM = 0.25


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; no other image holds the label, so the object is the only answer.

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
