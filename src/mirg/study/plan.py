"""What a study trains and on what: its recipe, and its arms, each one thing away from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.errors import ConfigError
from mirg.frames import MIRG_TINY
from mirg.training.recipe import Dtype, RlAnswers

Data = Literal["light", "object_level", "fresh", "rl"]
Steps = Literal["sft_steps", "more_sft_steps", "rl_steps"]


class StudyRecipe(BaseModel):
    """Sizes of a study, and the recipes of its two stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(default=MIRG_TINY.name, description="The model that every arm starts from.")
    world: str = Field(default="study/world", description="Recipe whose world the training scenes are of.")
    tasks: tuple[str, ...] | None = Field(default=None, description="Tasks of the training samples; None: all.")
    train_samples: int = Field(default=1000, ge=1, description="Samples with trajectories.")
    rl_samples: int = Field(default=8000, ge=1, description="Annotated samples without trajectories, for GRPO.")
    rl_answers: RlAnswers = 4
    per_cell: int = Field(default=50, ge=1, description="Items of mirg-mini per family and level; 50 is the benchmark.")
    data_seed: int = Field(default=0, ge=0)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="Seeds that each arm is trained with.")
    arms: tuple[str, ...] | None = Field(
        default=None, description="Arms to train, and what they start from; None: all."
    )
    sft: str = "study/sft"
    grpo: str = "study/grpo"
    sft_steps: int = Field(default=300, ge=1)
    more_sft_steps: int = Field(default=2150, ge=1, description="Steps of the arms that continue SFT.")
    rl_steps: int = Field(default=800, ge=1)
    dtype: Dtype | None = Field(default=None, description="Of both stages' products; None: as their recipes say.")
    max_new_tokens: int = Field(default=160, ge=16)
    batch_size: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _known_arms(self) -> StudyRecipe:
        unknown = sorted(set(self.arms or ()) - set(ARMS))
        if unknown:
            raise ValueError(f"no arm {', '.join(unknown)}; there are {', '.join(ARMS)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice")
        return self

    @property
    def chosen(self) -> list[Arm]:
        """The arms that were asked for and those that they start from, in the order of :data:`ARMS`."""
        wanted = set(self.arms or ARMS)
        for name in reversed(ARMS):
            if name in wanted and ARMS[name].start:
                wanted.add(ARMS[name].start)
        return [arm for name, arm in ARMS.items() if name in wanted]


@dataclass(frozen=True)
class Arm:
    """One way of training. ``start`` is the arm whose model (of the same seed) it goes on from, "" for none.

    ``overrides`` are keys of the stage's recipe.
    """

    name: str
    title: str
    start: str = "base"
    stage: Literal["", "sft", "grpo"] = ""
    data: Data = "light"
    steps: Steps = "sft_steps"
    overrides: tuple[str, ...] = ()

    @property
    def rated(self) -> bool:
        """Whether it may train on what the model that it starts from gets right sometimes: the base never does."""
        return self.stage == "grpo" and bool(ARMS[self.start].stage)


def _rl(name: str, title: str, *overrides: str, start: str = "sft") -> Arm:
    return Arm(name, title, start, "grpo", "rl", "rl_steps", overrides)


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("base", "base", start=""),
        Arm("sft", "SFT on the lightweight set", stage="sft"),
        # Half the rate at which SFT began: a second warm-up to the whole of it undoes what was learnt.
        Arm(
            "sft_continued", "SFT continued on the same set", "sft", "sft", "light", "more_sft_steps",
            ("optim.learning_rate=5.0e-4",),
        ),
        Arm(
            "sft_fresh", "SFT continued on fresh trajectories", "sft", "sft", "fresh", "more_sft_steps",
            ("optim.learning_rate=5.0e-4",),
        ),
        Arm("sft_object_level", "SFT without image-level reasoning", stage="sft", data="object_level"),
        _rl("object_only", "GRPO, object reward only", "reward.arm=object_only"),
        _rl("gated", "GRPO, gated reward", "reward.arm=gated"),
        _rl("dual", "GRPO, dual reward", "reward.arm=dual"),
        _rl("dual_normalised", "dual, normalised then summed", "aggregation=normalize_then_sum"),
        _rl("dual_difficulty", "dual, difficulty weight", "admission.difficulty_weight=true"),
        _rl("dual_orders", "dual, image orders permuted", "image_orders=4"),
        _rl("dual_without_sft", "dual, without SFT", start="base"),
    )
}  # fmt: skip


def batch_size_of(recipe: object) -> int:
    """Samples of one SFT step; ConfigError where the recipe is none of SFT."""
    size, times = getattr(recipe, "batch_size", None), getattr(recipe, "accumulation", None)
    if size is None or times is None:
        raise ConfigError("the study's sft recipe is no SFT recipe")
    return size * times
