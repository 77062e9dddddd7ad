"""Stage 2: the language model learns to read correspondences off the visual tokens, densely and in words.

Besides the completions, readers of the hidden states of visual tokens are trained: the number of the image they belong
to after the first layer; after :data:`MATCH_LAYER` the earlier image that shows the same place, and where; one layer
later the boxes of all that the two images share there, or of the place in which they differ. The token that ends an
image gathers this for the whole image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mirg.answers.blocks import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mirg.models.tiny import GRID, MAX_IMAGES
from research.perception.batches import IGNORED, Vocabulary, token_batch
from research.perception.losses import USER, _outputs
from research.photo.exercises import EXERCISES, Exercise, goals, holes
from research.photo.pictures import centres, render
from research.photo.tower import BINS, expected, patches, soft_bins

LAYERS = OWNER_LAYER, MATCH_LAYER, BOX_LAYER, END_LAYER = 0, 2, 3, 4
OWNER_WEIGHT, MATCH_WEIGHT, PLACE_WEIGHT, OWN_PLACE_WEIGHT, BOX_WEIGHT, END_WEIGHT = 0.3, 1.0, 1.0, 0.3, 1.5, 1.0
SAID_WEIGHT = 2.0  # of the completions
# The share of each exercise in a batch.
SHARES = {"match": 0.46, "compare": 0.03, "changed": 0.2, "follow": 0.17, "again": 0.1, "odd": 0.04}
QUESTION_SHARE = 0.5  # of the exercises that a question of a task can ask for
_BOX_OF_A_SENTENCE = re.compile(r"(Image-\d+) (\(\d+,\d+\),\(\d+,\d+\))")


class LanguageReaders(nn.Module):
    """What hidden states are read with in training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.owner = nn.Linear(width, MAX_IMAGES)
        self.image = nn.Linear(width, MAX_IMAGES + 1)
        self.place = nn.Linear(width, 2 * BINS)
        self.own_place = nn.Linear(width, 2 * BINS)
        self.boxes = nn.Linear(width, 8 * BINS)
        self.hole = nn.Linear(width, 2)
        self.hole_boxes = nn.Linear(width, 8 * BINS)
        self.end = nn.Linear(width, MAX_IMAGES + 1)
        self.end_boxes = nn.Linear(width, 8 * BINS)
        self.end_hole = nn.Linear(width, 2)
        self.end_hole_boxes = nn.Linear(width, 8 * BINS)


def draw_batch(rng: np.random.Generator, photos: Sequence[Image.Image], count: int) -> list[Exercise]:
    """``count`` exercises, their kinds by :data:`SHARES`."""
    kinds = rng.choice(list(SHARES), count, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
    drawn = [EXERCISES[kind](rng, photos) for kind in kinds]
    return [replace(e, request=e.question) if e.question and rng.random() < QUESTION_SHARE else e for e in drawn]


def prompt_of(exercise: Exercise) -> str:
    """Labels, placeholders of the visual tokens and the request, in the layout of ``mirg.answers.prompts``."""
    shown = [
        f"Image-{k}: <|vision_start|>{'<|image_pad|>' * (p.grid[0] * p.grid[1])}<|vision_end|>"
        for k, p in enumerate(exercise.pictures, 1)
    ]
    return f"{USER}{chr(10).join(shown)}\n{exercise.request}<|im_end|>\n<|im_start|>assistant\n"


def said(exercise: Exercise) -> str:
    """What the model says: a sentence, or if a question of a task is asked, an answer block without reasoning.

    >>> said(exercise)  # its completion: "Found: Image-2 (80,40),(360,280)."
    '<think></think><answer>Image-2: (80,40),(360,280)</answer>'
    """
    if exercise.request != exercise.question:
        return f" {exercise.completion}"
    boxes = [f"{number}: {box}" for number, box in _BOX_OF_A_SENTENCE.findall(exercise.completion)]
    return f"{THINK_OPEN}{THINK_CLOSE}{ANSWER_OPEN}{chr(10).join(boxes) or 'none'}{ANSWER_CLOSE}"


def language_loss(
    model: Any, tokenizer: Any, readers: LanguageReaders, batch: Sequence[Exercise], photos: Sequence[Image.Image]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the completions and of the readers, and what to log."""
    vocabulary = Vocabulary(tokenizer.pad_token_id, model.config.image_token_id)
    prompts = tokenizer([prompt_of(e) for e in batch])["input_ids"]
    completions = tokenizer([f"{said(e)}<|im_end|>" for e in batch])["input_ids"]
    inputs = token_batch(prompts, completions, vocabulary)
    labels = inputs.pop("labels")[:, 1:]
    pictures = [p for e in batch for p in e.pictures]
    pixels, grid = patches([render(p, photos) for p in pictures])
    inner = model.model
    layers = inner.language_model.layers
    with ExitStack() as stack:
        caught = [
            stack.enter_context(_outputs(layers[k], _first)) for k in (OWNER_LAYER, MATCH_LAYER, BOX_LAYER, END_LAYER)
        ]
        hidden = inner(**inputs, pixel_values=pixels, image_grid_thw=grid).last_hidden_state[:, :-1]
    visual = inputs["input_ids"] == vocabulary.image
    ends = inputs["input_ids"] == tokenizer.convert_tokens_to_ids("<|vision_end|>")
    states = [*(found[0][visual] for found in caught[:3]), caught[3][0][ends]]
    wanted = labels != IGNORED
    logits = model.lm_head(hidden[wanted]).float()
    words = F.cross_entropy(logits, labels[wanted])
    read, measured = _read(readers, states, batch)
    measured |= {"said": words.item(), **_accuracy(tokenizer, logits.detach(), labels[wanted])}
    return SAID_WEIGHT * words + read, measured


def _accuracy(tokenizer: Any, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Shares of right image labels and of coordinates that are at most one step off."""
    ids = tokenizer.convert_tokens_to_ids
    numbers = torch.tensor([ids(str(c)) for c in GRID])
    place = torch.isin(labels, numbers)
    names = [ids(f"{blank}Image-{k}") for k in range(1, MAX_IMAGES + 1) for blank in ("", " ")]
    image = torch.isin(labels, torch.tensor(names))
    true = (labels[place][:, None] == numbers).int().argmax(-1)
    gap = (logits[place][:, numbers].argmax(-1) - true).abs()
    right = (logits.argmax(-1) == labels)[image]
    return {"image": right.float().mean().item(), "near": (gap <= 1).float().mean().item()}


def _read(
    readers: LanguageReaders, states: Sequence[torch.Tensor], batch: Sequence[Exercise]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the readers on the states (tokens, width) after the layers, and what to log."""
    early, late, latest, ends = states
    number, place, boxes = (
        torch.from_numpy(np.concatenate(p)) for p in zip(*(goals(e.pictures) for e in batch), strict=True)
    )
    owners = np.concatenate([np.full(p.grid[0] * p.grid[1], k) for e in batch for k, p in enumerate(e.pictures)])
    own = torch.from_numpy(np.concatenate([centres(p) for e in batch for p in e.pictures])).float()
    shown = number > 0
    image = readers.image(late).float()
    spots = _bins(readers.place(late[shown]))
    sides = _bins(readers.boxes(latest[shown]))
    counts = [p.grid[0] * p.grid[1] for e in batch for p in e.pictures]
    owner = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))  # the number of a token's picture in the batch
    # Every picture counts alike: a crop has few tokens, and two copies of a scene have many that are easy to match.
    weights = _shares(2 * owner + shown)
    loss = OWNER_WEIGHT * F.cross_entropy(readers.owner(early).float(), torch.from_numpy(owners))
    loss = loss + MATCH_WEIGHT * (F.cross_entropy(image, number, reduction="none") * weights).sum() / weights.sum()
    loss = loss + PLACE_WEIGHT * soft_bins(spots, place[shown].float(), weights[shown])
    loss = loss + BOX_WEIGHT * soft_bins(sides, boxes[shown].float(), weights[shown])
    hole, hole_boxes = (torch.from_numpy(np.concatenate(p)) for p in zip(*map(holes, batch), strict=True))
    loss = loss + _holes(readers.hole, readers.hole_boxes, latest, hole, hole_boxes)
    ended, end_off = _ends(readers, ends, owner, number, boxes, hole, hole_boxes)
    loss = loss + END_WEIGHT * ended
    loss = loss + OWN_PLACE_WEIGHT * soft_bins(_bins(readers.own_place(late)), own)
    with torch.no_grad():
        part = weights[shown] / weights[shown].sum()
        off = ((expected(spots) - place[shown]).abs().mean(1) * part).sum().item()
        box_off = ((expected(sides) - boxes[shown]).abs().mean(1) * part).sum().item()
        right = (image.argmax(-1) == number).float()
        shares = {"alone": right[~shown].mean().item(), "matched": (right[shown] * part).sum().item()}
        return loss, shares | {"off": off, "box_off": box_off, "end_off": end_off}


def _holes(
    flag: nn.Linear, boxes: nn.Linear, states: torch.Tensor, wanted: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """Loss of knowing a place that differs, and its boxes. Few tokens lie in one, so each counts more."""
    loss = F.cross_entropy(flag(states).float(), wanted.long(), weight=torch.tensor([1.0, 4.0]))
    if wanted.any():
        loss = loss + soft_bins(_bins(boxes(states[wanted])), places[wanted].float())
    return loss


def _ends(
    readers: LanguageReaders, ends: torch.Tensor, owner: torch.Tensor, number: torch.Tensor, boxes: torch.Tensor,
    hole: torch.Tensor, hole_boxes: torch.Tensor,
) -> tuple[torch.Tensor, float]:  # fmt: skip
    """Loss of the tokens that end a picture: its first match and its place that differs. Returns the error of boxes."""
    count = len(ends)
    first = torch.full((count,), MAX_IMAGES + 1).scatter_reduce(
        0, owner, torch.where(number > 0, number, MAX_IMAGES + 1), "amin"
    )
    chosen = number == first[owner]
    place, differs = torch.zeros(count, 8, dtype=boxes.dtype), torch.zeros(count, 8, dtype=boxes.dtype)
    place[owner[chosen]] = boxes[chosen]
    differs[owner[hole]] = hole_boxes[hole]
    matched = first <= MAX_IMAGES
    loss = F.cross_entropy(readers.end(ends).float(), torch.where(matched, first, 0))
    sides = _bins(readers.end_boxes(ends[matched]))
    loss = loss + soft_bins(sides, place[matched].float())
    wanted = torch.zeros(count, dtype=torch.bool)
    wanted[owner[hole]] = True
    loss = loss + _holes(readers.end_hole, readers.end_hole_boxes, ends, wanted, differs)
    return loss, (expected(sides.detach()) - place[matched]).abs().mean().item()


def _shares(groups: torch.Tensor) -> torch.Tensor:
    """One over the number of tokens of each token's group, (tokens,)."""
    return 1.0 / torch.bincount(groups)[groups]


def _bins(logits: torch.Tensor) -> torch.Tensor:
    """(tokens, n * BINS) to (tokens, n, BINS)."""
    return logits.unflatten(-1, (-1, BINS)).float()


def _first(out: Any) -> torch.Tensor:
    return out if isinstance(out, torch.Tensor) else out[0]


@torch.no_grad()
def read_by_label(layers: Sequence[Any], first: int) -> None:
    """Let half of the heads of the layers from ``first`` on begin with tokens of the same content.

    An answer about ``Image-3`` thus begins with the tokens that know they belong to ``Image-3``.
    """
    for layer in layers[first:]:
        attention = layer.self_attn
        rows = attention.q_proj.weight.shape[0] // 2
        attention.k_proj.weight[:rows] = attention.q_proj.weight[:rows]


@torch.no_grad()
def match_same_places(language_model: Any, same: torch.Tensor, samples: torch.Tensor) -> None:
    """Let four heads of the second and third layer first attend to tokens that show the same place.

    Queries and keys are both the projection ``same`` (features, width) that the tower was trained with, reduced to its
    principal directions on ``samples`` (tokens, width). It goes to the slow half of the rotary dimensions, which hardly
    turn over the length of a prompt.
    """
    values = F.normalize(samples, dim=-1) @ same.T
    values = values - values.mean(0)
    _, _, directions = torch.linalg.svd(values, full_matrices=False)
    head_width = language_model.layers[1].self_attn.head_dim
    half, quarter = head_width // 2, head_width // 4
    slow = [*range(half - quarter, half), *range(head_width - quarter, head_width)]
    reduced = directions[: 4 * len(slow)] @ same
    for layer in language_model.layers[1:3]:
        attention = layer.self_attn
        for head in range(4):
            rows = reduced[head::4]  # as many directions for each head, large and small ones alike
            block = torch.zeros(head_width, reduced.shape[1])
            block[slow] = rows / rows.norm(dim=1, keepdim=True).mean()
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[head * head_width : (head + 1) * head_width] = block
        for scale in (attention.q_norm, attention.k_norm):
            scale.weight.fill_(1.4)
