"""Failure analysis of the models of a page: the numbers of :mod:`mirg.evaluation.failures` as matrices and charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirg.evaluation.agreement import JOINT_THRESHOLD
from mirg.evaluation.failures import NONE, failures, size_edges_of
from mirg.evaluation.metrics import TITLES
from mirg.evaluation.page_tables import Evaluated
from mirg.report.curves import short
from mirg.report.data import Failures, Group, GroupChart, Histogram, Interval, Matrix

METRIC = "joint_accuracy"
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
        histogram_note="IoU of every true box with the answered one where the right images are named; 0: no box there.",
        charts=_charts(found),
    )


def _matrix(name: str, choice: Block) -> Matrix:
    counts = tuple(tuple(row) for row in choice["counts"])
    return Matrix(name, tuple(choice["true"]), tuple(choice["named"]), counts)


def _matrix_note(choices: Sequence[Block]) -> str:
    largest = max(choices, key=lambda choice: choice["n"])
    note = f"{largest['n']:,} {ITEMS[largest['items']]}, with targets in one image or none."
    left_out = largest["left_out"]
    return f"{note} {left_out:,} with targets in several images are not counted." if left_out else note


def _histogram(name: str, iou: Block) -> Histogram:
    return Histogram(name, tuple(iou["edges"]), tuple(iou["counts"]), JOINT_THRESHOLD, _interval(iou["at_50"]))


def _charts(found: Mapping[str, Block]) -> tuple[GroupChart, ...]:
    title = TITLES[METRIC]
    charts = (
        _chart(found, "by_n_images", f"{title} by number of images", lambda row: row["name"], "All items."),
        _chart(
            found,
            "by_position",
            f"{title} by place of the true image",
            _place,
            "The items of the matrices: question hides the image, targets in one image or none.",
        ),
        _chart(
            found,
            "named",
            "How often each image is named",
            _place,
            "The same items. A model that prefers a place names it more often than it is true.",
            cell="named",
        ),
        _chart(
            found,
            "by_size",
            f"{title} by size of the object",
            _size,
            "Items with one target: the part of its image that the true box covers.",
        ),
    )
    return tuple(chart for chart in charts if chart.groups)


def _chart(
    found: Mapping[str, Block], key: str, title: str, name: Callable[[Block], str], help: str, *, cell: str = METRIC
) -> GroupChart:
    """One chart out of the rows ``key`` of every model; models that lack a group have no estimate there."""
    rows = {model: {name(row): row for row in block[key]} for model, block in found.items()}
    groups: dict[str, Group] = {}
    for row in sorted((row for table in rows.values() for row in table.values()), key=_order):
        n = max(row["n"], groups[name(row)].n if name(row) in groups else 0)
        groups[name(row)] = Group(name(row), n, row.get("true"))
    series = {
        model: tuple(_interval(table[label][cell]) if label in table else None for label in groups)
        for model, table in rows.items()
    }
    is_share = cell == METRIC
    return GroupChart(
        title, tuple(groups.values()), series, help, "" if is_share else "truly there", 1.0 if is_share else None
    )


def _order(row: Block) -> float:
    """Ascending by area or number; ``none`` last."""
    if "area_from" in row:
        return row["area_from"]
    return float("inf") if row["name"] == NONE else float(_place(row))


def _place(row: Block) -> str:
    return str(row["name"]).removeprefix("Image-")


def _size(row: Block) -> str:
    low, high = row["area_from"], row["area_to"]
    if low == 0.0:
        return "all" if high == 1.0 else f"< {short(100 * high)} %"
    return f"≥ {short(100 * low)} %" if high == 1.0 else f"{short(100 * low)}–{short(100 * high)} %"


def _interval(cell: Mapping[str, float] | None) -> Interval | None:
    return None if cell is None else Interval(cell["mean"], cell["low"], cell["high"])
