"""correspondence: an object is marked in Image-1; which other image holds one of its category, and where?"""

from __future__ import annotations

from mirg.answers.markup import box_markup
from mirg.data.compose.bench import Bench
from mirg.data.compose.draft import Draft, Drop, target


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; the answer is never in Image-1, no third image holds the category."""
    count = bench.count(least=3)
    index, thing = bench.subject(least=2)
    spots = bench.pool.singles[thing.key]
    first, number = spots[bench.rng.randrange(len(spots))]
    if bench.image(first).family == bench.image(index).family:
        raise Drop("both objects of this label are in one image, or images of one set")
    start = bench.image(first).things[number]
    others = bench.others(count - 2, like=thing.key, avoid=[thing.key], used=[index, first])
    rest = [bench.original(other, "distractor") for other in others]
    images, place = bench.arranged(bench.original(index), rest)
    return Draft(
        task="correspondence", images=(bench.original(first, "reference"), *images), kind="correspondence",
        subject=thing.label, targets=(target(place + 1, thing.box, thing.label),), relation="corresponds_to",
        image_hidden=True, choices=count - 1, slots={"box": box_markup(1, start.box)},
        meta={"reference": start.label},
    )  # fmt: skip
