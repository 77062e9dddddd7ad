"""same_instance: an object is marked in Image-1; which other image shows this very object, and where?

Objects are the same one if their annotation gives them one ``instance_id``: a person before another camera, a car in
another photograph. Other images may show objects of the same label, which are annotated as other ones.
"""

from __future__ import annotations

from mirg.answers.markup import box_markup
from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, target
from mirg.data.compose.pool import CELLS, Identity, PoolImage, Spot


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; the object is once in Image-1, once in one other image, and in no third one."""
    count = bench.count(least=3)
    identity, (index, number) = _subject(bench)
    thing = bench.image(index).things[number]
    spots = [spot for spot in bench.pool.instances[identity] if spot[0] != index]
    first, start = spots[bench.rng.randrange(len(spots))]
    used = {first, index}
    rest = [bench.original(_other(bench, identity, used), "distractor") for _ in range(count - 2)]
    images, place = bench.arranged(bench.original(index), rest)
    return Draft(
        task="same_instance", images=(bench.original(first, "reference"), *images), kind="same_instance",
        subject=thing.label, targets=(target(place + 1, thing.box, thing.label),), relation="same_object",
        image_hidden=True, choices=count - 1,
        slots={"box": box_markup(1, bench.image(first).things[start].box)}, meta={"instance": identity[1]},
    )  # fmt: skip


def _subject(bench: Bench) -> tuple[Identity, Spot]:
    """An object and the image that is the answer; Drop if no object is identified in two images."""
    pool = bench.pool
    found = pool.instances if bench.cell_turn is None else pool.instance_cells[int(bench.cell_turn * CELLS)]
    if not pool.instances:
        raise Drop("no object has the same instance_id in two images")
    if not found:
        raise Drop("no such object in this part of an image")
    identity = list(found)[bench.rng.randrange(len(found))]
    return identity, found[identity][bench.rng.randrange(len(found[identity]))]


def _other(bench: Bench, identity: Identity, used: set[int]) -> int:
    """An image that does not show the object, preferably one with others of its label; it is added to ``used``.

    Images of one family are used together: they may be cameras of one scene.
    """
    taken = {bench.image(index).key for index in used}

    def allowed(image: PoolImage) -> bool:
        return image.key not in taken and image.lacks_instance(identity)

    index = bench.drawn([identity[2]], allowed, identity[2])
    if index is None:
        raise Drop("too few images that are known not to show this object")
    used.add(index)
    return index
