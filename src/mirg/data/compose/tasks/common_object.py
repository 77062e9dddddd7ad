"""common_object: which object is in every image? One label is, once in each; the image to answer for is given.

Every other label of the pool is absent from at least one of the images, and the annotation of that image says so.
"""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, target

_DRAWS = 60


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; no second label is in all images."""
    count = bench.count()
    index, thing = bench.subject(least=count)
    chosen = [index]
    shared = bench.pool.possible(index)
    families = {bench.image(index).family}
    spots = bench.pool.singles[thing.key]
    for _ in range(_DRAWS):
        if len(chosen) == count:
            break
        other = spots[bench.rng.randrange(len(spots))][0]
        left = shared & bench.pool.possible(other)
        # The last image has to leave one label; before it, an image that narrows nothing is as good as another.
        if bench.image(other).family in families or (len(chosen) == count - 1 and left != {thing.key}):
            continue
        chosen.append(other)
        families.add(bench.image(other).family)
        shared = left
    if len(chosen) < count:
        raise Drop("no set of images that share this label alone")
    images, number = bench.arranged(bench.original(index), [bench.original(other) for other in chosen[1:]])
    return Draft(
        task="common_object", images=images, kind="common_object", subject=thing.label,
        targets=(target(number, thing.box, thing.label),), relation="same_category", image_hidden=False,
        choices=1, slots={"k": str(number)},
    )  # fmt: skip
