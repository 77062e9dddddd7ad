"""One answer out of several to the same question: the majority over the images, then the box that most of them share.

Self-consistency (Wang et al., arXiv 2203.11171) takes the most frequent answer. Boxes are hardly ever equal, so among
the answers that name the most frequent set of images the one with the least Bayes risk is taken (Kumar and Byrne,
"Minimum Bayes-Risk Decoding for Statistical Machine Translation", HLT-NAACL 2004) for the metric joint Acc@0.5: the
answer with which most of them agree at IoU 0.5, and of these the one with the largest sum of IoUs. With one box per
answer that is the medoid of the densest group. The result is one of the answers, never a mean of boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirg.evaluation.agreement import JOINT_THRESHOLD, Placed, agree_by_iou
from mirg.geometry import box_problem, iou_matrix

Answer = tuple[Placed, ...] | None  # the boxes of an answer, () for "none", None if it cannot be read


class Pairs(NamedTuple):
    """K answers compared with each other, each shape (K, K), symmetric.

    ``images``: both name the same set of images. ``iou``: matched inside the images, over the larger number of boxes.
    ``joint``: the same images, and every matched pair of boxes has IoU >= 0.5. An unreadable answer agrees with none.
    """

    images: NDArray[np.bool_]
    iou: NDArray[np.float64]
    joint: NDArray[np.bool_]


def compare_answers(answers: Sequence[Answer]) -> Pairs:
    """Every answer compared with every other one, and with itself."""
    placed = [place for answer in answers for place in answer or ()]
    starts = np.cumsum([0, *(len(answer or ()) for answer in answers)]).tolist()
    parts = [slice(*ends) for ends in pairwise(starts)]
    images = [image for image, _ in placed]
    iou = iou_matrix([box for _, box in placed], [box for _, box in placed])
    bad = [box_problem(box) is not None for _, box in placed]
    iou[bad], iou[:, bad] = 0.0, 0.0
    iou[np.not_equal.outer(images, images)] = 0.0
    found = np.zeros((3, len(answers), len(answers)))
    for a, first in enumerate(answers):
        for b, other in enumerate(answers[: a + 1]):
            if first is None or other is None:
                continue
            here, there = images[parts[a]], images[parts[b]]
            if len(here) == len(there) == 1:  # nearly always, at a twentieth of the time
                value = iou[starts[a], starts[b]]
                found[:, a, b] = found[:, b, a] = here == there, value, here == there and value >= JOINT_THRESHOLD
            else:
                one = agree_by_iou(here, there, iou[parts[a], parts[b]])
                found[:, a, b] = found[:, b, a] = one.images, one.iou, one.joint
    return Pairs(found[0].astype(bool), found[1], found[2].astype(bool))


def majority(answers: Sequence[Answer]) -> int:
    """The index of the majority answer; 0 if no answer can be read.

    Unreadable answers have no vote. Ties are broken by the next criterion, in the end by the numbers in the answer, so
    the order of the answers decides only between equal ones.
    """
    pairs = compare_answers(answers)

    def rank(index: int) -> tuple[int, int, float, list[Placed], int]:
        same = pairs.images[index]
        shared = math.fsum(pairs.iou[index][same])
        return -int(same.sum()), -int(pairs.joint[index].sum()), -shared, sorted(answers[index] or ()), index

    readable = [index for index, answer in enumerate(answers) if answer is not None]
    return min(readable, key=rank, default=0)


def spread(answers: Sequence[Answer]) -> tuple[float, float]:
    """Over all pairs of the K > 1 answers: the share that names the same images, and the mean IoU inside the images."""
    pairs = compare_answers(answers)
    upper = np.triu_indices(len(answers), 1)
    return float(pairs.images[upper].mean()), float(pairs.iou[upper].mean())
