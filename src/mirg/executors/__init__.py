"""Where work on many items runs: in this process, in several, or on a Ray cluster, with the same results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Literal, get_args

from mirg.errors import ConfigError
from mirg.executors.local import Executor, Local, Processes, chunks

__all__ = ["Executor", "ExecutorName", "Local", "Processes", "chunks", "executor"]

ExecutorName = Literal["local", "processes", "ray"]


@contextlib.contextmanager
def executor(name: ExecutorName = "local", workers: int | None = None) -> Iterator[Executor]:
    """The executor called ``name``, closed when the block is left. ConfigError if the name is unknown.

    ``workers`` is a number of processes, by default one per CPU core (of the cluster, where Ray runs on one); it
    changes nothing but the time.
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
        from mirg.executors.ray import ray_executor  # Ray is an extra

        with ray_executor(workers) as cluster:
            yield cluster
    else:
        raise ConfigError(f"no executor {name!r}", hint=f"known: {', '.join(get_args(ExecutorName))}")
