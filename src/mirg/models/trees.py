"""Attention in a packed row: a trunk attends to itself, a branch to its trunk and itself, with little padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers.integrations.flex_attention import compile_friendly_flex_attention

FLEX = "cuda"  # devices whose memory must not grow with prompt times completions
SHORT = 256  # tokens of a trunk up to which a CPU is faster without the fused attention
LIKE = 0.75  # of a grid's longest branch: shorter branches are put into another grid


def padded(x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """(heads, tokens, width) to (heads, *real.shape, width): the tokens at the true places of ``real``, in order."""
    if real.all():
        return x.unflatten(1, real.shape)
    whole = x.new_zeros(x.shape[0], real.numel(), x.shape[2])
    return whole.index_copy(1, real.flatten().nonzero()[:, 0], x).unflatten(1, real.shape)


def unpadded(x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`padded`."""
    x = x.flatten(1, -2)
    return x if real.all() else x.index_select(1, real.flatten().nonzero()[:, 0])


def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of (..., tokens, width)."""
    length = query.shape[-2]
    if query.device.type == "cpu" and length <= SHORT:
        scores = query @ key.transpose(-1, -2) * scale
        return (scores + _future(length, scores)).softmax(-1) @ value
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def _future(length: int, like: torch.Tensor) -> torch.Tensor:
    return torch.full((length, length), -torch.inf, dtype=like.dtype, device=like.device).triu(1)


@dataclass(frozen=True)
class Grids:
    """Branches arranged in a list of grids (N, g, C).

    ``places`` (tokens,) is the place of each token in the joined grids; None if every place has a token, in order.
    """

    shapes: list[tuple[int, int, int]]
    places: torch.Tensor | None

    @property
    def size(self) -> int:
        """The number of places in all grids."""
        return sum(math.prod(shape) for shape in self.shapes)

    def spread(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(heads, tokens, width) to (heads, N, g, C, width) for each grid, with 0 in places without a token."""
        if self.places is not None:
            x = x.new_zeros(x.shape[0], self.size, x.shape[2]).index_copy(1, self.places, x)
        parts = x.split([math.prod(shape) for shape in self.shapes], 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def gathered(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The inverse of :meth:`spread`."""
        if self.places is None:
            return parts[0].flatten(1, 3)
        return torch.cat([part.flatten(1, 3) for part in parts], 1).index_select(1, self.places)


def grids_of(branch: torch.Tensor) -> Grids:
    """Grids of branches of similar length, so that one long completion does not pad all others to its length.

    ``branch`` (N, G, C) is true at real tokens. Every group is sorted by length, longest first. A new grid begins when
    the longest branch of a column is below ``LIKE`` of the grid's longest. Empty branches are in no grid.
    """
    groups, columns, wide = branch.shape
    if branch.all():
        return Grids([(groups, columns, wide)], None)
    lengths, order = branch.sum(2).sort(dim=1, descending=True, stable=True)
    longest = [length for length in lengths.amax(0).tolist() if length]
    cuts = [0]
    for column, length in enumerate(longest):
        if length < LIKE * longest[cuts[-1]]:
            cuts.append(column)
    shapes = [(groups, b - a, longest[a]) for a, b in pairwise([*cuts, len(longest)])]
    begins = torch.zeros_like(lengths)  # the place of each branch's first token, in the sorted order
    number, before = torch.arange(groups, device=branch.device)[:, None], 0
    for first, (_, count, length) in zip(cuts, shapes, strict=True):
        within = torch.arange(count, device=branch.device)
        begins[:, first : first + count] = before + (number * count + within) * length
        before += groups * count * length
    begins = torch.zeros_like(begins).scatter(1, order, begins)  # in the order of ``branch``
    return Grids(shapes, (begins[..., None] + torch.arange(wide, device=branch.device))[branch])


@dataclass
class Trees:
    """The layout of a packed row. ``trunk`` (N, P) and ``branch`` (N, G, C) are true at real tokens.

    ``scored`` (tokens of all branches,) says which of them predict a token that a model wrote; None: all.
    """

    trunk: torch.Tensor
    branch: torch.Tensor
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None  # (N, heads, P, width) of each layer's trunks
    scored: torch.Tensor | None = None

    @cached_property
    def _before(self) -> torch.Tensor:
        return torch.where(self.trunk, 0.0, -torch.inf)[None, :, None]  # (1, N, 1, P)

    @cached_property
    def grids(self) -> Grids:
        """The grids in which the branches are arranged."""
        return grids_of(self.branch)

    @cached_property
    def blocks(self) -> BlockMask:
        """The mask of the row for FlexAttention, which skips blocks that are masked completely."""
        groups, wide = self.branch.shape[:2]
        number = torch.arange(groups * wide, device=self.trunk.device)
        in_trunks, in_branches = self.trunk.sum(1), self.branch.sum(2).flatten()
        trunk = torch.arange(groups, device=self.trunk.device).repeat_interleave(in_trunks)
        branch = number.repeat_interleave(in_branches)
        group = torch.cat([trunk, branch // max(wide, 1)])
        branch = torch.cat([torch.full_like(trunk, -1), branch])

        def seen(_batch: Any, _head: Any, row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
            own = (branch[column] == -1) | (branch[column] == branch[row])
            return (group[row] == group[column]) & own & (column <= row)

        return create_block_mask(seen, None, None, len(group), len(group), device=group.device)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Attention of a packed row.

        ``query`` is (1, heads, tokens, width), ``key`` and ``value`` may have fewer heads that serve several of its.
        Returns (1, tokens, heads, width).
        """
        repeat = query.shape[1] // key.shape[1]
        if query.device.type == FLEX and self.kept is None:
            out = compile_friendly_flex_attention(
                query, key, value, block_mask=self.blocks, enable_gqa=repeat > 1, scale=scale, training=True
            )
            return out.transpose(1, 2)  # type: ignore[union-attr]
        query, key, value = query[0], key[0], value[0]
        if repeat > 1:
            key, value = key.repeat_interleave(repeat, 0), value.repeat_interleave(repeat, 0)
        split = int(self.trunk.sum())
        (q_t, q_b), (k_t, k_b), (v_t, v_b) = (x.split([split, x.shape[1] - split], 1) for x in (query, key, value))
        q_t, k_t, v_t = (padded(x, self.trunk) for x in (q_t, k_t, v_t))  # (H, N, P, d)
        if self.kept is not None:
            # Copies: a view would keep the keys and values in memory that are repeated for every head.
            own_key, own_value = (x[::repeat].transpose(0, 1) for x in (k_t, v_t))
            whole = torch.contiguous_format
            self.kept[layer] = own_key.clone(memory_format=whole), own_value.clone(memory_format=whole)
        out = unpadded(causal(q_t, k_t, v_t, scale), self.trunk)
        if q_b.shape[1]:
            grids = zip(*(self.grids.spread(x) for x in (q_b, k_b, v_b)), strict=True)
            seen = [self._branches(q, k, v, k_t, v_t, scale) for q, k, v in grids]
            out = torch.cat([out, self.grids.gathered(seen)], 1)
        return out.transpose(0, 1)[None]

    def _branches(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        trunk_key: torch.Tensor,
        trunk_value: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Every branch of a grid (H, N, g, C, width) over its trunk and over itself, under one softmax."""
        places, width = query.shape[2:4], trunk_key.shape[-2]
        query = query * scale
        over_trunk = query.flatten(2, 3) @ trunk_key.transpose(-1, -2) + self._before.to(query.dtype)
        over_itself = query @ key.transpose(-1, -2)
        over_itself = over_itself + _future(places[1], over_itself)
        weights = torch.cat([over_trunk.unflatten(2, places), over_itself], -1).softmax(-1)
        in_trunk, in_itself = weights.split([width, places[1]], -1)
        return (in_trunk.flatten(2, 3) @ trunk_value).unflatten(2, places) + in_itself @ value


@dataclass
class Reread(Trees):
    """A row of branches only, over trunks whose keys and values are ``kept``; those of the branches are kept as well.

    ``places`` are the numbers of the row's trunks among the kept ones.
    """

    places: Sequence[int] = ()
    grown: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)  # (branches, heads, C, width)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """As :meth:`Trees.attend`, of the tokens of the branches."""
        if self.kept is None:
            raise ValueError("the trunks were not kept")
        repeat = query.shape[1] // key.shape[1]
        own_key, own_value = (padded(x[0], self.branch).permute(1, 2, 0, 3, 4) for x in (key, value))
        self.grown[layer] = own_key[self.branch.any(2)], own_value[self.branch.any(2)]
        trunks = (x[list(self.places)].transpose(0, 1) for x in self.kept[layer])
        trunk_key, trunk_value, key, value = (x.repeat_interleave(repeat, 0) for x in (*trunks, key[0], value[0]))
        grids = zip(*(self.grids.spread(x) for x in (query[0], key, value)), strict=True)
        seen = [self._branches(q, k, v, trunk_key, trunk_value, scale) for q, k, v in grids]
        return self.grids.gathered(seen).transpose(0, 1)[None]


def join_trunks(parts: Sequence[Trees]) -> Trees:
    """One layout of the trunks of several rows, with their kept keys and values, which leave ``parts``."""
    if len(parts) == 1:
        return parts[0]
    wide = max(part.trunk.shape[1] for part in parts)
    missing = [wide - part.trunk.shape[1] for part in parts]
    all_kept = [part.kept or {} for part in parts]
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for layer in list(all_kept[0]):
        pairs = [of_part.pop(layer) for of_part in all_kept]
        keys, values = (
            torch.cat([F.pad(x, (0, 0, 0, more)) for x, more in zip(side, missing, strict=True)])
            for side in zip(*pairs, strict=True)
        )
        kept[layer] = keys, values
    trunk = torch.cat([F.pad(part.trunk, (0, more)) for part, more in zip(parts, missing, strict=True)])
    return Trees(trunk, trunk.new_ones(len(trunk), 0, 0), kept)
