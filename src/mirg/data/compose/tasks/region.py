"""region: Image-1 is a photograph, the others are close-ups of its objects; where in Image-1 is one of them?"""

from __future__ import annotations

from mirg.data.compose.bench import Bench
from mirg.data.compose.closeup import close_up
from mirg.data.compose.draft import Draft, Drop, target
from mirg.geometry import iou

MAX_SHARED = 0.3  # IoU of the windows of two close-ups


def make(bench: Bench) -> Draft:
    """Draw one sample of the task; the close-up that is asked for has the role ``reference``."""
    count = bench.count()
    index, thing = bench.subject()
    asked, view = close_up(bench, index, thing, "reference")
    windows = [view.window]
    rest = []
    spots = [key for key in bench.image(index).by_label if key != thing.key]
    for key in bench.rng.sample(spots, len(spots)):
        other = bench.pool.single(index, key)
        if other is None or len(rest) == count - 2:
            continue
        try:
            shown, view = close_up(bench, index, other, "distractor")
        except Drop:
            continue  # another object serves
        if all(iou(view.window, window) <= MAX_SHARED for window in windows):
            rest.append(shown)
            windows.append(view.window)
    crops, place = bench.arranged(asked, rest)
    return Draft(
        task="region", images=(bench.original(index, "source"), *crops), kind="region", subject=thing.label,
        targets=(target(1, thing.box, thing.label),), relation="part_of", image_hidden=False,
        choices=1, slots={"k": str(place + 1)}, meta={"asked_image": place + 1},
    )  # fmt: skip
