"""Prompts as token ids and image patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from mirg.errors import DataError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prompt:
    """Token ids and, if the prompt has images, their patches and grids."""

    ids: Sequence[int]
    pixels: torch.Tensor | None = None  # (patches, values), of all its images in order
    grid: torch.Tensor | None = None  # (images, 3): frames, rows and columns of patches

    @cached_property
    def image_keys(self) -> tuple[str, ...]:
        """A digest of each image's patches and grid, in order; equal digests mean equal model input."""
        if self.pixels is None or self.grid is None:
            return ()
        parts = zip(self.grid, self.pixels.split(self.grid.prod(1).tolist()), strict=True)
        return tuple(_digest(grid, patches) for grid, patches in parts)


def _digest(grid: torch.Tensor, patches: torch.Tensor) -> str:
    digest = hashlib.sha256(str(grid.tolist()).encode())
    digest.update(patches.contiguous().numpy().data)
    return digest.hexdigest()


def encode(processor: Any, messages: Sequence[dict[str, Any]], images: Sequence[Any], sample_id: str) -> Prompt:
    """The prompt of chat ``messages`` about RGB ``images``, up to the start of the answer.

    DataError if the numbers of placeholders and image features differ, which a model would report only later.
    """
    return encode_all(processor, [(messages, images, sample_id)])[0]


def encode_all(processor: Any, asked: Sequence[tuple[Sequence[dict[str, Any]], Sequence[Any], str]]) -> list[Prompt]:
    """:func:`encode` for many (messages, images, sample id) in one call of the processor, which takes half the time."""
    texts = [processor.apply_chat_template(one[0], tokenize=False, add_generation_prompt=True) for one in asked]
    for text, (_, images, sample_id) in zip(texts, asked, strict=True):
        shown = text.count(processor.image_token)
        if shown != len(images):
            raise DataError(
                f"sample {sample_id}: {shown} image placeholders for {len(images)} images",
                hint="the question contains an image token, or an image is missing",
            )
    made = processor(text=texts, images=[image for one in asked for image in one[1]] or None, padding=False)
    return _split(processor, asked, made)


def _split(processor: Any, asked: Sequence[tuple[Any, Sequence[Any], str]], made: Any) -> list[Prompt]:
    """The prompts in what the processor ``made`` of all of them."""
    import torch

    ids = made["input_ids"]
    if "pixel_values" not in made:
        return [Prompt(list(own)) for own in ids]
    grids = torch.as_tensor(np.asarray(made["image_grid_thw"])).split([len(images) for _, images, _ in asked])
    patches = [int(grid.prod(-1).sum()) for grid in grids]
    pixels = torch.as_tensor(np.asarray(made["pixel_values"])).split(patches)
    prompts = []
    for (_, images, sample_id), own, grid, part, count in zip(asked, ids, grids, pixels, patches, strict=True):
        tokens, features = own.count(processor.image_token_id), count // processor.image_processor.merge_size**2
        if tokens != features:
            raise DataError(f"sample {sample_id}: {tokens} image tokens and {features} image features")
        prompts.append(Prompt(list(own), part, grid) if images else Prompt(list(own)))
    return prompts


def collapsed(ids: Sequence[int], image_token: int) -> list[int]:
    """Token ids with one placeholder for each image; neighbouring placeholders are the cells of one image."""
    return [token for k, token in enumerate(ids) if token != image_token or k == 0 or ids[k - 1] != image_token]


def placeholder_runs(ids: Sequence[int], image_token: int) -> list[int]:
    """How many placeholders each image has, in order."""
    return [len(list(run)) for token, run in groupby(ids) if token == image_token]
