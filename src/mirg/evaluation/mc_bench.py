"""The two numbers of MC-Bench (arXiv 2410.12332), as its authors' scorer computes them from answers without scores.

*Image-level accuracy*: the share of texts for which each image of the pair has an answered box exactly if it has a true
one. *AP50*: COCO's average precision at IoU 0.5 over all images, interpolated at 101 recalls. Answers have no
confidence, so all boxes have the score 1 and rank in the order of the texts, the images and the answer, which is what
COCO's stable sort makes of equal scores. An answer that cannot be read holds no box.

MC-Bench splits the instances of some texts into groups that belong together, and averages AP over groups, weighted by
their instances. An answer of mirg names no groups: all its boxes are in group 1, so true boxes of other groups cannot
be found (``ap50_grouped``, which is comparable with published rows). ``ap50`` counts every true box, of any group. The
published script means to find the best assignment of groups for each pair, but keeps only that of the last pair; no
assignment is made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mirg.evaluation.agreement import iou_of_answer
from mirg.evaluation.intervals import Floats, mean_interval, statistic_interval
from mirg.evaluation.records import Record
from mirg.samples import Sample

KIND = "mc-bench"  # Sample.source of the importer
TITLES = {
    "image_level_accuracy": "MC-Bench image-level accuracy",
    "ap50": "MC-Bench AP50, groups ignored",
    "ap50_grouped": "MC-Bench AP50, all answers in group 1",
}
_MOST = 100  # boxes of an image that COCO counts
_RECALLS = np.linspace(0.0, 1.0, 101)


class _Text(NamedTuple):
    """One text: the hits of its answered boxes in rank order, how many boxes are true, and its image set."""

    image_set: str
    images_right: bool
    hits: list[bool]
    n_true: int
    grouped_hits: list[bool]
    n_grouped: int


def mc_bench_table(records: Sequence[Record], samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Both numbers with 95 % intervals by image set, ``overall`` and in ``tasks`` by style of text; fractions.

    Shaped as :func:`mirg.evaluation.metrics.plugin_table`. ``samples`` by id. Empty if no record is of MC-Bench.
    """
    texts: list[_Text] = []  # in their order, which is the rank of their boxes
    styles: dict[str, list[_Text]] = {}
    for record in records:
        sample = samples[record.id]
        if sample.source == KIND:
            texts.append(_text(record, sample))
            styles.setdefault(str(sample.meta.get("text_style", "unknown")), []).append(texts[-1])
    if not texts:
        return {}
    return {"overall": _block(texts), "tasks": {style: _block(styles[style]) for style in sorted(styles)}}


def _text(record: Record, sample: Sample) -> _Text:
    groups = sample.meta.get("groups")
    first = [group == 1 for group in groups] if isinstance(groups, list) else [True] * len(record.targets)
    answered = [] if record.failure is not None else [box for box in record.predicted if 1 <= box.image <= 2]
    hits: list[bool] = []
    grouped: list[bool] = []
    for image in (1, 2):
        boxes = [box.box for box in answered if box.image == image][:_MOST]
        true = [k for k, target in enumerate(record.targets) if target.image == image]
        iou_PT = iou_of_answer(boxes, [record.targets[k].box for k in true])
        hits += matched(iou_PT)
        grouped += matched(iou_PT[:, [first[k] for k in true]])
    right = {box.image for box in answered} == set(record.target_images)
    return _Text(record.image_set, right, hits, len(record.targets), grouped, sum(first))


def matched(iou_PT: Floats, threshold: float = 0.5) -> list[bool]:
    """Whether each of P boxes, in rank order, finds a true box that none before it has taken (COCO's greedy matching).

    A box takes the free true box with the largest IoU, of equal ones the last, if that is at least ``threshold``.
    """
    free = np.ones(iou_PT.shape[1], dtype=bool)
    found = []
    for row in iou_PT:
        open_T = np.where(free & (row >= threshold), row, -1.0)
        hit = bool(len(row)) and bool(open_T.max() >= threshold)
        if hit:
            free[len(row) - 1 - int(open_T[::-1].argmax())] = False
        found.append(hit)
    return found


def average_precision(hits_D: Floats, n_true: float, copies_D: Floats | None = None) -> float:
    """COCO's AP of D ranked boxes (``hits_D`` is 1 for a hit): mean precision at 101 recalls, 0 if nothing is true.

    ``copies_D``: how often each box occurs in a bootstrap draw.
    """
    copies_D = np.ones(len(hits_D)) if copies_D is None else copies_D
    kept = copies_D > 0
    if not n_true or not kept.any():
        return 0.0
    right_D, all_D = np.cumsum((hits_D * copies_D)[kept]), np.cumsum(copies_D[kept])
    precision_D = np.maximum.accumulate((right_D / all_D)[::-1])[::-1]
    at = np.searchsorted(right_D / n_true, _RECALLS, side="left")
    return float(np.where(at < len(precision_D), precision_D[np.minimum(at, len(precision_D) - 1)], 0.0).mean())


def _block(texts: Sequence[_Text]) -> dict[str, Any]:
    sets = [text.image_set for text in texts]
    accuracy = mean_interval([float(text.images_right) for text in texts], sets)
    cells = {"image_level_accuracy": accuracy.cell()}
    share = sum(text.n_grouped for text in texts) / max(1, sum(text.n_true for text in texts))
    cells["ap50"] = _ap_cell([text.hits for text in texts], [text.n_true for text in texts], sets, 1.0)
    cells["ap50_grouped"] = _ap_cell(
        [text.grouped_hits for text in texts], [text.n_grouped for text in texts], sets, share
    )
    return {"n": len(texts), "n_sets": accuracy.n_sets, **cells}


def _ap_cell(hits: Sequence[list[bool]], n_true: Sequence[int], sets: Sequence[str], weight: float) -> dict[str, Any]:
    """AP times ``weight`` with its interval; ``hits`` and ``n_true`` of each text."""
    order = {name: k for k, name in enumerate(dict.fromkeys(sets))}
    index_N = np.array([order[name] for name in sets])
    hits_D = np.array([hit for text in hits for hit in text], dtype=np.float64)
    set_D = np.repeat(index_N, [len(text) for text in hits])
    true_N = np.array(n_true, dtype=np.float64)

    def drawn(copies_C: Floats) -> float:
        return weight * average_precision(hits_D, float(copies_C[index_N] @ true_N), copies_C[set_D])

    value = weight * average_precision(hits_D, float(true_N.sum()))
    return statistic_interval(value, drawn, len(sets), len(order)).cell()
