"""The check before the first rollout: vLLM sees what the update sees, every image in its place, with the same weights.

vLLM completes a few prompts as in any rollout, with their images in order and with the same images moved by one place,
and the model that is trained scores the same tokens. Two distances decide, both in nats and means over tokens:

    off    |vLLM's log-probability - the model's|, for the prompt that both were given
    moved  |the model's for the images in the other order - the model's|

vLLM that sees what it was given is off by rounding alone, some hundredths in bfloat16 (8 bits, logits of some tens).
To vLLM that does not know which image is which, both orders are one prompt: it is as far from the model in the one as
in the other, and by the triangle inequality the two distances add up to at least ``moved``. Then ``off``, their mean,
is expected to be at least half of ``moved``, however much of the completions is mere form; less than a quarter of it
is accepted. That is why a token or two, which are form in a trained model, are not enough to ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mirg.console import logger
from mirg.errors import EngineError
from mirg.models.packing import decoder_hidden_states, pack
from mirg.models.prompts import Prompt, encode, placeholder_runs
from mirg.models.sampling import Sampling
from mirg.training.recipe import RolloutConfig

PROBES = 4  # prompts that every process checks
TWICE = "placeholders that were expanded twice (TRL issue 6294)"
_CLEAR = 4  # how many times ``off`` the images' order must make, to be seen


@dataclass(frozen=True)
class Drawn:
    """Completions of one prompt, and each token's log-probability when it was drawn (None where vLLM has none)."""

    completions: list[list[int]]
    logs: list[list[float | None]]


Draw = Callable[[Any, Sequence[dict[str, Any]], Sequence[Prompt], Sequence[int]], list[Drawn]]


def check(trainer: Any, rows: Sequence[dict[str, Any]], draw: Draw, sampling: Sampling, config: RolloutConfig) -> None:
    """EngineError where vLLM's images, weights or temperature are not those of the update.

    ``rows`` are training samples with images; ``draw(trainer, rows, prompts, counts)`` asks vLLM.
    """
    # Those with most images; every process takes equally many, so that all make the same calls.
    order = sorted(rows, key=lambda row: -len(row["images"]))
    pairs = [row for k in range(PROBES) for row in (order[k % len(rows)], moved_images(order[k % len(rows)]))]
    prompts = [encode(trainer.processing_class, row["prompt"], row["images"], row["id"]) for row in pairs]
    _same_cells(trainer, pairs, prompts)
    drawn = draw(trainer, pairs, prompts, [trainer.num_generations] * len(pairs))
    sums = trainer.accelerator.gather(distances(trainer, prompts, drawn, sampling)[None]).sum(0)
    tokens, off, raw, moved = [sums[0].item(), *(sums[1:] / sums[0]).tolist()]
    problem = verdict(off, raw, moved, config)
    if problem:
        raise problem
    logger.info(
        "vLLM agrees with the model: %.2g nats a token off, over %d tokens; images in another order make %.2g",
        *(off, tokens, moved),
    )


def moved_images(row: dict[str, Any]) -> dict[str, Any]:
    """The same question with every image one place further on, and the last one first."""
    images = list(row["images"])
    return row | {"images": images[-1:] + images[:-1]}


def _same_cells(trainer: Any, rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt]) -> None:
    """EngineError where a server cuts an image into another number of cells than the trainer does.

    TRL sends a server the trainer's own placeholders, so that nothing else would tell.
    """
    from accelerate.utils import broadcast_object_list

    problem = [""]
    if trainer.vllm_generation.mode == "server" and trainer.accelerator.is_main_process:
        made = trainer.vllm_generation.vllm_client.image_features([list(row["images"]) for row in rows])
        for row, prompt, features in zip(rows, prompts, made, strict=True):
            ours = placeholder_runs(prompt.ids, trainer.processing_class.image_token_id)
            theirs = [place["length"] for place in features["mm_placeholders"]["image"]] if features else []
            if ours != theirs:
                problem = [f"images of sample {row['id']} are {theirs} tokens to vLLM and {ours} to the trainer"]
    broadcast_object_list(problem, from_process=0)
    if problem[0]:
        raise EngineError(problem[0], hint="serve the model with the run's pixel limits (docs/how-to/vllm.md)")


def distances(trainer: Any, prompts: Sequence[Prompt], drawn: Sequence[Drawn], sampling: Sampling) -> torch.Tensor:
    """Sums over tokens (4,): their number, ``off``, ``off`` had vLLM left the temperature out, and ``moved``.

    ``prompts`` come in pairs, each other's images moved.
    """
    from trl.models.utils import unwrap_model_for_generation

    total = torch.zeros(4, dtype=torch.float64, device=trainer.accelerator.device)
    with (
        torch.no_grad(),
        trainer.accelerator.autocast(),
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=trainer.args.gradient_checkpointing_kwargs,
        ) as model,
    ):
        training = model.training
        model.eval()
        for k, group in enumerate(drawn):
            given = [float("nan") if log is None else log for row in group.logs for log in row]
            logs = torch.tensor(given, device=model.device)
            own, raw = own_logs(model, prompts[k], group.completions, sampling)
            other, _ = own_logs(model, prompts[k ^ 1], group.completions, sampling)
            parts = torch.stack([torch.ones_like(own), logs - own, logs - raw, other - own]).abs()
            total += parts[:, ~logs.isnan()].double().sum(1)
        model.train(training)
    return total


def own_logs(
    model: Any, prompt: Prompt, completions: Sequence[Sequence[int]], sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (tokens,) of completions as ``sampling`` draws, and raw: no temperature, nothing forbidden."""
    packed = pack(model, [prompt], [completions])
    hidden = decoder_hidden_states(model, packed.trees, **packed.inputs)[0, int(packed.trees.trunk.sum()) :]
    barred = torch.tensor(sorted(sampling.forbidden), dtype=torch.long, device=hidden.device)
    lengths = [len(ids) for ids in completions]
    drawn, raw = [], []
    for part, wanted in zip(hidden.split(lengths), packed.labels.split(lengths), strict=True):
        logits = model.get_output_embeddings()(part).float()
        raw.append(logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0])
        logits = logits.index_fill(-1, barred, -torch.inf) / sampling.temperature
        drawn.append(logits.log_softmax(-1).gather(-1, wanted[:, None])[:, 0])
    return torch.cat(drawn), torch.cat(raw)


def verdict(off: float, raw: float, moved: float, config: RolloutConfig) -> EngineError | None:
    """What the mean distances in nats a token say about vLLM; None where it may be believed."""
    far = f"vLLM's log-probabilities are {off:.3g} nats a token off the model's, {config.tolerance:g} are allowed"
    if not off <= config.tolerance:  # not a number is far too
        if raw <= config.tolerance:
            return EngineError(
                f"{far}; without temperature they are {raw:.3g} off",
                hint="start the server with --logprobs-mode processed_logprobs",
            )
        return EngineError(
            far,
            hint="other weights, another temperature, other images or another order of them: is it this run's server?"
            f" In colocate mode also {TWICE}: use rollouts.mode: server",
        )
    if _CLEAR * off <= moved or not config.check_order:
        return None
    if moved >= config.tolerance:
        return EngineError(
            f"vLLM mixes up which image is which: it is {off:.3g} nats a token off the model, where images in another"
            f" order make {moved:.3g}",
            hint="use rollouts.mode: server (TRL issue 6294)",
        )
    return EngineError(
        f"whether vLLM sees every image in its place cannot be told: another order makes {moved:.3g} nats a token, and"
        f" vLLM is {off:.3g} off anyway",
        hint="a model that looks at its images tells them apart; rollouts.check_order: false goes on without proof",
    )
