"""group_grounding: a named object is in one of several images, the others are distractors; which image, and where?"""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, target


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; no distractor holds the label."""
    count = bench.count()
    index, thing = bench.subject()
    others = bench.others(count - 1, like=thing.key, avoid=[thing.key], used=[index])
    rest = [bench.original(other, "distractor") for other in others]
    images, number = bench.arranged(bench.original(index), rest)
    return Draft(
        task="group_grounding", images=images, kind="find_one", subject=thing.label,
        targets=(target(number, thing.box, thing.label),), relation="none", image_hidden=True,
        choices=count, slots={"name": thing.label},
    )  # fmt: skip
