"""Groups completed by vLLM, through TRL's VLLMGeneration.

Where this deviates from TRL: prompts are collapsed to one placeholder per image where vLLM itself expands them, which
it would do a second time otherwise, with all images in the place of the first (colocate mode, TRL issue 6294); what
vLLM keeps of images is thrown away with the weights that made it (TRL issue 7198); every prompt that vLLM says it used
is compared with the trainer's; and before the first rollout vLLM is checked (mirg.training.vllm_check).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mirg.errors import EngineError
from mirg.models.prompts import Prompt, collapsed, placeholder_runs
from mirg.models.sampling import Sampling
from mirg.training.recipe import RolloutConfig
from mirg.training.vllm_check import TWICE, Drawn, check


class VllmRollouts:
    """Completes the groups of a trainer whose ``use_vllm`` is on. Every call is made by all processes together."""

    def __init__(self, config: RolloutConfig, sampling: Sampling) -> None:
        self._config, self._sampling = config, sampling
        self._checked = False
        self._fresh_at = -1  # the step whose weights made what vLLM keeps of images

    def complete(
        self, trainer: Any, rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt], counts: Sequence[int]
    ) -> tuple[list[list[int]], list[list[float | None]]]:
        """Token ids and their log-probabilities: ``counts[n]`` completions of the n-th of ``rows``, in order.

        ``prompts`` are the rows as they are encoded. EngineError where vLLM fails, or sees what the update does not.
        """
        if trainer.state.global_step != self._fresh_at:
            forget_images(trainer)
            self._fresh_at = trainer.state.global_step
        if not self._checked:
            check(trainer, rows, self._draw, self._sampling, self._config)
            self._checked = True
        drawn = self._draw(trainer, rows, prompts, counts)
        return [ids for group in drawn for ids in group.completions], [logs for group in drawn for logs in group.logs]

    def _draw(
        self, trainer: Any, rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt], counts: Sequence[int]
    ) -> list[Drawn]:
        generation, token = trainer.vllm_generation, trainer.processing_class.image_token_id
        given = [list(p.ids) if generation.mode == "server" else collapsed(p.ids, token) for p in prompts]
        numbers = [n for n, count in enumerate(counts) for _ in range(count)]
        try:
            used, completions, logs, _ = generation.generate(
                prompts=[given[n] for n in numbers],
                images=[list(rows[n]["images"]) or None for n in numbers],
                num_generations=trainer.num_generations,
            )
        except Exception as error:  # what TRL's client raises is no narrower
            raise EngineError(
                f"vLLM did not complete {len(numbers)} rollouts: {error}",
                hint="see the server's log; the same command goes on from the last checkpoint",
            ) from error
        if logs is None:
            raise EngineError("vLLM gave no log-probabilities", hint="another version of vLLM or TRL?")
        for n, ids, said in zip(numbers, used, completions, strict=True):
            if list(ids) != list(prompts[n].ids):
                raise _other_prompt(rows[n]["id"], ids, prompts[n].ids, token)
            if barred := set(said) & set(self._sampling.forbidden):
                raise EngineError(
                    f"vLLM drew token {min(barred)}, which is forbidden: it does not follow logit_bias",
                    hint="an image token in a completion breaks the update; another version of vLLM?",
                )
        drawn = [Drawn([], []) for _ in prompts]
        for n, said, scores in zip(numbers, completions, logs, strict=True):
            drawn[n].completions.append(list(said))
            drawn[n].logs.append([score[0] for score in scores])
        return drawn


def forget_images(trainer: Any) -> None:
    """Let vLLM drop the image features that it computed with older weights: TRL only resets what it keeps of prompts.

    TRL has sent the weights of this step already.
    """
    generation = trainer.vllm_generation
    if generation.mode == "colocate":
        generation.llm.llm_engine.reset_encoder_cache()
    elif trainer.accelerator.is_main_process:
        url = f"{generation.vllm_client.base_url}/reset_encoder_cache"
        status = generation.vllm_client.session.post(url).status_code
        if status != 200:
            raise EngineError(f"vLLM keeps image embeddings of older weights: {url} gives status {status}")


def _other_prompt(sample_id: str, used: Sequence[int], ours: Sequence[int], token: int) -> EngineError:
    return EngineError(
        f"vLLM used another prompt for sample {sample_id}: {len(used)} tokens, images of"
        f" {placeholder_runs(used, token)}, where the trainer has {len(ours)} and {placeholder_runs(ours, token)}",
        hint=f"other pixel limits, or {TWICE}: use rollouts.mode: server",
    )
