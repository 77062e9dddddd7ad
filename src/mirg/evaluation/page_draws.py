"""Several sampled answers on a page: pass@k curves with their bands, and a table of one, the majority and any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mirg.evaluation.compare import Evaluation
from mirg.evaluation.draws import AGREEMENT, PASSED
from mirg.evaluation.metrics import TITLES
from mirg.evaluation.page_tables import interval_of
from mirg.report.data import Chart, Column, Draws, Series, TableRow, TaskTable

NOTE = (
    "pass@k is the share of items for which at least one of k answers is right (unbiased estimate). Bands and second "
    "lines are 95 % intervals that resample image sets. All other parts of this page are about the majority answer."
)
Cells = Callable[[Evaluation], Mapping[str, Any]]


def draws_section(evaluated: Sequence[Evaluation]) -> Draws | None:
    """The evaluations with several answers to each item; None if no evaluation has them."""
    several = [e for e in evaluated if e.draws]
    if not several:
        return None
    rows: list[tuple[str, Cells]] = []
    for metric in PASSED:
        title = TITLES[metric]
        rows += [
            (f"{title}: one answer (mean)", lambda e, metric=metric: e.draws["overall"]["mean"][metric]),
            (f"{title}: the majority answer", lambda e, metric=metric: e.metrics["overall"][metric]),
            (f"{title}: any of the answers", lambda e, metric=metric: e.draws["overall"]["pass_at_k"][metric][-1]),
        ]
    rows += [(title, lambda e, name=name: e.draws["overall"]["agreement"][name]) for name, title in AGREEMENT.items()]
    n = max(e.draws["overall"]["n"] for e in several)
    table = TaskTable(
        Column("draws", "several answers", NOTE),
        tuple(f"{e.name}, k = {e.draws['k']}" for e in several),
        tuple(
            TableRow(title, n, {f"{e.name}, k = {e.draws['k']}": interval_of(of(e)) for e in several})
            for title, of in rows
        ),
    )
    return Draws(tuple(_curve(several, metric) for metric in PASSED), table)


def _curve(several: Sequence[Evaluation], metric: str) -> Chart:
    lines = []
    for e in several:
        cells = e.draws["overall"]["pass_at_k"][metric]
        band = tuple((cell["low"], cell["high"]) for cell in cells)
        lines.append(Series(e.name, tuple(c["k"] for c in cells), tuple(c["mean"] for c in cells), band))
    return Chart(f"pass@k by k, {TITLES[metric]}", tuple(lines), 0.0, 1.0)
