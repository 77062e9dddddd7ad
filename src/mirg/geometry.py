"""Boxes as arrays: IoU, clipping and one-to-one matching.

A box is ``(x1, y1, x2, y2)`` with ``x1 < x2`` and ``y1 < y2``; arrays of boxes have shape ``(N, 4)``, float64.
Nothing here knows a coordinate frame: both sides of a comparison must be in the same one (``mirg.frames``).
Every function is finite by contract: a box that :func:`box_problem` rejects overlaps nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float64]

# Rounding a fraction to a coordinate grid and back may leave the image by one part in 10^9.
EDGE_TOLERANCE = 1e-9
# Up to this many pairs of boxes are compared one by one, which is faster than arrays.
FEW_PAIRS = 12


def box_problem(box: Sequence[float], *, width: float = 1.0, height: float = 1.0) -> str | None:
    """Say why ``box`` is not a box inside a ``width`` x ``height`` image, or None if it is.

    >>> box_problem((0.5, 0.1, 0.2, 0.9))
    'inverted'
    """
    if len(box) != 4:
        return "non-finite"
    x1, y1, x2, y2 = box
    if 0.0 <= x1 < x2 <= width and 0.0 <= y1 < y2 <= height:  # nearly always, at a third of the time
        return None
    if not all(math.isfinite(v) for v in box):
        return "non-finite"
    if x2 < x1 or y2 < y1:
        return "inverted"
    if x2 == x1 or y2 == y1:
        return "empty"
    if x1 < -EDGE_TOLERANCE or y1 < -EDGE_TOLERANCE or x2 > width + EDGE_TOLERANCE or y2 > height + EDGE_TOLERANCE:
        return "outside"
    return None


def as_boxes(boxes: Sequence[Sequence[float]] | Boxes) -> Boxes:
    """Boxes as a float64 array of shape (N, 4); an empty list gives (0, 4)."""
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def area(boxes_N4: Boxes) -> NDArray[np.float64]:
    """Areas, shape (N,); inverted or non-finite boxes have area 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        width = boxes_N4[:, 2] - boxes_N4[:, 0]
        height = boxes_N4[:, 3] - boxes_N4[:, 1]
        product = np.clip(width, 0.0, None) * np.clip(height, 0.0, None)
    return np.where(np.isfinite(product), product, 0.0)


def iou_matrix(a: Sequence[Sequence[float]] | Boxes, b: Sequence[Sequence[float]] | Boxes) -> NDArray[np.float64]:
    """Pairwise intersection over union, shape (N, M), in [0, 1]; continuous coordinates (no +1)."""
    if 0 < len(a) * len(b) <= FEW_PAIRS:
        return np.array([[iou(one, other) for other in b] for one in a])
    return _iou_arrays(as_boxes(a), as_boxes(b))


def _iou_arrays(a_N4: Boxes, b_M4: Boxes) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        low = np.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
        high = np.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:])
        side = np.clip(high - low, 0.0, None)
        inter = side[..., 0] * side[..., 1]
        union = area(a_N4)[:, None] + area(b_M4)[None, :] - inter
        iou = inter / union
    # A box with no area is not a box: it may lie inside another one and still overlaps nothing.
    proper = (area(a_N4) > 0)[:, None] & (area(b_M4) > 0)[None, :]
    return np.where(proper & np.isfinite(iou), np.clip(iou, 0.0, 1.0), 0.0)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes in the same frame, in [0, 1].

    >>> round(iou((0, 0, 2, 2), (1, 1, 3, 3)), 4)
    0.1429
    """
    ax1, ay1, ax2, ay2 = (float(v) for v in a)
    bx1, by1, bx2, by2 = (float(v) for v in b)
    area_a, area_b = (ax2 - ax1) * (ay2 - ay1), (bx2 - bx1) * (by2 - by1)
    proper = ax1 < ax2 and ay1 < ay2 and bx1 < bx2 and by1 < by2
    if not (proper and area_a > 0.0 and area_b > 0.0 and math.isfinite(area_a + area_b)):
        return float(_iou_arrays(as_boxes([a]), as_boxes([b]))[0, 0])
    # The same operations in the same order as there, without the arrays, which cost ten times as much for one pair.
    width, height = min(ax2, bx2) - max(ax1, bx1), min(ay2, by2) - max(ay1, by1)
    inter = max(width, 0.0) * max(height, 0.0)
    return min(inter / (area_a + area_b - inter), 1.0)


def share_inside(box: Box, window: Box) -> float:
    """The share of ``box`` that lies in ``window``, 0 to 1; both in one frame.

    >>> share_inside((0, 0, 2, 2), (1, 0, 3, 3))
    0.5
    """
    wide = min(box[2], window[2]) - max(box[0], window[0])
    high = min(box[3], window[3]) - max(box[1], window[1])
    return max(wide, 0.0) * max(high, 0.0) / ((box[2] - box[0]) * (box[3] - box[1]))


def match(
    predicted: Sequence[Sequence[float]] | Boxes, true: Sequence[Sequence[float]] | Boxes
) -> list[tuple[int, int, float]]:
    """Optimal one-to-one matching (Hungarian) that maximises the sum of IoUs.

    Returns ``(predicted index, true index, IoU)`` for every pair that overlaps, in the order of ``predicted``.
    """
    return match_ious(iou_matrix(predicted, true))


def match_ious(iou_PT: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """:func:`match` for IoUs that are known already, shape (predicted, true)."""
    if iou_PT.size == 0:
        return []
    if iou_PT.size == 1:
        pairs = [(0, 0)]
    else:
        from scipy.optimize import linear_sum_assignment  # 0.2 s to import, needed only by several boxes

        rows, columns = linear_sum_assignment(iou_PT, maximize=True)
        pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    return [(i, j, float(iou_PT[i, j])) for i, j in pairs if iou_PT[i, j] > 0.0]


def clip(box: Sequence[float]) -> Box:
    """The part of ``box``, in fractions, inside its image; it may be empty (see :func:`box_problem`)."""
    x1, y1, x2, y2 = (min(max(float(v), 0.0), 1.0) for v in box)
    return (x1, y1, x2, y2)
