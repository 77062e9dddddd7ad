"""A run folder that explains itself, and the rules of starting, resuming and refusing.

``config.yaml`` (the resolved recipe), ``environment.json``, ``metrics.jsonl``, ``rollouts.jsonl`` (RL),
``rejected.jsonl`` (samples that were not used), ``skipped.jsonl`` (steps that updated nothing), ``alarms.jsonl`` (steps
that could not be read or had no signal), ``checkpoints/``, and ``model/`` once the run has finished. The same command
again resumes; another recipe in the same folder is refused.

A checkpoint counts once its manifest is there, which is written last and atomically. A process that is killed while it
saves leaves a folder without a manifest, a damaged disk a folder that differs from it; resuming passes over both.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel
from safetensors import SafetensorError

from mirg.config import dump_recipe
from mirg.console import logger
from mirg.errors import CheckpointError, StorageError
from mirg.publish.card import write_card
from mirg.rewards.total import PARTS, Score
from mirg.rewards.trl import RewardFunctions
from mirg.samples.card import README_FILE
from mirg.samples.schema import Sample
from mirg.storage import (
    SEAL_FILE,
    BadLine,
    Journal,
    is_unfinished_file,
    read_jsonl,
    seal_folder,
    seal_problems,
    write_atomic,
    write_json_atomic,
)
from mirg.text_files import parse_yaml

_PACKAGES = ("mirg", "torch", "transformers", "trl", "accelerate", "peft", "datasets", "tokenizers", "numpy", "pillow")
METRICS, ROLLOUTS, REJECTED, SKIPPED = "metrics.jsonl", "rollouts.jsonl", "rejected.jsonl", "skipped.jsonl"
ALARMS = "alarms.jsonl"
_MAY_CHANGE = {"health"}  # keys that change no number of a run
PROGRESS_SECONDS = 5.0
_FULL_BYTES = 16 * 2**20
_WAIT_SECONDS = 300
_TORCH_WRITER = "inline_container"  # the file of torch that its RuntimeError names if a write fails


class RunFolder:
    """One training run on disk. Open it with :meth:`open`; it holds the metrics file until :meth:`close`."""

    def __init__(self, path: Path, stage: str) -> None:
        self.path, self.stage = path, stage
        self.model = path / "model"  # the finished model
        self.checkpoints = path / "checkpoints"  # only during the run
        self.listeners: list[Callable[[int, dict[str, Any]], None]] = []  # each is given the rows that are logged
        self._metrics: Journal | None = None
        self._started = time.monotonic()
        self._before = 0.0  # seconds that earlier starts took, up to the row from which this one continues

    @classmethod
    def open(cls, path: str | Path, recipe: BaseModel) -> RunFolder:
        """Create the folder, or continue it if it holds the same recipe; CheckpointError if it holds another."""
        folder = cls(Path(path), getattr(recipe, "stage", "run"))
        if not is_main_process():
            return folder
        config = folder.path / "config.yaml"
        resolved = dump_recipe(recipe)
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
            if config.exists():
                folder._refuse_other_recipe(resolved)
            elif not all(map(is_unfinished_file, folder.path.iterdir())):
                raise CheckpointError(
                    f"{folder.path} is not empty and is no run folder", hint="choose another output folder"
                )
        except OSError as error:
            raise CheckpointError(
                f"cannot write run folder {folder.path}: {error}", hint="check the path and its rights"
            ) from error
        write_atomic(config, resolved)
        write_json_atomic(folder.path / "environment.json", environment())
        return folder

    def wait_until_made(self) -> None:
        """Wait for the first of several processes to make the folder. CheckpointError if it does not within minutes.

        What another process writes before, such as the folder of checkpoints, would look like the run of somebody else.
        """
        until = time.monotonic() + _WAIT_SECONDS
        while not (self.path / "config.yaml").is_file():
            if time.monotonic() > until:
                raise CheckpointError(
                    f"the first process did not make {self.path}", hint="is the folder on a file system that all see?"
                )
            time.sleep(0.02)

    def _refuse_other_recipe(self, resolved: str) -> None:
        config = self.path / "config.yaml"
        try:
            old: Any = parse_yaml(config.read_text(encoding="utf-8")) or {}
            problem: object = "" if isinstance(old, dict) else "it holds no mapping of keys to values"
        except ValueError as error:
            old, problem = {}, error
        if problem:
            raise CheckpointError(
                f"cannot read {config}, which says what run this is: {problem}",
                hint="put the recipe's --dry-run output there, or use another output folder",
            )
        new = yaml.safe_load(resolved)
        keys = (old.keys() | new.keys()) - _MAY_CHANGE
        changed = sorted(key for key in keys if old.get(key) != new.get(key))
        if changed:
            key = changed[0]
            raise CheckpointError(
                f"{self.path} holds a run with another recipe: {', '.join(changed)} differ"
                f" ({key}: {old.get(key)!r} there, {new.get(key)!r} now)",
                hint="use another output folder, or the same recipe to resume",
            )

    @property
    def finished(self) -> bool:
        """True once ``model/`` is complete: it appears whole or not at all."""
        return (self.model / "config.json").is_file() or (self.model / "adapter_config.json").is_file()

    def refuse_damaged_model(self) -> None:
        """CheckpointError if a file of the finished model is not what it was when it was written."""
        problems = seal_problems(self.model) if (self.model / SEAL_FILE).is_file() else []
        if problems:
            raise CheckpointError(
                f"the finished model {self.model} is damaged: {problems[0]}",
                hint="remove that folder: the same command writes it again from the last checkpoint",
            )

    def rewind(self, step: int) -> None:
        """Forget metrics and rollouts after ``step``: the steps from there on will be done again.

        The clock of the metrics continues from the last row that is kept. A file with damaged lines is kept beside the
        new one, and the lines are named in a warning.
        """
        self.close()
        for path in (self.path / name for name in (METRICS, ROLLOUTS, SKIPPED, ALARMS)):
            if not path.is_file():
                continue
            rows, damaged = read_rows(path)
            if damaged:
                names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
                kept = next(name for name in names if not name.exists())
                shutil.copyfile(path, kept)
                words = (
                    "%s: damaged lines that are left out: %d, the first is line %d; the file with them is kept as %s"
                )
                logger.warning(words, path, len(damaged), damaged[0], kept.name)
            lines = [json.dumps(row, ensure_ascii=False) for row in rows if row.get("step", 0) <= step]
            write_atomic(path, "".join(f"{line}\n" for line in lines))
        times = (row.get("time") for row in self.rows())
        self._before = max((float(time) for time in times if isinstance(time, int | float)), default=0.0)

    def rows(self, name: str = METRICS) -> list[dict[str, Any]]:
        """The rows of one of the run's journals so far; damaged lines and a torn last line are left out."""
        path = self.path / name
        return read_rows(path)[0] if path.is_file() else []

    def reject(self, rejections: Sequence[BaseModel]) -> None:
        """Keep the list of samples that are not used, with the reason of each."""
        write_atomic(self.path / REJECTED, "".join(row.model_dump_json() + "\n" for row in rejections))

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Add one row to ``metrics.jsonl``, with the seconds that the run has taken, earlier starts included.

        Numbers that are not finite are written as null.
        """
        if self._metrics is None:
            self._metrics = Journal(self.path / METRICS)
        seconds = round(self._before + time.monotonic() - self._started, 3)
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        self._metrics.append({"step": step, "time": seconds, "stage": self.stage} | finite)
        for listener in self.listeners:
            listener(step, finite)

    def close(self) -> None:
        """Close the metrics file; logging opens it again."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    def save_model(self, save: Callable[[Path], None], facts: dict[str, Any]) -> Path:
        """Let ``save`` write the model into a work folder, add its manifest, then move it into place in one step."""
        work = self.path / "model.tmp"
        shutil.rmtree(work, ignore_errors=True)
        with writing_run(self.path):
            work.mkdir(parents=True)
            save(work)
            write_json_atomic(work / "mirg.json", {"stage": self.stage, **facts})
            write_card(work, run=self.path)
            seal_folder(work, ignore=frozenset({README_FILE}))  # people may edit it
            shutil.rmtree(self.model, ignore_errors=True)
            work.replace(self.model)
        return self.model


class Rollout(NamedTuple):
    """A completion with its score, its line in ``rollouts.jsonl``, and the images of its prompt if they are known."""

    sample: Sample
    images: Sequence[Any]
    score: Score
    line: dict[str, Any]


class RolloutLog:
    """Writes completions with their rewards and reasons to ``rollouts.jsonl``, in every ``every``-th step.

    ``listener`` is given the number of the step and what was written in it.
    """

    def __init__(self, run: RunFolder, rewards: RewardFunctions, every: int) -> None:
        self.journal, self.rewards, self.every = Journal(run.path / ROLLOUTS), rewards, every
        self.listener: Callable[[int, list[Rollout]], None] | None = None

    def write(
        self, step: int, rows: Sequence[dict[str, Any]], completions: Sequence[Any], values: Sequence[Sequence[float]]
    ) -> None:
        """Add a line for each completion after ``step`` updates; ``values`` (N, functions) are what those returned."""
        if step % self.every:
            return
        names = [function.__name__ for function in self.rewards.functions]
        further = range(len(PARTS), len(names))
        written: list[Rollout] = []
        for row, completion, own in zip(rows, completions, values, strict=True):
            text = self.rewards.scorer.turn(completion)
            score = self.rewards.scorer(text, row["sample"])
            line = {
                "step": step + 1,
                "id": row["id"],
                "completion": text,
                "total": score.total + sum(self.rewards.weights[k] * own[k] for k in further),
                **dict(zip(PARTS, score.values, strict=True)),
                **{names[k]: own[k] for k in further},
                "reasons": score.reasons | _reasons(self.rewards.functions[len(PARTS) :], text, row["sample"]),
                "boxes": [[box.image, *box.box] for box in score.reading.boxes if box.problem is None],
            }
            self.journal.append(line)
            written.append(Rollout(row["sample"], row.get("images") or (), score, line))
        if self.listener is not None:
            self.listener(step + 1, written)


def _reasons(functions: Sequence[Any], text: str, sample: Sample) -> dict[str, str]:
    """Why the rewards that can say it (:func:`mirg.rewards.looks.look_functions`) are less than 1, by name."""
    told = {one.__name__: one.reason(text, sample) for one in functions if hasattr(one, "reason")}
    return {name: reason for name, reason in told.items() if reason}


class Progress:
    """A line every few seconds: step, rate, time left, and the values that the stage adds."""

    def __init__(self, stage: str, total: int, start: int = 0) -> None:
        self.stage, self.total, self.start = stage, total, start
        self._began = self._last = time.monotonic()

    def step(self, step: int, values: dict[str, Any]) -> None:
        """Say where the run is; silent within PROGRESS_SECONDS of the last line unless it is the last step."""
        now = time.monotonic()
        if now - self._last < PROGRESS_SECONDS and step < self.total:
            return
        self._last = now
        rate = max(step - self.start, 1) / max(now - self._began, 1e-9)
        left = (self.total - step) / rate
        said = " · ".join(f"{name} {value:.3g}" for name, value in values.items() if isinstance(value, int | float))
        logger.info("%s %d/%d · %s · %.2f s/step · ETA %s", self.stage, step, self.total, said, 1 / rate, clock(left))


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows of a journal of a run and the numbers of damaged lines; a torn last line is neither."""
    rows: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, value in read_jsonl(path):
        if isinstance(value, dict) and isinstance(value.get("step", 0), int):
            rows.append(value)
        elif not (isinstance(value, BadLine) and value.torn):
            damaged.append(number)
    return rows, damaged


def is_main_process() -> bool:
    """True in the process that writes: the only one, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def clock(seconds: float) -> str:
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def environment() -> dict[str, Any]:
    """Versions and command of this process; nothing from the environment variables, which may hold keys."""
    versions: dict[str, str | None] = dict.fromkeys(_PACKAGES)
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions,
    }


# Checkpoints.


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


def last_good_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose files are what its manifest says; damaged ones are named and passed over."""
    for checkpoint in _newest_first(folder):
        problems = seal_problems(checkpoint)
        if not problems:
            return checkpoint
        logger.warning("%s is not used: %s", checkpoint, problems[0])
    return None


def drop_newer(folder: Path, step: int) -> None:
    """Remove what is newer than ``step``: it is damaged or incomplete, and its steps will be done again."""
    for checkpoint in _newest_first(folder):
        if step_of(checkpoint) > step:
            shutil.rmtree(checkpoint, ignore_errors=True)


def drop_old(folder: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the ``keep`` newest complete checkpoints and that of step ``best``.

    The newest was written just now, so a good one stays.
    """
    complete = 0
    for checkpoint in _newest_first(folder):
        if complete >= keep and step_of(checkpoint) != best:
            shutil.rmtree(checkpoint, ignore_errors=True)
        complete += (checkpoint / SEAL_FILE).is_file()


def step_of(checkpoint: Path) -> int:
    """The number of steps behind a checkpoint, as its name says: ``checkpoint-250``."""
    return int(checkpoint.name.rpartition("-")[2])


def _newest_first(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=step_of, reverse=True)
