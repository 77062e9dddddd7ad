"""Failure analysis of the models of a page: the numbers of :mod:`mirg.evaluation.failures` as matrices and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mirg.evaluation.agreement import JOINT_THRESHOLD
from mirg.evaluation.failures import NONE, UNREADABLE, failures, size_edges_of
from mirg.evaluation.metrics import TITLES
from mirg.evaluation.page_tables import Evaluated
from mirg.report.charts import short
from mirg.report.data import Failures, Group, GroupChart, Histogram, Interval, Matrix

GROUPS = {
    "by_n_images": ("number of images", "All items."),
    "by_position": ("place of the true image", "Questions that do not say the image; targets in one image or none."),
    "by_size": ("size of the object", "Items with one target: the part of its image that the true box covers."),
}
ITEMS = {
    "image_hidden": "items whose question does not say which image holds the answer",
    "all": "items (no question hides the image)",
}
Block = Mapping[str, Any]


def failure_section(evaluated: Sequence[Evaluated]) -> Failures | None:
    """Models side by side on the same groups; None where nothing was evaluated."""
    if not evaluated:
        return None
    samples = {record.id: record for e in evaluated for record in e.records}
    edges = size_edges_of(list(samples.values()))
    found = {e.name: failures(e.records, size_edges=edges) for e in evaluated}
    choices = {name: block["image_choice"] for name, block in found.items()}
    return Failures(
        matrices=tuple(_matrix(name, choice) for name, choice in choices.items() if choice["n"]),
        matrix_note=_matrix_note(list(choices.values())),
        histograms=tuple(_histogram(name, block["iou"]) for name, block in found.items()),
        histogram_note="IoU of every true box with the answered one, where the images are right; 0: it has none.",
        charts=_charts(found),
    )


def _matrix(name: str, choice: Block) -> Matrix:
    counts = tuple(tuple(row) for row in choice["counts"])
    return Matrix(name, tuple(map(_place, choice["true"])), tuple(map(_place, choice["named"])), counts)


def _matrix_note(choices: Sequence[Block]) -> str:
    largest = max(choices, key=lambda choice: choice["n"])
    note = f"{largest['n']:,} {ITEMS[largest['items']]}, with targets in one image or none."
    left_out = largest["left_out"]
    return f"{note} {left_out:,} with targets in several images are not counted." if left_out else note


def _histogram(name: str, iou: Block) -> Histogram:
    return Histogram(name, tuple(iou["edges"]), tuple(iou["counts"]), JOINT_THRESHOLD, _interval(iou["at_50"]))


def _charts(found: Mapping[str, Block]) -> tuple[GroupChart, ...]:
    """Three kinds of groups across; joint accuracy above, below it the part of it that the group bears upon."""
    charts = (
        _chart(found, "by_n_images", "joint_accuracy"),
        _chart(found, "by_position", "joint_accuracy"),
        _chart(found, "by_size", "joint_accuracy"),
        _chart(found, "by_n_images", "image_accuracy"),
        _named(found),
        _chart(found, "by_size", "mean_iou"),
    )
    return tuple(chart for chart in charts if chart.groups)


def _chart(found: Mapping[str, Block], key: str, metric: str) -> GroupChart:
    kind, help = GROUPS[key]
    return _grouped(found, key, metric, f"{TITLES[metric]} by {kind}", help, high=1.0)


def _named(found: Mapping[str, Block]) -> GroupChart:
    help = "The same items. A model that prefers a place names it more often than it is true."
    return _grouped(found, "named", "named", "how often each image is named", help, reference="truly there")


def _grouped(
    found: Mapping[str, Block],
    key: str,
    cell: str,
    title: str,
    help: str,
    *,
    reference: str = "",
    high: float | None = None,
) -> GroupChart:
    """The ``cell`` of the rows ``key`` of every model as one chart; no estimate where a model lacks a group."""
    rows = {model: {_name(row): row for row in block[key]} for model, block in found.items()}
    groups: dict[str, Group] = {}
    for row in sorted((row for table in rows.values() for row in table.values()), key=_order):
        known = groups.get(_name(row))
        groups[_name(row)] = Group(_name(row), max(row["n"], known.n if known else 0), row.get("true"))
    series = {
        model: tuple(_interval(table[label][cell]) if label in table else None for label in groups)
        for model, table in rows.items()
    }
    return GroupChart(title, tuple(groups.values()), series, help, reference, high)


def _order(row: Block) -> float:
    """Ascending by area or number; ``none`` last."""
    if "area_from" in row:
        return row["area_from"]
    return float("inf") if row["name"] == NONE else float(_place(row["name"]))


def _name(row: Block) -> str:
    if "area_from" not in row:
        return _place(row["name"])
    low, high = row["area_from"], row["area_to"]
    if low == 0.0:
        return "all" if high == 1.0 else f"< {short(100 * high)} %"
    return f"≥ {short(100 * low)} %" if high == 1.0 else f"{short(100 * low)}–{short(100 * high)} %"


def _place(name: str) -> str:
    """``2`` for ``Image-2``, and where a long name may break: there is little room at an axis and over a column."""
    return "unread\N{SOFT HYPHEN}able" if name == UNREADABLE else name.removeprefix("Image-")


def _interval(cell: Mapping[str, float] | None) -> Interval | None:
    return None if cell is None else Interval(cell["mean"], cell["low"], cell["high"])
