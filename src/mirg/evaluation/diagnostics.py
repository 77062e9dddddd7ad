"""Why a model goes wrong, as numbers and sentences: preferred positions, boxes in a wrong frame, long answers.

It adds to :mod:`mirg.evaluation.failures`, which counts the images confused. What each number means:
``docs/concepts/metrics.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mirg.evaluation.agreement import JOINT_THRESHOLD
from mirg.evaluation.failures import NONE, true_box_ious
from mirg.evaluation.intervals import LEVEL, Floats, mean_intervals, paired_difference
from mirg.evaluation.records import Record
from mirg.geometry import area, as_boxes, iou

THRESHOLDS = (0.3, 0.5, 0.7)
SIZE_CUTS = (0.01, 0.1)  # of the image: a small box covers less than 1 %, a large one 10 % or more
LENGTH_BINS = 5
SIDES = ("left", "top", "right", "bottom")
CLEAR_PREFERENCE = 0.02  # of the items; less is no preference worth a sentence, however sure it is
CLEAR_SHIFT = 0.05  # of the width or height of the true box
CLEAR_GAIN = 0.05  # mean IoU that another frame must gain before it is reported
FEWEST_PAIRS = 20  # boxes, below which nothing is said about their edges and their frame
_FAR = 10.0  # images; answers with coordinates beyond it are all equally wrong
_NEAR_ORIGIN = 0.05
_AXES = ((0, 2, "width", "to the right", "to the left"), (1, 3, "height", "too low", "too high"))
Block = Mapping[str, Any]


class Pairs(NamedTuple):
    """The answered and the true boxes (N, 4) of answers with one box, in the image of the only target; fractions."""

    answered_N4: Floats
    true_N4: Floats
    sets: list[str]


def diagnostics(
    records: Sequence[Record], failed: Block, *, length_edges: Sequence[int] | None = None
) -> dict[str, Any]:
    """Everything below as JSON-ready data; ``failed`` are the :func:`mirg.evaluation.failures.failures` of ``records``.

    ``findings``: what is clear, as sentences; ``thresholds`` and ``iou_by_size``: :func:`box_quality`; ``edges``:
    :func:`edge_errors`; ``frame``: :func:`frame_error`; ``by_length``: :func:`by_length`. ``length_edges`` are those
    of :func:`length_edges_of`, of all models if several are compared.
    """
    pairs = pairs_of(records)
    edges, frame = edge_errors(pairs), frame_error(pairs)
    lengths = length_edges_of(records) if length_edges is None else length_edges
    shifted = [] if frame or edges is None else _shifts(edges)
    return {
        "findings": [*_preferred(failed["named"]), *([frame["words"]] if frame else []), *shifted],
        **box_quality(records),
        "edges": edges,
        "frame": frame,
        "by_length": by_length(records, lengths),
    }


def box_quality(records: Sequence[Record]) -> dict[str, list[dict[str, Any]]]:
    """How reliable a box is once the images are right: over the true boxes of answers that name the right images.

    ``thresholds``: the ``share`` of boxes with IoU >= ``iou_from``. ``iou_by_size``: ``mean_iou`` and the share
    ``at_50`` of boxes that cover ``area_from`` <= a < ``area_to`` of their image (:data:`SIZE_CUTS`).
    """
    right = [record for record in records if record.image_correct and record.targets]
    if not right:
        return {"thresholds": [], "iou_by_size": []}
    iou_N = np.array([value for record in right for value in true_box_ious(record)])
    area_N = area(as_boxes([target.box for record in right for target in record.targets]))
    sets_N = np.array([record.image_set for record in right for _ in record.targets], dtype=object)
    reached_NT = (iou_N[:, None] >= np.array(THRESHOLDS)).astype(np.float64)
    shares = zip(THRESHOLDS, mean_intervals(reached_NT, sets_N.tolist()), strict=True)
    sizes = []
    for low, high in pairwise((0.0, *SIZE_CUTS, 1.0)):
        inside_N = (area_N >= low) & ((area_N < high) | (high == 1.0))
        if not inside_N.any():
            continue
        values_N2 = np.stack([iou_N, (iou_N >= JOINT_THRESHOLD).astype(np.float64)], axis=1)[inside_N]
        mean, at_50 = (found.cell() for found in mean_intervals(values_N2, sets_N[inside_N].tolist()))
        row = {"area_from": low, "area_to": high, "n": int(inside_N.sum()), "mean_iou": mean, "at_50": at_50}
        sizes.append(row)
    return {
        "thresholds": [{"iou_from": t, "n": len(iou_N), "share": share.cell()} for t, share in shares],
        "iou_by_size": sizes,
    }


def pairs_of(records: Sequence[Record]) -> Pairs:
    """The boxes that can be compared edge by edge, also those that reach out of their image.

    Empty if they are fewer than :data:`FEWEST_PAIRS`, or all of one image set.
    """
    found = [
        (record.predicted[0].box, record.targets[0].box, record.image_set)
        for record in records
        if len(record.targets) == len(record.predicted) == 1
        and record.predicted[0].image == record.targets[0].image
        and record.predicted[0].problem in (None, "outside")
    ]
    if len(found) < FEWEST_PAIRS or len({key for _, _, key in found}) == 1:
        found = []
    answered_N4, true_N4 = as_boxes([row[0] for row in found]), as_boxes([row[1] for row in found])
    return Pairs(np.clip(answered_N4, -_FAR, _FAR), true_N4, [key for _, _, key in found])


def edge_errors(pairs: Pairs) -> dict[str, Any] | None:
    """Mean signed error of each side, answered minus true, as a share of the width (left, right) or height of the box.

    Positive is to the right or downwards. An error beyond the size of the box counts as ±1, so that boxes that miss
    altogether do not decide. None if there are no pairs.
    """
    if not pairs.sets:
        return None
    true_N4 = pairs.true_N4
    error_N4 = np.clip((pairs.answered_N4 - true_N4) / _sizes(true_N4), -1.0, 1.0)
    found = mean_intervals(error_N4, pairs.sets, shares=False)
    return {"n": len(pairs.sets), **{side: found[k].cell() for k, side in enumerate(SIDES)}}


def frame_error(pairs: Pairs) -> dict[str, Any] | None:
    """A sign that the answered boxes are in another coordinate frame: a simple correction of all of them helps.

    ``kind`` is "scaled" (x and y times a factor each), "shifted" (x and y plus a share of the image each) or
    "exchanged" (x and y); ``numbers`` are the factors or shares, medians over the edges. ``before`` and ``after`` are
    the mean IoU without and with the correction, ``gain`` is their paired difference. None unless the gain is at least
    :data:`CLEAR_GAIN`, its interval is above 0, a shift by a share of the size of each box does not explain it
    as well, and corrected centres follow the true ones (correlation at least 0.5), which a guess cannot reach.
    """
    if not pairs.sets:
        return None
    true_N4 = pairs.true_N4
    before_N = _ious(pairs.answered_N4, true_N4)
    best, best_N = _Correction("", (), pairs.answered_N4, ""), before_N
    for correction in _corrections(pairs):
        after_N = _ious(correction.boxes_N4, true_N4)
        if after_N.mean() > best_N.mean() and _correlation(correction.boxes_N4, true_N4) >= 0.5:
            best, best_N = correction, after_N
    before, after = float(before_N.mean()), float(best_N.mean())
    if not best.words or after - before < CLEAR_GAIN:
        return None
    gain = paired_difference(before_N, best_N, pairs.sets)
    if gain.low <= 0.0:
        return None
    words = (
        f"The boxes seem to be in another coordinate frame: {best.words} "
        f"The mean IoU of {len(pairs.sets):,} answers with one box in the right image would rise from "
        f"{100 * before:.1f} to {100 * after:.1f} ({_signed(gain.cell())}). Check the family and the pixel limits."
    )
    found = {"kind": best.kind, "numbers": list(best.numbers), "before": before, "after": after, "gain": gain.cell()}
    return {"n": len(pairs.sets), **found, "words": words}


class _Correction(NamedTuple):
    """Boxes (N, 4) as they would be in the right frame; without ``words``, they are only a rival explanation."""

    kind: str
    numbers: tuple[float, ...]
    boxes_N4: Floats
    words: str


def _corrections(pairs: Pairs) -> list[_Correction]:
    answered_N4, true_N4 = pairs.answered_N4, pairs.true_N4
    size_N4 = _sizes(true_N4)
    own = _per_axis((answered_N4 - true_N4) / size_N4)
    shift = _per_axis(answered_N4 - true_N4)
    far = true_N4 > _NEAR_ORIGIN  # a quotient of small numbers says nothing
    scale = [v if v > 0.0 else 1.0 for v in _per_axis(np.where(far, answered_N4 / np.where(far, true_N4, 1.0), np.nan))]
    x, y = (f"{100 * abs(v):.0f} % too far {'right' if v > 0 else 'left'}" for v in shift)
    y = y.replace("right", "down").replace("left", "up")
    return [
        _Correction("own size", (), answered_N4 - np.tile(own, 2) * size_N4, ""),
        _Correction(
            "scaled",
            tuple(scale),
            answered_N4 / np.tile(scale, 2),
            f"x is {scale[0]:.2f} times and y {scale[1]:.2f} times what it should be.",
        ),
        _Correction("shifted", tuple(shift), answered_N4 - np.tile(shift, 2), f"they lie {x} and {y} in the image."),
        _Correction("exchanged", (), answered_N4[:, [1, 0, 3, 2]], "x and y are exchanged."),
    ]


def _per_axis(values_N4: Floats) -> list[float]:
    """The medians over all x and over all y, so that single misses do not count; 0 without a number."""
    axes = (values_N4[:, axis::2][np.isfinite(values_N4[:, axis::2])] for axis in (0, 1))
    return [float(np.median(values)) if len(values) else 0.0 for values in axes]


def _sizes(boxes_N4: Floats) -> Floats:
    """Width, height, width, height of every box, shape (N, 4)."""
    return np.tile(boxes_N4[:, 2:] - boxes_N4[:, :2], 2)


def by_length(records: Sequence[Record], edges: Sequence[int]) -> list[dict[str, Any]]:
    """Joint accuracy, and the share ``cut_off`` at the token limit, of answers by their length.

    A group has ``tokens_from`` <= tokens < ``tokens_to``, which is None in the last group; empty groups are left out.
    """
    tokens_N = np.array([record.completion_tokens for record in records])
    place_N = np.searchsorted(edges, tokens_N, side="right")
    found = []
    for place, (low, high) in enumerate(pairwise((0, *edges, None))):
        rows = [record for record, where in zip(records, place_N, strict=True) if where == place]
        if rows:
            values_N2 = np.array([[record.joint, record.finish == "length"] for record in rows], dtype=np.float64)
            cells = (cell.cell() for cell in mean_intervals(values_N2, [record.image_set for record in rows]))
            head = {"tokens_from": low, "tokens_to": high, "n": len(rows)}
            found.append(head | dict(zip(("joint_accuracy", "cut_off"), cells, strict=True)))
    return found


def length_edges_of(records: Sequence[Record]) -> tuple[int, ...]:
    """Numbers of tokens that cut the answers into :data:`LENGTH_BINS` about equal parts, ties aside."""
    if not records:
        return ()
    tokens = [record.completion_tokens for record in records]
    cuts = np.quantile(tokens, np.arange(1, LENGTH_BINS) / LENGTH_BINS, method="higher")
    return tuple(sorted({int(cut) for cut in cuts if cut > min(tokens)}))


def _preferred(named: Sequence[Block]) -> list[str]:
    """A sentence for each position that is answered more often than it is right, corrected for their number."""
    found = []
    for row in named:
        bias = row["difference"]
        if bias["mean"] >= CLEAR_PREFERENCE and bias["low"] > 0.0 and bias["p"] * len(named) < 1.0 - LEVEL:
            words = "The answer none is given" if row["name"] == NONE else f"{row['name']} is answered"
            found.append(
                f"{words} more often than it is right: in {100 * row['named']['mean']:.1f} % of {row['n']:,} items, "
                f"and it is right in {100 * row['true']:.1f} % ({_signed(bias)})."
            )
    return found


def _shifts(edges: Block) -> list[str]:
    """A sentence for each axis on which both sides are off by :data:`CLEAR_SHIFT` or more, and surely so."""
    found = []
    for first, second, size, forward, back in _AXES:
        low, high = edges[SIDES[first]], edges[SIDES[second]]
        if not all(abs(c["mean"]) >= CLEAR_SHIFT and (c["low"] > 0) == (c["high"] > 0) for c in (low, high)):
            continue
        if (low["mean"] > 0) == (high["mean"] > 0):
            words = f"lie {forward if low['mean'] > 0 else back}"
        else:
            words = f"have too {'large' if low['mean'] < 0 else 'small'} a {size}"
        sides = ", ".join(f"{SIDES[k]} edge {_signed(edges[SIDES[k]])}" for k in (first, second))
        found.append(f"In the right image, the boxes {words}: {sides}, in percent of the {size} of the true box.")
    return found


def _signed(cell: Block) -> str:
    return f"{100 * cell['mean']:+.1f} [{100 * cell['low']:+.1f}, {100 * cell['high']:+.1f}]".replace("-", "−")


def _ious(a_N4: Floats, b_N4: Floats) -> Floats:
    return np.array([iou(a, b) for a, b in zip(a_N4, b_N4, strict=True)])


def _correlation(answered_N4: Floats, true_N4: Floats) -> float:
    """Correlation of the centres over both axes; 0 if nothing varies."""
    a_N2, t_N2 = (boxes[:, :2] + boxes[:, 2:] for boxes in (answered_N4, true_N4))
    a_N2, t_N2 = a_N2 - a_N2.mean(axis=0), t_N2 - t_N2.mean(axis=0)
    spread = float(np.sqrt((a_N2**2).sum() * (t_N2**2).sum()))
    return float((a_N2 * t_N2).sum()) / spread if spread > 0.0 else 0.0
