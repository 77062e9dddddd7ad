"""How far an answer agrees with the truth: the three readings of "right" (``docs/concepts/metrics.md``).

P are the answered boxes, T the true ones, each an (image, box) pair; boxes are fractions of the original image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mirg.geometry import Box, box_problem, match

Placed = tuple[int, Box]  # (image number from 1, box)
JOINT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Agreement:
    """``iou``: matched over all boxes whatever image, / max(|P|, |T|); ``worst``: the least IoU of the pairs.

    ``worst`` is 0 unless |P| == |T| and every box has a partner; "none" answered rightly has 1 in both.
    ``images``: the set of images named is the set true. ``joint``: that, and every pair, matched inside its image,
    has IoU >= 0.5.
    """

    iou: float
    worst: float
    images: bool
    joint: bool

    def at(self, threshold: float) -> bool:
        """Acc@threshold of this item: as many boxes as targets, every pair with IoU >= threshold, any image."""
        return self.worst >= threshold


NOTHING = Agreement(iou=0.0, worst=0.0, images=False, joint=False)


def agree(predicted: Sequence[Placed], true: Sequence[Placed]) -> Agreement:
    """Compare an answer that was read (an empty one says "none") with the truth.

    A box that is no proper box inside its image matches nothing and still counts in |P|. An image number that does
    not exist spoils ``images`` and ``joint`` only.
    """
    images = {image for image, _ in predicted} == {image for image, _ in true}
    if not predicted or not true:
        right = not predicted and not true
        return Agreement(iou=float(right), worst=float(right), images=images, joint=right)
    pairs = match(_proper([box for _, box in predicted]), [box for _, box in true])
    total, worst = _scores(pairs, len(predicted), len(true))
    joint = images and all(_right_inside(image, predicted, true) for image in {image for image, _ in true})
    return Agreement(iou=total, worst=worst, images=images, joint=joint)


def _proper(boxes: Sequence[Box]) -> list[Box]:
    return [box for box in boxes if box_problem(box) is None]


def _scores(pairs: Sequence[tuple[int, int, float]], n_predicted: int, n_true: int) -> tuple[float, float]:
    ious = [iou for _, _, iou in pairs]
    complete = n_predicted == n_true == len(ious)
    return math.fsum(ious) / max(n_predicted, n_true), min(ious) if complete else 0.0


def _right_inside(image: int, predicted: Sequence[Placed], true: Sequence[Placed]) -> bool:
    answered = [box for where, box in predicted if where == image]
    wanted = [box for where, box in true if where == image]
    pairs = match(_proper(answered), wanted)
    return _scores(pairs, len(answered), len(wanted))[1] >= JOINT_THRESHOLD
