"""Recipes: closed, typed, printable configuration of a training run.

A recipe is a YAML file; ``-s key=value`` overrides a dotted key. An unknown key is refused with the nearest name that
exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mirg.data.scenes.world import WorldConfig
from mirg.errors import ConfigError
from mirg.rewards import RewardConfig
from mirg.text_files import parse_yaml
from mirg.training.admission import AdmissionConfig
from mirg.training.yaml_words import QUOTE, restore_words

Dtype = Literal["auto", "float32", "bfloat16"]


class Section(BaseModel):
    """Base of every part of a recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PromptConfig(Section):
    """How a sample becomes a prompt; ``family`` None asks the model's configuration.

    ``min_pixels`` and ``max_pixels`` are the area that an image is resized to before the model sees it; what is None
    stays as the model's processor has it. They are saved with the model, so it is evaluated as it was trained.
    """

    family: str | None = None
    instructions: Literal["full", "short", "none"] = "full"
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)


class LoraConfig(Section):
    """Low-rank adapters; ``rank`` 0 trains all weights."""

    rank: int = Field(default=0, ge=0)
    alpha: int = 32
    dropout: float = 0.0
    target: str = "all-linear"


class OptimConfig(Section):
    """The optimiser's part: AdamW, a warm-up and a cosine, a constant or a linear schedule."""

    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(default=10, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    beta2: float = Field(default=0.95, gt=0, lt=1)


class RunConfig(Section):
    """What every stage needs: where it starts, what it reads, how long it runs, what it keeps."""

    model: str = Field(description="Model folder, run folder or hub name.")
    data: str = Field(description="Dataset folder.")
    held_out: tuple[str, ...] = Field(
        default=(), description="Dataset folders, the benchmarks: the run stops where data holds an image of theirs."
    )
    allow_leakage: bool = Field(default=False, description="Train also where data and held_out share images.")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps; None: by epochs.")
    epochs: float = Field(default=1.0, gt=0)
    seed: int = 0
    prompt: PromptConfig = PromptConfig()
    lora: LoraConfig = LoraConfig()
    optim: OptimConfig = OptimConfig()
    dtype: Dtype = Field(
        default="float32", description="Of products; auto: bfloat16 where the device multiplies it in hardware."
    )
    gradient_checkpointing: bool = False
    freeze_vision: bool = Field(default=False, description="Leave the vision tower as it is.")
    log_every: int = Field(default=1, ge=1)
    save_every: int = Field(default=100, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    workers: int = Field(default=0, ge=0)
    threads: int | None = Field(default=None, ge=1, description="CPU threads for torch; None: its default.")
    processes: int | None = Field(
        default=None, ge=1, description="Processes asked for; a run with another number stops."
    )


class SftRecipe(RunConfig):
    """Stage 1: supervised fine-tuning on trajectories (TRL's SFTTrainer)."""

    stage: Literal["sft"] = "sft"
    batch_size: int = Field(default=8, ge=1, description="Samples per device and step.")
    accumulation: int = Field(default=1, ge=1)
    max_tokens: int = Field(default=32768, ge=64, description="A longer sample is rejected with its length, never cut.")


class RolloutConfig(Section):
    """Who completes prompts in GRPO: the trained model itself, or vLLM with its weights (docs/how-to/vllm.md).

    ``mode`` server: a server of its own on other GPUs, at ``server``. colocate: inside every training process, in a
    share of its GPU. vLLM is checked before the first step: its log-probabilities may be ``tolerance`` nats a token
    off on average, and it must be seen to tell its images apart unless ``check_order`` is false.
    """

    backend: Literal["transformers", "vllm"] = "transformers"
    mode: Literal["server", "colocate"] = "server"
    server: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^/]+$")
    group_port: int = Field(default=51216, ge=1, le=65535, description="Port by which weights are sent to the server.")
    timeout: float = Field(default=60, ge=0, description="Seconds to wait for the server at the start.")
    gpu_memory: float = Field(default=0.3, gt=0, lt=1, description="colocate: share of a GPU's memory.")
    tensor_parallel: int = Field(default=1, ge=1, description="colocate: GPUs that share one copy of the model.")
    sleep: bool = Field(default=False, description="colocate: give the memory back during updates.")
    max_model_length: int | None = Field(default=None, ge=1, description="colocate: longest prompt and completion.")
    tolerance: float = Field(default=0.1, gt=0)
    check_order: bool = True


class MeasuredConfig(Section):
    """Which prompts are trained on, by a number (0 to 1) that ``mirg data difficulty`` stored as ``meta[key]``.

    Both bounds are exclusive. Where either is set, a sample without the number is refused.
    """

    key: ClassVar[str]
    above: float | None = Field(default=None, ge=0, lt=1)
    below: float | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> MeasuredConfig:
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"nothing lies above {self.above} and below {self.below}")
        return self

    def measured(self, meta: Mapping[str, object]) -> float | None:
        """The number in a sample's ``meta``, None where there is none."""
        value = meta.get(self.key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def why_not(self, meta: Mapping[str, object]) -> str | None:
        """Why a sample with this ``meta`` is left out, or None."""
        if self.above is None and self.below is None:
            return None
        name, value = self.key.replace("_", " "), self.measured(meta)
        if value is None:
            return f"the sample has no {name}"
        if self.above is not None and not value > self.above:
            return f"its {name} {value:g} is not above {self.above:g}"
        if self.below is not None and not value < self.below:
            return f"its {name} {value:g} is not below {self.below:g}"
        return None


class PassRateConfig(MeasuredConfig):
    """``above`` 0 and ``below`` 1 leave out what is never and what is always solved."""

    key = "pass_rate"


class RewardStdConfig(MeasuredConfig):
    """``above`` a little more than 0 leaves out where all answers earn nearly the same, right or wrong."""

    key = "reward_std"


# Overrides of a GRPO recipe that trains on what is right sometimes.
PARTIALLY_SOLVED = ("pass_rate.above=0", "pass_rate.below=1")


def _several(answers: int) -> int:
    if answers == 1:
        raise ValueError("one answer is never right only sometimes; take 2 or more, or 0")
    return answers


RlAnswers = Annotated[
    int,
    AfterValidator(_several),
    Field(
        ge=0,
        description="Answers of the SFT model to each RL sample; GRPO trains on what is sometimes right. 0: on all.",
    ),
]


class GrpoRecipe(RunConfig):
    """Stage 2: image-aware GRPO (a thin subclass of TRL's GRPOTrainer)."""

    stage: Literal["grpo"] = "grpo"
    prompts_per_step: int = Field(default=16, ge=1, description="Prompts of all processes together.")
    group_size: int = Field(default=8, ge=2, description="Completions per prompt (G).")
    micro_batch: int | None = Field(
        default=None, ge=1, description="Completions per forward pass of a process; None: all."
    )
    packed: bool = Field(default=True, description="One encoding of a prompt per group; false: TRL's own, G.")
    vision_cache: int | None = Field(
        default=None,
        ge=0,
        description="MiB of host memory of a process for what a frozen vision tower made of images, 0: none; "
        "None: 4096 where groups are packed and freeze_vision is set.",
    )
    image_orders: int = Field(
        default=1, ge=1, description="Ask each sample in up to this many orders of its images; 1: as it is."
    )
    pass_rate: PassRateConfig = PassRateConfig()
    reward_std: RewardStdConfig = RewardStdConfig()
    admission: AdmissionConfig = AdmissionConfig()
    rollouts: RolloutConfig = RolloutConfig()
    max_new_tokens: int = Field(default=256, ge=8)
    temperature: float = Field(default=1.0, gt=0)
    beta: float = Field(default=0.0, ge=0, description="Weight of the KL term to the starting model.")
    epsilon: float = 0.2
    epsilon_high: float = 0.28
    iterations: int = Field(default=1, ge=1)
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = "sum_then_normalize"
    reward: RewardConfig = RewardConfig()
    log_rollouts_every: int = Field(default=10, ge=1)

    @property
    def measured(self) -> tuple[MeasuredConfig, ...]:
        """What a prompt must be to be trained on, as it was measured."""
        return self.pass_rate, self.reward_std


class WorldRecipe(Section):
    """The part of a recipe that data is made by; a recipe may be no more than that."""

    world: WorldConfig


R = TypeVar("R", bound=BaseModel)
RECIPES = Path(__file__).parents[1] / "recipes"


def load_recipe(kind: type[R], name: str | Path | None, overrides: Sequence[str] = ()) -> R:
    """Read a recipe file (or one that ships with mirg, by name such as ``tiny/sft``), apply ``key=value`` overrides."""
    raw = _read(find_recipe(name)) if name is not None else {}
    for override in overrides:
        _apply(raw, override)
    return _checked(kind, raw, name)


def load_world(name: str | Path) -> WorldConfig:
    """The ``world`` block of a recipe, whatever else is in it. ConfigError where it has none."""
    world = _read(find_recipe(name)).get("world")
    if not isinstance(world, dict):
        raise ConfigError(f"recipe {name} has no world block", hint="tiny/world has one")
    return _checked(WorldRecipe, {"world": world}, name).world


def find_recipe(name: str | Path) -> Path:
    """The path of a recipe file, or of a shipped one by its name without ``.yaml``."""
    for candidate in (Path(name), RECIPES / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    shipped = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))
    near = difflib.get_close_matches(str(name), shipped, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no recipe {str(name)!r}", hint=f"{hint}give a YAML file, or one of: {', '.join(shipped)}")


def dump_recipe(recipe: BaseModel) -> str:
    """The resolved recipe as YAML: what ``--dry-run`` prints and a run folder keeps."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = parse_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {path} is no mapping of keys to values")
    return raw


def _checked(kind: type[R], raw: dict[str, Any], name: str | Path | None) -> R:
    refuse_unknown(kind, raw, "")
    try:
        return kind.model_validate(restore_words(kind, raw))
    except ValidationError as error:
        where, message, given = first_error(error)
        whole = isinstance(given, dict)  # a check of several keys names them in its message
        hint = "" if whole else f"got {given!r}" + (f"; {QUOTE}" if isinstance(given, bool) else "")
        place = f"{where}: " if where else ""
        raise ConfigError(f"recipe {name or '(overrides)'}: {place}{message}", hint=hint) from error


def first_error(error: ValidationError) -> tuple[str, str, Any]:
    """The dotted key, what is wrong with it, and its value."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, "), first.get("input")


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not key=value", hint="for example -s optim.learning_rate=1e-5")
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"override {override!r}: {part} is a value, not a section")
    try:
        raw[last] = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"override {override[:200]!r} is no YAML value") from error
    # YAML 1.1 reads 1e-4 as a string; a recipe means the number.
    if isinstance(raw[last], str):
        try:
            raw[last] = float(raw[last])
        except ValueError:
            return


def refuse_unknown(kind: type[BaseModel], raw: dict[str, Any], prefix: str) -> None:
    """Raise ConfigError if a key of ``raw`` is not a field of ``kind``; ``prefix`` is the dotted key of ``raw``."""
    for key, value in raw.items():
        if key not in kind.model_fields:
            near = difflib.get_close_matches(str(key), kind.model_fields, n=1, cutoff=0.5)
            known = ", ".join(kind.model_fields)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {known}"
            raise ConfigError(f"unknown recipe key {prefix}{key}", hint=hint)
        annotation = kind.model_fields[key].annotation
        if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            refuse_unknown(annotation, value, f"{prefix}{key}.")
