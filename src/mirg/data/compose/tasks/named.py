"""Tasks that name an object: group_grounding (it is in one image), multi_target (in several), none (in none)."""

from __future__ import annotations

from mirg.data.compose.bench import Bench, Draft, Drop, Shown, target


def group_grounding(bench: Bench) -> Draft:
    """Which of several images shows a named object, and where? No other image shows an object of that label."""
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


MOST_TARGETS = 6
MOST_PER_IMAGE = 3


def multi_target(bench: Bench) -> Draft:
    """Where is every object of a name, in two images or more? At least one image shows none.

    An image shows at most three objects of the label, all images together at most six.
    """
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


def none(bench: Bench) -> Draft:
    """A named object that is in none of the images.

    The question is worded as if it were in one or in several, and the number of images does not give the answer away.
    """
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
