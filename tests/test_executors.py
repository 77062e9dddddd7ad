"""The order of results is that of the items, for every executor; items are taken when they are needed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace as Fake
from typing import Any

import pytest

from fakes.work import as_it_is, end_at_seven, fail_at_seven, square
from mirg.data.importers.raw import Row
from mirg.errors import ConfigError, MirgError
from mirg.executors import Executor, ExecutorName, chunks, executor

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: mirg[ray]")


@pytest.mark.parametrize("count", [0, 1, 255, 1000])
@pytest.mark.parametrize("name", ["local", "processes"])
def test_results_come_in_order(name: ExecutorName, count: int) -> None:
    with executor(name, workers=2) as workers:
        found = list(workers.map(square, range(count), chunk=10))
    assert [value for value, _ in found] == [n * n for n in range(count)]
    assert all((pid == os.getpid()) == (name == "local") for _, pid in found)


def taken_for_the_first_result(workers: Executor) -> int:
    """Items that were taken by the time that the first of ten thousand results is there."""
    taken = []

    def items() -> Iterator[int]:
        for n in range(10_000):
            taken.append(n)
            yield n

    next(iter(workers.map(square, items(), chunk=10)))
    return len(taken)


def test_items_are_not_all_taken_at_once() -> None:
    with executor("processes", workers=2) as workers:
        assert taken_for_the_first_result(workers) <= 2 * 4 * 10


@pytest.mark.parametrize("name", ["local", "processes"])
def test_errors_come_through(name: ExecutorName) -> None:
    with executor(name, workers=2) as workers, pytest.raises(ValueError, match="seven"):
        list(workers.map(fail_at_seven, range(100), chunk=5))


def test_a_killed_worker_is_told() -> None:
    with executor("processes", workers=2) as workers, pytest.raises(MirgError, match="worker process was killed"):
        list(workers.map(end_at_seven, range(100), chunk=5))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no executor 'spark'"), executor("spark"):  # type: ignore[arg-type]
        pass


def test_chunks() -> None:
    assert list(chunks(range(5), 2)) == [[0, 1], [2, 3], [4]]


def test_a_missing_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="needs the package 'ray'") as caught, executor("ray"):
        pass
    assert "mirg[ray]" in caught.value.hint


def rows_of(window: list[Any], function: Any, arguments: Any) -> Iterator[Any]:
    """What Ray's ``map_batches`` does with a window of rows, in this process."""
    return ({"part": function({"part": [row["part"]]}, *arguments)["part"][0]} for row in window)


@pytest.mark.parametrize("path", [None, "elsewhere"])
def test_ray_starts_and_ends_with_the_block(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes find the modules of this one, rows keep their order, and afterwards everything is as before."""
    log: list[Any] = []
    context = Fake(enable_progress_bars=True, execution_options=Fake(preserve_order=False))
    data = Fake(
        DataContext=Fake(get_current=lambda: context),
        from_items=lambda window, **_: Fake(
            map_batches=lambda function, fn_args, **_: Fake(iter_rows=lambda: rows_of(window, function, fn_args))
        ),
    )
    ray = Fake(
        data=data,
        is_initialized=lambda: False,
        init=lambda **told: log.append((told["num_cpus"], {*os.environ["PYTHONPATH"].split(os.pathsep)})),
        shutdown=lambda: log.append("ended"),
    )
    for name, module in {"ray": ray, "ray.data": data, "ray.exceptions": Fake(RayError=OSError)}.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("RAY_ADDRESS", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    if path:
        monkeypatch.setenv("PYTHONPATH", path)
    with executor("ray", workers=2) as workers:
        assert log == [(2, {*filter(None, sys.path)})]
        assert context.execution_options.preserve_order and not context.enable_progress_bars
        assert [n for n, _ in workers.map(square, range(1000), chunk=3)] == [n * n for n in range(1000)]
        results = workers.map(fail_at_seven, range(100), chunk=5)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(ValueError, match="seven"):
            next(results)
    assert os.environ.get("PYTHONPATH") == path and log[1:] == ["ended"]
    assert context.enable_progress_bars and not context.execution_options.preserve_order


@pytest.fixture(scope="module")
def cluster() -> Iterator[Executor]:
    with executor("ray", workers=2) as workers:
        yield workers


@NEEDS_RAY
@pytest.mark.slow
class TestRay:
    """Starting Ray takes some ten seconds."""

    @pytest.mark.parametrize("count", [0, 1, 255, 1000])
    def test_results_come_in_order(self, cluster: Executor, count: int) -> None:
        found = list(cluster.map(square, range(count), chunk=10))
        assert [value for value, _ in found] == [n * n for n in range(count)]
        assert os.getpid() not in {pid for _, pid in found}

    def test_items_are_not_all_taken_at_once(self, cluster: Executor) -> None:
        assert taken_for_the_first_result(cluster) <= 2 * 32 * 10

    def test_errors_come_through_in_their_place(self, cluster: Executor) -> None:
        results = cluster.map(fail_at_seven, range(100), chunk=5)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(ValueError, match="seven"):
            next(results)

    def test_values_come_back_as_they_went(self, cluster: Executor) -> None:
        """As columns, dictionaries of different keys would be filled up, and integers become floats."""
        values = [
            {"a": 1},
            {"b": [1, "x", None]},
            None,
            "text",
            2**70,
            1.5,
            Row("f", 1, {"c": {}}),
            (1, (2,)),
            b"\xff",
            [],
        ]
        found = list(cluster.map(as_it_is, values, chunk=3))
        assert found == values and [type(value) for value in found] == [type(value) for value in values]

    def test_a_killed_worker_is_told(self, cluster: Executor) -> None:
        with pytest.raises(MirgError, match="Ray stopped"):
            list(cluster.map(end_at_seven, range(20), chunk=5))

    def test_it_is_quiet_and_ends(self, tmp_path: Path) -> None:
        code = (
            "from mirg.executors import executor\nfrom fakes.work import square\n"
            "with executor('ray', 1) as workers:\n    assert len(list(workers.map(square, range(20), chunk=5))) == 20\n"
            "import ray\nassert not ray.is_initialized()\n"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert (done.stdout, done.stderr) == ("", "")

    def test_a_cluster_that_does_not_answer(self) -> None:
        code = (
            "from mirg.errors import ConfigError\nfrom mirg.executors import executor\n"
            "try:\n    with executor('ray'):\n        pass\nexcept ConfigError as error:\n    print(error.message)\n"
        )
        environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert "no Ray answers at RAY_ADDRESS=127.0.0.1:1" in done.stdout
