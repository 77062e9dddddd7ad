"""The contents of a report page as plain data. All texts are untrusted; the page escapes them.

Shares, accuracies, IoUs and rewards are fractions in [0, 1]; differences lie in [-1, 1]; the page prints points of 100.
Boxes are fractions of the original image, ``image`` counts from 1 as in ``Image-1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from mirg.geometry import Box

Outcome = Literal["right", "wrong_image", "wrong_box", "wrong_option", "unreadable"]
OUTCOME_TITLES: dict[Outcome, str] = {
    "right": "right",
    "wrong_box": "right image, wrong box",
    "wrong_image": "wrong image",
    "wrong_option": "wrong",
    "unreadable": "unreadable",
}
BOX_OUTCOMES: tuple[Outcome, ...] = ("right", "wrong_box", "wrong_image", "unreadable")
CHOICE_OUTCOMES: tuple[Outcome, ...] = ("right", "wrong_option", "unreadable")


Fact = tuple[str, str]  # the name and the value of a setting, a version, a time


class Section(NamedTuple):
    """A titled list of facts, folded away."""

    title: str
    facts: tuple[Fact, ...]


class Interval(NamedTuple):
    """An estimate with its 95 % interval; ``low`` and ``high`` are None if no interval was computed."""

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Column(NamedTuple):
    """One measure of a table. ``help`` is its definition in one sentence."""

    key: str
    title: str
    help: str = ""


class TableRow(NamedTuple):
    """A model, a paired difference or a task, over ``n`` items: an estimate for each column, and the chance level."""

    name: str
    n: int
    cells: Mapping[str, Interval]
    chance: float | None = None


class ResultTable(NamedTuple):
    """Models side by side, what chance reaches, and the paired differences."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    chance: Mapping[str, float] = {}
    differences: tuple[TableRow, ...] = ()
    note: str = ""


class TaskTable(NamedTuple):
    """One measure per task, a row for each task with a cell for each of the ``models``."""

    column: Column
    models: tuple[str, ...]
    rows: tuple[TableRow, ...]


class Series(NamedTuple):
    """One line of a chart; ``steps`` and ``values`` have the same length, gaps and non-finite values are left out.

    ``band`` has the (low, high) of each value, all finite; a line with a band is not smoothed.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    band: tuple[tuple[float, float], ...] = ()


class Chart(NamedTuple):
    """A line chart over training steps. ``low`` and ``high`` pin the axis, e.g. to [0, 1] for rewards."""

    title: str
    series: tuple[Series, ...]
    low: float | None = None
    high: float | None = None
    help: str = ""


class Stage(NamedTuple):
    """The curves of one training stage; ``more`` is folded away."""

    name: str
    charts: tuple[Chart, ...]
    more: tuple[Chart, ...] = ()
    facts: tuple[Fact, ...] = ()


class Mark(NamedTuple):
    """A box on one image of a sample."""

    image: int
    box: Box
    label: str = ""


class Picture(NamedTuple):
    """One image of a sample; ``width`` and ``height`` are pixels of the original."""

    path: Path
    width: int
    height: int
    caption: str = ""


class PartLine(NamedTuple):
    """One part of the reward, and the reason why it is not 1 (None if it is 1)."""

    name: str
    value: float
    reason: str | None = None


class LookShown(NamedTuple):
    """A look of an answer, in order: ``words`` name the crop, or say why it was refused (``mark`` may be None then)."""

    mark: Mark | None
    words: str
    refused: bool = False


class GalleryItem(NamedTuple):
    """What one model answered to one sample, beside the truth."""

    sample_id: str
    task: str
    model: str
    outcome: Outcome
    question: str
    pictures: tuple[Picture, ...]
    true: tuple[Mark, ...]
    predicted: tuple[Mark, ...]
    given: tuple[Mark, ...] = ()  # boxes that the question itself points at
    thinking: str = ""
    answer: str = ""
    failure: str | None = None
    parts: tuple[PartLine, ...] = ()
    iou: float | None = None
    tokens: int | None = None
    note: str = ""  # a line below the answer
    looks: tuple[LookShown, ...] = ()


class Example(NamedTuple):
    """One sample, and the answers of one model or of two models to it.

    ``answers`` are about the same sample; ``verdicts`` says of each answer in one line what is right or wrong with it.
    """

    title: str
    answers: tuple[GalleryItem, ...]
    verdicts: tuple[str, ...]


class Examples(NamedTuple):
    """The worked examples at the head of the page; ``note`` says how they were chosen, and what that does not show."""

    note: str
    items: tuple[Example, ...] = ()


class Completion(NamedTuple):
    """A completion of a group, sampled ``times`` times, with its reward; ``advantage`` is None if it is not known."""

    text: str
    parts: tuple[PartLine, ...]
    advantage: float | None
    predicted: tuple[Mark, ...] = ()
    times: int = 1


class RolloutGroup(NamedTuple):
    """The completions of one prompt in one step of GRPO. ``signal`` says whether the update learns from them."""

    step: int
    sample_id: str
    task: str
    signal: Literal["learned from", "no signal"]
    question: str
    pictures: tuple[Picture, ...]
    true: tuple[Mark, ...]
    given: tuple[Mark, ...]
    completions: tuple[Completion, ...]


class Rollouts(NamedTuple):
    """Groups of one training stage in the order of the steps; ``note`` says how they were chosen."""

    stage: str
    note: str
    groups: tuple[RolloutGroup, ...]


class Matrix(NamedTuple):
    """One model's answers by true class (rows) and answered class (columns), in numbers of items."""

    model: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Histogram(NamedTuple):
    """Counts between ascending ``edges`` (one more than counts), and the share at ``mark`` or above."""

    model: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mark: float
    above: Interval | None = None


class Group(NamedTuple):
    """A kind of items: how many there are, and a share to compare the models with, or None."""

    name: str
    n: int
    reference: float | None = None


class GroupChart(NamedTuple):
    """Shares by group: ``series`` is one estimate per group for each model; ``high`` pins the end of the axis."""

    title: str
    groups: tuple[Group, ...]
    series: Mapping[str, tuple[Interval | None, ...]]
    help: str = ""
    reference: str = ""
    high: float | None = None


class Differences(NamedTuple):
    """Signed estimates around 0, a row for each thing that is compared; the bars of a row have one scale."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


class Failures(NamedTuple):
    """Where the models go wrong; the notes say which items each drawing counts. ``findings`` are sentences."""

    findings: tuple[str, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    matrix_note: str = ""
    histograms: tuple[Histogram, ...] = ()
    histogram_note: str = ""
    edges: Differences | None = None
    charts: tuple[GroupChart, ...] = ()


class ShownAnswers(NamedTuple):
    """Answers of one model that are shown in full, in ``groups`` (title, answers); ``note`` says to what they are."""

    title: str
    note: str
    groups: tuple[tuple[str, Examples], ...]


class Draws(NamedTuple):
    """Several answers to each item: curves over the number of answers, and shares by model."""

    charts: tuple[Chart, ...]
    table: TaskTable


class ReportData(NamedTuple):
    """Everything on one page. Empty parts are left out.

    ``outcomes`` counts the items of each model by outcome, one of ``outcome_columns``; cells of ``plugin_tables`` have
    any unit. ``n_answers`` counts the answers that ``gallery`` was chosen from; 0: it holds all of them. ``reload`` is
    the number of seconds after which a browser loads the page again; 0: never.
    """

    title: str
    subtitle: str = ""
    examples: Examples | None = None
    answers: ShownAnswers | None = None
    sections: tuple[Section, ...] = ()
    table: ResultTable | None = None
    task_tables: tuple[TaskTable, ...] = ()
    plugin_tables: tuple[TaskTable, ...] = ()
    outcomes: Mapping[str, Mapping[Outcome, int]] = {}
    draws: Draws | None = None
    outcome_columns: tuple[Outcome, ...] = BOX_OUTCOMES
    failures: Failures | None = None
    robustness: Differences | None = None
    stages: tuple[Stage, ...] = ()
    rollouts: tuple[Rollouts, ...] = ()
    gallery: tuple[GalleryItem, ...] = ()
    n_answers: int = 0
    notes: tuple[str, ...] = ()
    reload: int = 0
