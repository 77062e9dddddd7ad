"""What the stages minimise: visual tokens read as words and boxes, exercises answered, images owned by their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mirg.data.scenes.render import render
from mirg.data.scenes.world import Scene
from research.perception.batches import IGNORED, pixel_values, token_batch
from research.perception.exercises import Exercise, Part
from research.perception.eyes import Eyes
from research.perception.vision import cell_targets

Measured = tuple[torch.Tensor, dict[str, float]]  # a loss, and what to log

OWNER_LAYER, OWNER_WEIGHT = 0, 0.3
USER = "<|im_start|>user\n"


def seen(eyes: Eyes, scenes: Sequence[Scene]) -> Measured:
    """Loss of the visual tokens of ``scenes``, each in a separate sequence."""
    pixels, grid = _pixels(eyes, scenes)
    return _read_tokens(eyes, eyes.model.model.visual(pixels, grid_thw=grid, return_dict=True).pooler_output, scenes)


def answered(eyes: Eyes, batch: Sequence[Exercise], *, train_vision: bool) -> Measured:
    """Loss of the completions (and of the visual tokens), and the share of image labels that are right."""
    tokenizer = eyes.processor.tokenizer
    texts = [f"{USER}{_text(eyes, e.parts)}<|im_end|>\n<|im_start|>assistant\n" for e in batch]
    prompts = tokenizer(texts)["input_ids"]
    completions = tokenizer([f" {e.completion}<|im_end|>" for e in batch])["input_ids"]
    inputs = token_batch(prompts, completions, eyes.vocabulary)
    labels = inputs.pop("labels")[:, 1:]
    scenes = [scene for e in batch for scene in e.scenes]
    logits, hidden, tokens = _forward(eyes, inputs, scenes)
    starts = tokenizer([USER + _text(eyes, e.parts[:-1]) for e in batch])["input_ids"]
    owned = _owner_loss(eyes, inputs["input_ids"], hidden, torch.tensor([len(ids) for ids in starts]))
    extra, measured = torch.zeros(()), {}
    if scenes and train_vision:
        extra, measured = _read_tokens(eyes, tokens[0], scenes)
    wanted = labels != IGNORED
    loss = torch.nn.functional.cross_entropy(logits[wanted], labels[wanted])
    measured |= _accuracy(eyes, logits[wanted].detach(), labels[wanted])
    return loss + extra + OWNER_WEIGHT * owned, measured


def _forward(
    eyes: Eyes, inputs: dict[str, torch.Tensor], scenes: Sequence[Scene]
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Logits of the next tokens, the hidden states after :data:`OWNER_LAYER`, and the visual tokens (if any)."""
    vision: dict[str, Any] = {}
    if scenes:
        pixels, grid = _pixels(eyes, scenes)
        vision = {"pixel_values": pixels, "image_grid_thw": grid}
    inner = eyes.model.model
    with (
        _outputs(inner.visual, lambda out: out.pooler_output) as tokens,
        _outputs(inner.language_model.layers[OWNER_LAYER], _first) as hidden,
    ):
        logits = eyes.model(**inputs, **vision).logits[:, :-1]
    return logits, hidden[0], tokens


@contextmanager
def _outputs(module: torch.nn.Module, part: Callable[[Any], torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Collects ``part`` of whatever ``module`` returns meanwhile."""
    caught: list[torch.Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, out: caught.append(part(out)))
    try:
        yield caught
    finally:
        handle.remove()


def _first(out: Any) -> torch.Tensor:
    return out if isinstance(out, torch.Tensor) else out[0]


def _pixels(eyes: Eyes, scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    side = eyes.config.image_side
    return pixel_values(np.stack([np.asarray(render(scene, (side, side))) for scene in scenes]), eyes.config.patch)


def _read_tokens(eyes: Eyes, tokens: torch.Tensor, scenes: Sequence[Scene]) -> Measured:
    cells = eyes.config.image_side // eyes.config.patch // 2
    labels, boxes = cell_targets(scenes, cells, eyes.index)
    return eyes.head(tokens, eyes.embedding, torch.from_numpy(labels), torch.from_numpy(boxes))


@torch.no_grad()
def _accuracy(eyes: Eyes, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Shares of right tokens, of right image labels (0 without labels), and of nearly right coordinates."""
    right = logits.argmax(-1) == labels
    measured = {"token_accuracy": right.float().mean().item()}
    places = torch.isin(labels, eyes.head.coordinate_ids)
    if places.any():
        measured["near"] = _near(eyes, logits[places], labels[places])
    named = torch.isin(labels, eyes.spoken_ids)
    measured["image_accuracy"] = right[named].float().mean().item() if named.any() else 0.0
    return measured


def _near(eyes: Eyes, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of coordinates told at most one step off."""
    said = logits[:, eyes.head.coordinate_ids].argmax(-1)
    true = (labels[:, None] == eyes.head.coordinate_ids).long().argmax(-1)
    return ((said - true).abs() <= 1).float().mean().item()


def _text(eyes: Eyes, parts: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else eyes.image_text for part in parts)


def _owner_loss(eyes: Eyes, ids: torch.Tensor, hidden: torch.Tensor, bodies: torch.Tensor) -> torch.Tensor:
    """Every content token of the prompt's first ``bodies`` tokens should know, early on, the label of its image."""
    table = torch.zeros(int(ids.max()) + 1 + int(eyes.label_ids.max()), dtype=torch.long)
    table[eyes.label_ids] = torch.arange(1, len(eyes.label_ids) + 1)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    last = torch.where(table[ids] > 0, places, -1).cummax(dim=1).values
    label = torch.where(last >= 0, table[ids.gather(1, last.clamp(min=0))], 0)
    content = (torch.isin(ids, eyes.head.name_ids) | (ids == eyes.vocabulary.image)) & (label > 0)
    wanted = content & (places < bodies[:, None])
    return torch.nn.functional.cross_entropy(eyes.owner(hidden[wanted].float()), label[wanted] - 1)
