"""view_difference: as difference, and one of the two versions is seen in another window, scale and light."""

from __future__ import annotations

from dataclasses import replace

from mirg.data.compose.alter import Pair, Version, altered
from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop
from mirg.data.compose.tasks.difference import pair_draft
from mirg.data.compose.views import View, wandered

TRIM = 0.2
MIN_SEEN = 0.85  # share of every object that stays in view: one that is cut off would be a second difference
_VIEWS = 24


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; every object of the photograph stays in view."""
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
        trim = TRIM * (1 - attempt / _VIEWS)  # less and less, where objects reach the edge
        view = wandered(bench.rng, trim).snapped(pair.before.pixels.size)
        if all(view.visible(box) >= MIN_SEEN for box in boxes) and all(view.visible(p) > 0.99 for p in pair.places):
            return view
    raise Drop("every other view cuts an object off")


def _seen(view: View, version: Version) -> Version:
    box = None if version.box is None else view.box(version.box)
    return replace(version, pixels=view.render(version.pixels), notes=view.notes(version.notes), box=box)
