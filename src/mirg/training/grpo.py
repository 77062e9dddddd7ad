"""Stage 2, image-aware GRPO: from a recipe to the loss of a step.

``mirg grpo`` calls :func:`train_grpo`, which builds a trainer and starts TRL's training loop. In each pass the loop
calls :meth:`PackedGRPOTrainer._prepare_inputs`, and from there on a step can be read from top to bottom in this file:

    sample         ``_sample``               G completions for each prompt, which is encoded once for its whole group
    score          ``_calculate_rewards``    format, image, object, and the plug-in reward if there is one
    advantage      TRL, between the two calls above and the next
    admission      ``_admit``                which groups the update learns from
    micro-batches  ``GroupBatch.deal``       whole groups, with about equally many tokens
    loss           TRL, over the log-probabilities of ``_get_per_token_logps_and_entropies`` (mirg.models.packing)

Everything that a step knows about its completions is in one :class:`~mirg.training.group_batch.GroupBatch`. With looks
(``look.max_looks``), completions have turns of an environment, whose tokens have no loss (mirg.models.turns).

The methods of TRL and transformers that mirg overrides, with the classes here and in ``trainer.py``:

========================================  =============================================  ==============================
method                                    why it is overridden                           what breaks if TRL changes it
========================================  =============================================  ==============================
``GRPOTrainer._prepare_inputs``           the step: prompts are encoded once per group,  each completion is computed
                                          groups are admitted and stay whole             with its own prompt; slow
``GRPOTrainer._calculate_rewards``        the spread of a group's rewards, and           no admission, no
                                          ``rollouts.jsonl``                             ``rollouts.jsonl``
``GRPOTrainer._get_per_token_logps_and    log-probabilities from packed rows             the update has no images
_entropies``
``GRPOTrainer.get_train_dataloader``      the order of prompts is a function of seed     a resumed run takes other
                                          and epoch; more prompts than are trained on    prompts
``Trainer._load_from_checkpoint``         a checkpoint is loaded completely or not       a resumed run starts from the
                                          at all                                         initial weights
``Trainer._run_epoch``                    no step is taken after the last one            a run that was killed at its
                                                                                         end takes one step too many
========================================  =============================================  ==============================

TRL also calls ``rollout_func`` (here ``_sample``) instead of TRL's sampling. ``tests/training/test_contract.py``
holds the signature of each row, and a run in it fails if TRL no longer calls the method.

Differences from TRL's defaults: clip-higher (DAPO), sampling with the temperature only, every vision token
suppressed in rollouts, rewards split into format, image and object with a reason for each that is not full.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from mirg.console import logger
from mirg.errors import ConfigError, DataError
from mirg.models.load import LoadedModel, forbidden_tokens
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import Branch, opening
from mirg.models.sampling import Sampling, complete
from mirg.models.turns import complete_in_turns
from mirg.models.vision import FeatureCache, keep_features, share_tower
from mirg.rewards.looks import look_functions
from mirg.rewards.trl import RewardFunctions, reward_functions
from mirg.training import launch
from mirg.training.alarms import StepAlarms, check_ground_truth
from mirg.training.data import EpochSampler, Prepared, grpo_rows, longest_rows
from mirg.training.group_batch import GroupBatch, choose, with_signal
from mirg.training.health import ACTIVITY, READING_DATA, UPDATE
from mirg.training.looks import MakeLooks, counted_room, look_turns
from mirg.training.recipe import AdmissionConfig, GrpoRecipe
from mirg.training.run import RolloutLog, RunFolder
from mirg.training.trainer import ResumableTrainer
from mirg.training.vllm import VllmRollouts, colocate, generating_model, require_vllm, send_merged_copies

PART = "object"  # the reward whose mean says how difficult a group is


@launch.in_run_folder
def train_grpo(recipe: GrpoRecipe, run: RunFolder) -> launch.Outcome:
    """Run or resume GRPO in a run folder; a finished run returns at once. See ``launch.in_run_folder``."""
    launch.vision_cache(recipe)  # what is wrong with it, or with a plug-in, is said before a model is loaded
    plugins = recipe.reward.plugins()
    loaded = launch.prepare_model(recipe)
    if recipe.rollouts.backend == "vllm":
        require_vllm(recipe.rollouts, loaded)
    slow = [(ACTIVITY.during(f"the reward {name.__name__}", name), weight) for name, weight in plugins]
    begun = opening(loaded.processor, recipe.prompt.thinking)
    slow += look_functions(recipe.reward.looks, loaded.family, recipe.look, loaded.limits)
    looks = recipe.look.max_looks > 0
    rewards = reward_functions(recipe.reward, loaded.family, loaded.limits, slow, opened=begun, looks=looks)
    with ACTIVITY.doing(READING_DATA):
        orders, measured = recipe.image_orders, recipe.measured
        prepared = grpo_rows(recipe.data, loaded, recipe.prompt, orders=orders, measured=measured, look=recipe.look)
    recipe = colocate(recipe, loaded, run.path / "vllm", counted_room(prepared.longest, recipe, loaded))
    steps = launch.steps_of(recipe, len(prepared), launch.world_size())
    logger.info(
        "GRPO: %d prompts, %d steps of %d x %d", len(prepared), steps, recipe.prompts_per_step, recipe.group_size
    )
    make = functools.partial(make_trainer, recipe, run, loaded, prepared, rewards, steps)
    return launch.fit(make, recipe, run, loaded, prepared, steps, every=recipe.iterations)


def make_trainer(
    recipe: GrpoRecipe, run: RunFolder, loaded: LoadedModel, prepared: Prepared, rewards: RewardFunctions, steps: int
) -> PlainGRPOTrainer:
    """The trainer of a recipe: packed groups, or TRL's own step with ``packed: false``. ConfigError if refused."""
    # If memory runs out, it does so in the first minute.
    first = longest_rows(prepared.lengths, recipe.prompts_per_step * recipe.admission.candidates)
    longest = prepared.lengths[first[0]]
    logger.info("the longest prompts come first: up to %d tokens, sample %s", longest.tokens, longest.id)
    check_ground_truth(recipe, loaded, rewards, prepared, first)
    common: dict[str, Any] = {
        "first_rows": first,
        "rollouts": RolloutLog(run, rewards, recipe.log_rollouts_every),
        "alarms": StepAlarms(run, recipe, loaded, rewards) if recipe.health.alarms else None,
        "model": loaded.model,
        "args": launch.grpo_arguments(recipe, run, loaded, steps, rewards.weights),
        "reward_funcs": rewards.functions,
        "train_dataset": prepared.rows,
        "processing_class": loaded.processor,
        "peft_config": launch.lora(recipe),
    }
    if not recipe.packed:
        return PlainGRPOTrainer(**common)
    drawn = Sampling(
        recipe.max_new_tokens,
        stops=[loaded.tokenizer.eos_token_id],
        forbidden=forbidden_tokens(loaded.tokenizer, loaded.family),
        temperature=recipe.temperature,
    )
    return PackedGRPOTrainer(
        sampling=drawn,
        admission=recipe.admission,
        vllm=VllmRollouts(recipe.rollouts, drawn) if recipe.rollouts.backend == "vllm" else None,
        vision_cache=launch.vision_cache(recipe, loaded),
        looks=look_turns(recipe, loaded),
        **common,
    )


class PlainGRPOTrainer(ResumableTrainer, GRPOTrainer):
    """TRL's own step (``packed: false``), with mirg's order of prompts and its record of rollouts.

    Args:
        first_rows: Rows of the dataset that the first epoch begins with.
        rollouts: Where completions are recorded; None: nowhere.
        alarms: What looks at the completions of a step; None: nothing.
        **arguments: Those of TRL's GRPOTrainer, by name.
    """

    candidates = 1  # prompts rolled out for each that is trained on
    # TRL declares these as optional, or with the types of its base class.
    args: Any
    model: Any
    ref_model: Any
    train_dataset: Any
    num_generations: Any
    shuffle_dataset: Any

    def __init__(
        self,
        *,
        first_rows: Sequence[int] = (),
        rollouts: RolloutLog | None = None,
        alarms: StepAlarms | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.first_rows, self.rollouts, self.alarms = first_rows, rollouts, alarms
        if self.ref_model is not None:
            # TRL loads the reference by the model's name: after a LoRA run, the base without its adapters.
            self.ref_model.load_state_dict(arguments["model"].state_dict())

    def get_train_dataloader(self) -> Any:
        """TRL's loader, with ``candidates`` times as many prompts, in an order that a resumed run repeats.

        DataError if there are fewer prompts than one step takes: TRL would train nothing and say nothing.
        """
        needed = self.args.generation_batch_size // self.num_generations * self.candidates
        if len(self.train_dataset) < needed:
            raise DataError(
                f"{len(self.train_dataset)} prompts are fewer than the {needed} of one step",
                hint="lower prompts_per_step, give more samples, or loosen pass_rate and reward_std",
            )
        return self._get_dataloader(
            dataset=self.train_dataset,
            description="Training",
            batch_size=self._train_batch_size * self.args.steps_per_generation * self.candidates,
            sampler_fn=self.prompt_order,
            is_training=True,
        )

    def prompt_order(self, dataset: Any) -> EpochSampler:
        """The rows of ``dataset`` in TRL's order, each epoch's a function of the seed and the epoch."""
        every_process = RepeatSampler(
            data_source=dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations * self.candidates,
            repeat_count=self.num_iterations * self.args.steps_per_generation,
            shuffle=self.shuffle_dataset,
            seed=self.args.seed,
        )
        return EpochSampler(every_process, self.args.seed, lambda: int(self.state.epoch or 0), self.first_rows)

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[Any],
    ) -> torch.Tensor:
        with ACTIVITY.doing("the rewards"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.accelerator.is_main_process:  # whose rows come first
            step = self.state.global_step
            if self.rollouts is not None:
                self.rollouts.write(step, inputs, completions, rewards[: len(inputs)].tolist())
            if self.alarms is not None and self.model.training:
                samples, lengths = [row["sample"] for row in inputs], [len(ids) for ids in completion_ids_list]
                self.alarms.look(step, samples, completions, lengths, rewards)
        return rewards


class PackedGRPOTrainer(PlainGRPOTrainer):
    """GRPO over packed groups: a prompt and its images are encoded once for all completions of its group.

    The loss, its gradients and the logged metrics are those of TRL's own step.

    Args:
        sampling: How rollouts are sampled.
        admission: Which groups the update learns from.
        vllm: Samples the rollouts; None: the trained model does.
        vision_cache: Bytes in which features of a frozen vision tower are kept.
        looks: The environment of a batch, in which completions may look again; None: there are no looks.
        **arguments: Those of :class:`PlainGRPOTrainer`.
    """

    def __init__(
        self,
        *,
        sampling: Sampling,
        admission: AdmissionConfig | None = None,
        vllm: VllmRollouts | None = None,
        vision_cache: int = 0,
        looks: MakeLooks | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.sampling, self.vllm, self.admission = sampling, vllm, admission or AdmissionConfig()
        self.looks = looks
        self.candidates = self.admission.candidates
        if self.admission.difficulty_weight and PART not in self.reward_func_names:
            raise ConfigError(
                f"admission.difficulty_weight needs the reward {PART!r}",
                hint=f"there are {', '.join(self.reward_func_names)}",
            )
        self.rollout_func = self._sample
        self.batch = GroupBatch([], [], [])  # the batch that TRL samples, scores or computes the loss of
        for model in (self.model, self.ref_model):
            if model is not None:
                enable_packed_forward(model, self.temperature)
        # If weights are sharded, a tower call gathers them from all processes, and these miss different images.
        sharded = self.is_deepspeed_enabled or self.is_fsdp_enabled
        if vllm is not None and not sharded:
            send_merged_copies(self.vllm_generation)
        self.features = FeatureCache(vision_cache) if vision_cache and not sharded else None
        if self.features is not None:
            keep_features(self.model, self.features)
            if self.ref_model is not None:
                share_tower(self.model, self.ref_model)

    # The step, in the order in which it runs.

    def _prepare_inputs(self, generation_batch: list[dict[str, Any]]) -> dict[str, Any]:  # type: ignore[override]
        """The micro-batch of this pass; every ``steps_per_generation`` x ``num_iterations`` passes, new completions."""
        self.note([row["id"] for row in generation_batch])
        if not self.model.training:
            return self.begin_pass(self.roll_out(generation_batch))
        ACTIVITY.begin(UPDATE)
        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            self._buffered_inputs = self._admit(self.roll_out(generation_batch)).deal(parts)
        return self.begin_pass(self._buffered_inputs[self._step % parts])

    def begin_pass(self, batch: GroupBatch) -> dict[str, Any]:
        """What TRL's loss of ``batch`` is computed from; rows are left out if they have no advantage to learn from."""
        self.batch, batch.scored = batch, self._with_signal(batch)
        return batch.columns

    def roll_out(self, rows: list[dict[str, Any]]) -> GroupBatch:
        """Completions of the dataset rows with their rewards and advantages: TRL calls the next two methods."""
        switches: Any = self.chat_template_kwargs
        self.batch = batch = GroupBatch.of(rows, self.processing_class, switches.get("enable_thinking"))
        # Without its images, TRL neither processes nor copies them for every completion.
        bare = [{key: value for key, value in row.items() if key != "images"} for row in rows]
        batch.columns = self._generate_and_score_completions(bare)
        return batch

    def _sample(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """The completions of ``self.batch``, as TRL's ``rollout_func`` returns them."""
        batch, logs = self.batch, None
        completions: list[Any]
        looks = self.looks(batch.of_prompts(batch.rows), batch.prompts) if self.looks is not None else None
        if self.vllm is not None:
            with ACTIVITY.doing("rollouts by vLLM"):
                rows = batch.of_prompts(batch.rows)
                completions, logs = self.vllm.complete(self, rows, batch.prompts, batch.counts, looks)
        else:
            with ACTIVITY.doing("rollouts"), generating_model(self) as model:
                asked = model, batch.prompts, batch.counts, self.sampling
                groups = complete(*asked) if looks is None else complete_in_turns(*asked, looks)
            completions = [said for group in groups for said in group]
        made: dict[str, Any] = {
            "prompt_ids": [list(batch.prompts[number].ids) for number in batch.groups],
            "completion_ids": completions,
            "logprobs": logs,
            # A further column for the rewards, which may look at the images that TRL was not given.
            "images": [row["images"] for row in batch.rows],
        }
        if looks is None:
            return made
        batch.branches = completions
        batch.texts = [looks.text(number, said) for number, said in zip(batch.groups, completions, strict=True)]
        # TRL calls it a mask of tools: no loss, and no part in any mean, at tokens of the environment.
        own = [[int(on) for on in branch.own] for branch in completions]
        return made | {"completion_ids": [list(branch.ids) for branch in completions], "env_mask": own}

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[Any],
    ) -> torch.Tensor:
        """Rewards (rows of all processes, functions), and what they say about each group."""
        size, batch = self.num_generations, self.batch
        if batch.branches:  # rewards are given what the model wrote, not the words of the environment
            completions = [[{"role": "assistant", "content": text}] for text in batch.texts]
            completion_ids_list = [[t for own, ids in said.runs if own for t in ids] for said in batch.branches]
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        begin = self.accelerator.process_index * len(batch.groups)
        own = slice(begin, begin + len(batch.groups))
        total = (rewards * self.reward_weights.to(rewards.device)).nansum(1)
        # A group may be in several processes; its spread is that of all its completions.
        batch.spreads = total.view(-1, size).std(1).repeat_interleave(size)[own].tolist()
        if self.admission.difficulty_weight:
            found = rewards[:, self.reward_func_names.index(PART)].view(-1, size).mean(1)
            batch.found = found.repeat_interleave(size)[own].tolist()
        return rewards

    def _admit(self, batch: GroupBatch) -> GroupBatch:
        """The batch of the groups that are trained on; a group that is not admitted loses its advantage."""
        config, columns = self.admission, batch.columns
        spreads = batch.of_prompts(batch.spreads)
        admitted = config.admitted(spreads, self.state.global_step)
        chosen = choose(spreads, admitted, len(spreads) // config.candidates)
        advantages = columns["advantages"]
        if config.policy != "off":
            barred = torch.tensor([not admitted[number] for number in batch.groups], device=advantages.device)
            advantages = advantages.masked_fill(barred, 0.0)
        if config.difficulty_weight:
            weights = [config.weight(found) for found in batch.found]
            advantages = advantages * torch.tensor(weights, device=advantages.device)
        columns["advantages"] = advantages
        generated = batch.written.sum()
        if len(chosen) < len(spreads):
            batch = batch.take([k for k, number in enumerate(batch.groups) if number in chosen])
            tokens: Any = self.accelerator.gather(batch.written.sum())
            batch.columns["num_items_in_batch"] = tokens.sum()
        self._log_admission(batch, len(spreads), sum(admitted), generated)
        return batch

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Log-probabilities and entropies (N, longest completion) of the rows of ``self.batch``."""
        batch, ids = self.batch, input_ids[:, -logits_to_keep:]
        mask = attention_mask[:, -logits_to_keep:].bool()
        if batch.branches:
            said = batch.branches
        else:
            said = [Branch([]).extended(row[real].tolist(), own=True) for row, real in zip(ids, mask, strict=True)]
        rows = [True] * len(ids) if batch.scored is None else batch.scored
        size = batch_size or len(ids)
        parts = [
            self._score(model, batch.groups[k : k + size], said[k : k + size], rows[k : k + size], mask.shape[1])
            for k in range(0, len(ids), size)
        ]
        logs, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return logs, entropies, None

    def _score(
        self, model: Any, groups: Sequence[int], said: Sequence[Branch], rows: Sequence[bool], longest: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (rows, longest) of tokens; zero and the mean if they are not scored.

        Scored are the tokens that the model wrote, in the rows that are true in ``rows``.
        """
        chosen = [(number, branch) for number, branch, on in zip(groups, said, rows, strict=True) if on]
        shared = [list(pairs) for _, pairs in groupby(chosen, key=lambda pair: pair[0])]
        packed = pack(
            self.accelerator.unwrap_model(model),
            [self.batch.prompts[pairs[0][0]] for pairs in shared],
            [[branch for _, branch in pairs] for pairs in shared],
        )
        with self.accelerator.autocast():
            logs, entropies = score_packed(model, packed)
        own = [[*branch.own, *[False] * (longest - len(branch))] for branch in said]
        scored = torch.tensor(own, device=logs.device) & torch.tensor(rows, device=logs.device)[:, None]
        whole = torch.zeros(scored.shape, dtype=logs.dtype, device=scored.device)
        # TRL averages entropies over all tokens; those that are left out must not lower the mean.
        mean = torch.full_like(whole, entropies.mean().item())
        return whole.masked_scatter(scored, logs), mean.masked_scatter(scored, entropies)

    # What the step leaves out, and what it says in the metrics.

    def _with_signal(self, batch: GroupBatch) -> list[bool] | None:
        """(N,) whether the update computes a row; None for all, if something besides advantages gives gradients."""
        if self.admission.policy == "off" or self.beta or self._entropy_bonus_enabled:
            return None
        return with_signal(batch.columns["advantages"])

    def _log_admission(self, batch: GroupBatch, candidates: int, admitted: int, generated: torch.Tensor) -> None:
        computed = self._with_signal(batch) or [True] * len(batch.groups)
        lengths: list[int] = batch.columns["completion_mask"].sum(1).tolist()
        # Each prompt once, and the completions that are computed, in one pass over the batch.
        shown = {number for number, on in zip(batch.groups, computed, strict=True) if on}
        prompts = sum(len(batch.prompts[number].ids) for number in shown)
        tokens = sum(length for length, on in zip(lengths, computed, strict=True) if on)
        noted: dict[str, Any] = {
            "admission/candidates": candidates,
            "admission/admitted": admitted,
            "admission/computed": tokens / max(sum(lengths), 1),
        }
        trained = torch.tensor((prompts + tokens) * self.num_iterations, device=generated.device)
        for name, value in {"generated": generated, "trained": trained}.items():
            of_all: Any = self.accelerator.gather(value)
            noted[f"tokens/{name}"] = of_all.sum()
        if batch.branches:
            noted["looks/per_completion"] = sum(branch.replies for branch in batch.branches) / len(batch.branches)
        if self.features is not None:
            noted["vision/cache_hits"] = self.features.take_share()
        for name, number in noted.items():
            self._metrics["train"][name].append(float(number))
