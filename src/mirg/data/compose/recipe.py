"""The recipe of ``mirg data compose`` (``docs/how-to/compose.md``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from mirg.config import Section
from mirg.errors import ConfigError, did_you_mean
from mirg.samples.grouping import GroupBy, parse_group_by

# The order has no effect: a sample is a function of the name of its task and its number.
TaskName = Literal[
    "common_object",
    "group_grounding",
    "refer",
    "region",
    "difference",
    "view_difference",
    "object_tracking",
    "correspondence",
    "same_instance",
    "multi_target",
    "none",
    "counting",
    "reasoning",
]
TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)

Similarity = Literal["same_category", "near", "random"]
Alteration = Literal["removed", "added", "recoloured", "moved"]
Split = Literal["train", "test", "all"]


def refuse_empty_split(split: str, test_share: float, things: str) -> None:
    """Raise ValueError if ``test_share`` leaves no ``things`` for ``split``."""
    if (split, test_share) in (("train", 1.0), ("test", 0.0)):
        other = "test" if split == "train" else "train"
        raise ValueError(f"test_share = {test_share:g} leaves no {things} for the split {split}: set split={other}")


class ComposeRecipe(Section):
    """One run of the builders. Ranges are inclusive; areas are shares of the image."""

    source: str = Field(min_length=1, description="Dataset folder whose images carry object notes.")
    n: int = Field(default=1000, ge=1, description="Samples to make.")
    seed: int = Field(default=0, ge=0)
    split: Split = Field(default="all", description="An image is in train or in test, by its hash; all takes both.")
    test_share: float = Field(
        default=0.2, ge=0, le=1, description="Share of the images kept for the test split; 1: the whole source."
    )
    group_by: str = Field(
        default="",
        description="Images that share this are in one split: a field of the source (meta.scene) or a "
        "folder pattern for its image paths (scenes/*/), as in mirg data split.",
    )
    weights: dict[str, float] = Field(
        default_factory=lambda: dict.fromkeys(TASK_NAMES, 1.0),
        description="Share of each task; a task that is not named gets none. same_instance is left out, and reported, "
        "if no object of the source has the same instance_id in two images.",
    )
    images: tuple[int, int] = Field(default=(2, 5), description="Images of one sample; a task may need a third.")
    frames: tuple[int, int] = Field(default=(3, 6), description="Images of one tracking sample.")
    distractors: Similarity = Field(
        default="near",
        description="Images without the answer hold: an object of the same supercategory, one of a label that is seen "
        "together with the subject's elsewhere, or anything. Where too few do, others fill up and are counted.",
    )
    alterations: tuple[Alteration, ...] = Field(default=get_args(Alteration), min_length=1)
    shuffle: bool = Field(default=True, description="Draw the order of the images if it has no meaning.")
    balance: bool = Field(default=True, description="Spread the answers over the nine cells of a 3 x 3 grid.")
    target_area: tuple[float, float] = Field(default=(0.01, 0.5), description="Least and greatest area of a target.")
    max_objects: int = Field(default=30, ge=1, description="Images with more objects are left out.")
    max_uses: int | None = Field(default=None, ge=1, description="Most samples that one image may be in.")
    side: int = Field(
        default=640, ge=64, le=4096, description="Long edge of the edited images that are stored, pixels."
    )
    languages: dict[str, float] = Field(default_factory=lambda: {"en": 1.0}, description="Weight of each language.")
    questions: dict[str, str] = Field(
        default_factory=dict, description="YAML file with other questions, by language; en and de ship with mirg."
    )
    min_change: float = Field(
        default=0.08, ge=0, le=1, description="Root-mean-square colour change that an altered place must show."
    )
    tries: int = Field(default=24, ge=1, description="Drafts to try for one sample.")

    @field_validator("weights")
    @classmethod
    def _known_tasks(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if task not in TASK_NAMES:
                hint = did_you_mean(task, TASK_NAMES, cutoff=0.5).strip() or f"one of {', '.join(TASK_NAMES)}"
                raise ValueError(f"no task {task!r}: {hint}")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{task} has the weight {weight}, 0 or more is expected")
        if not any(weights.values()):
            raise ValueError("no task has a weight")
        return weights

    @field_validator("group_by")
    @classmethod
    def _some_grouping(cls, group_by: str) -> str:
        try:
            if group_by:
                parse_group_by(group_by)
        except ConfigError as error:
            raise ValueError(f"{error.message}: {error.hint}") from error
        return group_by

    @field_validator("languages")
    @classmethod
    def _some_language(cls, languages: dict[str, float]) -> dict[str, float]:
        if not any(languages.values()) or not all(0 <= weight < float("inf") for weight in languages.values()):
            raise ValueError("weights of 0 or more are expected, one of them above 0")
        return languages

    @model_validator(mode="after")
    def _ranges(self) -> ComposeRecipe:
        for name in ("images", "frames"):
            first, last = getattr(self, name)
            if not 2 <= first <= last <= 16:
                raise ValueError(f"{name} = {(first, last)}: 2 <= first <= last <= 16 expected")
        refuse_empty_split(self.split, self.test_share, "image")
        first, last = self.target_area
        if not 0 <= first < last <= 1:
            raise ValueError(f"target_area = {(first, last)}: 0 <= least < greatest <= 1 expected")
        return self

    @property
    def grouping(self) -> GroupBy | None:
        """The grouping that ``group_by`` names."""
        return parse_group_by(self.group_by) if self.group_by else None

    @property
    def tasks(self) -> dict[str, float]:
        """The tasks that have a weight."""
        return {task: weight for task, weight in self.weights.items() if weight > 0}

    def quotas(self, left_out: Collection[str] = ()) -> dict[str, int]:
        """How many of ``n`` samples each task gets: by weight, the rest to the largest remainders."""
        tasks = {task: weight for task, weight in self.tasks.items() if task not in left_out}
        total = sum(tasks.values())
        exact = {task: self.n * weight / total for task, weight in tasks.items()}
        quotas = {task: int(share) for task, share in exact.items()}
        short = self.n - sum(quotas.values())
        for task in sorted(exact, key=lambda name: (quotas[name] - exact[name], name))[:short]:
            quotas[task] += 1
        return {task: count for task, count in quotas.items() if count}
