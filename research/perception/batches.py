"""From scenes and texts to the tensors of a Qwen-VL forward pass, without the per-image overhead of the processor.

All images of a tiny model have one size, so a batch of them is one reshape. A test holds the result equal to the
processor's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

PATCH_REPEATS = 2  # Qwen-VL sees a still image as two equal frames
IGNORED = -100


@dataclass(frozen=True)
class Vocabulary:
    """The token ids that batches contain."""

    pad: int
    image: int


def pixel_values(images: NDArray[np.uint8], patch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of ``images`` (N, H, W, 3): float32 (N * H/patch * W/patch, 3 * 2 * patch^2) and the grid (N, 3).

    Mean and deviation are 0.5 as in ``mirg.models.tiny``; the layout is that of ``Qwen2VLImageProcessor.patchify``.
    """
    count, height, width, _ = images.shape
    rows, columns = height // patch, width // patch
    scaled = images.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1.0)
    split = scaled.reshape(count, rows // 2, 2, patch, columns // 2, 2, patch, 3)
    ordered = split.transpose(0, 1, 4, 2, 5, 7, 3, 6)  # N, row, column, row in cell, column in cell, channel, y, x
    repeated = np.repeat(ordered[:, :, :, :, :, :, None], PATCH_REPEATS, axis=6)
    flat = repeated.reshape(count * rows * columns, 3 * PATCH_REPEATS * patch * patch)
    grid = torch.tensor([[1, rows, columns]] * count, dtype=torch.long).reshape(-1, 3)
    return torch.from_numpy(np.ascontiguousarray(flat)), grid


def token_batch(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], vocabulary: Vocabulary
) -> dict[str, torch.Tensor]:
    """Right-padded ``input_ids``, ``attention_mask``, ``mm_token_type_ids``, ``labels``, all (N, longest row).

    Labels are :data:`IGNORED` for prompt and padding.
    """
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), vocabulary.pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
        labels[number, len(prompt) : len(row)] = ids[number, len(prompt) : len(row)]
    kinds = (ids == vocabulary.image).long()
    return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds, "labels": labels}
