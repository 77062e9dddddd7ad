"""Work on many items as Ray Data stages: on the machines of a cluster, or on a Ray of this machine's own.

Items go out in windows, one dataset each, so that the driver holds only one window in memory. A row of
such a dataset is one part of the window, as an object: as columns, Arrow would give items of different keys one schema
and fill the gaps, and what comes back would not be what went in.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from mirg.errors import ConfigError, MirgError

Item = TypeVar("Item")
Result = TypeVar("Result")

ADDRESS = "RAY_ADDRESS"  # Ray's own variable: where a running cluster is
_PARTS = 32  # parts of a window for each worker: starting a dataset costs as much as a part or two
_PATIENCE = 10.0  # seconds for a cluster to answer
_RETRIES = 3  # of a part whose worker was killed: Ray's own choice is to try for ever
_LOGGERS = ("ray", "ray.data")


@dataclass(frozen=True)
class Part:
    """Consecutive items, or their results; an object, which Arrow does not convert."""

    values: list[Any]
    failed: Exception | None = None  # raised by the item after ``values``


class Ray:
    """Maps by ``from_items`` and ``map_batches``; rows keep their order."""

    def __init__(self, workers: int) -> None:
        self._window = workers * _PARTS

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], *, chunk: int = 256) -> Iterator[Result]:
        """``function`` of every item, ``chunk`` items per part; what it raises is raised here, in its place."""
        import ray.data
        from ray.exceptions import RayError

        from mirg.executors.local import chunks

        mapped: Any = _mapped  # Ray's type has no place for further arguments
        parts = ({"part": Part(items)} for items in chunks(items, chunk))
        for window in chunks(parts, self._window):
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


@contextlib.contextmanager
def ray_executor(workers: int | None = None) -> Iterator[Ray]:
    """The cluster at ``RAY_ADDRESS``, else a local Ray of ``workers`` processes that ends with the block.

    ConfigError where Ray is not installed or the cluster does not answer. A Ray that the caller has started is used,
    and left running.
    """
    # Ray reports its use to its makers unless told otherwise.
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
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    context.enable_progress_bars, context.execution_options.preserve_order = False, True
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield Ray(workers or max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        context.enable_progress_bars, context.execution_options.preserve_order = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int | None) -> None:
    address = os.environ.get(ADDRESS)
    told: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if not address:
        told |= {"address": "local", "num_cpus": workers or os.cpu_count() or 1, "include_dashboard": False}
    try:
        if address:
            _ask(address)
        with _path_for_workers():
            ray.init(**told)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        what = f"no Ray answers at {ADDRESS}={address}" if address else "Ray does not start on this machine"
        hint = f"`ray status` shows a cluster; without {ADDRESS} one is started"
        raise ConfigError(f"{what}: {error}", hint=hint) from error


def _ask(address: str) -> None:
    """OSError if no server listens at ``host:port``: Ray itself would retry for minutes."""
    place = re.fullmatch(r"(?:ray://)?([^:/\s]+):(\d{1,5})", address)
    if place:
        socket.create_connection((place[1], int(place[2])), timeout=_PATIENCE).close()


@contextlib.contextmanager
def _path_for_workers() -> Iterator[None]:
    """Processes of a local Ray find the modules that this one finds, as those of multiprocessing do."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _mapped(batch: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, list[Part]]:
    """One batch, which is one part."""
    return {"part": [_each(part.values, function) for part in batch["part"]]}


def _each(values: list[Any], function: Callable[[Any], Any]) -> Part:
    done: list[Any] = []
    for value in values:
        try:
            done.append(function(value))
        except Exception as error:  # raised again by the caller, at the place of the item
            return Part(done, error)
    return Part(done)
