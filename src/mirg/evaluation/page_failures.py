"""Where the models fail, as charts and tables on a page: images confused, how well boxes lie, and groups of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mirg.evaluation.agreement import JOINT_THRESHOLD
from mirg.evaluation.compare import Evaluation, union_of
from mirg.evaluation.diagnostics import SIDES, diagnostics, length_edges_of
from mirg.evaluation.failures import NONE, UNREADABLE, failures, size_edges_of
from mirg.evaluation.metrics import TITLES
from mirg.evaluation.page_tables import Block, interval_of
from mirg.report.charts import short
from mirg.report.data import Column, Differences, Failures, Group, GroupChart, Histogram, Matrix, TableRow

RIGHT_IMAGES = "True boxes of answers that name the right images."
GROUPS = {
    "by_n_images": ("number of images", "All items."),
    "by_position": ("place of the true image", "Questions that do not say the image; targets in one image or none."),
    "by_size": ("size of the object", "Items with one target: the part of its image that the true box covers."),
    "thresholds": ("IoU threshold", f"{RIGHT_IMAGES} The share that reaches each IoU."),
    "iou_by_size": ("size class", f"{RIGHT_IMAGES} Small: < 1 % of the image; large: 10 % or more."),
    "by_length": (
        "length of the answer",
        "All items, by the tokens generated. Harder items may get longer answers.",
    ),
}
# For each kind of groups joint accuracy, then the metric that the group has most influence on.
CHARTS = (
    ("by_n_images", "joint_accuracy"),
    ("by_position", "joint_accuracy"),
    ("by_size", "joint_accuracy"),
    ("by_n_images", "image_accuracy"),
    ("by_position", "image_accuracy"),
    ("named", "named"),
    ("by_size", "mean_iou"),
    ("thresholds", "share"),
    ("iou_by_size", "at_50"),
    ("by_length", "joint_accuracy"),
    ("by_length", "cut_off"),
)
CELLS = TITLES | {"share": "share of boxes", "at_50": "boxes with IoU ≥ 0.5", "cut_off": "cut off at the limit"}
EDGES_NOTE = (
    "Answers with one box, in the image of the only target: mean signed error of each side, answered minus true, in "
    "percent of the width (left, right) or height (top, bottom) of the true box; positive is right or down."
)
ITEMS = {
    "image_hidden": "items whose question does not say which image holds the answer",
    "all": "items (no question hides the image)",
}


def failure_section(evaluated: Sequence[Evaluation]) -> Failures | None:
    """Where the models fail, compared on the same groups of items. None if nothing was evaluated."""
    if not evaluated:
        return None
    union = union_of(evaluated)
    sizes, lengths = size_edges_of(union), length_edges_of([record for e in evaluated for record in e.records])
    found = {e.name: failures(e.records, size_edges=sizes) for e in evaluated}
    for e in evaluated:
        found[e.name] |= diagnostics(e.records, found[e.name], length_edges=lengths)
    matrices, histograms = [], []
    for name, block in found.items():
        choice, iou = block["image_choice"], block["iou"]
        if choice["n"]:
            rows, columns = (tuple(map(_place, choice[key])) for key in ("true", "named"))
            matrices.append(Matrix(name, rows, columns, tuple(map(tuple, choice["counts"]))))
        at_50 = iou["at_50"] and interval_of(iou["at_50"])
        histograms.append(Histogram(name, tuple(iou["edges"]), tuple(iou["counts"]), JOINT_THRESHOLD, at_50))
    largest = max((block["image_choice"] for block in found.values()), key=lambda choice: choice["n"])
    note = f"{largest['n']:,} {ITEMS[largest['items']]}, with targets in one image or none."
    if largest["left_out"]:
        note += f" {largest['left_out']:,} with targets in several images are not counted."
    return Failures(
        findings=tuple(
            f"{name}: {words}" if len(found) > 1 else words
            for name, block in found.items()
            for words in block["findings"]
        ),
        matrices=tuple(matrices),
        matrix_note=note,
        histograms=tuple(histograms),
        histogram_note="IoU of every true box with the answered one, where the images are right; 0: it has none.",
        edges=_edges(found),
        charts=tuple(chart for key, cell in CHARTS if (chart := _chart(found, key, cell)).groups),
    )


def _chart(found: Mapping[str, Block], key: str, cell: str) -> GroupChart:
    """The ``cell`` of the rows ``key`` of every model as one chart. A model without a group has no estimate there."""
    rows = {model: {_name(row): row for row in block[key]} for model, block in found.items()}
    groups: dict[str, Group] = {}
    for row in sorted((row for by_name in rows.values() for row in by_name.values()), key=_order):
        known = groups.get(_name(row))
        groups[_name(row)] = Group(_name(row), max(row["n"], known.n if known else 0), row.get("true"))
    series = {
        model: tuple(interval_of(by_name[label][cell]) if label in by_name else None for label in groups)
        for model, by_name in rows.items()
    }
    if key == "named":
        help = "The same items. A model that prefers a place names it more often than it is true."
        return GroupChart("how often each image is named", tuple(groups.values()), series, help, "truly there")
    kind, help = GROUPS[key]
    return GroupChart(f"{CELLS[cell]} by {kind}", tuple(groups.values()), series, help, high=1.0)


def _edges(found: Mapping[str, Block]) -> Differences | None:
    """The errors of the four sides, a row for each model that has enough boxes."""
    given = {model: block["edges"] for model, block in found.items() if block["edges"]}
    rows = (TableRow(m, row["n"], {side: interval_of(row[side]) for side in SIDES}) for m, row in given.items())
    return Differences(tuple(Column(side, side) for side in SIDES), tuple(rows), EDGES_NOTE) if given else None


def _order(row: Block) -> float:
    """Ascending by area, tokens, IoU or number; ``none`` last."""
    start = next((row[key] for key in ("area_from", "tokens_from", "iou_from") if key in row), None)
    if start is not None:
        return float(start)
    return float("inf") if row["name"] == NONE else float(_place(row["name"]))


def _name(row: Block) -> str:
    if "iou_from" in row:
        return f"≥ {row['iou_from']}"
    if "tokens_from" in row:
        low, high = row["tokens_from"], row["tokens_to"]
        if low == 0:
            return "all" if high is None else f"< {high}"
        return f"≥ {low}" if high is None else str(low) if high == low + 1 else f"{low}–{high - 1}"
    if "area_from" not in row:
        return _place(row["name"])
    low, high = row["area_from"], row["area_to"]
    if low == 0.0:
        return "all" if high == 1.0 else f"< {short(100 * high)} %"
    return f"≥ {short(100 * low)} %" if high == 1.0 else f"{short(100 * low)}–{short(100 * high)} %"


def _place(name: str) -> str:
    """``2`` for ``Image-2``. A long name gets a soft hyphen, because axes and columns have little room."""
    return "unread\N{SOFT HYPHEN}able" if name == UNREADABLE else name.removeprefix("Image-")
