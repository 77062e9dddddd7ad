"""Helpers for tests of training: reading runs, comparing them, and dying on purpose."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mirg.answers.prompts import messages
from mirg.engines.base import Completion, Engine, Generation, Request
from mirg.models.load import LoadedModel
from mirg.samples import Sample
from mirg.training.data import Prepared
from mirg.training.recipe import GrpoRecipe
from mirg.training.run import RunFolder

CLOCKS = ("time", "step_time", "vision/cache_hits")  # what a process says of itself, not of the training


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a journal."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_clocks(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file but for what no two processes say alike."""
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in rows(path)]


def weights(run: Path) -> dict[str, Any]:
    """Every tensor of a run's final model, adapters or whole."""
    from safetensors.torch import load_file

    return {
        f"{file.name}:{name}": tensor
        for file in sorted((run / "model").glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def assert_same_run(one: Path, two: Path) -> None:
    """Metrics but for clocks, rollouts and final weights are the same to the bit."""
    import torch

    assert without_clocks(one / "metrics.jsonl") == without_clocks(two / "metrics.jsonl")
    if (one / "rollouts.jsonl").exists():
        assert (one / "rollouts.jsonl").read_text() == (two / "rollouts.jsonl").read_text()
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys() and a
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def sft_batch(loaded: LoadedModel, prepared: Prepared) -> Any:
    """The batch of all rows of SFT, as the trainer's collator makes it."""
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    from mirg.training.sft import TurnLabels

    collate = DataCollatorForVisionLanguageModeling(loaded.processor, completion_only_loss=True)
    return TurnLabels(collate, loaded.tokenizer)([dict(prepared.rows[k]) for k in range(len(prepared))])


def losses_by_sample(loaded: LoadedModel, prepared: Prepared) -> dict[str, float]:
    """The sum of the losses of the tokens of each sample, over its rows."""
    import torch

    batch = sft_batch(loaded, prepared)
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = loaded.model(**batch).logits
    lost = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100, reduction="none"
    )
    found: dict[str, float] = {}
    for row, loss in zip(prepared.rows, lost.view(len(labels), -1).sum(1).tolist(), strict=True):
        found[row["id"]] = found.get(row["id"], 0.0) + loss
    return found


def answer(engine: Engine, sample: Sample, images: list[Any], **settings: Any) -> Completion:
    """The engine's completion for one sample, at most 32 tokens unless told otherwise."""
    told = getattr(engine, "instructions", "full")
    request = Request(sample.id, messages(sample, engine.family, engine.limits, told), images)
    return engine.generate([request], Generation(**{"max_new_tokens": 32} | settings))[0]


def make_trainer(recipe: GrpoRecipe, folder: Path) -> Any:
    """The trainer of ``mirg grpo`` at its first step."""
    from mirg.rewards.trl import reward_functions
    from mirg.training import grpo
    from mirg.training.data import grpo_rows
    from mirg.training.launch import prepare_model

    loaded = prepare_model(recipe)
    rewards = reward_functions(recipe.reward, loaded.family, loaded.limits, recipe.reward.plugins())
    prepared = grpo_rows(recipe.data, loaded, recipe.prompt)
    trainer: Any = grpo.make_trainer(recipe, RunFolder(folder, "grpo"), loaded, prepared, rewards, 1)
    trainer.first_rows = ()  # in TRL's own order
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def first_batch(trainer: Any) -> Any:
    """The completions of the first step, scored but not yet admitted (a GroupBatch)."""
    return trainer.roll_out(next(iter(trainer.get_train_dataloader())))


def as_trl(trainer: Any, batch: Any) -> dict[str, Any]:
    """The batch as TRL prepares it: with the images of its prompt beside every completion."""
    import torch

    shown, columns = [batch.prompts[n] for n in batch.groups], batch.columns
    images = [len(row["images"]) for row in batch.rows]
    if batch.branches:  # as TRL does it with the images of its tools: behind those of the prompt
        shown = [branch.after(prompt) for branch, prompt in zip(batch.branches, shown, strict=True)]
        images = [len(prompt.image_keys) for prompt in shown]
    made = columns | {"num_images": images}
    pixels = [prompt.pixels for prompt in shown]
    if pixels[0].dim() == 5:  # SmolVLM: one row per completion, padded with empty tiles
        for name in shown[0].inputs:
            tiles = [prompt.inputs[name][0] for prompt in shown]
            made[name] = torch.nn.utils.rnn.pad_sequence(tiles, batch_first=True)
        return made
    made |= {name: torch.cat([prompt.inputs[name] for prompt in shown]) for name in shown[0].inputs}
    if "image_grid_thw" not in made:
        return made | {"num_tiles": [len(part) for part in pixels]}
    ids = torch.cat([columns["prompt_ids"], columns["completion_ids"]], 1)
    kinds = (ids == trainer.processing_class.image_token_id).int()
    kinds *= torch.cat([columns["prompt_mask"], columns["completion_mask"]], 1).int()
    return made | {"mm_token_type_ids": kinds}


def loss_and_gradients(trainer: Any, batch: Any) -> tuple[float, dict[str, Any]]:
    """The loss of a batch as its trainer takes it, and the gradient of every weight that has one."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch if isinstance(batch, dict) else trainer.begin_pass(batch))
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


def favour(model: Any, token: int, by: float = 1e4) -> None:
    """Make ``token`` by far the likeliest next one, whatever came before: its logit grows ``by``."""

    def louder(_module: Any, _inputs: Any, logits: Any) -> Any:
        logits = logits.clone()
        logits[..., token] += by
        return logits

    model.lm_head.register_forward_hook(louder)


def die_in(work: Callable[[], object], arrange: Callable[[Callable[[], None]], None]) -> None:
    """Run ``work`` in a process that ``arrange`` makes call ``die()`` (SIGKILL to itself) on the way."""
    child = os.fork()
    if child == 0:
        try:
            arrange(lambda: os.kill(os.getpid(), signal.SIGKILL))
            work()
        finally:
            os._exit(99)  # still alive: the test below fails
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"status {status}"


def hurt(file: Path, damage: str) -> None:
    """Flip one bit in the middle, cut the file in half, or remove it."""
    data = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
