"""Which groups the update learns from.

A group whose completions all earn the same has no advantage and teaches nothing, yet costs as much as any other. The
policy says what happens to it: it is computed all the same, skipped, or replaced out of a pool of candidates (the
dynamic sampling of DAPO, arXiv 2503.14476), under a gate on the spread of rewards that may relax as training goes on.
Of those that count, hard ones may count more (UniVG-R1, arXiv 2505.14231).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Policy = Literal["off", "skip", "resample"]


class AdmissionConfig(BaseModel):
    """``off`` computes every completion, ``skip`` leaves out what has no signal, ``resample`` puts others in its place.

    A group is admitted where the standard deviation of its rewards is above ``gate`` times ``gate_decay`` to the power
    of the step. With ``resample``, ``pool`` times as many prompts are rolled out as are trained on; where fewer than
    needed are admitted, the step is filled up with the rest, those that vary most first. ``difficulty_weight``
    multiplies a group's advantages by e^(1 - its mean object reward), which is its mean IoU where that is the reward.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Policy = "skip"
    gate: float = Field(default=0.0, ge=0)
    gate_decay: float = Field(default=1.0, gt=0, le=1)
    pool: int = Field(default=2, ge=2, description="Candidates per prompt that is trained on (resample).")
    difficulty_weight: bool = Field(default=False, description="Let a group count more, the less it finds.")

    @property
    def candidates(self) -> int:
        """Prompts rolled out for each that is trained on."""
        return self.pool if self.policy == "resample" else 1

    def gate_at(self, step: int) -> float:
        """The least spread, exclusive, that a group of step ``step`` (from 0) needs."""
        return self.gate * self.gate_decay**step

    def weight(self, object_reward: float) -> float:
        """What a group's advantages are multiplied by, 1 to e; ``object_reward`` is the mean of its completions."""
        return math.exp(1.0 - object_reward) if self.difficulty_weight else 1.0

    def admitted(self, spreads: Sequence[float], step: int) -> list[bool]:
        """Which groups are, by the standard deviations of their rewards."""
        return [spread > self.gate_at(step) for spread in spreads]


def choose(spreads: Sequence[float], admitted: Sequence[bool], wanted: int) -> list[int]:
    """``wanted`` group numbers in rising order: admitted ones as they come, then those that vary most."""
    first = [k for k, good in enumerate(admitted) if good]
    rest = sorted((k for k, good in enumerate(admitted) if not good), key=lambda k: -spreads[k])
    return sorted((first + rest)[:wanted])
