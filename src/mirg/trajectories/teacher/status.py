"""Where a teacher's run stands, read from its ledger, also while it runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mirg.errors import StorageError
from mirg.trajectories.teacher.ledger import reading

_RECENT = 300.0  # seconds over which throughput is measured


@dataclass(frozen=True)
class Status:
    """One plan of a ledger. Counts of samples, but for ``requests`` (answered), ``attempts`` (sent) and tokens.

    ``attempts``, tokens and ``cost`` are of the whole ledger. ``unsettled`` attempts may have been billed and count at
    their reservation. ``per_minute`` is samples finished a minute, ``eta_seconds`` None where nothing moves.
    """

    ledger: str
    plan: str
    dataset: str
    model: str
    total: int
    accepted: int
    rejected: int
    reasons: Mapping[str, int]
    requests: int
    repairs: int
    attempts: int
    faults: Mapping[str, int]
    unsettled: int
    input_tokens: int
    output_tokens: int
    reserved_tokens: int
    cost: float
    per_minute: float
    eta_seconds: float | None
    shards: tuple[str, ...]

    @property
    def done(self) -> int:
        """Finished samples."""
        return self.accepted + self.rejected

    @property
    def open(self) -> int:
        """Samples that are not finished."""
        return max(self.total - self.done, 0)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "done": self.done, "open": self.open}


def ledger_at(path: str | Path) -> Path:
    """The ledger file that ``path`` names: itself, or the one beside a dataset folder. StorageError where none is."""
    from mirg.trajectories.teacher.run import default_ledger

    given = Path(path)
    if given.is_file():
        return given
    beside = default_ledger(given)
    if beside.is_file():
        return beside
    raise StorageError(
        f"there is no ledger {given}, and none at {beside}", hint="a run with --writer teacher makes one"
    )


def status_of(path: str | Path, plan: str | None = None, now: float | None = None) -> Status:
    """The status of ``plan``, by default the one that ran last. StorageError where the file is no ledger.

    ``now`` is in seconds since 1970.
    """
    at = time.time() if now is None else now
    with reading(path) as connection:
        chosen = plan or _last_plan(connection, Path(path))
        row = connection.execute("SELECT dataset, model, total FROM plans WHERE plan = ?", (chosen,)).fetchone()
        dataset, model, total = row or ("", "", 0)
        outcomes = connection.execute(
            "SELECT accepted, failed_check, count(*) FROM outcomes WHERE plan = ? GROUP BY 1, 2 ORDER BY 3 DESC, 2",
            (chosen,),
        ).fetchall()
        accepted = sum(count for kept, _, count in outcomes if kept)
        reasons = {check: count for kept, check, count in outcomes if not kept}
        shards = _shards(connection, chosen)
        total = min(total, sum(shards.values())) if shards else total
        rate = _rate(connection, chosen, at)
        left = max(total - accepted - sum(reasons.values()), 0)
        return Status(
            ledger=str(path), plan=chosen, dataset=dataset, model=model, total=total, accepted=accepted,
            rejected=sum(reasons.values()), reasons=reasons, shards=tuple(shards), per_minute=60 * rate,
            eta_seconds=left / rate if rate else (0.0 if not left else None), **_spending(connection),
        )  # fmt: skip


def _last_plan(connection: sqlite3.Connection, path: Path) -> str:
    row = connection.execute("SELECT plan FROM runs ORDER BY started DESC, run LIMIT 1").fetchone()
    if row is None:
        raise StorageError(f"the ledger {path} holds no run yet")
    return row[0]


def _shards(connection: sqlite3.Connection, plan: str) -> dict[str, int]:
    """Every shard that was worked on, with its number of samples; the whole where it was worked on as one."""
    query = "SELECT shard, max(total) FROM runs WHERE plan = ? GROUP BY shard ORDER BY shard"
    shards = dict(connection.execute(query, (plan,)).fetchall())
    return {"1/1": shards["1/1"]} if "1/1" in shards else shards


def _rate(connection: sqlite3.Connection, plan: str, now: float) -> float:
    """Replies a second, over the last minutes before the latest one."""
    query = "SELECT max(finished), min(finished), count(*) FROM outcomes WHERE plan = ? AND finished > ?"
    last = connection.execute("SELECT max(finished) FROM outcomes WHERE plan = ?", (plan,)).fetchone()[0]
    if last is None or now - last > _RECENT:
        return 0.0
    newest, oldest, count = connection.execute(query, (plan, last - _RECENT)).fetchone()
    return (count - 1) / (newest - oldest) if count > 1 and newest > oldest else 0.0


def _spending(connection: sqlite3.Connection) -> dict[str, Any]:
    requests, repairs, inside, out = connection.execute(
        "SELECT count(*), coalesce(sum(step = 'repair'), 0), coalesce(sum(input_tokens), 0), "
        "coalesce(sum(output_tokens), 0) FROM requests"
    ).fetchone()
    attempts, unsettled, reserved, cost = connection.execute(
        "SELECT count(*), coalesce(sum(tokens IS NULL), 0), "
        "coalesce(sum(CASE WHEN tokens IS NULL THEN reserved_tokens END), 0), "
        "coalesce(sum(coalesce(cost, reserved_cost)), 0.0) FROM attempts"
    ).fetchone()
    faults = connection.execute(
        "SELECT coalesce(outcome, 'unknown'), count(*) FROM attempts WHERE outcome IS NOT 'reply' GROUP BY 1 "
        "ORDER BY 2 DESC, 1"
    ).fetchall()
    return {
        "requests": requests, "repairs": repairs, "input_tokens": inside, "output_tokens": out, "attempts": attempts,
        "unsettled": unsettled, "reserved_tokens": reserved, "cost": cost, "faults": dict(faults),
    }  # fmt: skip
