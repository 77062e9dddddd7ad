"""Tasks about a photograph in two versions that differ in one object: difference, view_difference.

An object that only one version shows is to be found without knowing in which image it is. For an object that both show
(recoloured, moved) the question names the image, because it cannot be seen which version is the original.
"""

from __future__ import annotations

from dataclasses import replace

from mirg.data.compose.alter import Pair, Version, altered
from mirg.data.compose.bench import Bench, Draft, Drop, Shown, target
from mirg.data.compose.views import View, wandered


def difference(bench: Bench) -> Draft:
    """A photograph in two versions that differ in one object: where is it?"""
    pair = altered(bench)
    return pair_draft(bench, "difference", pair, pair.before, pair.after)


def pair_draft(bench: Bench, task: str, pair: Pair, before: Version, after: Version) -> Draft:
    """The two versions as a sample; :attr:`Bench.turn` chooses the number of the image with the answer."""
    asked, other = (after, before) if after.box is not None else (before, after)
    if pair.in_both and bench.rng.random() < 0.5:
        asked, other = other, asked
    images, number = bench.arranged(_shown(pair, asked), [_shown(pair, other)])
    boxes = [asked.box] if asked.box is not None else []
    return Draft(
        task=task, images=images, kind=f"{task}_changed" if pair.in_both else f"{task}_one", subject=pair.label,
        targets=tuple(target(number, box, pair.label) for box in boxes), relation="changed_object",
        image_hidden=not pair.in_both, choices=1 if pair.in_both else 2,
        slots={"k": str(number)} if pair.in_both else {}, meta={"alteration": pair.kind},
    )  # fmt: skip


def _shown(pair: Pair, version: Version) -> Shown:
    return Shown(pair.origin, "candidate", version.notes, version.pixels, also=pair.also)


TRIM = 0.2
MIN_SEEN = 0.85  # visible share of every object: one that is cut off would be a second difference
_VIEWS = 24


def view_difference(bench: Bench) -> Draft:
    """As :func:`difference`, and one version has another window, scale and light that keeps every object in view."""
    pair = altered(bench)
    view = _view(bench, pair)
    before, after = pair.before, pair.after
    if bench.rng.random() < 0.5:
        before = _seen(view, before)
    else:
        after = _seen(view, after)
    return pair_draft(bench, "view_difference", pair, before, after)


def _view(bench: Bench, pair: Pair) -> View:
    boxes = [note.box for version in (pair.before, pair.after) for note in version.notes]
    for attempt in range(_VIEWS):
        trim = TRIM * (1 - attempt / _VIEWS)  # smaller with every attempt, for objects at the edge
        view = wandered(bench.rng, trim).snapped(pair.before.pixels.size)
        if all(view.visible(box) >= MIN_SEEN for box in boxes) and all(view.visible(p) > 0.99 for p in pair.places):
            return view
    raise Drop("every other view cuts an object off")


def _seen(view: View, version: Version) -> Version:
    box = None if version.box is None else view.box(version.box)
    return replace(version, pixels=view.render(version.pixels), notes=view.notes(version.notes), box=box)
