"""The order of results is that of the items, whoever works; items are taken as they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fakes.work import fail_at_seven, square
from mirg.errors import ConfigError
from mirg.executors import ExecutorName, chunks, executor


@pytest.mark.parametrize("count", [0, 1, 255, 1000])
@pytest.mark.parametrize("name", ["local", "processes"])
def test_results_come_in_order(name: ExecutorName, count: int) -> None:
    with executor(name, workers=2) as workers:
        found = list(workers.map(square, range(count), chunk=10))
    assert [value for value, _ in found] == [n * n for n in range(count)]
    assert all((pid == os.getpid()) == (name == "local") for _, pid in found)


def test_items_are_not_all_taken_at_once() -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in range(10_000):
            taken.append(n)
            yield n

    with executor("processes", workers=2) as workers:
        next(iter(workers.map(square, items(), chunk=10)))
    assert len(taken) <= 2 * 4 * 10


@pytest.mark.parametrize("name", ["local", "processes"])
def test_errors_come_through(name: ExecutorName) -> None:
    with executor(name, workers=2) as workers, pytest.raises(ValueError, match="seven"):
        list(workers.map(fail_at_seven, range(100), chunk=5))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no executor 'spark'"), executor("spark"):  # type: ignore[arg-type]
        pass


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]
