"""counting: which image has the most of a named object? Point to each of them there."""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, target

MOST = 6


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; the image with the most is the only one with that many."""
    count = bench.count()
    options = {
        key: numbers
        for key, counts in bench.pool.counted.items()
        if (numbers := [n for n in counts if 2 <= n <= MOST and min(counts) < n])
    }
    if not options:
        raise Drop("no label that one image holds more of than another")
    key, numbers = list(options.items())[bench.rng.randrange(len(options))]
    counts = bench.pool.counted[key]
    most = numbers[bench.rng.randrange(len(numbers))]
    index = bench.draw(counts[most])
    fewer = [i for n, held in counts.items() if n < most for i in held]
    chosen = [index]
    families = {bench.image(index).family}
    for other in bench.rng.sample(fewer, min(len(fewer), 4 * count)):
        # One image in four may hold none; the choice would be too easy if most did.
        if len(chosen) < count and bench.image(other).family not in families and bench.rng.random() < 0.75:
            chosen.append(other)
            families.add(bench.image(other).family)
    if len(chosen) < 2:
        raise Drop("no second image with this label")
    chosen += bench.others(count - len(chosen), like=key, avoid=[key], used=chosen)
    images, number = bench.arranged(bench.original(index), [bench.original(i, "distractor") for i in chosen[1:]])
    things = bench.image(index).named(key)
    label = things[0].label
    return Draft(
        task="counting", images=images, kind="counting", subject=label,
        targets=tuple(target(number, thing.box, label) for thing in things), relation="same_category",
        image_hidden=True, choices=count, slots={"name": label}, meta={"counted": label},
    )  # fmt: skip
