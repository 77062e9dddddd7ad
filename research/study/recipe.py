"""The recipe of the study on scenes or photographs: the sizes of its datasets, and the keys of every study."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from mirg.study.plan import StudyRecipe

RECIPE = Path(__file__).with_name("study.yaml")


class MiniStudyRecipe(StudyRecipe):
    """A study on scenes or photographs: what its datasets are built from, and their sizes.

    :func:`research.study.data.located` sets their paths.
    """

    world: str = Field(
        default="research/study/world.yaml", description="Recipe whose world the training scenes are of."
    )
    photos: str | None = Field(
        default=None, description="Folder of photographs to build the datasets from. None: scenes."
    )
    tasks: tuple[str, ...] | None = Field(default=None, description="Tasks of the training samples. None: all.")
    train_samples: int = Field(default=1000, ge=1, description="Samples with trajectories.")
    rl_samples: int = Field(default=8000, ge=1, description="Annotated samples without trajectories, for GRPO.")
    per_cell: int = Field(
        default=50, ge=1, description="Items of mirg-mini per family and level, or of photo-mini per task."
    )
    per_task: int = Field(default=104, ge=1, description="Items of mirg-mini-small per task, in a study with looks.")
    data_seed: int = Field(default=0, ge=0, description="Seed of the training samples.")
