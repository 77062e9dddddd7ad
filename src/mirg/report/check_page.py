"""The page of ``mirg data check``: what is rejected, what looks wrong, what leaks, and what the data are made of.

One file, no outside request, no script; every text in the data is untrusted and escaped (see ``report.page``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mirg
from mirg.report.counts import render_counts, shade_grid
from mirg.report.data import Fact, Matrix
from mirg.report.page import asset, content_security_policy, environment, markup
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
    """What the samples of one task, or all of them, are made of. ``cells`` are 3 x 3 counts of targets."""

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
    style = asset("report.css") + asset("check.css")
    return (
        environment()
        .get_template("check.html.j2")
        .render(
            data=data,
            version=mirg.__version__,
            csp=content_security_policy(style, ""),
            style=markup(style),
            bars=lambda title, values: markup(render_counts(title, values)),
            cells=lambda shape: shade_grid(_matrix(shape)),
        )
    )


def _matrix(shape: ShapeView) -> Matrix:
    return Matrix(
        shape.name, ("top", "middle", "bottom"), ("left", "middle", "right"), tuple(tuple(row) for row in shape.cells)
    )
