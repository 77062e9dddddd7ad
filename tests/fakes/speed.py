"""Limits of processor time that hold on a busy machine: they are those of a processor of the usual speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def seconds(work: Callable[[], object], runs: int = 5) -> float:
    """The fastest of ``runs`` calls, in seconds of processor time of this thread."""
    best = math.inf
    for _ in range(runs):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


def slowness() -> float:
    """How much slower this processor is at the moment than one that makes these tuples in 4 ms; at least 1.

    A shared processor is slow at times, most of all at work that needs new memory.
    """
    return max(seconds(lambda: [(n, (n / 3, n / 5, n / 7), str(n)) for n in range(10_000)], runs=3) / 0.004, 1.0)


def takes_at_most(limit: float, work: Callable[[], object]) -> bool:
    """Whether ``work`` takes at most ``limit`` seconds on a processor of the usual speed; 25 tries."""
    return any(seconds(work, runs=1) <= limit * slowness() for _ in range(25))


def grows_at_most(factor: float, small: Callable[[], object], large: Callable[[], object], spare: float = 0.0) -> bool:
    """Whether ``large`` takes at most ``factor`` times as long as ``small``, and ``spare`` seconds more; ten tries."""
    return any(seconds(large, runs=1) <= factor * seconds(small, runs=2) + spare for _ in range(10))
