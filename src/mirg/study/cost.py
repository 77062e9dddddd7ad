"""What each arm of a study costs, and how many steps of SFT cost as much as GRPO.

Compute is counted in forward passes of one token, which cost about 2 FLOPs for each weight (Kaplan et al. 2020,
arXiv 2001.08361, section 2.1). A generated token takes one pass. A token that is trained on takes one pass forward,
and backward one pass for the gradients of activations and, if all weights are trained, one for those of weights;
``gradient_checkpointing`` computes the forward pass again. Left out because both stages have them: the vision tower,
attention over long sequences, and the optimiser. Also left out: reading a prompt before its rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mirg.errors import ConfigError
from mirg.storage import read_json, read_jsonl
from mirg.study.plan import ARMS, Arm, StudyRecipe, cell_name, rated_name
from mirg.training.run import METRICS


class Cost(NamedTuple):
    """One stage of training of one arm and seed: tokens of all processes, seconds on the machine that trained it."""

    steps: int
    generated: int  # in rollouts and in the measurement of pass rates
    trained: int  # in GRPO those of the packed sequences: a prompt counts once for its group
    seconds: float

    def passes(self, plan: StudyRecipe, stage: str) -> float:
        """Forward passes of a token that cost as much."""
        return self.generated + self.trained * passes_per_token(plan, stage)

    def amount(self, plan: StudyRecipe, stage: str) -> float:
        """The cost by ``plan.equal``."""
        return {"flops": self.passes(plan, stage), "tokens": float(self.trained), "seconds": self.seconds}[plan.equal]


def passes_per_token(plan: StudyRecipe, stage: str) -> int:
    """Forward passes that cost as much as training ``stage`` on one token."""
    recipe = plan.stage_recipe(stage)
    return 1 + (1 if recipe.lora.rank else 2) + recipe.gradient_checkpointing


def stage_cost(arm: Arm, seed: int, out: Path) -> Cost:
    """What the run of ``arm`` in ``out`` has cost so far, by its metrics; nothing for the base."""
    file = out / "runs" / cell_name(arm, seed) / METRICS
    rows = [row for _, row in read_jsonl(file) if isinstance(row, dict)] if arm.stage and file.is_file() else []
    steps = max((int(row.get("step") or 0) for row in rows), default=0)
    seconds = max((float(row.get("time") or 0.0) for row in rows), default=0.0)
    if arm.stage != "grpo":
        return Cost(steps, 0, int(max((row.get("num_tokens") or 0 for row in rows), default=0)), seconds)
    rated: Any = _rating(arm, seed, out)
    generated = _sum(rows, "tokens/generated") + int(rated.get("tokens_generated", 0))
    return Cost(steps, generated, _sum(rows, "tokens/trained"), seconds + float(rated.get("seconds", 0.0)))


def tokens(name: str, seed: int, out: Path) -> tuple[int, int]:
    """Tokens generated in rollouts and tokens trained on, from the base to the end of the arm."""
    path = [stage_cost(arm, seed, out) for arm in ARMS[name].path]
    return sum(cost.generated for cost in path), sum(cost.trained for cost in path)


def steps_of(plan: StudyRecipe, arm: Arm, seed: int, out: Path) -> int:
    """Steps of ``arm``: those of the recipe, or as many as cost what the arm of GRPO cost that is compared with it.

    ConfigError if the metrics of the two runs that decide this have no tokens.
    """
    given: int | None = getattr(plan, arm.steps)
    if given is not None:
        return given
    start, reference = ARMS[arm.start], plan.reference(arm.start)
    assert reference is not None  # StudyRecipe refuses others
    budget = stage_cost(reference, seed, out).amount(plan, "grpo")
    known = stage_cost(start, seed, out)
    if not budget or not known.amount(plan, "sft"):
        raise ConfigError(
            f"what {reference.name} and {start.name} of seed {seed} cost is not in their metrics",
            hint="give the number of steps: -s more_sft_steps=N",
        )
    return max(1, round(budget / (known.amount(plan, "sft") / known.steps)))


def costs(plan: StudyRecipe, out: Path, measured: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """What the last stage of each (arm, seed) that was trained in ``out`` cost, as plain data."""
    rows = []
    for name, seed in measured:
        arm = ARMS[name]
        cost = stage_cost(arm, seed, out)
        if arm.stage and cost.steps:
            passes = round(cost.passes(plan, arm.stage))
            rows.append({"arm": name, "seed": seed, **cost._asdict(), "passes": passes})
    return rows


def _rating(arm: Arm, seed: int, out: Path) -> Any:
    file = out / "data" / f"{rated_name(arm, seed)}.json"
    return read_json(file) if arm.rated and file.is_file() else {}


def _sum(rows: Sequence[dict[str, Any]], key: str) -> int:
    """The total of a metric whose rows are means over the steps since the previous row."""
    total, before = 0.0, 0
    for row in rows:
        if isinstance(row.get(key), int | float):
            total += row[key] * (row["step"] - before)
            before = row["step"]
    return round(total)
