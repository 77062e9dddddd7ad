"""A confusion matrix ready to print: shares of each row, how dark each cell is, and no column that is always empty."""

from __future__ import annotations

from dataclasses import dataclass

from mirg.report.data import Matrix

SHADES = 10  # classes h1 … h10 of the style sheet


@dataclass(frozen=True)
class Cell:
    """``count`` items and their share of the row; ``shade`` 0 … 10; ``same`` where answer and truth are one class."""

    count: int
    share: float
    shade: int
    same: bool


@dataclass(frozen=True)
class Row:
    """One true class with its ``n`` items."""

    name: str
    n: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Grid:
    """The matrix of one model, as the page shows it."""

    model: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def grids(matrices: tuple[Matrix, ...]) -> list[Grid]:
    """The matrices with the same columns everywhere: those that are used in any of them, or are a true class of one."""
    used = {
        name
        for matrix in matrices
        for row, counts in zip(matrix.rows, matrix.counts, strict=True)
        for name, count in zip(matrix.columns, counts, strict=True)
        if count or (name == row and any(counts))
    }
    return [_grid(matrix, used) for matrix in matrices]


def _grid(matrix: Matrix, used: set[str]) -> Grid:
    shown = [(place, name) for place, name in enumerate(matrix.columns) if name in used]
    rows = []
    for name, counts in zip(matrix.rows, matrix.counts, strict=True):
        n = sum(counts)
        if n:
            rows.append(Row(name, n, tuple(_cell(counts[place], n, name == column) for place, column in shown)))
    return Grid(matrix.model, tuple(name for _, name in shown), tuple(rows))


def _cell(count: int, n: int, same: bool) -> Cell:
    share = count / n
    return Cell(count, share, max(1, round(share * SHADES)) if count else 0, same)
