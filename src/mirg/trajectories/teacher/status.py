"""The estimate of a teacher's run before it starts, and its state, read from the ledger, also while it runs."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirg.engines.limits import Cost
from mirg.errors import ConfigError, MirgError, StorageError
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import Ledger, reading
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests
from mirg.trajectories.teacher.run import WHOLE, Shard, plan_of, rows_of
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


def estimate(src: DatasetFolder, recipe: TeacherRecipe, ledger: Ledger | None = None, shard: Shard = WHOLE) -> Estimate:
    """The remaining work for ``src``. ConfigError if no request can be made for any sample."""
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
    full = recipe.sampling.max_tokens
    measured = ledger.mean_output(recipe.model) if ledger else None
    out = min(OUTPUT_TOKENS, full) if measured is None else measured
    draws = 1 if recipe.stop_early else recipe.draws
    least, most = total * draws, total * (recipe.draws + recipe.repair)
    tokens_most = round(most * (worst / looked if looked else 0.0))
    limits = recipe.limits
    pace = [least / limits.requests_per_minute] if limits.requests_per_minute else []
    pace += [least * (mean + out) / limits.tokens_per_minute] if limits.tokens_per_minute else []
    return Estimate(
        samples=total, finished=len(finished), requests_least=least, requests_most=most,
        input_tokens=round(least * mean), output_tokens=round(least * out), tokens_most=tokens_most,
        money=recipe.price.of(least * mean, least * out),
        money_most=recipe.price.of(tokens_most - most * full if looked else 0, most * full),
        minutes=max(pace, default=None), spent=ledger.spent() if ledger else Cost(), problems=tuple(problems[:5]),
    )  # fmt: skip


_RECENT = 300.0  # seconds over which throughput is measured


@dataclass(frozen=True)
class Status:
    """The state of one plan. Counts are of samples, except ``requests`` (answered), ``attempts`` (sent) and tokens.

    ``attempts``, tokens and ``cost`` are of the whole ledger. ``unsettled`` attempts may have been billed and count at
    their reservation. ``per_minute`` and ``done`` count finished samples, ``eta_seconds`` is None without progress.
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
    done: int
    open: int


def status_of(path: str | Path, plan: str | None = None, now: float | None = None) -> Status:
    """The status of ``plan``, by default the one that ran last. StorageError if the file is not a ledger.

    ``now`` is in seconds since 1970.
    """
    with reading(path) as connection:
        chosen = plan or _last_plan(connection, path)
        row = connection.execute("SELECT dataset, model, total FROM plans WHERE plan = ?", (chosen,)).fetchone()
        dataset, model, total = row or ("", "", 0)
        outcomes = connection.execute(
            "SELECT accepted, failed_check, count(*) FROM outcomes WHERE plan = ? GROUP BY 1, 2 ORDER BY 3 DESC, 2",
            (chosen,),
        ).fetchall()
        accepted = sum(count for kept, _, count in outcomes if kept)
        reasons = {check: count for kept, check, count in outcomes if not kept}
        query = "SELECT shard, max(total) FROM runs WHERE plan = ? GROUP BY shard ORDER BY shard"
        shards = dict(connection.execute(query, (chosen,)).fetchall())
        if "1/1" in shards:  # the whole job was run as one
            shards = {"1/1": shards["1/1"]}
        total = min(total, sum(shards.values())) if shards else total
        rate = _rate(connection, chosen, time.time() if now is None else now)
        rejected = sum(reasons.values())
        left = max(total - accepted - rejected, 0)
        return Status(
            ledger=str(path), plan=chosen, dataset=dataset, model=model, total=total, accepted=accepted,
            rejected=rejected, reasons=reasons, shards=tuple(shards), done=accepted + rejected, open=left,
            per_minute=60 * rate, eta_seconds=left / rate if rate else None if left else 0.0, **_spending(connection),
        )  # fmt: skip


def _last_plan(connection: sqlite3.Connection, path: str | Path) -> str:
    row = connection.execute("SELECT plan FROM runs ORDER BY started DESC, run LIMIT 1").fetchone()
    if row is None:
        raise StorageError(f"the ledger {path} contains no run yet")
    return row[0]


def _rate(connection: sqlite3.Connection, plan: str, now: float) -> float:
    """Finished samples per second over the minutes before the latest one."""
    query = "SELECT max(finished), min(finished), count(*) FROM outcomes WHERE plan = ? AND finished > ?"
    last = connection.execute("SELECT max(finished) FROM outcomes WHERE plan = ?", (plan,)).fetchone()[0]
    if last is None or now - last > _RECENT:
        return 0.0
    newest, oldest, count = connection.execute(query, (plan, last - _RECENT)).fetchone()
    return (count - 1) / (newest - oldest) if count > 1 and newest > oldest else 0.0


def _spending(connection: sqlite3.Connection) -> dict[str, Any]:
    def named(query: str) -> dict[str, Any]:
        cursor = connection.execute(query)
        return {column[0]: value for column, value in zip(cursor.description, cursor.fetchone(), strict=True)}

    requests = named(
        "SELECT count(*) AS requests, coalesce(sum(step = 'repair'), 0) AS repairs, "
        "coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens FROM requests"
    )
    attempts = named(
        "SELECT count(*) AS attempts, coalesce(sum(tokens IS NULL), 0) AS unsettled, "
        "coalesce(sum(CASE WHEN tokens IS NULL THEN reserved_tokens END), 0) AS reserved_tokens, "
        "coalesce(sum(coalesce(cost, reserved_cost)), 0.0) AS cost FROM attempts"
    )
    faults = connection.execute(
        "SELECT coalesce(outcome, 'unknown'), count(*) FROM attempts WHERE outcome IS NOT 'reply' GROUP BY 1 "
        "ORDER BY 2 DESC, 1"
    ).fetchall()
    return {**requests, **attempts, "faults": dict(faults)}
