"""The recipe of mirg-tiny-photo: which model, and how long each stage trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mirg.config import Section
from mirg.training.recipe import Dtype

RECIPE = Path(__file__).with_name("recipe.yaml")


class PhotoRecipe(Section):
    """How a tiny model learns to see photographs, see ``docs/design/0004-perception.md``."""

    stage: Literal["photo"] = "photo"
    photos: tuple[Path, ...] = Field(min_length=1, description="Folders of photographs to learn from.")
    held_out: tuple[Path, ...] = Field(default=(), description="Folders of photographs that are only measured on.")
    tiny: dict[str, Any] = Field(description="Sizes of the model, see mirg.models.tiny.TinyConfig.")
    seed: int = 0
    threads: int | None = None
    dtype: Dtype = "auto"
    teacher: Path | None = Field(default=None, description="What research.photo.teacher wrote; None: no teacher.")
    teacher_batch: int = Field(default=8, ge=1)
    teacher_weight: float = Field(default=0.7, ge=0)
    tower_steps: int = Field(default=600, ge=1)
    tower_batch: int = Field(default=16, ge=1, description="Pairs of pictures in one step.")
    tower_learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    language_steps: int = Field(default=1000, ge=1)
    language_batch: int = Field(default=16, ge=1, description="Exercises in one step.")
    language_learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    log_every: int = Field(default=50, ge=1)
    save_every: int = Field(default=100, ge=1, description="Steps from one saved state to the next.")
