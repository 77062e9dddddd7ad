"""Dense supervision: each visual token is trained to be the word of the object that it covers, with its box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mirg.data.scenes.world import Scene
from mirg.geometry import as_boxes

# A cell belongs to an object from this share of the smaller of the two areas on.
MIN_COVER = 0.2


def cell_targets(
    scenes: Sequence[Scene], cells: int, index: dict[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What each visual token covers, for images of ``cells`` x ``cells`` tokens.

    Returns labels (N * cells^2,), 0 for nothing and 1 + k for the name of index k, and boxes (N * cells^2, 4) in
    fractions.
    """
    edge = np.arange(cells) / cells
    left, top = np.tile(edge, cells), np.repeat(edge, cells)
    labels = np.zeros((len(scenes), cells * cells), dtype=np.int64)
    boxes = np.zeros((len(scenes), cells * cells, 4), dtype=np.float32)
    for number, scene in enumerate(scenes):
        objects = as_boxes([thing.box for thing in scene.objects])
        width = np.clip(np.minimum(objects[:, 2:3], left + 1 / cells) - np.maximum(objects[:, 0:1], left), 0, None)
        height = np.clip(np.minimum(objects[:, 3:4], top + 1 / cells) - np.maximum(objects[:, 1:2], top), 0, None)
        area = (objects[:, 2] - objects[:, 0]) * (objects[:, 3] - objects[:, 1])
        cover = width * height / np.minimum(area, 1 / cells**2)[:, None]  # objects x cells
        best = cover.argmax(axis=0)
        found = cover.max(axis=0) >= MIN_COVER
        names = np.array([1 + index[name] for name in scene.names])
        labels[number, found] = names[best[found]]
        boxes[number, found] = objects[best[found]]
    return labels.reshape(-1), boxes.reshape(-1, 4)


class VisionHead(nn.Module):
    """Reads a visual token: its word through the (tied) word embedding, its box through coordinate embeddings.

    Thrown away after perception: what it leaves behind are visual tokens that look like words to the language model.
    """

    name_ids: torch.Tensor
    coordinate_ids: torch.Tensor

    def __init__(self, width: int, name_ids: Sequence[int], coordinate_ids: Sequence[int]) -> None:
        """``coordinate_ids`` are the tokens of the evenly spaced coordinates from 0 to the far edge."""
        super().__init__()
        self.register_buffer("name_ids", torch.tensor(name_ids))
        self.register_buffer("coordinate_ids", torch.tensor(coordinate_ids))
        self.nothing = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.sides = nn.Linear(width, 4 * width)
        nn.init.normal_(self.sides.weight, std=width**-0.5)

    def forward(
        self, tokens: torch.Tensor, embedding: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Loss and measurements for ``tokens`` (T, width), ``labels`` (T,) and ``boxes`` (T, 4) in fractions."""
        logits = tokens @ torch.cat([self.nothing, embedding[self.name_ids]]).T
        name_loss = nn.functional.cross_entropy(logits, labels)
        seen = labels > 0
        grid = len(self.coordinate_ids) - 1
        sides = self.sides(tokens[seen]).unflatten(-1, (4, -1))
        side_logits = sides @ embedding[self.coordinate_ids].T  # seen tokens x 4 x coordinates
        goal = (boxes[seen] * grid).round().long()
        side_loss = nn.functional.cross_entropy(side_logits.flatten(0, 1), goal.flatten())
        with torch.no_grad():
            named = (logits.argmax(-1) == labels)[seen].float().mean().item()
            off = (side_logits.argmax(-1) - goal).abs().float().mean().item() / grid
        return name_loss + 0.5 * side_loss, {"vision/named": named, "vision/side_error": off}
