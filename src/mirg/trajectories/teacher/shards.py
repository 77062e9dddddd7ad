"""A run in several processes or machines: every shard has a separate ledger, and ledgers are merged.

Merging is a pure function of the contents of the ledgers: it depends neither on their order nor on repetition.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mirg.engines.limits import Cost
from mirg.errors import EndpointError, MirgError, StorageError
from mirg.executors import Executor
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import ANSWER_COLUMNS, Ledger, open_file
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.run import Shard, ask_teacher

# Which of two replies to one request is kept: an answer before a refusal, then the earlier one, then by its text.
_BETTER = """
(excluded.state, excluded.finished, coalesce(excluded.text, ''))
  < (requests.state, requests.finished, coalesce(requests.text, ''))
"""


class Job(NamedTuple):
    """The work of one worker, which must see the folders of the dataset and the ledger under the same path."""

    dataset: str
    recipe: TeacherRecipe
    ledger: str
    base: str
    shard: Shard


def ask_in_shards(
    src: DatasetFolder, recipe: TeacherRecipe, path: Path, executor: Executor, count: int,
    on_done: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """Ask in ``count`` workers, which share the remaining budgets and rates, and merge into the ledger ``path``.

    Ledgers that the workers of an earlier, killed run left behind are merged first. Raises EndpointError if a worker
    ended early; its answers are merged nevertheless.
    """
    merge(path, _left_behind(path), remove=True)
    with Ledger(path) as ledger:
        left = _left_of(recipe, ledger.spent())
    # A worker may have another working directory.
    checks = tuple(str(Path(name).absolute()) for name in recipe.verify.checks)
    left = left.model_copy(update={"verify": recipe.verify.model_copy(update={"checks": checks})})
    jobs = [
        Job(str(src.root.resolve()), left.shared_out(k, count), f"{path}.{k}-of-{count}", str(path), Shard(k, count))
        for k in range(1, count + 1)
    ]
    problems = []
    for number, problem in enumerate(executor.map(ask_shard, jobs, chunk=1), 1):
        problems += [problem] if problem else []
        if on_done:
            on_done(number)
    merge(path, _left_behind(path), remove=True)
    if problems:
        raise EndpointError(f"{len(problems)} of {count} workers ended early: {problems[0][0]}", hint=problems[0][1])


def ask_shard(job: Job) -> tuple[str, str] | None:
    """One worker's part of the work; the message and the hint of the error that ended it early, else None."""
    try:
        with Ledger(job.ledger, base=job.base) as ledger:
            ask_teacher(DatasetFolder.open(job.dataset), job.recipe, ledger, shard=job.shard)
    except MirgError as error:
        return error.message, error.hint
    return None


def merge(into: str | Path, sources: Sequence[str | Path], *, remove: bool = False) -> int:
    """Add the contents of the ledgers ``sources`` to ``into``, which is created if needed; returns how many were added.

    If two ledgers have different replies to one request, one reply is kept, and outcomes that may depend on the other
    are deleted: the next run derives them again without a request. StorageError if a file is not a ledger or is in use.
    """
    paths = [Path(source) for source in sources if Path(source).resolve() != Path(into).resolve()]
    with Ledger(into):
        for path in paths:
            open_file(path).close()  # reports damage, and rolls back an unfinished transaction
            with contextlib.closing(open_file(Path(into))) as connection:
                _add(connection, path)
    for path in paths if remove else []:
        for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}.lock")):
            name.unlink(missing_ok=True)
    return len(paths)


def _add(connection: sqlite3.Connection, path: Path) -> None:
    updates = ", ".join(f"{name} = excluded.{name}" for name in ANSWER_COLUMNS.split(", "))
    try:
        connection.execute("ATTACH ? AS other", (str(path),))
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS differing AS SELECT a.sample FROM main.requests a "
            "JOIN other.requests b ON a.hash = b.hash WHERE a.text IS NOT b.text OR a.state IS NOT b.state"
        )
        for table in ("attempts", "runs", "plans", "outcomes"):
            connection.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM other.{table}")
        connection.execute(
            f"INSERT INTO main.requests ({ANSWER_COLUMNS}) SELECT {ANSWER_COLUMNS} FROM other.requests WHERE true "
            f"ON CONFLICT (hash) DO UPDATE SET {updates} WHERE {_BETTER}"
        )
        connection.execute("DELETE FROM main.outcomes WHERE sample IN (SELECT sample FROM differing)")
        connection.execute("DROP TABLE differing")
        connection.execute("COMMIT")
        connection.execute("DETACH other")
    except sqlite3.Error as error:
        raise StorageError(f"cannot merge the ledger {path}: {error}") from error


def _left_behind(path: Path) -> list[Path]:
    return sorted(p for p in path.parent.glob(f"{path.name}.*-of-*") if p.name.rpartition("-of-")[2].isdigit())


def _left_of(recipe: TeacherRecipe, spent: Cost) -> TeacherRecipe:
    """The recipe with the remaining budget. EndpointError if none remains."""
    left = {name: limit - getattr(spent, name) for name, limit in recipe.budget.model_dump(exclude_none=True).items()}
    for name, value in left.items():
        if value <= 0:
            raise EndpointError(f"the budget is used up: nothing is left of budget.{name}", hint="raise it")
    return recipe.model_copy(update={"budget": recipe.budget.model_copy(update=left)})
