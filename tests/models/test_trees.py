"""Branches are laid out in grids of like length, and come back as they were."""

from __future__ import annotations

import math
from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.models.trees import LIKE, grids_of, padded, unpadded


def branches(lengths: list[list[int]]) -> torch.Tensor:
    """The true places of branches of these lengths."""
    return torch.arange(max(map(max, lengths))) < torch.tensor(lengths)[..., None]


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), min_size=1, max_size=4), st.integers(0, 9))
def test_padding_and_its_inverse(lengths: list[list[int]], seed: int) -> None:
    real = torch.arange(4) < torch.tensor(lengths)[..., None]
    x = torch.randn(2, int(real.sum()), 3, generator=torch.Generator().manual_seed(seed))
    wide = padded(x, real)
    assert wide.shape == (2, *real.shape, 3)
    assert torch.equal(unpadded(wide, real), x)
    assert not wide[:, ~real].any()


LENGTHS = (
    st.integers(1, 5)
    .flatmap(lambda wide: st.lists(st.lists(st.integers(0, 30), min_size=wide, max_size=wide), min_size=1, max_size=4))
    .filter(lambda lengths: any(map(any, lengths)))
)


@settings(max_examples=100)
@given(LENGTHS, st.integers(0, 9))
def test_grids_hold_every_branch_once_and_give_it_back(lengths: list[list[int]], seed: int) -> None:
    branch = branches(lengths)
    grids = grids_of(branch)
    x = torch.randn(2, int(branch.sum()), 3, generator=torch.Generator().manual_seed(seed))
    parts = grids.spread(x)
    assert torch.equal(grids.gathered(parts), x)
    assert (grids.places is None) == bool(branch.all())  # then nothing is copied
    assert [part.shape[1:4] for part in parts] == grids.shapes
    # Rows with tokens, group by group: the branches, each from the row's beginning.
    found = sorted(
        (number, row[:length].tolist())
        for part in parts
        for number, group in enumerate(part[0])
        for row in group
        if (length := int(row.any(1).sum()))
    )
    ends = torch.tensor(lengths).flatten().cumsum(0).tolist()
    wide = len(lengths[0])
    assert found == sorted(
        (k // wide, x[0, end - length : end].tolist())
        for k, (end, length) in enumerate(zip(ends, chain(*lengths), strict=True))
        if length
    )


@settings(max_examples=100)
@given(LENGTHS)
def test_grids_never_hold_more_than_one_grid_of_the_longest(lengths: list[list[int]]) -> None:
    branch = branches(lengths)
    grids = grids_of(branch)
    assert grids.size <= branch.numel()
    longest = [length for _, _, length in grids.shapes]
    assert all(b < LIKE * a for a, b in pairwise(longest))


@pytest.mark.parametrize(
    ("lengths", "shapes"),
    [
        ([[7, 7], [7, 7]], [(2, 2, 7)]),
        ([[40, 40, 40], [38, 36, 31]], [(2, 3, 40)]),
        ([[40, 160, 40], [38, 36, 31]], [(2, 1, 160), (2, 2, 40)]),
        ([[9, 160, 40], [38, 0, 31]], [(2, 1, 160), (2, 1, 40), (2, 1, 9)]),
        ([[0, 5], [0, 0]], [(2, 1, 5)]),
    ],
    ids=["the same", "alike", "one is long", "three lengths", "mostly empty"],
)
def test_a_long_branch_has_a_grid_of_its_own(lengths: list[list[int]], shapes: list[tuple[int, int, int]]) -> None:
    assert grids_of(branches(lengths)).shapes == shapes
    assert sum(math.prod(shape) for shape in shapes) == grids_of(branches(lengths)).size
