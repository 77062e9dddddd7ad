"""The recipes of the training stages: every key with its type, its default and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mirg.answers.looks import LookBudget
from mirg.config import Section
from mirg.rewards import RewardConfig
from mirg.rewards.looks import LookRewards
from mirg.rewards.trl import RewardFunction, plugin_reward

Policy = Literal["off", "skip", "resample"]
Dtype = Literal["auto", "float32", "bfloat16"]
Tracker = Literal["wandb", "trackio", "tensorboard", "mlflow", "swanlab"]
Sharding = Literal["zero2", "zero3", "fsdp2"]


class PromptConfig(Section):
    """How a sample becomes a prompt; ``family`` None asks the model's configuration.

    ``min_pixels`` and ``max_pixels`` are the area that an image is resized to before the model sees it; what is None
    stays as the model's processor has it. They are saved with the model, so it is evaluated as it was trained, and so
    is ``thinking``.
    """

    family: str | None = Field(default=None, description="Model family; None: that of the model's configuration.")
    instructions: Literal["full", "short", "none"] = Field(
        default="full", description="How much a prompt says about the form of an answer."
    )
    min_pixels: int | None = Field(default=None, ge=1, description="Smallest area of an image, in pixels.")
    max_pixels: int | None = Field(default=None, ge=1, description="Largest area of an image, in pixels.")
    thinking: bool | None = Field(
        default=None, description="enable_thinking of the chat template; None: as the template does without it."
    )

    @model_serializer(mode="wrap")
    def _without_unused_key(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Run folders that were made before there was the key hold the same recipe as those without a choice."""
        return {key: value for key, value in serialise(self).items() if key != "thinking" or value is not None}


class LoraConfig(Section):
    """Low-rank adapters; ``rank`` 0 trains all weights."""

    rank: int = Field(default=0, ge=0, description="Rank of the adapters; 0: all weights are trained.")
    alpha: int = Field(default=32, description="Adapters are multiplied by alpha / rank.")
    dropout: float = Field(default=0.0, description="Share of an adapter's inputs that is dropped in training.")
    target: str = Field(default="all-linear", description="Layers that get adapters: PEFT's target_modules.")
    quantize: Literal["4bit"] | None = Field(
        default=None, description="QLoRA: hold the frozen language model in 4 bits (NF4). Needs bitsandbytes."
    )

    @model_validator(mode="after")
    def _has_adapters(self) -> LoraConfig:
        if self.quantize and not self.rank:
            raise ValueError("quantize = 4bit freezes the weights and needs adapters: set rank, for example to 64")
        return self

    @model_serializer(mode="wrap")
    def _without_quantize(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Run folders that were made before there was ``quantize`` hold the same recipe as those without it."""
        values = serialise(self)
        return values if self.quantize else {k: v for k, v in values.items() if k != "quantize"}


class OptimConfig(Section):
    """The optimiser's part: AdamW, a warm-up and a cosine, a constant or a linear schedule."""

    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False, description="Highest learning rate.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls after the warm-up."
    )
    warmup_steps: int = Field(default=10, ge=0, description="Steps in which the learning rate rises from 0.")
    weight_decay: float = Field(default=0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Norm to which gradients are clipped.")
    beta2: float = Field(default=0.95, gt=0, lt=1, description="AdamW's second beta.")


class HealthConfig(Section):
    """What happens when something is wrong with a run. These keys may change when a run is resumed."""

    not_finite: Literal["skip", "stop"] = Field(
        default="skip",
        description="A step whose loss or gradient is not finite updates nothing (skip), or ends the run.",
    )
    in_a_row: int = Field(default=3, ge=1, description="Skipped steps in a row that end the run.")
    waiting: float = Field(
        default=60, ge=0, description="Seconds after which a line says what the run is waiting for; 0: never."
    )
    watchdog: float = Field(
        default=1800,
        ge=0,
        description="Seconds without the end of a step after which all stacks are written to the run folder; 0: never.",
    )


class GrpoHealthConfig(HealthConfig):
    """For GRPO also: alarms about a step's completions, and the reward of the ground truth before the first step."""

    alarms: bool = Field(default=True, description="Warn, with advice, if a step cannot be read or has no signal.")
    ground_truth: int = Field(
        default=16, ge=0, description="Samples whose ground truth must get the full reward before training; 0: none."
    )


class RunConfig(Section):
    """What every stage needs: model, data, number of steps, and checkpoints."""

    model: str = Field(description="Model folder, run folder or hub name.")
    data: str = Field(description="Dataset folder.")
    held_out: tuple[str, ...] = Field(
        default=(), description="Dataset folders, the benchmarks: the run stops where data holds an image of theirs."
    )
    allow_leakage: bool = Field(default=False, description="Train also where data and held_out share images.")
    steps: int | None = Field(default=None, ge=1, description="Optimiser steps; None: by epochs.")
    epochs: float = Field(default=1.0, gt=0, description="Passes over the data, if steps is None.")
    seed: int = Field(default=0, description="Decides the order of the data and all random draws.")
    prompt: PromptConfig = PromptConfig()
    look: LookBudget = LookBudget()
    lora: LoraConfig = LoraConfig()
    optim: OptimConfig = OptimConfig()
    dtype: Dtype = Field(
        default="float32", description="Compute dtype. auto: bfloat16 if the device supports it natively, else float32."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass: less memory, a third more time."
    )
    freeze_vision: bool = Field(default=False, description="Do not train the vision tower.")
    log_every: int = Field(default=1, ge=1, description="Steps between rows of metrics.jsonl.")
    save_every: int = Field(default=100, ge=1, description="Steps between checkpoints.")
    keep_checkpoints: int = Field(default=2, ge=1, description="Complete checkpoints that are kept, the newest ones.")
    workers: int = Field(default=0, ge=0, description="Processes that read and decode images; 0: the training process.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads for torch; None: its default.")
    processes: int | None = Field(
        default=None, ge=1, description="Processes asked for, of all nodes; a run with another number stops."
    )
    nodes: int | None = Field(default=None, ge=1, description="Machines that the processes are started on; None: one.")
    sharding: Sharding | None = Field(
        default=None,
        description="What the processes share instead of each holding it: zero2 optimiser and gradients, zero3 weights "
        "too (both need DeepSpeed); fsdp2: as zero3, by torch, not run on GPUs yet. None: nothing, or what the "
        "launcher configures.",
    )
    gpu_gb: float | None = Field(
        default=None, gt=0, description="Memory of the GPU that the recipe is written for; --dry-run compares with it."
    )

    health: HealthConfig = HealthConfig()
    report_to: tuple[Tracker, ...] | None = Field(
        default=None, description="Trackers that get every row of metrics.jsonl, and some rollouts as images."
    )
    # Validation (mirg.training.validation). Unset keys are None, so that older run folders hold the same recipe.
    eval_data: str | None = Field(
        default=None, description="Dataset folder to validate on during training; it may not share images with data."
    )
    eval_every: int | None = Field(
        default=None, ge=1, description="Steps between validations, a multiple of save_every; None: save_every."
    )
    eval_limit: int | None = Field(
        default=None, ge=1, description="Samples of each validation, the same every time; None: 200."
    )
    eval_batch_size: int | None = Field(
        default=None, ge=1, description="Prompts that a process answers together in a validation; None: 8."
    )
    eval_max_new_tokens: int | None = Field(
        default=None, ge=8, description="Longest answer of a validation; None: max_new_tokens of GRPO, 512 after SFT."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Validations without a better joint accuracy after which a run stops; None: never.",
    )
    finish_with: Literal["last", "best"] | None = Field(
        default=None, description="Weights of the finished model: the last, or those of the best validation. None: last"
    )

    @model_validator(mode="after")
    def _looks_are_in_the_thinking(self) -> RunConfig:
        if self.look.max_looks and self.prompt.thinking is False:
            raise ValueError("look.max_looks needs the model's thinking: leave prompt.thinking out, or set it to true")
        return self

    @model_serializer(mode="wrap")
    def _without_looks(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Run folders that were made before there were looks hold the same recipe as those without looks."""
        values = serialise(self)
        return values if self.look.max_looks else {key: value for key, value in values.items() if key != "look"}

    @model_validator(mode="after")
    def _processes_go_together(self) -> RunConfig:
        if self.nodes and (self.processes or 1) % self.nodes:
            raise ValueError(f"processes = {self.processes} is no multiple of nodes = {self.nodes}")
        if self.lora.quantize and self.sharding:
            raise ValueError(
                f"lora.quantize and sharding = {self.sharding} cannot be combined: set one of them to null"
            )
        return self

    @model_validator(mode="after")
    def _validation_fits(self) -> RunConfig:
        others = ("eval_every", "eval_limit", "eval_batch_size", "eval_max_new_tokens", "patience", "finish_with")
        asked = [key for key in others if getattr(self, key) is not None]
        if asked and self.eval_data is None:
            raise ValueError(f"{asked[0]} is set without eval_data, the dataset folder to validate on")
        if self.eval_data is not None and self.validated_every % self.save_every:
            raise ValueError(
                f"eval_every = {self.eval_every} is no multiple of save_every = {self.save_every}:"
                " the best step can only be kept if it has a checkpoint"
            )
        return self

    @property
    def validated_every(self) -> int:
        """Steps between validations."""
        return self.eval_every or self.save_every


class SftRecipe(RunConfig):
    """Stage 1: supervised fine-tuning on trajectories (TRL's SFTTrainer)."""

    stage: Literal["sft"] = Field(default="sft", description="The stage that the recipe is for.")
    batch_size: int = Field(default=8, ge=1, description="Samples per device and step.")
    accumulation: int = Field(default=1, ge=1, description="Batches whose gradients are added up to a step.")
    max_tokens: int = Field(default=32768, ge=64, description="A longer sample is rejected with its length, never cut.")


class RolloutConfig(Section):
    """How GRPO samples completions: with the trained model, or with vLLM and its weights (docs/how-to/vllm.md).

    ``mode`` server: a separate server on other GPUs, at ``server``. colocate: inside every training process, in a
    share of its GPU. vLLM is checked before the first step: its log-probabilities may be ``tolerance`` nats a token
    off on average, and it must be seen to tell its images apart unless ``check_order`` is false.
    """

    backend: Literal["transformers", "vllm"] = Field(
        default="transformers", description="What generates completions: the trained model itself, or vLLM."
    )
    mode: Literal["server", "colocate"] = Field(
        default="server", description="vLLM on other GPUs, or inside every training process."
    )
    server: str = Field(
        default="http://127.0.0.1:8000", pattern=r"^https?://[^/]+$", description="Address of the vLLM server."
    )
    group_port: int = Field(default=51216, ge=1, le=65535, description="Port by which weights are sent to the server.")
    timeout: float = Field(default=60, ge=0, description="Seconds to wait for the server at the start.")
    gpu_memory: float = Field(default=0.3, gt=0, lt=1, description="colocate: share of a GPU's memory.")
    tensor_parallel: int = Field(default=1, ge=1, description="colocate: GPUs that share one copy of the model.")
    sleep: bool = Field(default=False, description="colocate: give the memory back during updates.")
    max_model_length: int | None = Field(default=None, ge=1, description="colocate: longest prompt and completion.")
    tolerance: float = Field(
        default=0.1, gt=0, description="Nats a token by which vLLM's log-probabilities may differ on average."
    )
    check_order: bool = Field(default=True, description="Check at the start that vLLM tells images apart.")


class MeasuredConfig(Section):
    """Which prompts are trained on, by a number (0 to 1) that ``mirg data difficulty`` stored as ``meta[key]``.

    Both bounds are exclusive. Where either is set, a sample without the number is refused.
    """

    key: ClassVar[str]
    above: float | None = Field(default=None, ge=0, lt=1, description="Train on prompts whose number is above this.")
    below: float | None = Field(default=None, gt=0, le=1, description="Train on prompts whose number is below this.")

    @model_validator(mode="after")
    def _in_order(self) -> MeasuredConfig:
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"nothing lies above {self.above} and below {self.below}")
        return self

    def measured(self, meta: Mapping[str, object]) -> float | None:
        """The number in a sample's ``meta``, or None."""
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
    """``above`` slightly more than 0 leaves out samples whose answers all have nearly the same reward."""

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


class AdmissionConfig(Section):
    """``off`` computes every completion, ``skip`` leaves out what has no signal, ``resample`` puts others in its place.

    A group is admitted where the standard deviation of its rewards is above ``gate`` times ``gate_decay`` to the power
    of the step. With ``resample``, ``pool`` times as many prompts are rolled out as are trained on; where fewer than
    needed are admitted, the step is filled up with the rest, those that vary most first. ``difficulty_weight``
    multiplies a group's advantages by e^(1 - its mean object reward), which is its mean IoU if that is the reward.
    """

    policy: Policy = Field(default="skip", description="What happens to groups without signal.")
    gate: float = Field(default=0.0, ge=0, description="Spread of rewards up to which a group is not admitted.")
    gate_decay: float = Field(default=1.0, gt=0, le=1, description="Factor of the gate from step to step.")
    pool: int = Field(default=2, ge=2, description="Candidates per prompt that is trained on (resample).")
    difficulty_weight: bool = Field(default=False, description="Let a group count more, the less it finds.")

    @property
    def candidates(self) -> int:
        """Prompts rolled out for each that is trained on."""
        return self.pool if self.policy == "resample" else 1

    def weight(self, object_reward: float) -> float:
        """What a group's advantages are multiplied by, 1 to e; ``object_reward`` is the mean of its completions."""
        return math.exp(1.0 - object_reward) if self.difficulty_weight else 1.0

    def admitted(self, spreads: Sequence[float], step: int) -> list[bool]:
        """Which groups of step ``step`` (from 0) are admitted, by the standard deviations of their rewards."""
        return [spread > self.gate * self.gate_decay**step for spread in spreads]


class RewardSection(RewardConfig):
    """The rewards of a GRPO run: format, image, object, and a plug-in reward of the user's if ``function`` is set.

    The plug-in counts ``function_weight`` beside the total of the other three, which is in [0, 1]. If all three have
    weight 0, the plug-in is the only reward.
    """

    function: str | None = Field(default=None, description="A plug-in reward, FILE.py:NAME (docs/concepts/answers.md).")
    function_weight: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the plug-in reward beside the other three.",
    )
    looks: LookRewards = LookRewards()

    @model_validator(mode="after")
    def _something_counts(self) -> RewardSection:
        own = (self.function_weight if self.function else 0.0) + sum(self.looks.weights.values())
        if sum(self.weights) + own <= 0:
            raise ValueError(f"all weights of arm {self.arm!r} are 0: at least one part must count")
        return self

    @model_serializer(mode="wrap")
    def _without_unused_keys(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Run folders that were made before there were plug-ins hold the same recipe as those without one."""
        values = serialise(self)
        unused = () if self.function else ("function", "function_weight")
        unused += () if self.looks.weights else ("looks",)
        return {key: value for key, value in values.items() if key not in unused}

    def plugins(self) -> list[tuple[RewardFunction, float]]:
        """The plug-in reward with its weight, loaded. Raises as :func:`mirg.rewards.trl.plugin_reward` does."""
        return [(plugin_reward(self.function), self.function_weight)] if self.function else []


class GrpoRecipe(RunConfig):
    """Stage 2: image-aware GRPO (a thin subclass of TRL's GRPOTrainer)."""

    stage: Literal["grpo"] = Field(default="grpo", description="The stage that the recipe is for.")
    prompts_per_step: int = Field(default=16, ge=1, description="Prompts of all processes together.")
    group_size: int = Field(default=8, ge=2, description="Completions per prompt (G).")
    micro_batch: int | None = Field(
        default=None, ge=1, description="Completions per forward pass of a process; None: all."
    )
    packed: bool = Field(default=True, description="One encoding of a prompt per group; false: TRL's own, G.")
    vision_cache: int | None = Field(
        default=None,
        ge=0,
        description="MiB of host memory per process for the features of a frozen vision tower, 0: off; "
        "None: 4096 where groups are packed and freeze_vision is set.",
    )
    image_orders: int = Field(
        default=1, ge=1, description="Ask each sample in up to this many orders of its images; 1: only in its own."
    )
    pass_rate: PassRateConfig = PassRateConfig()
    reward_std: RewardStdConfig = RewardStdConfig()
    admission: AdmissionConfig = AdmissionConfig()
    rollouts: RolloutConfig = RolloutConfig()
    max_new_tokens: int = Field(default=256, ge=8, description="Longest completion; a longer one is cut.")
    temperature: float = Field(default=1.0, gt=0, description="Temperature of the completions, and of their scores.")
    beta: float = Field(default=0.0, ge=0, description="Weight of the KL term to the starting model.")
    epsilon: float = Field(default=0.2, description="Lower clip of the ratio of probabilities.")
    epsilon_high: float = Field(default=0.28, description="Upper clip of the ratio: clip-higher of DAPO.")
    iterations: int = Field(default=1, ge=1, description="Steps that are taken on the same completions.")
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] = Field(
        default="dapo", description="TRL's loss_type."
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="group", description="Which standard deviation advantages are divided by."
    )
    aggregation: Literal["sum_then_normalize", "normalize_then_sum"] = Field(
        default="sum_then_normalize", description="Whether reward parts are added before they are normalised, or after."
    )
    reward: RewardSection = RewardSection()
    log_rollouts_every: int = Field(default=10, ge=1, description="Steps between those written to rollouts.jsonl.")
    health: GrpoHealthConfig = GrpoHealthConfig()  # pyright: ignore[reportIncompatibleVariableOverride]

    @model_validator(mode="after")
    def _vllm_takes_whole_weights(self) -> GrpoRecipe:
        if self.lora.quantize and self.rollouts.backend == "vllm":
            raise ValueError("lora.quantize and rollouts.backend = vllm cannot be combined: vLLM is sent wide weights")
        return self

    @property
    def measured(self) -> tuple[MeasuredConfig, ...]:
        """What a prompt must be to be trained on, as it was measured."""
        return self.pass_rate, self.reward_std
