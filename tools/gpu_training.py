"""Training parts of the GPU proof: the shipped 7B recipes on random weights of a published shape, measured.

The recipes, the trainers, the checkpoints and the loading are those of the product. Two things are replaced, because
nothing can be downloaded: the weights are made on the device from the configuration, and a completion is given a
reward that follows from a digest of its text (random weights never write an answer, and a group without any
difference in its rewards would not be trained on). The real rewards are computed, and their values are not used.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import Trainer

from mirg.config import load_recipe
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import WorldConfig
from mirg.models import load
from mirg.models.load import fast_dtype
from mirg.rewards.trl import RewardFunctions, completion_text, reward_functions
from mirg.samples import DatasetFolder
from mirg.training import grpo, sft, trainer
from mirg.training.data import Length, row_lengths
from mirg.training.launch import with_limits
from mirg.training.memory import estimate
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.training.run import RunFolder
from mirg.trajectories.build import build_dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from case import peak_while
from shapes import ceiling, configuration, create, named_shape, needed_flops

IMAGES = 4
SIDE, SMALL_SIDE = 868, 112  # pixels of an image: 961 visual tokens of 28 pixels, and of a rehearsal
KERNELS = 12  # of the profile
GOALS = {"utilisation": 0.40, "estimate": 0.15}  # at least this share of the ceiling; at most this relative error


@dataclass(frozen=True)
class Case:
    """One training run: a recipe, its overrides, and the shape of its model."""

    stage: str
    recipe: str
    shape: str
    overrides: tuple[str, ...]
    rehearse: bool
    folder: Path

    @property
    def side(self) -> int:
        """Pixels of a side of an image."""
        return SMALL_SIDE if self.rehearse else SIDE

    @property
    def settings(self) -> list[str]:
        """All overrides of the recipe, those of a rehearsal included."""
        small = [f"dtype={fast_dtype()}", "prompt.instructions=none"] if self.rehearse else []
        if self.rehearse and self.stage == "grpo":
            small.append("max_new_tokens=16")
        return [*self.overrides, *small, f"model={self.folder / 'base'}", f"data={self.folder / 'data'}"]


@dataclass
class Clock:
    """Seconds of each step by what they were spent on; the device is waited for at every reading."""

    steps: list[dict[str, float]] = field(default_factory=list)
    profile: list[dict[str, Any]] = field(default_factory=list)
    _now: dict[str, float] = field(default_factory=dict)
    _end: float = 0.0
    _micro: int = 0

    def timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method`` with its seconds added to ``name``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = now()
            try:
                return method(*args, **kwargs)
            finally:
                self._now[name] = self._now.get(name, 0.0) + now() - began

        return call

    def end_of_step(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method``, called at the end of a step, with the step closed before it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            moment = now()
            if self._end:
                self._now["step"] = moment - self._end
            self._end = moment
            self.steps.append(self._now)
            self._now = {}
            return method(*args, **kwargs)

        return call

    def profiled(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method``, a training step of a trainer, profiled once: at the last micro-batch of the first step.

        Kernels are compiled by then, and the steps that are averaged are not slowed down.
        """

        def call(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            self._micro += 1
            if self.profile or self._micro < trainer.current_gradient_accumulation_steps:
                return method(trainer, *args, **kwargs)
            from torch.profiler import ProfilerActivity, profile

            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            with profile(activities=kinds) as profiler:
                made = method(trainer, *args, **kwargs)
                now()
            self.profile = kernels(profiler)
            return made

        return call

    @property
    def measured(self) -> list[dict[str, float]]:
        """The steps that are averaged: all but the first one, which compiles, allocates and is profiled."""
        return self.steps[1:]


def now() -> float:
    """Seconds, after the device has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def kernels(profiler: Any) -> list[dict[str, Any]]:
    """What a profiled micro-batch spent its time on, the longest first."""
    cuda = torch.cuda.is_available()
    time_of = (lambda event: event.self_device_time_total) if cuda else (lambda event: event.self_cpu_time_total)
    events = sorted(profiler.key_averages(), key=time_of, reverse=True)
    whole = sum(time_of(event) for event in events) or 1.0
    return [
        {"name": e.key[:80], "calls": e.count, "ms": round(time_of(e) / 1e3, 2), "share": round(time_of(e) / whole, 4)}
        for e in events[:KERNELS]
    ]


@contextmanager
def random_weights() -> Iterator[None]:
    """Let models without adapters be made on the device from the configuration of their folder."""
    from transformers import AutoConfig

    def made(path: str, dtype: str, device: str) -> Any:
        return create(AutoConfig.from_pretrained(path), device, getattr(torch, dtype))

    with mock.patch.object(load, "read_weights", made):
        yield


@contextmanager
def rewards_that_differ() -> Iterator[None]:
    """Let each part of the reward be a number in [0, 1) that follows from the completion."""

    def functions(*args: Any, **options: Any) -> RewardFunctions:
        real = reward_functions(*args, **options)
        return real._replace(functions=[_digested(function) for function in real.functions])

    with mock.patch.object(grpo, "reward_functions", functions):
        yield


def _digested(function: Callable[..., list[float]]) -> Callable[..., list[float]]:
    def reward(completions: Sequence[object], **columns: Any) -> list[float]:
        function(completions, **columns)
        texts = [f"{function.__name__} {completion_text(completion)}" for completion in completions]
        return [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32 for text in texts]

    reward.__name__ = function.__name__
    return reward


@contextmanager
def measured_by(clock: Clock) -> Iterator[None]:
    """Let ``clock`` see the parts of every training step."""
    with ExitStack() as stack:
        for cls, name, label in (
            (grpo.PackedGRPOTrainer, "_sample", "rollout"),
            (grpo.PackedGRPOTrainer, "_prepare_inputs", "prepare"),
        ):
            stack.enter_context(mock.patch.object(cls, name, clock.timed(label, getattr(cls, name))))
        step = clock.timed("update", clock.profiled(Trainer.training_step))
        stack.enter_context(mock.patch.object(Trainer, "training_step", step))
        ended = clock.end_of_step(trainer.RunCallback.on_step_end)
        stack.enter_context(mock.patch.object(trainer.RunCallback, "on_step_end", ended))
        yield


def prepare(case: Case, samples: int) -> None:
    """The folder of the model, without weights, and the scenes; for SFT with trajectories."""
    shape = named_shape(f"{case.shape}, shrunk" if case.rehearse else case.shape)
    config, processor = configuration(shape, case.side)
    config.save_pretrained(case.folder / "base")
    processor.save_pretrained(case.folder / "base")
    world = WorldConfig(side=case.side, images=(IMAGES, IMAGES))
    tasks = ["group_grounding", "odd_one_out"]
    write_scenes(case.folder / "scenes", samples, split="train", tasks=tasks, config=world, overwrite=True)
    if case.stage == "sft":
        source = DatasetFolder.open(case.folder / "scenes")
        build_dataset(source, case.folder / "data", voice="terse", overwrite=True)  # as in the kept measurements
    else:
        shutil.copytree(case.folder / "scenes", case.folder / "data", dirs_exist_ok=True)


def train(case: Case, steps: int, samples: int, add: Callable[..., None]) -> None:
    """Train, then report memory, time, utilisation and what the run left behind; ``add`` keeps each number at once."""
    prepare(case, samples)
    kind: Any = SftRecipe if case.stage == "sft" else GrpoRecipe
    settings = [*case.settings, f"steps={steps}", f"save_every={steps}"]
    recipe = load_recipe(kind, case.recipe, settings)
    add(recipe=case.recipe, overrides=[*case.overrides, f"steps={steps}"], shape=case.shape)
    predicted = estimate(recipe)
    add(estimate={"peak_mib": predicted.peak / 2**20, "at": predicted.moment, "parts_mib": _mib(predicted)})
    lengths = row_lengths(recipe, with_limits(load.load_skeleton(recipe.model), recipe.prompt))
    clock = Clock()
    run = case.folder / case.stage
    work = sft.train_sft if case.stage == "sft" else grpo.train_grpo
    with random_weights(), rewards_that_differ(), measured_by(clock):
        peak = peak_while(lambda: work(recipe, run))
    add(memory=_memory(peak, predicted))
    add(**_times(recipe, clock, lengths, RunFolder(run, case.stage).rows()))
    with random_weights(), rewards_that_differ():
        add(**_what_is_left(recipe, run, work))


def _mib(predicted: Any) -> dict[str, int]:
    return {name: round(size / 2**20) for name, size in predicted.moments[predicted.moment].items()}


def _memory(peak: float, predicted: Any) -> dict[str, Any]:
    """The measured peak beside the estimate. A CPU's process also holds Python, so only a GPU's numbers are judged."""
    error = predicted.peak / 2**20 / peak - 1
    judged = abs(error) <= GOALS["estimate"] if torch.cuda.is_available() else None
    return {"measured_peak_mib": peak, "estimate_error": error, "goal": GOALS["estimate"], "reached": judged}


def _times(recipe: Any, clock: Clock, lengths: Sequence[Length], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of a step, tokens a second and the utilisation of the update."""
    chosen = clock.measured
    median = {
        name: statistics.median(step.get(name, 0.0) for step in chosen)
        for name in ("step", "rollout", "prepare", "update")
    }
    update = median["update"] - median["prepare"]
    needed = _needed(recipe, lengths, rows)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    top = ceiling(device, getattr(torch, recipe.dtype))
    tokens = rows[-1].get("tokens/trained") or _sft_tokens(recipe, lengths)
    return {
        "seconds": {
            "step": median["step"], "rollout": median["rollout"], "update": update,
            "rest": median["step"] - median["rollout"] - update, "first_step_excluded": True, "steps": len(chosen),
            "all_steps": [{name: round(value, 3) for name, value in step.items()} for step in clock.steps],
        },
        "tokens_per_second": {
            "trained": tokens / update,
            "generated": rows[-1]["tokens/generated"] / median["rollout"] if "tokens/generated" in rows[-1] else None,
        },
        "update": {
            "model_flops": needed, "ceiling_flops_per_second": top, "utilisation": needed / update / top,
            "goal": GOALS["utilisation"],
            "reached": needed / update / top >= GOALS["utilisation"] if device == "cuda" else None,
        },
        "profile_of_one_micro_batch": clock.profile,
        "loss": [row.get("loss") for row in rows], "gradient_norm": [row.get("grad_norm") for row in rows],
        "finite": all(isinstance(row.get(key), float) for row in rows for key in ("loss", "grad_norm")),
    }  # fmt: skip


def _sft_tokens(recipe: Any, lengths: Sequence[Length]) -> float:
    return recipe.batch_size * recipe.accumulation * statistics.mean(length.tokens for length in lengths)


def _needed(recipe: Any, lengths: Sequence[Length], rows: list[dict[str, Any]]) -> float:
    """Operations of a step's update by :func:`shapes.needed_flops`, for prompts of mean length."""
    model: Any = load.load_skeleton(recipe.model).model
    visual = round(statistics.mean(sum(length.images) for length in lengths))
    tokens = statistics.mean(length.tokens for length in lengths)
    if recipe.stage == "sft":
        said = round(statistics.mean(length.text for length in lengths) / 2)  # about half of the text is the answer
        samples = recipe.batch_size * recipe.accumulation
        return samples * needed_flops(model, round(tokens) - said, visual, said, 1, shared=False, adapters=True)
    said = round(rows[-1].get("completions/mean_length") or recipe.max_new_tokens)
    group = needed_flops(model, round(tokens), visual, said, recipe.group_size, shared=True, adapters=True)
    return recipe.prompts_per_step * group


def _what_is_left(recipe: Any, run: Path, work: Callable[..., Any]) -> dict[str, Any]:
    """Whether the model of the run loads, and whether its checkpoint gives the same model again."""
    loaded: Any = load.load_model(str(run), dtype=recipe.dtype)
    finite = all(bool(parameter.isfinite().all()) for parameter in loaded.model.parameters())
    del loaded
    first = (run / "model").rename(run / "model-first")
    work(recipe, run)
    names = [path.name for path in first.glob("*.safetensors")]
    same = bool(names) and all((first / name).read_bytes() == (run / "model" / name).read_bytes() for name in names)
    return {"model": {"loads": True, "finite": finite, "again_from_checkpoint_equal": same}}
