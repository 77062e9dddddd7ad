"""The parts of a reward: does the completion keep the format, name the right images, and put boxes on the targets?

Predicted and true boxes are matched one to one so that the sum of shaped IoUs is largest; the sum is divided by the
larger of the two counts, so a missing box and a superfluous one cost the same, and an extra wrong box never helps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mirg.answers.read import ReadBox, Reading
from mirg.geometry import Box, box_problem, iou_matrix
from mirg.samples.schema import Target

Shape = Callable[[float], float]

PER_PAIR = 0.25  # partial credit for each of the two blocks whose tags are well paired
# Below the first an overlap is chance, above the second it is within the annotators' own spread (MG-Thinker).
DUAL_LOW, DUAL_HIGH = 0.1, 0.9
# A sum of IoUs this close to the count is the best there is; fractions differ from it by rounding only.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Part:
    """``value`` is finite and in [0, 1]; ``reason`` is a non-empty text exactly where ``value`` < 1."""

    value: float
    reason: str | None = None


BEST = Part(1.0)


def format_part(reading: Reading, *, partial: bool = False) -> Part:
    """1 where the format is kept, else 0; with ``partial``, 0.25 for each well-paired block (so 0.5 at most)."""
    if reading.format_score >= 1.0:
        return BEST
    value = PER_PAIR * reading.paired_tags if partial else 0.0
    return Part(value, reading.format_reason or "the format is not kept")


def image_part(reading: Reading, true_images: frozenset[int]) -> Part:
    """Jaccard index of the set of images named and the set of images true (method: image reward).

    One image against one image is right (1) or wrong (0); ``none`` against no target is 1. A box names its image even
    where the box itself is bad; an unreadable answer names none and earns 0.
    """
    if reading.failure is not None:
        return Part(0.0, reading.failure)
    named = named_images(reading)
    if named == true_images:
        return BEST
    both, either = len(named & true_images), len(named | true_images)
    return Part(both / either, f"named {_names(named)}, true is {_names(true_images)}")


def named_images(reading: Reading) -> frozenset[int]:
    """The set of image numbers that an answer names; a box that names none counts as image 0."""
    return frozenset([box.image for box in reading.boxes])


def object_part(
    reading: Reading, targets: Sequence[Target], *, inside_images: bool = True, shape: Shape = float
) -> Part:
    """Sum of shaped IoUs of matched pairs / max(|P|, |T|), in [0, 1].

    ``inside_images``: pairs are matched inside each image, so a box in the wrong image gets no reward; otherwise over
    all boxes in any image (UniVG-R1, VLM-R1). Bad boxes match nothing and still count in |P|. No target:
    ``none`` earns 1, any box 0.
    """
    boxes = reading.boxes
    if reading.failure is not None:
        return Part(0.0, reading.failure)
    if not boxes or not targets:
        if boxes:
            return Part(0.0, "a box, but there is no target")
        return Part(0.0, f"answered none for {_count(len(targets), 'target')}") if targets else BEST
    if inside_images:
        usable = [(b.image, b.box) for b in boxes if b.problem is None]
        groups = [
            ([box for of, box in usable if of == image], [t.box for t in targets if t.image == image])
            for image in {target.image for target in targets}
        ]
    else:  # proper boxes in any image, also in one that does not exist
        groups = [([b.box for b in boxes if b.problem is None or box_problem(b.box) is None], [t.box for t in targets])]
    total = math.fsum(best_sum(predicted, true, shape) for predicted, true in groups)
    value = min(total / max(len(boxes), len(targets)), 1.0)
    return BEST if value >= 1.0 - _ROUNDING else Part(value, _reason(boxes, targets, value, inside_images))


def dual_threshold(iou: float) -> float:
    """1 from IoU 0.9, 0 up to IoU 0.1, the IoU between."""
    if iou >= DUAL_HIGH:
        return 1.0
    return 0.0 if iou <= DUAL_LOW else iou


def best_sum(predicted: Sequence[Box], true: Sequence[Box], shape: Shape) -> float:
    """The largest sum of shaped IoUs of a one-to-one matching.

    Matched on the shaped values, so that the result does not depend on how ties of the raw IoU are broken.
    """
    if not predicted or not true:
        return 0.0
    if len(predicted) == len(true) == 1:
        return shape(pair_iou(predicted[0], true[0]))
    if len(predicted) == 1 or len(true) == 1:
        return max(shape(pair_iou(p, t)) for p in predicted for t in true)
    from scipy.optimize import linear_sum_assignment  # 0.2 s to import, needed only by several boxes

    ious = iou_matrix(predicted, true)
    shaped = [[shape(v) for v in row] for row in ious.tolist()]
    rows, columns = linear_sum_assignment(shaped, maximize=True)
    return math.fsum(shaped[i][j] for i, j in zip(rows.tolist(), columns.tolist(), strict=True))


def pair_iou(a: Box, b: Box) -> float:
    """IoU of two proper boxes in plain Python: equals :func:`mirg.geometry.iou`, ten times as fast for one pair."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    inter = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return min(inter / union, 1.0) if union > 0.0 else 0.0


def _reason(boxes: Sequence[ReadBox], targets: Sequence[Target], value: float, inside_images: bool) -> str:
    bad = next((b for b in boxes if b.problem), None)
    if bad is not None and (inside_images or box_problem(bad.box)):
        return f"box in Image-{bad.image}: {bad.problem}" if bad.image else f"a box: {bad.problem}"
    if len(boxes) != len(targets):
        return f"{_count(len(boxes), 'box')} for {_count(len(targets), 'target')}, score {value:.2f}"
    if inside_images and not {t.image for t in targets} & {b.image for b in boxes}:
        return "no box in the right image"
    return f"overlap (IoU) scores {value:.2f}"


def _count(n: int, what: str) -> str:
    plural = {"box": "boxes"}.get(what, f"{what}s")
    return f"{n} {what if n == 1 else plural}"


def _names(images: Iterable[int]) -> str:
    ordered = sorted(images)
    shown = ", ".join(f"Image-{n}" if n else "no image" for n in ordered[:8])
    return f"{shown}, …" if len(ordered) > 8 else shown or "none"
