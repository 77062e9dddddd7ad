"""The page of a study: what was claimed and found, a forest plot, every arm, every family, curves, and the costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mirg
from mirg.report.data import Chart, Interval
from mirg.report.forest import forest
from mirg.report.page import asset, content_security_policy, environment, markup
from mirg.storage import write_atomic


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
    style = asset("report.css")
    html = (
        environment()
        .get_template("study.html.j2")
        .render(
            data=data,
            version=mirg.__version__,
            csp=content_security_policy(style, ""),
            style=markup(style),
            forests={title: markup(forest(rows)) for title, rows in data.forests.items()},
        )
    )
    write_atomic(path, html)
    return path
