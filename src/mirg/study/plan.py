"""The recipe of a study, and its arms, each of which differs from another one in one setting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.config import load_recipe
from mirg.samples import DatasetFolder
from mirg.samples.card import CARD_FILE
from mirg.training.recipe import Dtype, GrpoRecipe, RlAnswers, SftRecipe

LOOKS = 4  # of one answer, in the arms that are trained with looks
_LOOKS = f"look.max_looks={LOOKS}"
Role = Literal[
    "train", "object_level", "fresh", "more_fresh", "looks", "rl"
]  # a dataset that arms are trained on: a key of the recipe
Steps = Literal["sft_steps", "more_sft_steps", "look_sft_steps", "rl_steps", "look_rl_steps"]
PATHS = frozenset({"train", "object_level", "fresh", "more_fresh", "looks", "rl", "test"})


class Expectation(BaseModel):
    """A difference that the study is expected to show: ``b`` exceeds ``a`` by ``least`` or more, a fraction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: str
    b: str
    metric: str = "joint_accuracy"
    subset: str = "all"
    least: float
    text: str = Field(description="What the page says about it.")


class StudyRecipe(BaseModel):
    """Which model, datasets and arms a study compares, and how long each arm is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Model that every arm starts from.")
    train: str = Field(description="Dataset with trajectories, for SFT.")
    test: str = Field(description="Dataset that every arm is evaluated on.")
    rl: str | None = Field(
        default=None, description="Dataset for GRPO; it needs no trajectories. None: no arm is trained with GRPO."
    )
    fresh: str | None = Field(
        default=None, description="Other samples with trajectories, for the arm sft_fresh. None: no such arm."
    )
    more_fresh: str | None = Field(
        default=None, description="Samples that are in no other dataset, for sft_fresh_continued. None: no such arm."
    )
    object_level: str | None = Field(
        default=None,
        description="The training samples with trajectories without image-level reasoning, for the arm "
        "sft_object_level. None: no such arm.",
    )
    looks: str | None = Field(
        default=None,
        description="Training samples with looks in their trajectories, for the arms with looks. None: no such arm.",
    )
    rl_answers: RlAnswers = Field(
        default=4,
        description="Answers to each RL sample from the model that an arm of GRPO starts from. The arm is trained on "
        "the samples of which some answers are right. 0: on all samples.",
    )
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="Seeds that each arm is trained with.")
    arms: tuple[str, ...] | None = Field(
        default=None,
        description="Arms to train; the arms that they start from are added. None: every arm whose datasets are given.",
    )
    sft: str = Field(default="mirg-rl-7b-lora/sft", description="Recipe of SFT.")
    grpo: str = Field(default="mirg-rl-7b-lora/grpo", description="Recipe of GRPO.")
    sft_steps: int = Field(default=300, ge=1, description="Steps of SFT; the steps of the stage recipes are not used.")
    more_sft_steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps of the arms that continue SFT. None: as many as cost what GRPO has cost, by equal.",
    )
    equal: Literal["flops", "tokens", "seconds"] = Field(
        default="flops",
        description="What continued SFT has as much of as GRPO: FLOPs, tokens that are trained on, or time.",
    )
    rl_steps: int = Field(default=800, ge=1, description="Steps of GRPO.")
    look_sft_steps: int = Field(default=300, ge=1, description="Steps of SFT with looks.")
    look_rl_steps: int = Field(default=800, ge=1, description="Steps of GRPO with looks.")
    dtype: Dtype | None = Field(default=None, description="Compute dtype of both stages. None: that of their recipes.")
    max_new_tokens: int = Field(default=512, ge=16, description="Longest answer in evaluations and ratings.")
    batch_size: int = Field(default=16, ge=1, description="Requests per forward pass in evaluations and ratings.")
    allow_leakage: bool = Field(default=False, description="Train although the test set shares images.")
    families: dict[str, str] = Field(
        default_factory=dict, description="Titles of tasks of the test set; the page lists them in this order."
    )
    expect: tuple[Expectation, ...] = Field(default=(), description="Differences that the page gives a verdict on.")

    @model_validator(mode="after")
    def _arms_can_be_trained(self) -> StudyRecipe:
        unknown = sorted(set(self.arms or ()) - set(ARMS))
        if unknown:
            raise ValueError(f"no arm {', '.join(unknown)}; there are {', '.join(ARMS)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice")
        for arm in self.chosen:
            if arm.rated and self.rl_answers and arm.looks:
                raise ValueError(f"pass rates are measured without looks: the arm {arm.name} needs rl_answers = 0")
            if arm.stage and not self.dataset(arm.data):
                raise ValueError(f"the arm {arm.name} needs a dataset: give the key {arm.data}")
            if arm.stage and getattr(self, arm.steps) is None and self.reference(arm.start) is None:
                raise ValueError(
                    f"the arm {arm.name} needs the key {arm.steps}: no arm of GRPO is trained from {arm.start}"
                )
        return self

    def reference(self, start: str = "sft") -> Arm | None:
        """The arm of GRPO whose compute SFT that continues ``start`` gets: ``dual``, else the first from ``start``."""
        found = {arm.name: arm for arm in self.chosen if arm.stage == "grpo" and arm.start == start}
        return found.get("dual") or next(iter(found.values()), None)

    def waits_for(self, arm: Arm) -> Arm | None:
        """The arm of the same seed that must be trained before ``arm``, because its cost decides the steps."""
        return self.reference(arm.start) if arm.stage and getattr(self, arm.steps) is None else None

    @property
    def chosen(self) -> list[Arm]:
        """The arms that are trained and those that they start from, in the order of :data:`ARMS`."""
        possible = [
            arm.name
            for arm in ARMS.values()
            if not arm.named and all(self.dataset(step.data) for step in arm.path if step.stage)
        ]
        wanted = set(self.arms or possible)
        for name in reversed(ARMS):
            if name in wanted and ARMS[name].start:
                wanted.add(ARMS[name].start)
        return [arm for name, arm in ARMS.items() if name in wanted]

    def dataset(self, role: Role) -> str | None:
        """The path of the dataset for ``role``, or None if the recipe has none."""
        return getattr(self, role)

    @property
    def present(self) -> dict[str, DatasetFolder]:
        """The datasets of the study that are on this machine, by their keys in the recipe."""
        paths = {role: getattr(self, role) for role in sorted(PATHS)}
        return {
            role: DatasetFolder.open(path)
            for role, path in paths.items()
            if path and (Path(path) / CARD_FILE).is_file()
        }

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each dataset in :attr:`present`."""
        return {role: folder.card.digest for role, folder in self.present.items()}

    def stage_recipe(self, stage: str, overrides: tuple[str, ...] = ()) -> SftRecipe | GrpoRecipe:
        """The recipe of ``stage`` ("sft" or "grpo") with ``overrides``, later ones last."""
        given = (f"model={self.model}", f"data={self.train}", *overrides)
        if stage == "sft":
            return load_recipe(SftRecipe, self.sft, given)
        return load_recipe(GrpoRecipe, self.grpo, given)


@dataclass(frozen=True)
class Arm:
    """One way of training.

    ``start`` is the arm whose model of the same seed this one continues from; the base has "". ``stage`` is "" for
    a model that is not trained. ``overrides`` are keys of the recipe of the stage; ``rate`` is the learning rate as a
    multiple of the recipe's. An arm that must be ``named`` is trained only if the recipe names it.
    """

    name: str
    title: str
    start: str = "base"
    stage: Literal["", "sft", "grpo"] = ""
    data: Role = "train"
    steps: Steps = "sft_steps"
    overrides: tuple[str, ...] = ()
    rate: float = 1.0
    named: bool = False

    @property
    def looks(self) -> bool:
        """Whether the arm is trained with looks."""
        return _LOOKS in self.overrides

    @property
    def rated(self) -> bool:
        """Whether the arm can train on the samples that its start sometimes solves; an untrained base solves none."""
        return self.stage == "grpo" and bool(ARMS[self.start].stage)

    @property
    def path(self) -> list[Arm]:
        """The arms from the base to this one, in the order of training."""
        return [*ARMS[self.start].path, self] if self.start else [self]


def _rl(name: str, title: str, *overrides: str, start: str = "sft", steps: Steps = "rl_steps") -> Arm:
    return Arm(name, title, start, "grpo", "rl", steps, overrides)


def cell_name(arm: Arm, seed: int) -> str:
    """The folder of one training run, and of its evaluation."""
    return f"{arm.name}-{seed}" if arm.stage else arm.name


def rated_name(arm: Arm, seed: int) -> str:
    """The dataset of RL samples with the pass rates of the model that ``arm`` starts from."""
    return f"rated-{cell_name(ARMS[arm.start], seed)}"


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("base", "base", start=""),
        Arm("sft", "SFT on the lightweight set", stage="sft"),
        # Half the learning rate: a second warm-up to the full rate undoes what was learnt.
        Arm("sft_continued", "SFT continued on the same set", "sft", "sft", "train", "more_sft_steps", rate=0.5),
        Arm("sft_fresh", "SFT continued on fresh trajectories", "sft", "sft", "fresh", "more_sft_steps", rate=0.5),
        Arm("sft_object_level", "SFT without image-level reasoning", stage="sft", data="object_level"),
        _rl("object_only", "GRPO, object reward only", "reward.arm=object_only"),
        _rl("gated", "GRPO, gated reward", "reward.arm=gated"),
        _rl("dual", "GRPO, dual reward", "reward.arm=dual"),
        _rl("dual_normalised", "dual, normalised then summed", "aggregation=normalize_then_sum"),
        _rl("dual_difficulty", "dual, difficulty weight", "admission.difficulty_weight=true"),
        _rl("dual_orders", "dual, image orders permuted", "image_orders=4"),
        _rl("dual_without_sft", "dual, without SFT", start="base"),
        _rl("dual_from_fresh", "GRPO, dual reward, after fresh trajectories", "reward.arm=dual", start="sft_fresh"),
        Arm(
            "sft_fresh_continued", "SFT on fresh trajectories continued", "sft_fresh", "sft", "more_fresh",
            "more_sft_steps", rate=0.5,
        ),
        Arm("sft_look", "SFT with looks", "base", "sft", "looks", "look_sft_steps", (_LOOKS,)),
        _rl("dual_look", "dual, with looks", "reward.arm=dual", _LOOKS, start="sft_look", steps="look_rl_steps"),
        _rl(
            "dual_look_rewards", "dual, with looks that are rewarded", "reward.arm=dual", _LOOKS,
            "reward.looks.look_image=0.2", "reward.looks.look_cover=0.2", start="sft_look", steps="look_rl_steps",
        ),
        Arm(
            "dual_grounded", "dual, grounded thinking", "sft", "grpo", "rl", "rl_steps",
            ("reward.arm=dual", "reward.looks.grounded=0.2"), named=True,
        ),
    )
}  # fmt: skip
