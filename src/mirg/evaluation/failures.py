"""Where a model goes wrong, as plain numbers: images confused, boxes off, and what kinds of items it gets right.

Which image a model chooses is counted on items whose question hides the image (on all items, if none does) and whose
targets lie in one image or in none. What each number means: ``docs/concepts/metrics.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mirg.evaluation.agreement import JOINT_THRESHOLD, iou_of_answer
from mirg.evaluation.intervals import Floats, mean_interval, paired_difference
from mirg.evaluation.metrics import measure, subsets
from mirg.evaluation.records import Record
from mirg.geometry import area, as_boxes, match_ious

NONE, SEVERAL, NO_SUCH_IMAGE, UNREADABLE = "none", "several", "no such image", "unreadable"
IOU_EDGES = tuple(k / 10 for k in range(11))
SIZE_BINS = 4


def failures(records: Sequence[Record], *, size_edges: Sequence[float] | None = None) -> dict[str, Any]:
    """Everything below as JSON-ready data; shares and areas are fractions, intervals are resampled by image set.

    ``image_choice``: :func:`image_choice`; ``named``: :func:`named_and_true`; ``iou``: :func:`iou_histogram`;
    ``by_n_images``, ``by_position`` (of the true image, on the items of ``image_choice``) and ``by_size`` (of the box,
    items with one target): one block of :func:`mirg.evaluation.metrics.measure` per group, with its ``name`` or the
    areas ``area_from`` <= a < ``area_to``. ``size_edges`` are the areas between the sizes, where several models must
    share them; by default those of ``records`` (:func:`size_edges_of`).
    """
    edges = size_edges_of(records) if size_edges is None else tuple(size_edges)
    sizes = by_size(records, edges).items()
    return {
        "image_choice": image_choice(records),
        "named": named_and_true(records),
        "iou": iou_histogram(records),
        "by_n_images": [{"name": str(n), **measure(rows)} for n, rows in by_n_images(records).items()],
        "by_position": [{"name": name, **measure(rows)} for name, rows in by_position(records).items()],
        "by_size": [{"area_from": low, "area_to": high, **measure(rows)} for (low, high), rows in sizes],
    }


def image_choice(records: Sequence[Record]) -> dict[str, Any]:
    """The confusion of images: ``counts[i][j]`` items whose true image is ``true[i]`` were answered with ``named[j]``.

    Rows are ``Image-1`` … and ``none``; columns are these and ``several``, ``no such image`` (a number that the item
    does not have, or none given) and ``unreadable``. ``items`` says which ones count (``image_hidden`` or ``all``),
    ``n`` how many, ``left_out`` how many of them do not, because they have targets in several images.
    """
    kind, items = _choice_items(records)
    counted = [record for record in items if len(record.target_images) <= 1]
    images = _images(counted)
    rows = [*images, NONE]
    columns = [*rows, SEVERAL, NO_SUCH_IMAGE, UNREADABLE]
    pairs = Counter((true_image(record), named_image(record)) for record in counted)
    return {
        "items": kind,
        "n": len(counted),
        "left_out": len(items) - len(counted),
        "true": rows,
        "named": columns,
        "counts": [[pairs[row, column] for column in columns] for row in rows],
    }


def named_and_true(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each image number, and ``none``: the share of items that name it, that truly have it, and the difference.

    ``named`` is an interval, ``true`` a share, ``difference`` (named minus true) an interval with its p-value. A model
    without position bias has differences around 0, however often it is wrong.
    """
    counted = _counted(records)
    sets = [record.image_set for record in counted]
    found = []
    for name in [*_images(counted), NONE] if counted else []:
        named_N = np.array([named_image(record) == name for record in counted], dtype=np.float64)
        true_N = np.array([true_image(record) == name for record in counted], dtype=np.float64)
        share, bias = mean_interval(named_N, sets).cell(), paired_difference(true_N, named_N, sets).cell()
        true = float(true_N.mean())
        found.append({"name": name, "n": len(counted), "true": true, "named": share, "difference": bias})
    return found


def iou_histogram(records: Sequence[Record]) -> dict[str, Any]:
    """How well the boxes lie where the images are right: :func:`true_box_ious` of all such items, in bins of 0.1.

    ``counts[k]`` boxes have ``edges[k]`` <= IoU < ``edges[k + 1]`` (1 is in the last bin); ``at_50`` is the share at
    0.5 or more, None if there is no box.
    """
    pairs = [(iou, record.image_set) for record in records if record.image_correct for iou in true_box_ious(record)]
    ious = np.array([iou for iou, _ in pairs])
    counts, _ = np.histogram(ious, bins=np.array(IOU_EDGES))
    at_50 = (
        mean_interval((ious >= JOINT_THRESHOLD).astype(np.float64), [key for _, key in pairs]).cell() if pairs else None
    )
    return {"n": len(pairs), "edges": list(IOU_EDGES), "counts": counts.tolist(), "at_50": at_50}


def true_box_ious(record: Record) -> list[float]:
    """For every true box the IoU of the answered box that is matched to it in the same image; 0 without such a box."""
    found = [0.0] * len(record.targets)
    iou_PT = iou_of_answer([box.box for box in record.predicted], [target.box for target in record.targets])
    for image in set(record.target_images):
        rows = [p for p, box in enumerate(record.predicted) if box.image == image]
        columns = [t for t, target in enumerate(record.targets) if target.image == image]
        for _, t, iou in match_ious(iou_PT[np.ix_(rows, columns)]):
            found[columns[t]] = iou
    return found


def by_n_images(records: Sequence[Record]) -> dict[int, list[Record]]:
    """The records of each number of images, ascending."""
    numbers = sorted({record.n_images for record in records})
    return {n: [record for record in records if record.n_images == n] for n in numbers}


def by_position(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The items of :func:`image_choice` by their true image, ``none`` last; empty ones left out."""
    counted = _counted(records)
    groups = {name: [r for r in counted if true_image(r) == name] for name in [*_images(counted), NONE]}
    return {name: rows for name, rows in groups.items() if rows}


def by_size(records: Sequence[Record], edges: Sequence[float]) -> dict[tuple[float, float], list[Record]]:
    """Items with one target by the area of its box: key (from, to), from <= area < to; empty ones left out.

    ``edges`` ascend inside (0, 1); the last bin holds a box that covers the whole image.
    """
    single = _single(records)
    groups: dict[tuple[float, float], list[Record]] = {ends: [] for ends in pairwise((0.0, *edges, 1.0))}
    names = list(groups)
    for record, place in zip(single, np.searchsorted(edges, _areas(single), side="right"), strict=True):
        groups[names[place]].append(record)
    return {ends: rows for ends, rows in groups.items() if rows}


def size_edges_of(records: Sequence[Record]) -> tuple[float, ...]:
    """Areas, at two digits, that cut the items with one target into :data:`SIZE_BINS` about equal parts, ties aside."""
    single = _single(records)
    cuts = np.quantile(_areas(single), np.arange(1, SIZE_BINS) / SIZE_BINS) if single else ()
    return tuple(sorted({edge for cut in cuts if 0.0 < (edge := float(f"{cut:.2g}")) < 1.0}))


def true_image(record: Record) -> str:
    """The image that holds all targets; ``none`` without targets, ``several`` if the targets are in several images."""
    return _name(record.target_images)


def named_image(record: Record) -> str:
    """The image that the answer names, or why it is not one (see :func:`image_choice`)."""
    if record.failure is not None:
        return UNREADABLE
    named = {box.image for box in record.predicted}
    if len(named) == 1 and not 1 <= min(named) <= record.n_images:
        return NO_SUCH_IMAGE
    return _name(sorted(named))


def _name(images: Sequence[int]) -> str:
    if len(images) > 1:
        return SEVERAL
    return f"Image-{images[0]}" if images else NONE


def _choice_items(records: Sequence[Record]) -> tuple[str, Sequence[Record]]:
    hidden = subsets(records).get("image_hidden")
    return ("image_hidden", hidden) if hidden else ("all", records)


def _counted(records: Sequence[Record]) -> list[Record]:
    return [record for record in _choice_items(records)[1] if len(record.target_images) <= 1]


def _images(records: Sequence[Record]) -> list[str]:
    return [f"Image-{number}" for number in range(1, max((r.n_images for r in records), default=0) + 1)]


def _single(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if len(record.targets) == 1]


def _areas(single: Sequence[Record]) -> Floats:
    """Areas (N,) of the only targets, as fractions of their images."""
    return area(as_boxes([record.targets[0].box for record in single]))
