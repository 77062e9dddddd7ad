"""The estimate of a teacher's run before it starts, and its state, read from the ledger, also while it runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mirg.engines.limits import Cost
from mirg.errors import ConfigError, MirgError, StorageError
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import Ledger, reading
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests
from mirg.trajectories.teacher.run import Shard, plan_of, rows_of
from mirg.trajectories.teacher.work import RequestBuilder

LOOKED_AT = 200  # samples whose prompts are rendered; all others count as their mean
# Of a chain and its answer, until the ledger has replies whose mean can be used.
OUTPUT_TOKENS = 400


@dataclass(frozen=True)
class Estimate:
    """``least`` assumes one reply per draw and no repair, ``most`` a repair of every sample and replies of full length.

    Tokens of ``least`` are expected values; repeated attempts after faults are in neither. ``minutes`` is the shortest
    time that the rates allow, None without rates. ``spent`` is the cost of the attempts in the ledger.
    """

    samples: int
    finished: int
    requests_least: int
    requests_most: int
    input_tokens: int
    output_tokens: int
    tokens_most: int
    money: float
    money_most: float
    minutes: float | None
    spent: Cost
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def estimate(
    src: DatasetFolder, recipe: TeacherRecipe, ledger: Ledger | None = None, shard: Shard | None = None
) -> Estimate:
    """The remaining work for ``src``. ConfigError if no request can be made for any sample."""
    shard = shard or Shard()
    builder = RequestBuilder(recipe, Digests(src))
    finished = ledger.decided_samples(plan_of(src, recipe)) if ledger else set[str]()
    total = max(shard.size(len(src)) - len(finished), 0)
    step = max(total // LOOKED_AT, 1)
    inside, worst, looked, problems = 0, 0, 0, list[str]()
    for place, (_, sample) in enumerate(s for s in rows_of(src, shard) if s[1].id not in finished):
        if place % step:
            continue
        try:
            first = builder.first(sample)[0]
        except ConfigError:
            raise
        except MirgError as error:
            problems.append(error.message)
            continue
        looked += 1
        inside += first.expected_input()
        worst += first.most().tokens
    mean = inside / looked if looked else 0.0
    out = _mean_output(ledger, recipe)
    draws = 1 if recipe.stop_early else recipe.draws
    least, most = total * draws, total * (recipe.draws + recipe.repair)
    tokens_most = round(most * (worst / looked if looked else 0.0))
    limits = recipe.limits
    pace = [least / limits.requests_per_minute] if limits.requests_per_minute else []
    pace += [least * (mean + out) / limits.tokens_per_minute] if limits.tokens_per_minute else []
    full = recipe.sampling.max_tokens
    return Estimate(
        samples=total, finished=len(finished), requests_least=least, requests_most=most,
        input_tokens=round(least * mean), output_tokens=round(least * out), tokens_most=tokens_most,
        money=recipe.price.of(least * mean, least * out),
        money_most=recipe.price.of(tokens_most - most * full if looked else 0, most * full),
        minutes=max(pace, default=None), spent=ledger.spent() if ledger else Cost(), problems=tuple(problems[:5]),
    )  # fmt: skip


def _mean_output(ledger: Ledger | None, recipe: TeacherRecipe) -> float:
    measured = ledger.mean_output(recipe.model) if ledger else None
    return measured if measured is not None else float(min(OUTPUT_TOKENS, recipe.sampling.max_tokens))


_RECENT = 300.0  # seconds over which throughput is measured


@dataclass(frozen=True)
class Status:
    """The state of one plan. Counts are of samples, except ``requests`` (answered), ``attempts`` (sent) and tokens.

    ``attempts``, tokens and ``cost`` are of the whole ledger. ``unsettled`` attempts may have been billed and count at
    their reservation. ``per_minute`` is finished samples per minute, ``eta_seconds`` None without progress.
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
    """The ledger file at ``path``, or beside the dataset folder ``path``. StorageError if there is none."""
    from mirg.trajectories.teacher.run import default_ledger

    given = Path(path)
    if given.is_file():
        return given
    beside = default_ledger(given)
    if beside.is_file():
        return beside
    raise StorageError(
        f"there is no ledger {given}, and none at {beside}", hint="a run with --writer teacher writes one"
    )


def status_of(path: str | Path, plan: str | None = None, now: float | None = None) -> Status:
    """The status of ``plan``, by default the one that ran last. StorageError if the file is not a ledger.

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
        raise StorageError(f"the ledger {path} contains no run yet")
    return row[0]


def _shards(connection: sqlite3.Connection, plan: str) -> dict[str, int]:
    """The shards of a plan with their numbers of samples; only the whole job if it was run as one."""
    query = "SELECT shard, max(total) FROM runs WHERE plan = ? GROUP BY shard ORDER BY shard"
    shards = dict(connection.execute(query, (plan,)).fetchall())
    return {"1/1": shards["1/1"]} if "1/1" in shards else shards


def _rate(connection: sqlite3.Connection, plan: str, now: float) -> float:
    """Finished samples per second over the minutes before the latest one."""
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
