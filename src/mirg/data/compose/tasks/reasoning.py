"""reasoning: the image is found by comparing: the one that holds two things, or the one where a thing is largest."""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, target
from mirg.data.compose.pool import Thing

LEAST_RATIO = 1.5  # of the areas of the largest and the next largest


def make(bench: Bench) -> Draft:
    """Draw one sample of the task, of either form."""
    return _both(bench) if bench.rng.random() < 0.5 else _larger(bench)


def _both(bench: Bench) -> Draft:
    """One image holds A and B, the others one of them at most; every other image holds A or B, one at least A."""
    count = bench.count()
    index, thing = bench.subject(least=2)
    partners = [key for key in bench.image(index).by_label if key not in ("", thing.key)]
    if not partners:
        raise Drop("nothing stands beside the object")
    partner = partners[bench.rng.randrange(len(partners))]
    name = bench.image(index).named(partner)[0].label
    families = {bench.image(index).family}
    rest: list[int] = []
    for place in range(count - 1):
        wanted, other = (thing.key, partner) if place % 2 == 0 else (partner, thing.key)
        found = _with_but_without(bench, wanted, other, families)
        if found is None:
            break
        rest.append(found)
        families.add(bench.image(found).family)
    if not rest:
        raise Drop("no image with one of two labels alone")
    # The reasoning lists the objects of every image, and an image without objects would have "nothing" in it.
    left = count - 1 - len(rest)
    rest += bench.others(left, like=thing.key, avoid=[thing.key, partner], used=[index, *rest], noted=True)
    images, number = bench.arranged(bench.original(index), [bench.original(i, "distractor") for i in rest])
    return Draft(
        task="reasoning", images=images, kind="reasoning_both", subject=thing.label,
        targets=(target(number, thing.box, thing.label),), relation="same_category", image_hidden=True,
        choices=count, slots={"name": thing.label, "other": name}, meta={"beside": name},
    )  # fmt: skip


def _with_but_without(bench: Bench, key: str, other: str, families: set[str]) -> int | None:
    held = bench.pool.holders[key]
    for _ in range(30):
        index = held[bench.rng.randrange(len(held))]
        if bench.image(index).family not in families and bench.image(index).lacks(other):
            return index
    return None


def _larger(bench: Bench) -> Draft:
    """Two images or more hold the object, alone of its label; in one of them it takes far more of the image."""
    count = bench.count()
    index, thing = bench.subject(least=2)
    smaller: list[tuple[int, Thing]] = []
    families = {bench.image(index).family}
    spots = bench.pool.singles[thing.key]
    wanted = bench.rng.randint(1, count - 1)
    for other, number in bench.rng.sample(spots, min(len(spots), 60)):
        rival = bench.image(other).things[number]
        small = rival.area * LEAST_RATIO <= thing.area
        if small and bench.image(other).family not in families and len(smaller) < wanted:
            smaller.append((other, rival))
            families.add(bench.image(other).family)
    if not smaller:
        raise Drop("no image where this object is clearly smaller")
    rest = [other for other, _ in smaller]
    rest += bench.others(count - 1 - len(rest), like=thing.key, avoid=[thing.key], used=[index, *rest])
    images, place = bench.arranged(bench.original(index), [bench.original(i, "distractor") for i in rest])
    return Draft(
        task="reasoning", images=images, kind="reasoning_larger", subject=thing.label,
        targets=(target(place, thing.box, thing.label),), relation="same_category", image_hidden=True,
        choices=count, slots={"name": thing.label}, meta={"compared": thing.label},
    )  # fmt: skip
