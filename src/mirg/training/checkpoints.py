"""Checkpoints to rely on: a folder counts once its manifest is there, which is written last and atomically.

A process killed inside a save leaves a folder without a manifest, a damaged disk one that differs from it; resuming
passes both over.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mirg.console import logger
from mirg.errors import StorageError
from mirg.storage import folder_manifest, manifest_problems, read_json, write_json_atomic

MANIFEST = "mirg_manifest.json"


def seal(checkpoint: Path) -> None:
    """Write the manifest of what lies in ``checkpoint``: from now on it is complete."""
    write_json_atomic(checkpoint / MANIFEST, folder_manifest(checkpoint, ignore=frozenset({MANIFEST})))


def is_good(checkpoint: Path) -> bool:
    """Whether the files of ``checkpoint`` are what its manifest says; why not is logged."""
    problems = _problems(checkpoint)
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
        complete += (checkpoint / MANIFEST).is_file()


def step_of(checkpoint: Path) -> int:
    """The number of steps behind a checkpoint, as its name says: ``checkpoint-250``."""
    return int(checkpoint.name.rpartition("-")[2])


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of, reverse=True)


def _problems(checkpoint: Path) -> list[str]:
    file = checkpoint / MANIFEST
    if not file.is_file():
        return ["it has no manifest, so it was not written to the end"]
    try:
        manifest = read_json(file)
        if not isinstance(manifest, dict) or not manifest:
            return ["its manifest is damaged"]
        return manifest_problems(checkpoint, manifest)
    except (StorageError, OSError) as error:  # another process of the run may be removing a damaged folder
        return [str(error)]
