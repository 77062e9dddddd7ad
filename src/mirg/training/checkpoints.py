"""Checkpoints to rely on: a folder counts once its manifest is there, which is written last and atomically.

A process killed inside a save leaves a folder without a manifest, a damaged disk one that differs from it; resuming
passes both over.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from mirg.console import logger
from mirg.errors import CheckpointError, StorageError
from mirg.storage import SEAL_FILE, seal_problems

_FULL_BYTES = 16 * 2**20
_TORCH_WRITER = "inline_container"  # the file of torch that its RuntimeError names if a write fails


@contextlib.contextmanager
def writing_run(run: Path) -> Iterator[None]:
    """Raise what goes wrong while files of the folder ``run`` are written as a CheckpointError with what to do."""
    try:
        yield
    except (OSError, SafetensorError, StorageError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _TORCH_WRITER not in str(error):
            raise
        full = shutil.disk_usage(run).free < _FULL_BYTES
        raise CheckpointError(
            f"cannot continue {run}: {'the disk is full' if full else error}",
            hint=("free some room; " if full else "")
            + "nothing is lost: the same command continues from the last good checkpoint",
        ) from error


def is_good(checkpoint: Path) -> bool:
    """Whether the files of ``checkpoint`` are what its manifest says; why not is logged."""
    problems = seal_problems(checkpoint)
    if problems:
        logger.warning("%s is not used: %s", checkpoint, problems[0])
    return not problems


def last_good_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; damaged ones are named and passed over."""
    return next((checkpoint for checkpoint in _newest_first(folder) if is_good(checkpoint)), None)


def drop_newer(folder: Path, step: int) -> None:
    """Remove what is newer than ``step``: it is damaged or incomplete, and its steps will be done again."""
    for checkpoint in _newest_first(folder):
        if step_of(checkpoint) > step:
            shutil.rmtree(checkpoint, ignore_errors=True)


def drop_old(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest complete checkpoints. The newest was written just now, so a good one stays."""
    complete = 0
    for checkpoint in _newest_first(folder):
        if complete >= keep:
            shutil.rmtree(checkpoint, ignore_errors=True)
        complete += (checkpoint / SEAL_FILE).is_file()


def step_of(checkpoint: Path) -> int:
    """The number of steps behind a checkpoint, as its name says: ``checkpoint-250``."""
    return int(checkpoint.name.rpartition("-")[2])


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of, reverse=True)
