"""How hard a prompt is for a model (``mirg data difficulty``): the share of its sampled answers that are right.

RL learns from prompts that the policy solves sometimes (0 < pass rate < 1; arXiv 2507.00748): if all answers of a
group earn the same there is no advantage. An answer is right if it names the right images and every box, matched
inside its image, has IoU >= 0.5 (``joint`` of an evaluation). A reward with degrees also teaches if no answer is
right, as long as one is less wrong than another: the spread of the rewards tells.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mirg.engines.base import Completion, Engine, Generation, several
from mirg.errors import ConfigError
from mirg.evaluation.measure import (
    Asked,
    Measurement,
    MeasurePlan,
    MeasureReport,
    Outcome,
    Progress,
    Row,
    write_measured,
)
from mirg.evaluation.records import make_record
from mirg.samples import DatasetFolder, Sample

PASS_RATE, MEAN_REWARD, REWARD_STD = "pass_rate", "mean_reward", "reward_std"  # keys of Sample.meta

Level = Literal["never", "sometimes", "always"]


class DifficultyRow(Row):
    """k answers to a prompt: how many are ``right``, and their total ``rewards``."""

    right: int = 0
    rewards: tuple[float, ...] = ()


def level(right: int, k: int) -> Level:
    """Whether a prompt with ``right`` of ``k`` answers is never, sometimes or always solved."""
    return "never" if right == 0 else "always" if right == k else "sometimes"


def write_difficulty(
    engine: Engine,
    dataset: DatasetFolder,
    out: str | Path,
    k: int = 8,
    plan: MeasurePlan | None = None,
    on_progress: Progress | None = None,
) -> MeasureReport:
    """Write ``dataset`` to ``out`` with the pass rate of ``k`` answers to each prompt, their mean reward and spread.

    All are in ``meta``, from 0 to 1. The spread is the sample standard deviation of the total rewards, that of TRL's
    advantages; 0 for one answer. The default plan samples at temperature 1. Raises ConfigError if several answers are
    requested at temperature 0, since they would all be the same; other errors as
    :func:`mirg.evaluation.measure.write_measured`.
    """
    plan = plan or MeasurePlan(Generation(temperature=1.0))
    check_k(k, plan.generation)

    def row_of(sample: Sample, group: Sequence[Completion]) -> DifficultyRow:
        records = [
            make_record(sample, said.text, family=engine.family, limits=engine.limits, rewards=plan.rewards)
            for said in group
        ]
        return DifficultyRow(
            id=sample.id,
            right=sum(record.joint for record in records),
            rewards=tuple(round(record.total, 6) for record in records),
            tokens=sum(said.tokens for said in group),
            cut_off=sum(said.finish == "length" for said in group),
        )

    def measure(asked: Sequence[Asked], generation: Generation) -> list[DifficultyRow]:
        groups = several(engine, [one.request for one in asked], generation, k)
        return [row_of(one.sample, group) for one, group in zip(asked, groups, strict=True)]

    def outcome(sample: Sample, row: DifficultyRow) -> Outcome:
        found = {
            PASS_RATE: row.right / k,
            MEAN_REWARD: round(math.fsum(row.rewards) / k, 6),
            REWARD_STD: round(statistics.stdev(row.rewards), 6) if k > 1 else 0.0,
        }
        return Outcome(sample.model_copy(update={"meta": {**sample.meta, **found}}), level(row.right, k))

    words = f"Pass rates of {Path(engine.name).name} over {k} answers."
    what = Measurement("mirg data difficulty", words, DifficultyRow, measure, outcome, {"k": k})
    return write_measured(engine, dataset, out, what, plan, on_progress)


def check_k(k: int, generation: Generation) -> None:
    """:class:`ConfigError` if ``k`` answers give no rate, or would all be the same."""
    if k < 1:
        raise ConfigError(f"k is {k}", hint="at least 1 answer per prompt")
    if k > 1 and generation.temperature == 0:
        raise ConfigError(
            f"{k} answers at temperature 0 are {k} times the same",
            hint="raise the temperature, for example to 1, or ask for one answer",
        )
