"""Stage 2, image-aware GRPO: a thin subclass of TRL's GRPOTrainer with the dual reward.

Where this deviates from TRL's defaults: clip-higher (DAPO), sampling with temperature alone, every vision token
suppressed in rollouts, one encoding of a prompt and its images for its whole group (mirg.training.groups), rewards
split into format, image and object with a reason for every loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mirg.console import logger
from mirg.errors import ConfigError
from mirg.models.load import LoadedModel, forbidden_tokens
from mirg.models.sampling import Sampling
from mirg.rewards.total import PARTS
from mirg.rewards.trl import Scorer, completion_text, reward_functions
from mirg.storage import Journal
from mirg.training.data import grpo_rows, longest_rows
from mirg.training.groups import SharedPrompts
from mirg.training.launch import (
    Outcome,
    common_arguments,
    lora,
    prepare_model,
    run_trainer,
    steps_by_epochs,
    train_in,
    world_size,
)
from mirg.training.recipe import GrpoRecipe
from mirg.training.run import ROLLOUTS, RunFolder
from mirg.training.trainer import ResumableTrainer
from mirg.training.vllm import generation_arguments, require_vllm
from mirg.training.vllm_rollouts import VllmRollouts

_VISION_CACHE = 4096  # MiB: the images of a step of the 7B recipes fit several times
_EPOCH_STRIDE = 1_000_003  # keeps (seed, epoch) pairs of neighbouring seeds apart


def train_grpo(recipe: GrpoRecipe, output: str | Path) -> Outcome:
    """Run or resume GRPO in the folder ``output``; a finished run returns at once."""
    return train_in(recipe, output, _train)


def _train(recipe: GrpoRecipe, run: RunFolder) -> Outcome:
    vision_cache(recipe)  # what is wrong with it is said before a model is loaded
    loaded = prepare_model(recipe)
    if recipe.rollouts.backend == "vllm":
        require_vllm(recipe.rollouts, loaded)
    prepared = grpo_rows(recipe.data, loaded, recipe.prompt, orders=recipe.image_orders, measured=recipe.measured)
    rolled_out = recipe.prompts_per_step * recipe.admission.candidates
    steps = recipe.steps or steps_by_epochs(recipe.epochs, len(prepared), rolled_out, recipe.iterations)
    logger.info(
        "GRPO: %d prompts, %d steps of %d x %d", len(prepared), steps, recipe.prompts_per_step, recipe.group_size
    )
    # Where memory runs out, it does so in the first minute.
    first = longest_rows(prepared.lengths, rolled_out)
    longest = prepared.lengths[first[0]]
    logger.info("the longest prompts come first: up to %d tokens, sample %s", longest.tokens, longest.id)

    def make(callbacks: list[Any]) -> Any:
        rewards = reward_functions(recipe.reward, loaded.family, loaded.limits)
        trainer = trainer_class()(
            model=loaded.model,
            args=grpo_arguments(recipe, run, loaded, steps, rewards.weights),
            reward_funcs=rewards.functions,
            train_dataset=prepared.rows,
            processing_class=loaded.processor,
            peft_config=lora(recipe),
            callbacks=callbacks,
        )
        trainer.record_rollouts(run, rewards.scorer, recipe)
        trainer.first_rows = first
        if trainer.ref_model is not None:
            # TRL loads the reference by the model's name: after a LoRA run, the base without its adapters.
            trainer.ref_model.load_state_dict(loaded.model.state_dict())
        if recipe.packed:
            share_prompts(trainer, recipe, loaded)
        return trainer

    return run_trainer(recipe, run, loaded, prepared, steps, make, every=recipe.iterations)


def grpo_arguments(recipe: GrpoRecipe, run: RunFolder, loaded: LoadedModel, steps: int, weights: list[float]) -> Any:
    """TRL's GRPOConfig. ConfigError where numbers that must divide each other do not."""
    from trl.trainer.grpo_config import GRPOConfig

    every_process = recipe.prompts_per_step * recipe.group_size
    completions, rest = divmod(every_process, world_size())
    micro = recipe.micro_batch or completions
    if rest or not completions or completions % micro:
        raise ConfigError(
            f"micro_batch = {micro} in {world_size()} processes does not divide {every_process} completions per step",
            hint=f"prompts_per_step x group_size = {recipe.prompts_per_step} x {recipe.group_size}",
        )
    if recipe.admission.policy == "resample" and not recipe.packed:
        raise ConfigError("admission.policy = resample needs packed groups", hint="set packed: true")
    if recipe.admission.difficulty_weight and not recipe.packed:
        raise ConfigError("admission.difficulty_weight needs packed groups", hint="set packed: true")
    if recipe.save_every % recipe.iterations:
        raise ConfigError(
            f"save_every = {recipe.save_every} is no multiple of iterations = {recipe.iterations}",
            hint="a checkpoint between two passes over the same completions could not be resumed exactly",
        )
    return GRPOConfig(
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=completions // micro,
        num_generations=recipe.group_size,
        num_iterations=recipe.iterations,
        max_completion_length=recipe.max_new_tokens,
        temperature=recipe.temperature,
        # Any other filter than the temperature makes the sampled distribution another than the trained one (TRL issue
        # 6789).
        top_p=1.0,
        top_k=0,
        beta=recipe.beta,
        epsilon=recipe.epsilon,
        epsilon_high=recipe.epsilon_high,
        loss_type=recipe.loss,
        importance_sampling_level="sequence" if recipe.loss == "luspo" else "token",
        scale_rewards=recipe.scale_rewards,
        multi_objective_aggregation=recipe.aggregation,
        reward_weights=weights,
        **generation_arguments(recipe, forbidden_tokens(loaded.tokenizer, loaded.family)),
        **common_arguments(recipe, run, steps),
    )


def share_prompts(trainer: Any, recipe: GrpoRecipe, loaded: LoadedModel) -> None:
    """Let ``trainer`` encode each prompt once for its group, as ``recipe`` has it."""
    drawn = sampling(recipe, loaded)
    # Where weights are sharded, a tower call gathers them from all processes, and these miss different images.
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled
    trainer.share_prompts(
        drawn,
        temperature=recipe.temperature,
        admission=recipe.admission,
        vllm=VllmRollouts(recipe.rollouts, drawn) if recipe.rollouts.backend == "vllm" else None,
        vision_cache=0 if sharded else vision_cache(recipe),
    )


def vision_cache(recipe: GrpoRecipe) -> int:
    """Bytes for features of a frozen vision tower. ConfigError where they are asked for and could not be used."""
    if recipe.vision_cache is None:
        return _VISION_CACHE * 2**20 if recipe.freeze_vision and recipe.packed else 0
    if recipe.vision_cache and not recipe.freeze_vision:
        raise ConfigError(
            f"vision_cache = {recipe.vision_cache} keeps features of a vision tower that is trained",
            hint="set freeze_vision: true, or vision_cache: 0",
        )
    if recipe.vision_cache and not recipe.packed:
        raise ConfigError("vision_cache needs packed groups", hint="set packed: true, or vision_cache: 0")
    return recipe.vision_cache * 2**20


def sampling(recipe: GrpoRecipe, loaded: LoadedModel) -> Sampling:
    """How rollouts are drawn: with temperature alone, and never a vision token."""
    return Sampling(
        recipe.max_new_tokens,
        stops=[loaded.tokenizer.eos_token_id],
        forbidden=forbidden_tokens(loaded.tokenizer, loaded.family),
        temperature=recipe.temperature,
    )


def trainer_class() -> Any:
    """The trainer, defined on first use: importing TRL's takes seconds."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    class ImageAwareGRPOTrainer(ResumableTrainer, SharedPrompts, GRPOTrainer):
        """TRL's GRPOTrainer that keeps its rollouts with reward parts and reasons, once it is told where."""

        _every = 0
        first_rows: Sequence[int] = ()

        def record_rollouts(self, run: RunFolder, scorer: Scorer, recipe: GrpoRecipe) -> None:
            """Write every ``log_rollouts_every``-th step's completions to the run's ``rollouts.jsonl``."""
            self._rollouts = Journal(run.path / ROLLOUTS)
            self._scorer = scorer
            self._every = recipe.log_rollouts_every

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            """TRL's order of prompts, in each epoch a function of seed and epoch alone, so that it can be resumed."""
            sampler = super()._get_train_sampler(dataset)
            return EpochSampler(sampler, self.args.seed, lambda: int(self.state.epoch or 0), self.first_rows)

        def _calculate_rewards(
            self,
            inputs: list[dict[str, Any]],
            prompts: list[Any],
            completions: list[Any],
            completion_ids_list: list[Any],
        ) -> torch.Tensor:
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
            kept = self._every and self.state.global_step % self._every == 0
            if kept and self.accelerator.is_main_process:
                for row, completion in zip(inputs, completions, strict=True):
                    self._rollouts.append(rollout(self.state.global_step + 1, row, completion, self._scorer))
            return rewards

    return ImageAwareGRPOTrainer


class EpochSampler(torch.utils.data.Sampler[int]):
    """TRL's RepeatSampler, seeded anew in every epoch: its generator would go on from wherever a restart left it.

    The first epoch begins with the rows ``first``, which change places with those that it would begin with.
    """

    def __init__(self, sampler: Any, seed: int, epoch: Callable[[], int], first: Sequence[int] = ()) -> None:
        self._sampler, self._seed, self._epoch, self._first = sampler, seed, epoch, first

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        epoch = self._epoch()
        self._sampler.generator.manual_seed(self._seed + _EPOCH_STRIDE * epoch)
        order: list[int] = list(self._sampler)
        swap: dict[int, int] = {} if epoch else exchange(order, self._first)
        return iter([swap.get(row, row) for row in order])


def exchange(order: Sequence[int], first: Sequence[int]) -> dict[int, int]:
    """Which rows of ``order`` change places with which, so that it begins with those of ``first``."""
    begin = list(dict.fromkeys(order))[: len(first)]
    leave = [row for row in begin if row not in first]
    enter = [row for row in first if row not in begin]
    pairs = list(zip(leave, enter, strict=False))
    return dict(pairs) | {b: a for a, b in pairs}


def rollout(step: int, row: dict[str, Any], completion: Any, scorer: Scorer) -> dict[str, Any]:
    """One line of ``rollouts.jsonl``: what was said, what it earned, and why not more."""
    score = scorer(completion, row["record"])
    return {
        "step": step,
        "id": row["id"],
        "completion": completion_text(completion),
        "total": score.total,
        **dict(zip(PARTS, score.values, strict=True)),
        "reasons": score.reasons,
    }
