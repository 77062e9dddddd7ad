"""Where a tiny model starts from: the structure that a large pretrained model would have found by itself.

They are settings of ordinary parameters of the real classes, and all of them free to change in training.
Measured effect on the vision stage: ``docs/design/0004-perception.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

# Of the strengths 4 and 6 the second named more shapes after 500 steps (single runs); the deviation was not searched.
NEIGHBOUR_STRENGTH = 6.0
POSITION_DEVIATION = 0.3
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # patches (down, right)


@torch.no_grad()
def compose_names(embedding: torch.Tensor, ids: dict[str, int], generator: torch.Generator) -> None:
    """Give ``"red ring"`` the sum of a vector for "red" and one for "ring", as the words of a trained model have."""
    width = embedding.shape[1]

    def draw() -> torch.Tensor:
        return torch.randn(width, generator=generator) * width**-0.5

    parts: dict[str, torch.Tensor] = {}
    for name, token in ids.items():
        vector = 0.3 * draw()
        for word in name.split():
            if word not in parts:
                parts[word] = draw()
            vector = vector + parts[word]
        embedding[token] = vector / 1.45


@torch.no_grad()
def initialise_alike(embedding: torch.Tensor, first: int, second: int, generator: torch.Generator) -> None:
    """Give two spellings of one word similar vectors."""
    width = embedding.shape[1]
    embedding[second] = (embedding[first] + 0.5 * torch.randn(width, generator=generator) * width**-0.5) / 1.12


@torch.no_grad()
def order_coordinates(embedding: torch.Tensor, ids: Sequence[int], generator: torch.Generator) -> None:
    """Give neighbouring coordinates similar vectors: a random projection of a few cosines of the coordinate."""
    width = embedding.shape[1]
    place = torch.linspace(0, 1, len(ids))[:, None] * torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0]) * torch.pi
    waves = torch.cat([place.cos(), place.sin()], dim=1)
    projection = torch.randn(waves.shape[1], width, generator=generator) * width**-0.5
    own = torch.randn(len(ids), width, generator=generator) * width**-0.5
    embedding[list(ids)] = waves @ projection * (2 / waves.shape[1]) ** 0.5 + 0.2 * own


@torch.no_grad()
def match_same_words(language_model: Any) -> None:
    """Let half of the heads from the second layer on first attend to tokens of the same content.

    Queries equal to keys make the product the similarity of the two tokens, which trained models show too (mimetic
    initialisation, Trockman and Kolter 2023, arXiv 2305.09828). It is what looking a word up starts with.
    """
    for layer in language_model.layers[1:]:
        attention = layer.self_attn
        width = attention.head_dim
        heads = attention.k_proj.weight.shape[0] // width
        groups = attention.q_proj.weight.shape[0] // width // heads
        for head in range((heads + 1) // 2):
            first = head * groups * width
            attention.k_proj.weight[head * width : (head + 1) * width] = attention.q_proj.weight[first : first + width]


@torch.no_grad()
def look_at_neighbours(visual: Any, generator: torch.Generator) -> None:
    """Let each head of the vision tower first attend to one neighbouring patch, as a convolution would.

    Rotary positions make the product of a constant query and a constant key a function of only the offset:
    ``sum_i a_i^2 cos(theta_i (p_query - p_key) + phi_i)``, which peaks at the offset that the phase ``phi`` chooses. So
    the biases of query and key are enough. The deepstack features start at zero: they join when they help.
    """
    visual.pos_embed.weight.normal_(std=POSITION_DEVIATION, generator=generator)
    for block in visual.blocks:
        attention = block.attn
        heads = attention.num_heads
        bias = attention.qkv.bias.view(3, heads, -1)
        half = bias.shape[-1] // 2  # rotary pairs: dimension i turns with dimension i + half
        theta = 10000.0 ** (-torch.arange(half // 2) / (half // 2))
        strength = torch.zeros(half // 2)
        strength[:2] = torch.tensor([1.0, 0.7])
        strength = NEIGHBOUR_STRENGTH * strength.repeat(2)
        for head in range(heads):
            down, right = _NEIGHBOURS[head % len(_NEIGHBOURS)]
            phase = torch.cat([theta * down, theta * right])
            bias[0, head] = torch.cat([strength * phase.cos(), strength * phase.sin()])
            bias[1, head] = torch.cat([strength, torch.zeros(half)])
        attention.qkv.weight[: 2 * attention.qkv.weight.shape[1]] *= 0.5
    for merger in visual.deepstack_merger_list:
        merger.linear_fc2.weight.zero_()
