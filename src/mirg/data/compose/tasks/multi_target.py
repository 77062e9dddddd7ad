"""multi_target: every object of a name, in two images or more; one image at least holds none."""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, Shown, target

MOST_TARGETS = 6
MOST_PER_IMAGE = 3


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; holders hold one to three objects of the label, six together at most."""
    count = bench.count(least=3)
    index, thing = bench.subject()
    counted = bench.pool.counted.get(thing.key, {})
    options = [i for number, held in counted.items() if number <= MOST_PER_IMAGE for i in held]
    chosen = [index]
    families = {bench.image(index).family}
    n_targets = 1
    for _ in range(bench.rng.randint(1, count - 2)):
        fresh = [
            i
            for i in bench.rng.sample(options, min(len(options), 40))
            if bench.image(i).family not in families
            and n_targets + len(bench.image(i).named(thing.key)) <= MOST_TARGETS
        ]
        if not fresh:
            break
        chosen.append(fresh[0])
        families.add(bench.image(fresh[0]).family)
        n_targets += len(bench.image(fresh[0]).named(thing.key))
    if len(chosen) < 2:
        raise Drop("no second image with this label")
    others = bench.others(count - len(chosen), like=thing.key, avoid=[thing.key], used=chosen)
    shown = [*(bench.original(i) for i in chosen), *(bench.original(i, "distractor") for i in others)]
    images = bench.mixed(shown)
    return Draft(
        task="multi_target", images=images, kind="find_every", subject=thing.label,
        targets=tuple(target(k, box, thing.label) for k, box in _boxes(bench, images, thing.key)),
        relation="same_category", image_hidden=True, choices=count, slots={"name": thing.label},
    )  # fmt: skip


def _boxes(bench: Bench, images: tuple[Shown, ...], key: str) -> list[tuple[int, tuple[float, float, float, float]]]:
    named = [(k, bench.image(shown.origin).named(key)) for k, shown in enumerate(images, 1)]
    return [(k, thing.box) for k, things in named for thing in things]
