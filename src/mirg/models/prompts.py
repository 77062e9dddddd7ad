"""Prompts as token ids and image patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

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
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    shown = text.count(processor.image_token)
    if shown != len(images):
        raise DataError(
            f"sample {sample_id}: {shown} image placeholders for {len(images)} images",
            hint="the question contains an image token, or an image is missing",
        )
    made = processor(text=[text], images=list(images) or None, return_tensors="pt")
    ids, grid = made["input_ids"][0].tolist(), made.get("image_grid_thw")
    tokens = ids.count(processor.image_token_id)
    features = 0 if grid is None else int(grid.prod(-1).sum()) // processor.image_processor.merge_size**2
    if tokens != features:
        raise DataError(f"sample {sample_id}: {tokens} image tokens and {features} image features")
    return Prompt(ids, made.get("pixel_values"), grid)


def collapsed(ids: Sequence[int], image_token: int) -> list[int]:
    """Token ids with one placeholder for each image; neighbouring placeholders are the cells of one image."""
    return [token for k, token in enumerate(ids) if token != image_token or k == 0 or ids[k - 1] != image_token]


def placeholder_runs(ids: Sequence[int], image_token: int) -> list[int]:
    """How many placeholders each image has, in order."""
    return [len(list(run)) for token, run in groupby(ids) if token == image_token]
