"""The recipe of perception: which model, which world, and how long each stage trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from mirg.config import Section, first_error, refuse_unknown
from mirg.data.scenes.world import WorldConfig
from mirg.errors import ConfigError
from mirg.training.recipe import Dtype

RECIPE = Path(__file__).with_name("recipe.yaml")
ExerciseKind = Literal["point", "locate", "describe", "describe_one", "name", "which", "compare"]


class PerceptionRecipe(Section):
    """How a tiny model is trained to see, see ``docs/design/0004-perception.md``."""

    stage: Literal["perception"] = "perception"
    tiny: dict[str, Any] = Field(
        default_factory=dict, description="Sizes of the model, see mirg.models.tiny.TinyConfig."
    )
    world: WorldConfig = WorldConfig()
    seed: int = 0
    threads: int | None = None
    dtype: Dtype = "auto"
    vision_steps: int = Field(default=1000, ge=1)
    vision_batch: int = Field(default=32, ge=1)
    point_steps: int = Field(default=400, ge=0)
    lookup_steps: int = Field(default=600, ge=0)
    locate_steps: int = Field(default=1200, ge=0)
    batch_size: int = Field(default=16, ge=1)
    vision_learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=250, ge=1, description="Steps from one checkpoint to the next inside a stage.")
    tasks: tuple[str, ...] | None = Field(
        default=None, description="Tasks whose questions and reasoning the tokenizer has words for; None: all."
    )
    exercises: tuple[ExerciseKind, ...] = Field(
        default=("locate", "describe", "locate"),
        min_length=1,
        description="Exercises of the locate stage, in this order.",
    )
    small_last: bool = Field(
        default=False, description="Start with large objects and end with the smallest of the world at the last level."
    )
    composed_names: bool = Field(
        default=False, description="Keep a name's vector the sum of colour and shape, so that unseen pairs have one."
    )

    @field_validator("tiny")
    @classmethod
    def _known_sizes(cls, tiny: dict[str, Any]) -> dict[str, Any]:
        """Raise ConfigError for sizes that no model has, before a run folder is made. The values are not changed."""
        from mirg.models.tiny import TinyConfig

        refuse_unknown(TinyConfig, tiny, "tiny.")
        try:
            TinyConfig.model_validate(tiny)
        except ValidationError as error:
            where, message, given = first_error(error)
            raise ConfigError(f"recipe: tiny.{where}: {message}", hint=f"got {given!r}") from error
        return tiny
