"""none: the named object is in none of the images; the question is worded as if it were in one or in several."""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; wording and number of images do not give the answer away."""
    every = bench.rng.random() < 0.5 and "multi_target" in bench.recipe.tasks
    count = bench.count(least=3 if every else 2)
    keys = list(bench.pool.singles)
    if not keys:
        raise Drop("no label is alone in an image at an allowed size")
    key = keys[bench.rng.randrange(len(keys))]
    image, number = bench.pool.singles[key][0]
    label = bench.image(image).things[number].label
    others = bench.others(count, like=key, avoid=[key], used=[])
    images = tuple(bench.original(other, "distractor") for other in others)
    return Draft(
        task="none", images=images, kind="find_every" if every else "find_one", subject=label, targets=(),
        relation="none", image_hidden=True, choices=count, slots={"name": label},
    )  # fmt: skip
