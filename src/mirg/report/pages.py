"""The pages of ``mirg data check``, of a teacher's run and of a study: what they show, as plain data, and writing them.

Each is one file without outside requests. All texts are untrusted and are escaped (see :mod:`mirg.report.page`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mirg.report.cards import Frame, Layer, build_frames, cut
from mirg.report.charts import forest, render_counts
from mirg.report.data import Chart, Fact, Interval, Mark, Matrix, Picture
from mirg.report.images import ImageBudget
from mirg.report.page import IMAGE_BUDGET, asset, markup, render_page
from mirg.report.tables import shade_grid
from mirg.storage import write_atomic

Bars = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Line:
    """One finding: its row in samples.jsonl, the sample, the field, what is wrong, and what to do."""

    row: int
    sample_id: str
    field: str
    reason: str
    hint: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Listing:
    """``total`` findings, of which ``lines`` are shown; ``by`` counts them by kind."""

    total: int = 0
    by: Mapping[str, int] = field(default_factory=dict)
    lines: Sequence[Line] = ()


@dataclass(frozen=True)
class SharedLine:
    """An image of the dataset and the image of a benchmark that it equals or looks like."""

    sample_id: str
    image: int
    path: str
    other_id: str
    other_image: int
    other_path: str
    dataset: str
    how: str


@dataclass(frozen=True)
class LengthView:
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


@dataclass(frozen=True)
class ShapeView:
    """The images and targets of the samples of one task, or of all. ``cells`` are 3 x 3 counts of targets."""

    name: str
    samples: int
    hidden: int
    images: Bars
    targets: Bars
    target_image: Bars
    sizes: Bars
    cells: Sequence[Sequence[int]]


@dataclass(frozen=True)
class CheckData:
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
        cells=lambda shape: shade_grid(_matrix(shape)),
    )


def _matrix(shape: ShapeView) -> Matrix:
    return Matrix(
        shape.name, ("top", "middle", "bottom"), ("left", "middle", "right"), tuple(tuple(row) for row in shape.cells)
    )


@dataclass(frozen=True)
class Chain:
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


@dataclass(frozen=True)
class TeacherPageData:
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


@dataclass(frozen=True)
class _Shown:
    chain: Chain
    question: str
    thinking: str
    answer: str
    frames: tuple[Frame, ...]


def write_teacher_page(path: Path, data: TeacherPageData, *, image_budget: int = IMAGE_BUDGET) -> Path:
    """Write the page, one file without outside requests of at most ``image_budget`` bytes of images; its path."""
    budget = ImageBudget(image_budget)
    shown = [_shown(chain, budget) for chain in data.chains if budget.take(chain.pictures)]
    html = render_page(
        "teacher.html.j2",
        script=asset("report.js"),
        data=data,
        cards=shown,
        images=budget.images,
        tasks_shown=sorted({card.chain.task for card in shown}),
        checks_shown=[check for check in data.checks if any(card.chain.check == check for card in shown)],
        any_kept=any(not card.chain.check for card in shown),
    )
    return write_atomic(path, html)


def _shown(chain: Chain, budget: ImageBudget) -> _Shown:
    layers: list[Layer] = [("given", chain.cited), ("predicted", chain.predicted), ("true", chain.true)]
    return _Shown(
        chain=chain,
        question=cut(chain.question),
        thinking=cut(chain.thinking),
        answer=cut(chain.answer),
        frames=build_frames(chain.pictures, layers, budget),
    )


@dataclass(frozen=True)
class Claim:
    """What the method promises in one comparison, and what was measured."""

    text: str
    least: float
    found: Interval | None

    @property
    def verdict(self) -> str:
        """In one word: "holds" where the mean is large enough and the interval excludes 0, else what is missing."""
        if self.found is None:
            return "not measured"
        if self.found.mean >= self.least and (self.found.low or 0.0) > 0.0:
            return "holds"
        return "smaller" if (self.found.low or 0.0) > 0.0 else "not shown"


@dataclass(frozen=True)
class ArmRow:
    """One arm: mean over its seeds of each metric by subset, the seeds' own values, and its tokens per seed."""

    name: str
    title: str
    seeds: int
    cells: Mapping[str, tuple[float, float, float]]  # column: mean, least, largest over seeds
    generated: float
    trained: float


@dataclass(frozen=True)
class StudyData:
    """Everything on the page; fractions of 1. ``columns`` and ``families`` name the cells of the arms."""

    title: str
    subtitle: str
    claims: Sequence[Claim]
    forests: Mapping[str, Sequence[tuple[str, Interval]]]
    columns: Mapping[str, str]
    families: Mapping[str, str]
    arms: Sequence[ArmRow]
    chance: Mapping[str, float]
    charts: Sequence[Chart]
    facts: Mapping[str, str]


def write_study(path: Path, data: StudyData) -> Path:
    """Write the page, one file without outside requests, and return its path."""
    html = render_page(
        "study.html.j2",
        data=data,
        forests={title: markup(forest(rows)) for title, rows in data.forests.items()},
    )
    return write_atomic(path, html)
