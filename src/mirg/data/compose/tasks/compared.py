"""Tasks that compare all images: common_object, counting, reasoning."""

from __future__ import annotations

from mirg.data.compose.bench import Bench, Draft, Drop, target
from mirg.data.compose.pool import Thing

_DRAWS = 60


def common_object(bench: Bench) -> Draft:
    """Which object is in every image? One label is, once in each; the question names the image to answer for.

    For every other label of the pool, the annotation of at least one image says that it is absent.
    """
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


MOST = 6


def counting(bench: Bench) -> Draft:
    """Which image has the most objects of a name, and where are they? Only one image has that many."""
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


LEAST_RATIO = 1.5  # of the areas of the largest and the next largest


def reasoning(bench: Bench) -> Draft:
    """Which image shows two named objects together, or a named object at the largest size? Where is it?"""
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
    """Two images or more show one object of a label; in one of them it takes far more of the image."""
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
