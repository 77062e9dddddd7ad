"""Prompts with images of several sizes, ragged groups of completions, and the slow way to score them."""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from fakes.tiny import tiny_pair
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, wrap
from mirg.models.packing import enable_packed_forward
from mirg.models.prompts import Prompt, encode

SIZES = ((56, 56), (112, 56), (56, 140), (84, 84))
Groups = list[list[list[int]]]


def tiny_loaded(kind: str, **changes: Any) -> LoadedModel:
    """A random model that keeps the sizes of its images, ready for packed rows."""
    model, processor = tiny_pair(kind, **changes)
    loaded = wrap(model, processor, path="", limits=PixelLimits(56 * 56, 160 * 160))
    enable_packed_forward(loaded.model)
    return loaded


def prompts(loaded: LoadedModel, images: Sequence[int] = (2, 3, 1, 0), seed: int = 0) -> list[Prompt]:
    """One prompt for each number of ``images``, with images of different sizes and texts of different lengths."""
    draw = random.Random(seed)
    made = []
    for number, count in enumerate(images):
        content: list[dict[str, Any]] = []
        for k in range(count):
            content += [{"type": "text", "text": f"Image-{k + 1}: "}, {"type": "image", "text": None}]
        content.append({"type": "text", "text": "red ring " * draw.randint(1, 6)})
        shown = [noise(draw.choice(SIZES), draw.random()) for _ in range(count)]
        made.append(encode(loaded.processor, [{"role": "user", "content": content}], shown, f"p{number}"))
    return made


def noise(size: tuple[int, int], seed: float) -> Image.Image:
    """An image of random pixels."""
    return Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))


def completions(counts: Sequence[int], seed: int = 0, longest: int = 12) -> Groups:
    """Random token ids: ``counts[n]`` completions of 1 to ``longest`` tokens for prompt n."""
    draw = random.Random(seed)
    return [
        [[draw.randrange(20, 200) for _ in range(draw.randint(1, longest))] for _ in range(count)] for count in counts
    ]


def one_by_one(loaded: LoadedModel, shown: Sequence[Prompt], groups: Groups) -> torch.Tensor:
    """The slow reference: each completion with its own copy of the prompt, through the model's own forward pass."""
    model: Any = loaded.model
    scores = []
    for prompt, group in zip(shown, groups, strict=True):
        for ids in group:
            tokens = torch.tensor([[*prompt.ids, *ids]])
            seen = dict(prompt.inputs)
            if "mm_token_type_ids" in inspect.signature(type(model).forward).parameters:
                seen["mm_token_type_ids"] = (tokens == model.config.image_token_id).int()
            logits = model(input_ids=tokens, **seen).logits[0, len(prompt.ids) - 1 : -1]
            scores.append(logits.float().log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0])
    return torch.cat(scores)
