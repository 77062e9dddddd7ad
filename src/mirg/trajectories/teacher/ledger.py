"""The ledger of a teacher: every request, attempt, token and verdict, in one SQLite file that survives a kill.

An attempt is written with its largest cost before it is sent, and settled afterwards. One that was never settled (the
process was killed, the connection broke) may have been billed, so it counts at its reservation. A request gets its row
with the final reply, and is not sent again after that. The writes of all coroutines go through one thread, many to a
transaction, and are on the disk when their future is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from mirg.engines.limits import Cost
from mirg.errors import StorageError
from mirg.locks import lock_file

VERSION = 1
# With less free space no further request is sent: pending replies must still fit on the disk.
HEADROOM_BYTES = 64 * 2**20
# A transaction that waits for the disk costs as much processor time as a request, so writes within this time share one.
_GATHER_SECONDS = 0.015

Op = tuple[str, tuple[Any, ...]]

_SCHEMA = """
CREATE TABLE requests (
  hash TEXT PRIMARY KEY, sample TEXT NOT NULL, task TEXT NOT NULL, draw INTEGER NOT NULL, step TEXT NOT NULL,
  model TEXT NOT NULL, prompt TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('answered', 'failed')),
  text TEXT, finish TEXT, problem TEXT, input_tokens INTEGER, output_tokens INTEGER, cost REAL,
  attempts INTEGER NOT NULL, finished REAL NOT NULL, verdict TEXT
);
CREATE TABLE attempts (
  run TEXT NOT NULL, number INTEGER NOT NULL, hash TEXT NOT NULL, started REAL NOT NULL, ended REAL,
  outcome TEXT, detail TEXT, reserved_tokens INTEGER NOT NULL, reserved_cost REAL NOT NULL, tokens INTEGER, cost REAL,
  PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE INDEX attempts_hash ON attempts (hash);
CREATE INDEX attempts_started ON attempts (started);
CREATE TABLE plans (
  plan TEXT PRIMARY KEY, dataset TEXT NOT NULL, model TEXT NOT NULL, total INTEGER NOT NULL, created REAL NOT NULL,
  recipe TEXT NOT NULL
);
CREATE TABLE runs (run TEXT PRIMARY KEY, plan TEXT NOT NULL, shard TEXT NOT NULL, total INTEGER NOT NULL,
  started REAL NOT NULL, ended REAL);
CREATE TABLE outcomes (
  plan TEXT NOT NULL, sample TEXT NOT NULL, task TEXT NOT NULL, accepted INTEGER NOT NULL, failed_check TEXT NOT NULL,
  reason TEXT NOT NULL, hash TEXT NOT NULL, attempts INTEGER NOT NULL, finished REAL NOT NULL,
  PRIMARY KEY (plan, sample)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Answer:
    """The final reply to one request. ``state``: "answered" with ``text``, or "failed" with ``problem``.

    ``step`` is "first" or "repair"; token counts are None if the endpoint did not report them.
    """

    hash: str
    sample: str
    task: str
    draw: int
    step: str
    model: str
    prompt: str
    state: str
    text: str | None
    finish: str | None
    problem: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost: float | None
    attempts: int
    finished: float
    verdict: str | None = None


@dataclass(frozen=True)
class Outcome:
    """The result for one sample. ``hash`` is the request whose reply was kept or is best, "" if no reply exists."""

    plan: str
    sample: str
    task: str
    accepted: bool
    failed_check: str
    reason: str
    hash: str
    attempts: int
    finished: float


ANSWER_COLUMNS = ", ".join(field.name for field in fields(Answer))
OUTCOME_COLUMNS = ", ".join(field.name for field in fields(Outcome))


class Ledger:
    """One ledger file, open in one process at a time; answers in the second ledger ``base`` count as known.

    StorageError if the file is not a ledger, is in use, or cannot be written. Use it as a context manager.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        base: str | Path | None = None,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.path = Path(path)
        self._free_bytes = free_bytes
        with contextlib.ExitStack() as opened:
            opened.enter_context(_locked(self.path))
            files = [self.path, *([Path(base)] if base is not None and Path(base).exists() else [])]
            self._write = opened.enter_context(contextlib.closing(open_file(self.path, create=True)))
            self._reads = [opened.enter_context(contextlib.closing(open_file(file))) for file in files]
            self._opened = opened.pop_all()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._gathered: list[tuple[tuple[Op, ...], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish all writes, close the file and release its lock; calling it again does nothing."""
        self._thread.shutdown()
        left, self._gathered = self._gathered, []
        if left:  # the event loop ended before their turn came
            with contextlib.suppress(StorageError):
                self.write_now(*(op for ops, _ in left for op in ops))
        self._opened.close()

    def write(self, *ops: Op) -> asyncio.Future[None]:
        """Queue statements that belong together; the future is done when they are on the disk.

        The future raises StorageError if they cannot be written. Call it inside a running event loop.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gathered.append((ops, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_gathered())
        return done

    async def _write_gathered(self) -> None:
        loop = asyncio.get_running_loop()
        while self._gathered:
            await asyncio.sleep(_GATHER_SECONDS)
            batch, self._gathered = self._gathered, []
            failure: StorageError | None = None
            try:
                # If this task is cancelled, the statements are written nevertheless.
                written = loop.run_in_executor(self._thread, self.write_now, *(op for ops, _ in batch for op in ops))
                await asyncio.shield(written)
            except StorageError as error:
                failure = error
            _resolve([done for _, done in batch], failure)

    def write_now(self, *ops: Op) -> None:
        """Write one transaction without an event loop; StorageError if that fails."""
        try:
            self._write.execute("BEGIN IMMEDIATE")
            for sql, values in ops:
                self._write.execute(sql, values)
            self._write.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._write.execute("ROLLBACK")
            full = "full" in str(error) or "I/O" in str(error)
            raise StorageError(
                f"cannot write the ledger {self.path}: {error}",
                hint="free some disk space and run the same command again" if full else "",
            ) from error

    def check_room(self) -> None:
        """StorageError if the disk has too little space for the pending replies."""
        free = self._free_bytes(self.path.parent)
        if free < HEADROOM_BYTES:
            raise StorageError(
                f"the disk of {self.path} has {free // 2**20} MiB left; no further request is sent",
                hint=f"free {HEADROOM_BYTES // 2**20} MiB and run the same command again: nothing is lost",
            )

    def find(self, digest: str) -> Answer | None:
        """The final reply to a request, or None."""
        return next(filter(None, (find_answer(connection, digest) for connection in self._reads)), None)

    def outcome(self, plan: str, sample: str) -> Outcome | None:
        """The outcome of a sample under a plan, None if it is not finished."""
        return next(filter(None, (find_outcome(connection, plan, sample) for connection in self._reads)), None)

    def attempts_of(self, digest: str) -> int:
        """How often a request was sent."""
        return sum(count for (count,) in self._rows("SELECT count(*) FROM attempts WHERE hash = ?", digest))

    def decided_samples(self, plan: str) -> set[str]:
        """The samples that are finished under a plan."""
        return {sample for (sample,) in self._rows("SELECT sample FROM outcomes WHERE plan = ?", plan)}

    def recent(self, since: float) -> list[tuple[float, int]]:
        """(time, reserved tokens) of the attempts after ``since``, oldest first."""
        return sorted(self._rows("SELECT started, reserved_tokens FROM attempts WHERE started > ?", since))

    def spent(self) -> Cost:
        """The cost of all attempts; an attempt of unknown cost counts at its reservation."""
        query = (
            "SELECT count(*), coalesce(sum(coalesce(tokens, reserved_tokens)), 0), "
            "coalesce(sum(coalesce(cost, reserved_cost)), 0.0) FROM attempts"
        )
        return Cost(*self._reads[0].execute(query).fetchone())

    def mean_output(self, model: str) -> float | None:
        """The mean number of tokens of a reply of ``model``, None without replies."""
        query = "SELECT avg(output_tokens) FROM requests WHERE model = ? AND state = 'answered'"
        return self._reads[0].execute(query, (model,)).fetchone()[0]

    def _rows(self, query: str, value: object) -> list[Any]:
        """The rows of this ledger and of its base."""
        return [row for connection in self._reads for row in connection.execute(query, (value,))]


def find_answer(connection: sqlite3.Connection, digest: str) -> Answer | None:
    """The final reply to a request, or None."""
    row = connection.execute(f"SELECT {ANSWER_COLUMNS} FROM requests WHERE hash = ?", (digest,)).fetchone()
    return Answer(*row) if row else None


def find_outcome(connection: sqlite3.Connection, plan: str, sample: str) -> Outcome | None:
    """The outcome of a sample under a plan, None if it is not finished."""
    query = f"SELECT {OUTCOME_COLUMNS} FROM outcomes WHERE plan = ? AND sample = ?"
    row = connection.execute(query, (plan, sample)).fetchone()
    if row is None:
        return None
    values: list[Any] = list(row)
    values[3] = bool(values[3])
    return Outcome(*values)


# Statements ------------------------------------------------------------------------------------------------------


def begun(run: str, number: int, digest: str, started: float, most: Cost) -> Op:
    """An attempt that is about to be sent and costs at most ``most``."""
    sql = "INSERT INTO attempts (run, number, hash, started, reserved_tokens, reserved_cost) VALUES (?, ?, ?, ?, ?, ?)"
    return sql, (run, number, digest, started, most.tokens, most.money)


def ended(run: str, number: int, at: float, outcome: str, detail: str, cost: Cost | None) -> Op:
    """The end of an attempt; ``cost`` is None if it is unknown what was billed."""
    sql = "UPDATE attempts SET ended = ?, outcome = ?, detail = ?, tokens = ?, cost = ? WHERE run = ? AND number = ?"
    tokens, money = (None, None) if cost is None else (cost.tokens, cost.money)
    return sql, (at, outcome, detail, tokens, money, run, number)


def answered(answer: Answer) -> Op:
    """The final reply of a request. An existing row is kept."""
    return _insert("OR IGNORE INTO requests", answer)


def decided(outcome: Outcome) -> Op:
    """The outcome of a sample. It replaces an existing row."""
    return _insert("OR REPLACE INTO outcomes", outcome)


def _insert(where: str, record: Answer | Outcome) -> Op:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return f"INSERT {where} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())


def judged(digest: str, verdict: str) -> Op:
    """Which checks a reply fails, as JSON. NULL: none, or it was not verified yet."""
    return "UPDATE requests SET verdict = ? WHERE hash = ?", (verdict, digest)


def reopened(digest: str) -> tuple[Op, Op]:
    """Delete a failed reply and its outcome, so that the request is sent again; its attempts stay."""
    return (
        ("DELETE FROM outcomes WHERE hash = ?", (digest,)),
        ("DELETE FROM requests WHERE hash = ? AND state = 'failed'", (digest,)),
    )


def planned(plan: str, dataset: str, model: str, total: int, at: float, recipe: str) -> Op:
    """A plan: a dataset and the part of a recipe that decides which replies are kept."""
    return "INSERT OR IGNORE INTO plans VALUES (?, ?, ?, ?, ?, ?)", (plan, dataset, model, total, at, recipe)


def started(run: str, plan: str, shard: str, total: int, at: float) -> Op:
    """The start of a process that works on ``total`` samples."""
    return "INSERT INTO runs (run, plan, shard, total, started) VALUES (?, ?, ?, ?, ?)", (run, plan, shard, total, at)


def stopped(run: str, at: float) -> Op:
    """The regular end of a process."""
    return "UPDATE runs SET ended = ? WHERE run = ?", (at, run)


# The file --------------------------------------------------------------------------------------------------------


def default_ledger(out: str | Path) -> Path:
    """The path of the ledger of the dataset folder ``out``, which is beside it."""
    return Path(out).with_name(f"{Path(out).name}.ledger.db")


def ledger_at(path: str | Path) -> Path:
    """The ledger file at ``path``, or beside the dataset folder ``path``. StorageError if no file exists."""
    given, beside = Path(path), default_ledger(path)
    if not given.is_file() and not beside.is_file():
        raise StorageError(
            f"there is no ledger {given}, and none at {beside}", hint="a run with --writer teacher writes one"
        )
    return given if given.is_file() else beside


def open_file(path: Path, *, create: bool = False, read_only: bool = False) -> sqlite3.Connection:
    """A connection to a ledger. StorageError if the file is not a ledger, or one of another version."""
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif not path.is_file():
            raise StorageError(f"there is no ledger {path}", hint="a run with --writer teacher writes one")
        name = f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc' if create else 'rw'}"
        connection = sqlite3.connect(name, uri=True, check_same_thread=False, isolation_level=None, timeout=30)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot open the ledger {path}: {error}") from error
    try:
        _prepare(connection, path, create=create, read_only=read_only)
    except sqlite3.Error as error:
        connection.close()
        raise _damaged(path, error) from error
    except StorageError:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, *, create: bool, read_only: bool) -> None:
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and create and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        raise StorageError(f"{path} is not a ledger of this release (its version is {version}, {VERSION} is supported)")
    # A byte that is not UTF-8 must not make a ledger unreadable: replies are verified again when they are read.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    if not read_only and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _damaged(path, str(found).replace("\n", " "))


def _damaged(path: Path, why: object) -> StorageError:
    return StorageError(
        f"{path} is not a ledger, or is damaged: {why}",
        hint="give the ledger of a run; `sqlite3 FILE .recover` rescues the readable rows of a damaged one",
    )


def _resolve(waiting: list[asyncio.Future[None]], failure: StorageError | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if failure is None:
            done.set_result(None)
        else:
            done.set_exception(failure)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file of a ledger, if the system has locks."""
    held = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock_file(Path(f"{path}.lock"))
    except BlockingIOError as error:
        raise StorageError(
            f"another run is writing the ledger {path}", hint="wait for it, or give this run another --ledger"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOLCK:
            raise StorageError(f"cannot write {path}.lock: {error.strerror or error}") from error
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection, also while a run writes. StorageError if the file is not a ledger."""
    connection = open_file(Path(path), read_only=True)
    try:
        yield connection
    except sqlite3.Error as error:
        raise _damaged(Path(path), error) from error
    finally:
        connection.close()
