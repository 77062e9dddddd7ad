"""Work on many items in this process or in several processes of this machine.

A function that is mapped gets one item and returns one result, both picklable, and depends on nothing else: so the
same items give the same results whoever computes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Protocol, TypeVar

from mirg.errors import MirgError

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 256  # items of one task: a task costs about a millisecond to send and to answer
_AHEAD = 4  # submitted tasks per worker, running or waiting


class Executor(Protocol):
    """Maps a function over items, lazily; results come in the order of the items."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item. At most a bounded number of items is taken before its results are."""
        ...


class Local:
    """This process, one item after the other."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item; ``chunk`` means nothing here."""
        return map(function, items)


class Processes:
    """Processes of this machine, started afresh: nothing of the caller's threads or GPU is inherited."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool = pool
        self._workers = workers

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = _CHUNK
    ) -> Iterator[Result]:
        """``function`` of every item, ``chunk`` items per task. MirgError where a process ends before its work."""
        running: deque[Future[list[Result]]] = deque()
        try:
            for part in chunks(items, chunk):
                running.append(self._pool.submit(_each, function, part))
                if len(running) >= self._workers * _AHEAD:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool as error:
            raise MirgError(
                "a worker process was killed in the middle of its work",
                hint="most often the machine ran out of memory: fewer --workers need less",
            ) from error


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size`` items, the last one shorter."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _each(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    return [function(item) for item in items]
