"""Stage 1: the vision tower learns to describe places of photographs, so that the same place is known again.

Three losses on pairs of pictures that share a place: tokens of the same place have similar projections and all others
do not (InfoNCE, van den Oord et al. 2018, arXiv 1807.03748); each token knows where in its picture it lies; and patches
predict the features of a teacher (DINOv2) on stored views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from research.perception.batches import pixel_values
from research.photo import draw
from research.photo.pictures import Picture, centres, matches, render

BINS = 26  # coordinates 0, 40, ..., 1000
TEACHER_WIDTH = 384
PATCH = 14


class TowerReaders(nn.Module):
    """What the tower is trained through and what is thrown away afterwards, except ``same`` (see ``train.py``)."""

    def __init__(self, vision_width: int, width: int, features: int = 96) -> None:
        super().__init__()
        self.teacher = nn.Linear(vision_width, TEACHER_WIDTH)
        self.same = nn.Linear(width, features, bias=False)
        self.where = nn.Linear(width, 2 * BINS)
        self.scale = nn.Parameter(torch.tensor(2.5))  # log of the inverse temperature


@dataclass(frozen=True)
class Pairs:
    """Pictures two by two; ``goal[k]`` says where the first of pair k shows the tokens of the second (NaN: nowhere)."""

    pictures: list[Picture]
    goals: list[NDArray[np.float64]]


def draw_pairs(rng: np.random.Generator, photos: Sequence[Image.Image], count: int) -> Pairs:
    """``count`` pairs: a scene and a crop of it, the scene again from elsewhere, or altered, or with a pasted patch."""
    pictures: list[Picture] = []
    goals = []
    for photo in rng.choice(len(photos), count, replace=count > len(photos)):
        first = draw.scene(rng, photos, int(photo))
        second = other_picture(rng, photos, first)
        if rng.random() < 0.5:
            second = Picture(second.layers, second.size, draw.tone(rng, 0.5), second.softness)
        pictures += [first, second]
        goals.append(matches(second, first)[0])
    return Pairs(pictures, goals)


def other_picture(rng: np.random.Generator, photos: Sequence[Image.Image], first: Picture) -> Picture:
    """A picture that shows some of what ``first`` shows."""
    kind = rng.random()
    box = draw.textured(rng, first, photos)
    if kind < 0.45:
        return draw.crop(rng, first, box, (0.8, 2.5))
    base = first.layers[0]
    if kind < 0.65:
        x1, y1, x2, y2 = box
        grown = (rng.uniform(0, x1), rng.uniform(0, y1), rng.uniform(x2, 1), rng.uniform(y2, 1))
        window = draw.inside(base, grown)
        return draw.view(base.photo, window, draw.LONG / max(window[2] - window[0], window[3] - window[1]),
                         flipped=base.flipped)  # fmt: skip
    other = draw.scene(rng, photos, int(rng.integers(len(photos))))
    shape = [(box[k + 2] - box[k]) * first.size[k] for k in (0, 1)]
    target = draw.spot(rng, other, shape, float(np.exp(rng.uniform(np.log(0.7), np.log(1.4)))))
    return draw.paste(rng, other, draw.crop(rng, first, box, (1, 1)).layers[0], target)


def pair_loss(visual: nn.Module, readers: TowerReaders, pairs: Pairs, photos: Sequence[Image.Image]) -> tuple:
    """Loss and measurements of one batch of pairs."""
    tokens = see(visual, [render(p, photos) for p in pairs.pictures])
    sizes = [p.grid[0] * p.grid[1] for p in pairs.pictures]
    where = torch.from_numpy(np.concatenate([centres(p) for p in pairs.pictures])).float()
    placed = readers.where(tokens).unflatten(-1, (2, BINS)).float()
    place_loss = soft_bins(placed, where)
    same = F.normalize(readers.same(tokens).float(), dim=-1)
    parts = same.split(sizes)
    firsts, seconds = parts[0::2], parts[1::2]
    keys = torch.cat(firsts)
    starts = np.cumsum([0, *(len(p) for p in firsts)])
    goal, asked = [], []
    for k, (second, points) in enumerate(zip(seconds, pairs.goals, strict=True)):
        shown = ~np.isnan(points[:, 0])
        asked.append(second[torch.from_numpy(shown)])
        goal.append(nearest(points[shown], pairs.pictures[2 * k].grid, int(starts[k]), len(keys)))
    queries, target = torch.cat(asked), torch.cat(goal)
    logits = readers.scale.exp().clamp(max=60) * queries @ keys.T
    same_loss = -(target * logits.log_softmax(-1)).sum(-1).mean()
    with torch.no_grad():
        hit = target.gather(1, logits.argmax(-1, keepdim=True)).gt(0.1).float().mean().item()
        off = (expected(placed) - where).abs().mean().item()
    return same_loss + 0.3 * place_loss, {"same": same_loss.item(), "hit": hit, "off": off}


def teacher_loss(
    visual: nn.Module, readers: TowerReaders, views: NDArray[np.uint8], features: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """One minus the cosine to the teacher's standardised patch features (views, patches, 384)."""
    pixels, grid = pixel_values(views, PATCH)
    hidden = visual(pixels, grid_thw=grid, return_dict=True).last_hidden_state
    rows = views.shape[1] // PATCH
    order = torch.arange(rows * rows).view(rows // 2, 2, rows // 2, 2).permute(0, 2, 1, 3).flatten()
    wanted = features[:, order].flatten(0, 1)
    cosine = F.cosine_similarity(readers.teacher(hidden).float(), wanted, dim=-1).mean()
    return 1 - cosine, cosine.item()


def see(visual: nn.Module, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """The visual tokens of all images in order, (tokens, width)."""
    return visual(*patches(images), return_dict=True).pooler_output


def patches(images: Sequence[NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the processor makes of images of any sizes: patches and grid."""
    parts = [pixel_values(image[None], PATCH) for image in images]
    return torch.cat([p for p, _ in parts]), torch.cat([g for _, g in parts])


def nearest(points: NDArray[np.float64], grid: tuple[int, int], start: int, total: int) -> torch.Tensor:
    """Bilinear weights (N, total) of the tokens around ``points`` (N, 2); the picture's tokens begin at ``start``."""
    rows, columns = grid
    weights = np.zeros((len(points), total), np.float32)
    x = np.clip(points[:, 0] * columns - 0.5, 0, columns - 1)
    y = np.clip(points[:, 1] * rows - 0.5, 0, rows - 1)
    left, top = np.minimum(x.astype(int), max(columns - 2, 0)), np.minimum(y.astype(int), max(rows - 2, 0))
    fx, fy = x - left, y - top
    index = np.arange(len(points))
    for dx, wx in ((0, 1 - fx), (1, fx)):
        for dy, wy in ((0, 1 - fy), (1, fy)):
            column, row = np.minimum(left + dx, columns - 1), np.minimum(top + dy, rows - 1)
            weights[index, start + row * columns + column] += wx * wy
    return torch.from_numpy(weights)


def soft_bins(logits: torch.Tensor, values: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of ``logits`` (N, ..., BINS) with values in [0, 1], shared between the two nearest bins.

    ``weights`` (N,) are those of the mean; None: all alike.
    """
    place = values.clamp(0, 1) * (BINS - 1)
    low = place.floor().clamp(max=BINS - 2).long()
    share = (place - low).clamp(0, 1)
    logs = logits.log_softmax(-1)
    at_low, at_high = (logs.gather(-1, (low + k)[..., None])[..., 0] for k in (0, 1))
    costs = -((1 - share) * at_low + share * at_high)
    return costs.mean() if weights is None else (costs.flatten(1).mean(1) * weights).sum() / weights.sum()


def expected(logits: torch.Tensor) -> torch.Tensor:
    """The mean value in [0, 1] of the distribution that ``logits`` (..., BINS) give."""
    return logits.softmax(-1) @ torch.linspace(0, 1, BINS)
