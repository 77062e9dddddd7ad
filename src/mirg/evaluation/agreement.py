"""How far an answer agrees with the truth: the three readings of "right" (``docs/concepts/metrics.md``).

P are the answered boxes, T the true ones, each an (image, box) pair; boxes are fractions of the original image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirg.geometry import Box, Boxes, box_problem, iou_matrix, match_ious
from mirg.rewards.parts import pair_iou

Placed = tuple[int, Box]  # (image number from 1, box)
JOINT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Agreement:
    """``iou``: matched over all boxes of all images, / max(|P|, |T|); ``worst``: the least IoU of the pairs.

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
    if len(predicted) == len(true) == 1:  # nearly always, at a fifth of the time
        (image, box), (true_image, true_box) = predicted[0], true[0]
        value = 0.0 if box_problem(box) else pair_iou(box, true_box)
        return Agreement(value, value, image == true_image, image == true_image and value >= JOINT_THRESHOLD)
    said_P, true_T = [image for image, _ in predicted], [image for image, _ in true]
    return agree_by_iou(said_P, true_T, iou_of_answer([box for _, box in predicted], [box for _, box in true]))


def iou_of_answer(predicted: Sequence[Box], true: Sequence[Box] | Boxes) -> NDArray[np.float64]:
    """IoU of every answered box with every true one, shape (P, T); 0 if the answered box is invalid."""
    iou_PT = iou_matrix(predicted, true)
    iou_PT[[box_problem(box) is not None for box in predicted]] = 0.0
    return iou_PT


def agree_by_iou(said_P: Sequence[int], true_T: Sequence[int], iou_PT: NDArray[np.float64]) -> Agreement:
    """:func:`agree` for the images named, the images true, and what :func:`iou_of_answer` says about their boxes."""
    images = set(said_P) == set(true_T)
    if not said_P or not true_T:
        right = not said_P and not true_T
        return Agreement(iou=float(right), worst=float(right), images=images, joint=right)
    total, worst = _scores(iou_PT)
    joint = images and all(_worst_inside(image, said_P, true_T, iou_PT) >= JOINT_THRESHOLD for image in set(true_T))
    return Agreement(iou=total, worst=worst, images=images, joint=joint)


def _scores(iou_PT: NDArray[np.float64]) -> tuple[float, float]:
    """Sum of the matched IoUs over the larger number of boxes, and the least of them (0: a box has no partner)."""
    n_predicted, n_true = iou_PT.shape
    ious = [value for _, _, value in match_ious(iou_PT)]
    complete = n_predicted == n_true == len(ious)
    return math.fsum(ious) / max(n_predicted, n_true), min(ious) if complete else 0.0


def _worst_inside(image: int, said_P: Sequence[int], true_T: Sequence[int], iou_PT: NDArray[np.float64]) -> float:
    rows = [p for p, where in enumerate(said_P) if where == image]
    columns = [t for t, where in enumerate(true_T) if where == image]
    return _scores(iou_PT[np.ix_(rows, columns)])[1] if len(rows) == len(columns) else 0.0
