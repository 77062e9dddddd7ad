"""What a run is waiting for, and the stacks of a run that no longer ends a step.

:data:`ACTIVITY` holds the name of what this process is doing; the places that may take long set it. :class:`Watch`
reads it in a thread: it logs what the run is waiting for, and writes the stacks of all threads, and of the processes
that were forked for reading data, to a file of the run folder. Neither changes a number of the run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import IO, Any, NamedTuple, ParamSpec, TypeVar

import torch

from mirg.console import logger
from mirg.training.recipe import HealthConfig

P = ParamSpec("P")
T = TypeVar("T")

STACKS = "stacks-{rank}.txt"
READING_DATA, UPDATE, OTHERS = "reading data", "the update", "the other processes"
_LOOK_SECONDS = 1.0
# A real-time signal that nobody else uses: a process that was forked from this one writes its stacks when it gets it.
_SIGNAL = getattr(signal, "SIGRTMIN", 0) + 7 if hasattr(signal, "SIGRTMIN") else 0


class Doing(NamedTuple):
    """What a process is doing, and since when (``time.monotonic``)."""

    name: str
    since: float


class Activity:
    """The names of what the training thread of this process is doing, the innermost last."""

    def __init__(self) -> None:
        self._stack = [Doing("the start", time.monotonic())]
        self.step_ended_at = time.monotonic()

    @property
    def now(self) -> Doing:
        """The innermost activity."""
        return self._stack[-1]

    def begin(self, name: str) -> None:
        """Replace the outermost activity."""
        self._stack[:1] = [Doing(name, time.monotonic())]

    def step_ended(self) -> None:
        """Note that a step, or the start of a run, is over."""
        self.step_ended_at = time.monotonic()

    @contextlib.contextmanager
    def doing(self, name: str) -> Iterator[None]:
        """``name`` inside the block, then again what it was before."""
        self._stack.append(Doing(name, time.monotonic()))
        try:
            yield
        finally:
            self._stack.pop()

    def during(self, name: str, function: Callable[P, T]) -> Callable[P, T]:
        """``function``, which is the activity ``name`` while it runs."""

        @wraps(function)
        def call(*args: P.args, **keywords: P.kwargs) -> T:
            with self.doing(name):
                return function(*args, **keywords)

        return call


ACTIVITY = Activity()


class Watch:
    """Inside ``with Watch(folder, config, stage):``, a thread looks every second at what this process is doing.

    Args:
        folder: The run folder, where ``stacks-RANK.txt`` is written if no step ends for ``config.watchdog`` seconds.
        config: When it says what the run is waiting for, and when it writes the stacks; 0 is never.
        stage: The name of the stage in the log.
    """

    def __init__(self, folder: Path, config: HealthConfig, stage: str) -> None:
        self.config, self.stage = config, stage
        self.path = folder / STACKS.format(rank=os.environ.get("RANK", "0"))
        self._told: tuple[Doing, float] | None = None
        self._dumped_at = -1.0  # the end of the step after which the stacks were written
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirg-watch", daemon=True)
        self._file: IO[str] | None = None

    def __enter__(self) -> Watch:
        ACTIVITY.begin("the start")
        ACTIVITY.step_ended()
        self._open()
        self._thread.start()
        return self

    def _open(self) -> None:
        """Open the file before processes are forked that will write to it; the main process makes the run folder."""
        if self._file is None and self.config.watchdog and self.path.parent.is_dir():
            self._file = self.path.open("a", encoding="utf-8")
            if _SIGNAL:
                faulthandler.register(_SIGNAL, file=self._file, all_threads=True)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._file is not None:
            if _SIGNAL:
                faulthandler.unregister(_SIGNAL)
            self._file.close()
            if not self.path.stat().st_size:
                self.path.unlink()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Say what the run is waiting for, and write the stacks, if it is time for that at ``now``."""
        self._open()
        doing = ACTIVITY.now
        # The first line comes after ``waiting`` seconds, each further one when the time has doubled.
        last = self._told[1] if self._told and self._told[0] == doing else self.config.waiting / 2
        if self.config.waiting and now - doing.since >= 2 * last:
            self._told = doing, now - doing.since
            logger.info("%s: waiting for %s, for %.0f s so far", self.stage, doing.name, now - doing.since)
        quiet, began = now - ACTIVITY.step_ended_at, ACTIVITY.step_ended_at
        if self._file is not None and quiet >= self.config.watchdog and self._dumped_at != began:
            self._dumped_at = began
            self.dump(quiet)

    def dump(self, quiet: float) -> None:
        """Write the stacks of this process and of those forked from it, after ``quiet`` seconds without a step."""
        file, doing = self._file, ACTIVITY.now
        if file is None:
            return
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"{stamp}: process {os.getpid()}, no step for {quiet:.0f} s, waiting for {doing.name}\n")
        file.flush()
        faulthandler.dump_traceback(file, all_threads=True)
        for child in multiprocessing.active_children():
            own = _SIGNAL and child.pid is not None and _catches(child.pid, _SIGNAL)
            file.write(f"\nprocess {child.pid}, {child.name}{'' if own else ': its stack cannot be read from here'}\n")
            file.flush()
            if own and child.pid is not None:
                os.kill(child.pid, _SIGNAL)
                time.sleep(0.2)  # it writes to the same file
        file.write("\n")
        file.flush()
        logger.warning(
            "%s: no step has ended for %.0f s, waiting for %s; the stacks are in %s",
            *(self.stage, quiet, doing.name, self.path),
        )


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, which would end it otherwise."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)


def in_any_process(flag: bool, args: Any) -> bool:
    """Whether ``flag`` is true in at least one process, so that all do the same; ``args`` are the Trainer's."""
    if args is None or args.world_size <= 1:
        return flag
    with ACTIVITY.doing(OTHERS):
        found = torch.tensor(int(flag), device=args.device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return bool(found)
