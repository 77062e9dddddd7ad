"""The pages of ``mirg data check`` and of a teacher's run: what they show, as plain data, and writing them.

Each is one file without outside requests. All texts are untrusted and are escaped (see :mod:`mirg.report.page`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mirg.report.cards import build_frames
from mirg.report.charts import render_counts
from mirg.report.data import Fact, Mark, Matrix, Picture
from mirg.report.images import ImageBudget
from mirg.report.page import IMAGE_BUDGET, asset, markup, render_page
from mirg.report.tables import shade_grid
from mirg.storage import write_atomic

Bars = Sequence[tuple[str, int]]
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


class Line(NamedTuple):
    """One finding: its row in samples.jsonl, the sample, the field, what is wrong, and what to do."""

    row: int
    sample_id: str
    field: str
    reason: str
    hint: str = ""
    kind: str = ""


class Listing(NamedTuple):
    """``total`` findings, of which ``lines`` are shown; ``by`` counts them by kind."""

    total: int = 0
    by: Mapping[str, int] = {}
    lines: Sequence[Line] = ()


class SharedLine(NamedTuple):
    """An image of the dataset and the image of a benchmark that it equals or looks like."""

    sample_id: str
    image: int
    path: str
    other_id: str
    other_image: int
    other_path: str
    dataset: str
    how: str


class LengthView(NamedTuple):
    """Tokens of the samples for one family; ``bars`` are (tokens, samples)."""

    family: str
    p50: int
    p95: int
    most: int
    images: float  # share of all tokens
    too_long: int
    left_out: int
    longest: Sequence[tuple[int, str]]
    bars: Bars


class ShapeView(NamedTuple):
    """The images and targets of the samples of one task, or of all. ``cells`` are 3 x 3 counts of targets."""

    name: str
    samples: int
    hidden: int
    images: Bars
    targets: Bars
    target_image: Bars
    sizes: Bars
    cells: Sequence[Sequence[int]]


class CheckData(NamedTuple):
    """Everything on the page."""

    title: str
    subtitle: str
    failed: bool
    verdict: str
    facts: Sequence[Fact] = ()
    rejections: Listing = Listing()
    warnings: Listing = Listing()
    against: str = ""
    shared: Sequence[SharedLine] = ()
    shared_total: int = 0
    length_note: str = ""
    lengths: Sequence[LengthView] = ()
    shapes: Sequence[ShapeView] = ()


def write_check(path: Path, data: CheckData) -> Path:
    """Write the page to ``path``, atomically, and return it."""
    return write_atomic(path, render_check(data))


def render_check(data: CheckData) -> str:
    """The page as text."""
    return render_page(
        "check.html.j2",
        style=asset("report.css") + asset("check.css"),
        data=data,
        bars=lambda title, values: markup(render_counts(title, values)),
        cells=lambda shape: shade_grid(Matrix(shape.name, _ROWS, _COLUMNS, tuple(map(tuple, shape.cells)))),
    )


class Chain(NamedTuple):
    """One chain. ``check`` is "" if it was kept, else the first check that it failed; ``problems`` are all reasons.

    ``cited`` are the boxes of the thinking, ``predicted`` those of the answer; fractions, as everywhere.
    """

    sample_id: str
    task: str
    check: str
    problems: tuple[str, ...]
    question: str
    thinking: str
    answer: str
    pictures: tuple[Picture, ...]
    true: tuple[Mark, ...]
    predicted: tuple[Mark, ...]
    cited: tuple[Mark, ...]
    facts: tuple[str, ...] = ()


class TeacherPageData(NamedTuple):
    """Everything on the page. ``checks`` counts the refused samples by check, ``tasks`` is (kept, refused) by task."""

    title: str
    subtitle: str
    kept: int
    refused: int
    open: int
    checks: Mapping[str, int]
    meanings: Mapping[str, str]
    tasks: Mapping[str, tuple[int, int]]
    chains: Sequence[Chain]
    facts: Mapping[str, str]
    recipe: Mapping[str, str]


def write_teacher_page(path: Path, data: TeacherPageData, *, image_budget: int = IMAGE_BUDGET) -> Path:
    """Write the page, one file without outside requests of at most ``image_budget`` bytes of images; its path."""
    budget = ImageBudget(image_budget)
    shown = [
        (chain, build_frames(chain.pictures, chain.true, chain.cited, [("predicted", chain.predicted)], budget))
        for chain in data.chains
        if budget.take(chain.pictures)
    ]
    chains = [chain for chain, _ in shown]
    html = render_page(
        "teacher.html.j2",
        script=asset("report.js"),
        data=data,
        cards=shown,
        images=budget.images,
        tasks_shown=sorted({chain.task for chain in chains}),
        checks_shown=[check for check in data.checks if any(chain.check == check for chain in chains)],
        any_kept=any(not chain.check for chain in chains),
    )
    return write_atomic(path, html)
