"""difference: a photograph in two versions that differ in one object; point to it.

An object that only one version has is asked for without saying which image that is. One that both have (recoloured,
moved) is asked for in a given image: which version is the original cannot be seen.
"""

from __future__ import annotations

from mirg.data.compose.alter import Pair, Version, altered
from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Shown, target


def make(bench: Bench) -> Draft:
    """Draw one sample of the task."""
    pair = altered(bench)
    return pair_draft(bench, "difference", pair, pair.before, pair.after)


def pair_draft(bench: Bench, task: str, pair: Pair, before: Version, after: Version) -> Draft:
    """The two versions as a sample; :attr:`Bench.turn` says which of them is asked for and as which image."""
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
