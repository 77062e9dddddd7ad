"""What a group shares, used by TRL's GRPOTrainer: one encoding of the prompt for rollouts, one for the update.

TRL encodes every prompt and its images once per completion, in rollouts and again in every pass of the update. Mixed
into its trainer, this encodes them once per group (mirg.models.packing, mirg.models.sampling), with the same loss and
gradients. Completions without signal, whose advantage is zero, are left out of the update, and whole groups of them may
be replaced (mirg.training.admission).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from mirg.errors import ConfigError
from mirg.models.features import FeatureCache, keep_features, share_tower
from mirg.models.packing import enable_packed_forward, pack, score_packed
from mirg.models.prompts import Prompt, encode
from mirg.models.sampling import Sampling, complete
from mirg.training.admission import AdmissionConfig, choose

if TYPE_CHECKING:
    from mirg.training.vllm_rollouts import VllmRollouts

GROUP = "group"  # the column that names each row's prompt
PART = "object"  # the reward whose mean says how difficult a group is


class SharedPrompts:
    """Mixed into TRL's GRPOTrainer, before it; :meth:`share_prompts` switches it on."""

    _sampling: Sampling | None = None

    def share_prompts(
        self,
        sampling: Sampling,
        *,
        temperature: float,
        admission: AdmissionConfig | None = None,
        vllm: VllmRollouts | None = None,
        vision_cache: int = 0,
    ) -> None:
        """Rollouts by ``sampling``, drawn by ``vllm`` if there is one, and packed updates from now on.

        Features of a frozen vision tower are kept in ``vision_cache`` bytes; ConfigError where it is trained, or where
        difficulty is to be told by a reward that is not there.
        """
        trainer: Any = self
        if admission and admission.difficulty_weight and PART not in trainer.reward_func_names:
            raise ConfigError(
                f"admission.difficulty_weight needs the reward {PART!r}",
                hint=f"there are {', '.join(trainer.reward_func_names)}",
            )
        self._sampling, self._vllm = sampling, vllm
        self._admission = admission or AdmissionConfig()
        self._spreads: list[float] = []
        self._found: list[float] = []
        self._rows: list[dict[str, Any]] = []
        self._prompts: list[Prompt] = []
        self._groups: list[int] = []
        self._scored: list[bool] | None = None
        for model in (trainer.model, trainer.ref_model):
            if model is not None:
                enable_packed_forward(model, temperature)
        self._features = FeatureCache(vision_cache) if vision_cache else None
        if self._features is not None:
            keep_features(trainer.model, self._features)
            if trainer.ref_model is not None:
                share_tower(trainer.model, trainer.ref_model)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self._sampling is None:
            return super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        self._rows, self._groups = inputs, group_numbers([row["id"] for row in inputs])
        processor = self.processing_class  # type: ignore[attr-defined]
        self._shown = [next(rows) for _, rows in groupby(inputs, key=lambda row: row["id"])]
        self._prompts = [encode(processor, row["prompt"], row["images"], row["id"]) for row in self._shown]
        # Without its images, TRL neither processes nor copies them for every completion.
        bare = [{key: value for key, value in row.items() if key != "images"} for row in inputs]
        made = super()._generate_and_score_completions(bare)  # type: ignore[misc]
        return made | {GROUP: torch.tensor(self._groups, device=made["prompt_ids"].device)}

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        if self._sampling is None:
            return super()._tokenize_prompts(prompts)  # type: ignore[misc]
        return [list(self._prompts[n].ids) for n in self._groups], None, {}

    def _generate_single_turn(self, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if self._sampling is None:
            return super()._generate_single_turn(prompt_ids, images, fields, *args, **kwargs)  # type: ignore[misc]
        from trl.models.utils import unwrap_model_for_generation

        trainer: Any = self
        counts = [self._groups.count(n) for n in range(len(self._prompts))]
        if self._vllm is not None:
            return self._vllm.complete(trainer, self._shown, self._prompts, counts)
        with unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as model:
            groups = complete(model, self._prompts, counts, self._sampling)
        return [ids for group in groups for ids in group], None

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        trainer: Any = self
        if self._sampling is None or not trainer.model.training:
            return super()._prepare_inputs(generation_batch)  # type: ignore[misc]
        steps = trainer.args.steps_per_generation
        if trainer._step % (steps * trainer.num_iterations) == 0 or trainer._buffered_inputs is None:
            batch = self._admit(self._generate_and_score_completions(generation_batch))
            lengths = batch["completion_mask"].sum(1).tolist()
            parts = micro_batches(batch[GROUP].tolist(), lengths, steps)
            trainer._buffered_inputs = [take(batch, rows) for rows in parts]
        return trainer._buffered_inputs[trainer._step % steps]

    def get_train_dataloader(self) -> Any:
        """TRL's loader, with as many prompts a step as there are candidates."""
        trainer: Any = self
        if self._sampling is None:
            return super().get_train_dataloader()  # type: ignore[misc]
        times = self._admission.candidates
        usual = trainer._train_batch_size, trainer.args.generation_batch_size
        trainer._train_batch_size, trainer.args.generation_batch_size = (size * times for size in usual)
        try:
            return super().get_train_dataloader()  # type: ignore[misc]
        finally:
            trainer._train_batch_size, trainer.args.generation_batch_size = usual

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[Any],
    ) -> torch.Tensor:
        # A reward may look at the images, which TRL was not given.
        shown = inputs if self._sampling is None else self._rows
        rewards = super()._calculate_rewards(shown, prompts, completions, completion_ids_list)  # type: ignore[misc]
        if self._sampling is not None:
            trainer: Any = self
            total = (rewards * trainer.reward_weights.to(rewards.device)).nansum(1)
            rows = len(self._groups)
            begin = trainer.accelerator.process_index * rows
            # A group may lie in several processes; its spread is that of all its completions.
            spread = total.view(-1, trainer.num_generations).std(1).repeat_interleave(trainer.num_generations)
            self._spreads = spread[begin : begin + rows].tolist()
            if self._admission.difficulty_weight:
                column = trainer.reward_func_names.index(PART)
                found = rewards[:, column].view(-1, trainer.num_generations).mean(1)
                self._found = found.repeat_interleave(trainer.num_generations)[begin : begin + rows].tolist()
        return rewards

    def _admit(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch of the groups that are trained on; what is not admitted loses its advantage."""
        trainer: Any = self
        config, groups = self._admission, batch[GROUP].tolist()
        spreads = [self._spreads[groups.index(n)] for n in range(len(self._prompts))]
        admitted = config.admitted(spreads, trainer.state.global_step)
        chosen = choose(spreads, admitted, len(spreads) // config.candidates)
        if config.policy != "off":
            barred = torch.tensor([not admitted[n] for n in groups], device=batch["advantages"].device)
            batch["advantages"] = batch["advantages"].masked_fill(barred, 0.0)
        if config.difficulty_weight:
            weights = torch.tensor([config.weight(found) for found in self._found], device=batch["advantages"].device)
            batch["advantages"] = batch["advantages"] * weights
        generated = batch["completion_mask"].sum()
        if len(chosen) < len(spreads):
            batch = take(batch, [k for k, n in enumerate(groups) if n in chosen])
            tokens = batch["completion_mask"].sum()
            batch["num_items_in_batch"] = trainer.accelerator.gather(tokens).sum()
        noted = {"candidates": len(spreads), "admitted": sum(admitted), "computed": self._share_computed(batch)}
        for name, value in noted.items():
            trainer._metrics["train"][f"admission/{name}"].append(float(value))
        trained = torch.tensor(self._tokens_computed(batch), device=generated.device)
        for name, value in {"generated": generated, "trained": trained * trainer.num_iterations}.items():
            trainer._metrics["train"][f"tokens/{name}"].append(float(trainer.accelerator.gather(value).sum()))
        if self._features is not None:
            trainer._metrics["train"]["vision/cache_hits"].append(self._features.take_share())
        return batch

    def _skips(self) -> bool:
        """Whether completions without advantage may be left out: nothing else gives them a gradient."""
        trainer: Any = self
        return self._admission.policy != "off" and not trainer.beta and not trainer._entropy_bonus_enabled

    def _tokens_computed(self, batch: dict[str, Any]) -> int:
        """Tokens of the packed sequences of one pass over the batch: each prompt once, and the completions computed."""
        lengths, groups = batch["completion_mask"].sum(1).tolist(), batch[GROUP].tolist()
        computed = with_signal(batch["advantages"]) if self._skips() else [True] * len(groups)
        kept = [(group, length) for group, length, on in zip(groups, lengths, computed, strict=True) if on]
        prompts = sum(len(self._prompts[group].ids) for group in {group for group, _ in kept})
        return prompts + sum(length for _, length in kept)

    def _share_computed(self, batch: dict[str, Any]) -> float:
        """The share of the batch's completion tokens that the update computes."""
        if not self._skips():
            return 1.0
        lengths = batch["completion_mask"].sum(1)
        computed = torch.tensor(with_signal(batch["advantages"]), device=lengths.device)
        return (lengths * computed).sum().item() / lengths.sum().clamp(min=1).item()

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        if self._sampling is None:
            return super()._compute_loss(model, inputs)  # type: ignore[misc]
        self._groups = inputs[GROUP].tolist()
        if self._skips():
            self._scored = with_signal(inputs["advantages"])
        try:
            return super()._compute_loss(model, inputs)  # type: ignore[misc]
        finally:
            self._scored = None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        if self._sampling is None:
            return super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, input_ids, attention_mask, logits_to_keep, batch_size, **kwargs
            )
        ids, mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:].bool()
        step = batch_size or len(ids)
        parts = [
            self._score(model, slice(start, start + step), ids[start : start + step], mask[start : start + step])
            for start in range(0, len(ids), step)
        ]
        logs, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
        return logs, entropies, None

    def _score(
        self, model: Any, rows: slice, ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies (rows, longest) of completions; zero and mean where nothing is scored."""
        scored = mask
        if self._scored is not None:
            scored = mask & torch.tensor(self._scored[rows], device=mask.device)[:, None]
        chosen = scored.any(1)
        numbers = [n for n, on in zip(self._groups[rows], chosen.tolist(), strict=True) if on]
        completions = [row[real].tolist() for row, real in zip(ids[chosen], scored[chosen], strict=True)]
        shared = [list(pairs) for _, pairs in groupby(zip(numbers, completions, strict=True), key=lambda pair: pair[0])]
        trainer: Any = self
        packed = pack(
            trainer.accelerator.unwrap_model(model),
            [self._prompts[pairs[0][0]] for pairs in shared],
            [[ids for _, ids in pairs] for pairs in shared],
        )
        with trainer.accelerator.autocast():
            logs, entropies = score_packed(model, packed)
        whole = torch.zeros(mask.shape, dtype=logs.dtype, device=mask.device)
        # TRL averages entropies over all tokens; those that are left out must not lower the mean.
        mean = torch.full_like(whole, entropies.mean().item())
        return whole.masked_scatter(scored, logs), mean.masked_scatter(scored, entropies)


def group_numbers(ids: Sequence[str]) -> list[int]:
    """0, 0, 0, 1, 1, 1 …: neighbours of one id are a group."""
    return [n for n, (_, rows) in enumerate(groupby(ids)) for _ in rows]


def micro_batches(groups: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Row numbers of ``parts`` equal batches: groups stay whole where they fit, and the longest are spread.

    Rows come in the order of their groups, so a group that has to be cut is cut between neighbours.
    """
    size = len(groups) // parts
    together = [list(rows) for _, rows in groupby(range(len(groups)), key=lambda k: groups[k])]
    if any(size % len(rows) for rows in together):
        return [list(range(k * size, (k + 1) * size)) for k in range(parts)]
    made: list[list[int]] = [[] for _ in range(parts)]
    tokens = [0] * parts
    for rows in sorted(together, key=lambda rows: -sum(lengths[k] for k in rows)):
        free = [k for k in range(parts) if len(made[k]) + len(rows) <= size]
        part = min(free, key=lambda k: tokens[k])
        made[part] += rows
        tokens[part] += sum(lengths[k] for k in rows)
    return made


def take(batch: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """The given rows of every column; numbers of the whole batch stay."""
    total = len(batch[GROUP])
    return {
        key: value[list(rows)] if isinstance(value, torch.Tensor) and value.dim() and len(value) == total else value
        for key, value in batch.items()
    }


def with_signal(advantages: torch.Tensor) -> list[bool]:
    """Which rows move the policy; the first one stays where none does, so that there is a gradient to take."""
    rows = (advantages != 0).flatten(1).any(1) if advantages.dim() > 1 else advantages != 0
    signal = rows.tolist()
    return signal if any(signal) else [True, *signal[1:]]
