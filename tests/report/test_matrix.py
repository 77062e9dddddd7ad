"""A confusion matrix on the page: shares of rows, and the same columns for every model."""

from __future__ import annotations

import pytest

from mirg.report.data import Matrix
from mirg.report.tables import SHADES, grids

CLASSES = ("1", "2", "none")
COLUMNS = (*CLASSES, "several", "unreadable")


def test_shares_are_of_the_row() -> None:
    (grid,) = grids((Matrix("m", CLASSES, COLUMNS, ((3, 1, 0, 0, 0), (0, 5, 0, 0, 0), (0, 0, 0, 0, 0))),))
    assert grid.columns == ("1", "2") and [row.name for row in grid.rows] == ["1", "2"], "what nobody uses is left out"
    assert [cell.share for cell in grid.rows[0].cells] == [0.75, 0.25] and grid.rows[0].n == 4
    assert [[cell.same for cell in row.cells] for row in grid.rows] == [[True, False], [False, True]]
    assert grid.rows[1].cells[1].shade == SHADES and grid.rows[1].cells[0].shade == 0


def test_models_share_their_columns() -> None:
    a = Matrix("a", CLASSES, COLUMNS, ((2, 0, 0, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0)))
    b = Matrix("b", CLASSES, COLUMNS, ((0, 0, 0, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)))
    assert [grid.columns for grid in grids((a, b))] == [("1", "2", "several", "unreadable")] * 2


def test_a_true_class_never_answered_keeps_its_column() -> None:
    (grid,) = grids((Matrix("m", CLASSES, COLUMNS, ((0, 4, 0, 0, 0), (0, 4, 0, 0, 0), (0, 0, 0, 0, 0))),))
    assert grid.columns == ("1", "2") and grid.rows[0].cells[0].count == 0 and grid.rows[0].cells[0].same


@pytest.mark.parametrize(("count", "shade"), [(0, 0), (1, 1), (500, 5), (1000, 10)])
def test_what_is_there_is_never_drawn_as_nothing(count: int, shade: int) -> None:
    (grid,) = grids((Matrix("m", ("1",), ("1", "2"), ((count, 1000 - count),)),))
    assert grid.rows[0].cells[0].shade == shade
