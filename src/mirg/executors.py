"""Where work on many items runs: in this process, in several, or on a Ray cluster, with the same results.

A function that is mapped gets one item and returns one result, both picklable, and depends on nothing else, so the same
items give the same results whoever computes them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any, Literal, TypeVar, get_args

from mirg.errors import ConfigError, MirgError

Item = TypeVar("Item")
Result = TypeVar("Result")
ExecutorName = Literal["local", "processes", "ray"]

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: where a running cluster is
_CHUNK = 256  # items of one task: a task costs about a millisecond to send and to answer
_AHEAD = 4  # submitted tasks per worker, running or waiting
_PARTS = 32  # parts of a window for each worker: starting a Ray dataset costs as much as a part or two
_PATIENCE = 10.0  # seconds for a cluster to answer
_RETRIES = 3  # of a part whose worker was killed: Ray's own choice is to try for ever


class Executor:
    """Maps a function over items, lazily; this one in the calling process."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item, ``chunk`` items per task, in the order of the items.

        At most a bounded number of items is taken before its results are.
        """
        return map(function, items)


Local = Executor


@dataclass(frozen=True)
class Processes(Executor):
    """Processes of this machine, started afresh: nothing of the caller's threads or GPU is inherited."""

    pool: ProcessPoolExecutor
    workers: int

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item. MirgError if a process ends before its work."""
        running: deque[Future[list[Result]]] = deque()
        try:
            for values in chunks(items, chunk):
                running.append(self.pool.submit(_each, function, values))
                if len(running) >= self.workers * _AHEAD:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool as error:
            raise MirgError(
                "a worker process was killed in the middle of its work",
                hint="most often the machine ran out of memory: fewer --workers need less",
            ) from error


@dataclass(frozen=True)
class Ray(Executor):
    """Ray Data stages: the machines of a cluster, or a Ray of this machine's own.

    Items go out in windows, one dataset each, so that the driver holds only one window in memory. A row of such a
    dataset is one part of the window, as an object: as columns, Arrow would give items of different keys one schema and
    fill the gaps, and what comes back would not be what went in. Rows keep their order.
    """

    workers: int

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item; what it raises is raised here, in its place."""
        import ray.data
        from ray.exceptions import RayError

        mapped: Any = _mapped  # Ray's type has no place for further arguments
        parts = ({"part": _Part(values)} for values in chunks(items, chunk))
        for window in chunks(parts, self.workers * _PARTS):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the argument for retries will change after 2.63; see pyproject.toml
                stage = ray.data.from_items(window, override_num_blocks=len(window)).map_batches(
                    mapped, batch_size=1, batch_format="numpy", fn_args=(function,), max_retries=_RETRIES
                )
            try:
                for row in stage.iter_rows():
                    part = row["part"]
                    yield from part.values
                    if part.failed is not None:
                        raise part.failed
            except RayError as error:
                raise MirgError(
                    f"Ray stopped: {str(error).strip().splitlines()[-1][:300]}",
                    hint="a worker without memory, or machines without mirg in the same version?",
                ) from error


@dataclass(frozen=True)
class _Part:
    """Consecutive items, or their results; an object, which Arrow does not convert."""

    values: list[Any]
    failed: Exception | None = None  # raised by the item after ``values``


def _each(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]


def _compute(function: Callable[[Any], Any], values: list[Any]) -> _Part:
    done: list[Any] = []
    for value in values:
        try:
            done.append(function(value))
        except Exception as error:  # raised again by the caller, at the place of the item
            return _Part(done, error)
    return _Part(done)


def _mapped(batch: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, list[_Part]]:
    return {"part": [_compute(function, part.values) for part in batch["part"]]}


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


@contextlib.contextmanager
def executor(name: ExecutorName = "local", workers: int | None = None) -> Iterator[Executor]:
    """The executor called ``name``, closed when the block is left. ConfigError if the name is unknown.

    ``workers`` is a number of processes, by default one per CPU core (of the cluster, if Ray runs on one); it changes
    nothing but the time.
    """
    count = workers or os.cpu_count() or 1
    if name == "local":
        yield Local()
    elif name == "processes":
        pool = ProcessPoolExecutor(count, get_context("spawn"))
        try:
            yield Processes(pool, count)
        finally:
            pool.shutdown(cancel_futures=True)
    elif name == "ray":
        with _ray(workers) as cluster:
            yield cluster
    else:
        raise ConfigError(f"no executor {name!r}", hint=f"known: {', '.join(get_args(ExecutorName))}")


@contextlib.contextmanager
def _ray(workers: int | None) -> Iterator[Ray]:
    """The cluster at ``RAY_ADDRESS``, else a local Ray of ``workers`` processes that ends with the block.

    ConfigError if Ray is not installed or the cluster does not answer. A Ray that the caller has started is used, and
    left running.
    """
    # Ray reports its use to its makers unless it is turned off.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            f"--executor ray needs the package 'ray' with its data part: {error}", hint="pip install 'mirg[ray]'"
        ) from error
    ours = not ray.is_initialized()
    if ours:
        _start(ray, workers)
    context = ray.data.DataContext.get_current()
    before = (context.enable_progress_bars, context.execution_options.preserve_order)
    levels = {log: log.level for log in map(logging.getLogger, ("ray", "ray.data"))}
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    for log in levels:
        log.setLevel(logging.CRITICAL)
    try:
        yield Ray(workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
        for log, level in levels.items():
            log.setLevel(level)
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int | None) -> None:
    address = os.environ.get(ADDRESS)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if not address:
        settings |= {"address": "local", "num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
    # Processes of a local Ray find the modules that this one finds, as those of multiprocessing do.
    path = os.environ.get("PYTHONPATH")
    try:
        if address and (place := re.fullmatch(r"(?:ray://)?([^:/\s]+):(\d{1,5})", address)):
            # Ray itself would retry for minutes if no server listens there.
            socket.create_connection((place[1], int(place[2])), timeout=_PATIENCE).close()
        os.environ["PYTHONPATH"] = os.pathsep.join(part for part in sys.path if part)
        ray.init(**settings)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        what = f"no Ray answers at {ADDRESS}={address}" if address else "Ray does not start on this machine"
        hint = f"`ray status` shows a cluster; without {ADDRESS} one is started"
        raise ConfigError(f"{what}: {error}", hint=hint) from error
    finally:
        os.environ.pop("PYTHONPATH", None)
        os.environ.update({} if path is None else {"PYTHONPATH": path})
