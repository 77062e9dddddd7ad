"""What a run would take, before a request is sent: requests, tokens, money, minutes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mirg.errors import ConfigError, MirgError
from mirg.samples import DatasetFolder
from mirg.trajectories.teacher.ledger import Ledger
from mirg.trajectories.teacher.limits import Cost
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests
from mirg.trajectories.teacher.run import Shard, plan_of, rows_of
from mirg.trajectories.teacher.work import RequestBuilder

LOOKED_AT = 200  # samples whose prompts are written out; the others count as their mean
# A chain and its answer, where nothing is known yet; with replies in the ledger, their mean.
OUTPUT_TOKENS = 400


@dataclass(frozen=True)
class Estimate:
    """``least`` is one reply per draw and no repair, ``most`` with a repair of every sample and replies of full length.

    Tokens of ``least`` are expected ones; faults that are tried again are in neither. ``minutes`` is the least time by
    the rates, None without rates. ``spent`` is what the ledger holds already.
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
    """What is left to do for ``src``. ConfigError where no sample can be asked about."""
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
