"""The tasks that are built from annotated images; a new one is one function plus one line in :data:`TASKS`."""

from __future__ import annotations

from collections.abc import Callable

from mirg.answers.markup import box_markup
from mirg.data.compose.alter import difference, view_difference
from mirg.data.compose.bench import Bench, Draft, Drop, Shown
from mirg.data.compose.edits import MIN_VISIBLE, View, around, wandered
from mirg.data.compose.pixels import shrink
from mirg.data.compose.pool import Thing
from mirg.data.compose.tracking import object_tracking
from mirg.geometry import iou
from mirg.samples import Role, Target

# Tasks that name an object: it is in one image, in several, or in none.


def group_grounding(bench: Bench) -> Draft:
    """Which of several images shows a named object, and where? No other image shows an object of that label."""
    count = bench.count()
    index, thing = bench.subject()
    rest = bench.originals(bench.others(count - 1, thing.key, [index]))
    return bench.draft("find_one", bench.original(index), rest, thing.label, [thing.box], "none")


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

    def n_held(i: int) -> int:
        return len(bench.image(i).named(thing.key))

    chosen = [index]
    n_targets = 1
    for _ in range(bench.rng.randint(1, count - 2)):
        drawn = bench.rng.sample(options, min(len(options), 40))
        fresh = [i for i in drawn if bench.apart(i, chosen) and n_targets + n_held(i) <= MOST_TARGETS]
        if not fresh:
            break
        chosen.append(fresh[0])
        n_targets += n_held(fresh[0])
    if len(chosen) < 2:
        raise Drop("no second image with this label")
    others = bench.originals(bench.others(count - len(chosen), thing.key, chosen))
    images = [*bench.originals(chosen, "candidate"), *others]
    if bench.recipe.shuffle:
        images = bench.rng.sample(images, len(images))
    targets = tuple(
        Target(image=number, box=found.box, label=thing.label)
        for number, shown in enumerate(images, 1)
        for found in bench.image(shown.origin).named(thing.key)
    )
    return Draft(
        tuple(images), "find_every", thing.label, targets, "same_category", image_hidden=True,
        slots={"name": thing.label},
    )  # fmt: skip


def none(bench: Bench) -> Draft:
    """A named object that is in none of the images.

    The question is worded as if it were in one or in several, and the number of images does not give the answer away.
    """
    every = bench.rng.random() < 0.5 and "multi_target" in bench.recipe.tasks
    count = bench.count(least=3 if every else 2)
    singles = bench.pool.singles
    if not singles:
        raise Drop("no label occurs exactly once in an image at an allowed size")
    key = bench.rng.choice(list(singles))
    image, number = singles[key][0]
    label = bench.image(image).things[number].label
    images = tuple(bench.originals(bench.others(count, key, ())))
    kind = "find_every" if every else "find_one"
    return Draft(images, kind, label, (), "none", image_hidden=True, slots={"name": label})


# Tasks with close-ups of objects: which image shows the object, or where is it in Image-1?

MAX_RIVAL = 0.15  # largest share of a close-up that another visible object may take
MIN_SIDE = 96  # pixels of the long edge: smaller close-ups are enlarged


def close_up(bench: Bench, index: int, thing: Thing, role: Role) -> tuple[Shown, View]:
    """A window around ``thing``, the only object of its label in the image; Drop if it shows another object.

    It may show an object of another label if that is small (a tie on a person) or mostly outside (the person behind the
    tie).
    """
    view = around(bench.rng, thing.box).snapped(bench.pixels.size(index))
    for other in bench.image(index).things:
        if other is thing or view.visible(other.box) < MIN_VISIBLE:
            continue
        if other.key == thing.key or view.covered(other.box) > MAX_RIVAL:
            raise Drop("the close-up shows another object")
    pixels = shrink(view.render(bench.pixels.full(index)), max(round(0.6 * bench.recipe.side), MIN_SIDE))
    if max(pixels.size) < MIN_SIDE:
        scale = MIN_SIDE / max(pixels.size)
        pixels = pixels.resize((max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))))
    return Shown(index, role, view.notes(bench.image(index).notes), pixels), view


TRIM = 0.25


def refer(bench: Bench) -> Draft:
    """Image-1 is a close-up of an object: which other image shows it, and where? No other image shows its label.

    In half of the samples every candidate is another view of its photograph (window, scale, light), in the other half
    every candidate is the photograph itself: how an image is stored says nothing about the answer.
    """
    count = bench.count(least=3)
    index, thing = bench.subject()
    others = bench.others(count - 2, thing.key, [index])
    reference, _ = close_up(bench, index, thing, "reference")

    def wandering(i: int) -> View:
        return wandered(bench.rng, TRIM).snapped(bench.pixels.size(i))

    def seen(i: int, view: View, role: Role) -> Shown:
        pixels = shrink(view.render(bench.pixels.full(i)), bench.recipe.side)
        return Shown(i, role, view.notes(bench.image(i).notes), pixels)

    views = bench.rng.random() < 0.5
    if views:
        tried = (wandering(index) for _ in range(20))
        view = next((view for view in tried if view.visible(thing.box) > 1 - 1e-9), View((0.0, 0.0, 1.0, 1.0)))
        holder, box = seen(index, view, "candidate"), view.box(thing.box)
        rest = [seen(other, wandering(other), "distractor") for other in others]
    else:
        holder, box, rest = bench.original(index), thing.box, bench.originals(others)
    return bench.draft(
        "refer", holder, rest, thing.label, [box], "same_object", first=reference, slots={"k": "1"}, other_view=views
    )


MAX_SHARED = 0.3  # IoU of the windows of two close-ups


def region(bench: Bench) -> Draft:
    """Image-1 is a photograph, the others are close-ups of its objects: where in Image-1 is one of them?

    The close-up that the question names has the role ``reference``.
    """
    count = bench.count()
    index, thing = bench.subject()
    asked, view = close_up(bench, index, thing, "reference")
    windows = [view.window]
    rest: list[Shown] = []
    spots = [key for key in bench.image(index).by_label if key != thing.key]
    for key in bench.rng.sample(spots, len(spots)):
        other = bench.pool.single(index, key)
        if other is None or len(rest) == count - 2:
            continue
        try:
            shown, view = close_up(bench, index, other, "distractor")
        except Drop:
            continue  # try another object
        if all(iou(view.window, window) <= MAX_SHARED for window in windows):
            rest.append(shown)
            windows.append(view.window)
    crops, place = bench.arranged(asked, rest)
    return Draft(
        (bench.original(index, "source"), *crops), "region", thing.label,
        (Target(image=1, box=thing.box, label=thing.label),), "part_of", image_hidden=False,
        slots={"k": str(place + 1)}, meta={"asked_image": place + 1},
    )  # fmt: skip


# Tasks that compare all images.

_DRAWS = 60


def common_object(bench: Bench) -> Draft:
    """Which object is in every image? One label is, once in each; the question names the image to answer for.

    For every other label of the pool, the annotation of at least one image says that it is absent.
    """
    count = bench.count()
    index, thing = bench.subject(least=count)
    chosen = [index]
    shared = bench.pool.possible(index)
    spots = bench.pool.singles[thing.key]
    for _ in range(_DRAWS):
        if len(chosen) == count:
            break
        other = bench.rng.choice(spots)[0]
        left = shared & bench.pool.possible(other)
        # The last image has to leave one label; before it, an image that narrows nothing is as good as another.
        if bench.apart(other, chosen) and (len(chosen) < count - 1 or left == {thing.key}):
            chosen.append(other)
            shared = left
    if len(chosen) < count:
        raise Drop("no set of images that share only this label")
    rest = bench.originals(chosen[1:], "candidate")
    holder = bench.original(index)
    return bench.draft("common_object", holder, rest, thing.label, [thing.box], "same_category", hidden=False)


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
    key, numbers = bench.rng.choice(list(options.items()))
    counts = bench.pool.counted[key]
    most = bench.rng.choice(numbers)
    index = bench.rng.choice(counts[most])
    fewer = [i for n, held in counts.items() if n < most for i in held]
    chosen = [index]
    for other in bench.rng.sample(fewer, min(len(fewer), 4 * count)):
        # One image in four may hold none; the choice would be too easy if most did.
        if len(chosen) < count and bench.apart(other, chosen) and bench.rng.random() < 0.75:
            chosen.append(other)
    if len(chosen) < 2:
        raise Drop("no second image with this label")
    chosen += bench.others(count - len(chosen), key, chosen)
    things = bench.image(index).named(key)
    label, boxes = things[0].label, [thing.box for thing in things]
    rest = bench.originals(chosen[1:])
    return bench.draft("counting", bench.original(index), rest, label, boxes, "same_category", counted=label)


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
        raise Drop("no object with another label in the image")
    partner = bench.rng.choice(partners)
    name = bench.image(index).named(partner)[0].label
    chosen = [index]
    for place in range(count - 1):
        wanted, other = (thing.key, partner) if place % 2 == 0 else (partner, thing.key)
        drawn = (bench.rng.choice(bench.pool.holders[wanted]) for _ in range(30))
        found = next((i for i in drawn if bench.apart(i, chosen) and bench.image(i).lacks(other)), None)
        if found is None:
            break
        chosen.append(found)
    if len(chosen) < 2:
        raise Drop("no image with only one of two labels")
    # The reasoning lists the objects of every image, and an image without objects would have "nothing" in it.
    chosen += bench.others(count - len(chosen), thing.key, chosen, partner, noted=True)
    return bench.draft(
        "reasoning_both", bench.original(index), bench.originals(chosen[1:]), thing.label, [thing.box],
        "same_category", slots={"other": name}, beside=name,
    )  # fmt: skip


def _larger(bench: Bench) -> Draft:
    """Two images or more show one object of a label; in one of them it takes far more of the image."""
    count = bench.count()
    index, thing = bench.subject(least=2)
    chosen = [index]
    spots = bench.pool.singles[thing.key]
    most = 1 + bench.rng.randint(1, count - 1)
    for other, number in bench.rng.sample(spots, min(len(spots), 60)):
        small = bench.image(other).things[number].area * LEAST_RATIO <= thing.area
        if small and bench.apart(other, chosen) and len(chosen) < most:
            chosen.append(other)
    if len(chosen) < 2:
        raise Drop("no image in which this object is clearly smaller")
    chosen += bench.others(count - len(chosen), thing.key, chosen)
    return bench.draft(
        "reasoning_larger", bench.original(index), bench.originals(chosen[1:]), thing.label, [thing.box],
        "same_category", compared=thing.label,
    )  # fmt: skip


# Tasks about an object that is marked in Image-1.


def correspondence(bench: Bench) -> Draft:
    """An object is marked in Image-1: which other image shows one of its category, and where? No third image does."""
    count = bench.count(least=3)
    index, thing = bench.subject(least=2)
    first, number = bench.rng.choice(bench.pool.singles[thing.key])
    if not bench.apart(first, [index]):
        raise Drop("both objects of this label are in one image, or images of one set")
    start = bench.image(first).things[number]
    rest = bench.originals(bench.others(count - 2, thing.key, [index, first]))
    return bench.draft(
        "correspondence", bench.original(index), rest, thing.label, [thing.box], "corresponds_to",
        first=bench.original(first, "reference"), slots={"box": box_markup(1, start.box)}, reference=start.label,
    )  # fmt: skip


def same_instance(bench: Bench) -> Draft:
    """An object is marked in Image-1: which other image shows this very object, and where? No third image does.

    Objects are the same one if their annotation gives them one ``instance_id``, as a person in the pictures of two
    cameras. Other images may show other objects of the same label, and are preferred if they do.
    """
    count = bench.count(least=3)
    instances = bench.pool.instances
    if not instances:
        raise Drop("no object has the same instance_id in two images")
    found = instances if bench.cell is None else bench.pool.instance_cells[bench.cell]
    if not found:
        raise Drop("no such object in this part of an image")
    identity = bench.rng.choice(list(found))
    index, number = bench.rng.choice(found[identity])
    thing = bench.image(index).things[number]
    first, start = bench.rng.choice([spot for spot in instances[identity] if spot[0] != index])
    # Images of one family are used together: they may be cameras of one scene.
    taken = {first, index}
    rest: list[Shown] = []
    for _ in range(count - 2):
        other = bench.drawn(
            [thing.key], lambda i: i not in taken and bench.image(i).lacks_instance(identity), thing.key
        )
        if other is None:
            raise Drop("too few images that are known not to show this object")
        taken.add(other)
        rest.append(bench.original(other, "distractor"))
    box = bench.image(first).things[start].box
    return bench.draft(
        "same_instance", bench.original(index), rest, thing.label, [thing.box], "same_object",
        first=bench.original(first, "reference"), slots={"box": box_markup(1, box)}, instance=identity[1],
    )  # fmt: skip


_BUILDERS: tuple[Callable[[Bench], Draft], ...] = (
    common_object, group_grounding, refer, region, difference, view_difference, object_tracking, correspondence,
    same_instance, multi_target, none, counting, reasoning,
)  # fmt: skip
TASKS = {build.__name__: build for build in _BUILDERS}
