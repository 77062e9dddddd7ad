"""Packed attention equals attention image by image, and the patch embedding as a product is the convolution."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.tiny import tiny_pair
from mirg.models.packing import base_of
from mirg.models.vision import PACKED_SDPA, pack_vision_attention, packed_sdpa, patches_by_product

Lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def one_by_one(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """The slow reference: softmax(q k / sqrt(width)) v for each segment by itself."""
    outs = []
    pieces = [torch.split(t, lengths, dim=2) for t in (q, k, v)]
    for a, b, c in zip(*pieces, strict=True):
        outs.append((a @ b.transpose(-1, -2) / a.shape[-1] ** 0.5).softmax(-1) @ c)
    return torch.cat(outs, dim=2).transpose(1, 2)


@settings(max_examples=60)
@given(lengths=Lengths, repeat=st.booleans(), seed=st.integers(0, 99))
def test_segments_do_not_see_each_other(lengths: list[int], repeat: bool, seed: int) -> None:
    lengths = [lengths[0]] * len(lengths) if repeat else lengths
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, 2, sum(lengths), 8, generator=generator) for _ in range(3))
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    out, _ = packed_sdpa(torch.nn.Identity(), q, k, v, None, cu_seq_lens_q=bounds)
    torch.testing.assert_close(out, one_by_one(q, k, v, lengths), atol=1e-6, rtol=0)


def test_windows_of_four_lengths_take_four_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of 7 x 5 windows of 4 x 4 cells, cut at two edges: 24 whole windows, 6 + 4 cut ones and a corner."""
    from mirg.models import vision

    calls = []
    attend = vision._attend
    monkeypatch.setattr(vision, "_attend", lambda q, *others: calls.append(q.shape) or attend(q, *others))
    lengths = [16, 16, 16, 16, 16, 16, 12] * 4 + [8, 8, 8, 8, 8, 8, 6]
    q, k, v = (torch.randn(1, 2, sum(lengths), 8, requires_grad=True) for _ in range(3))
    out, _ = packed_sdpa(torch.nn.Identity(), q, k, v, None, cu_seq_lens_q=torch.tensor([0, *lengths]).cumsum(0))
    assert [tuple(shape[::2]) for shape in calls] == [(24, 16), (4, 12), (6, 8), (1, 6)]
    expected = one_by_one(q, k, v, lengths)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
    weights = torch.randn_like(out)
    for found, wanted in zip(
        torch.autograd.grad((out * weights).sum(), (q, k, v)),
        torch.autograd.grad((expected * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_a_long_segment_takes_the_fused_kernel() -> None:
    lengths = [300, 300]
    q, k, v = (torch.randn(1, 2, 600, 8) for _ in range(3))
    out, _ = packed_sdpa(torch.nn.Identity(), q, k, v, None, cu_seq_lens_q=torch.tensor([0, 300, 600]))
    torch.testing.assert_close(out, one_by_one(q, k, v, lengths), atol=1e-6, rtol=0)


def test_bounds_are_needed() -> None:
    q = torch.randn(1, 1, 4, 2)
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        packed_sdpa(torch.nn.Identity(), q, q, q, None)


# Grids (1, rows, columns) of patches: images of one size, and of several.
GRIDS = {"equal": [[1, 4, 4]] * 3, "unequal": [[1, 4, 4], [1, 2, 6], [1, 8, 2], [1, 2, 2]]}


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"])
@pytest.mark.parametrize("grids", GRIDS)
def test_the_vision_tower_sees_the_same(kind: str, grids: str) -> None:
    """In float32 to 1e-6 of the loop over images, features and gradients."""
    model, _ = tiny_pair(kind)
    visual: Any = model.base_model.visual
    grid = torch.tensor(GRIDS[grids])
    width = 3 * 2 * visual.config.patch_size**2
    pixels = torch.randn(int(grid.prod(-1).sum()), width, generator=torch.Generator().manual_seed(0))

    def see() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        features = visual(pixels, grid_thw=grid, return_dict=True).pooler_output
        features = torch.cat(list(features)) if isinstance(features, tuple | list) else features
        features.square().mean().backward()
        return features.detach(), torch.cat([p.grad.flatten() for p in visual.parameters() if p.grad is not None])

    loop = see()
    assert visual.config._attn_implementation != PACKED_SDPA
    pack_vision_attention(model)
    assert visual.config._attn_implementation == PACKED_SDPA
    for packed, slow in zip(see(), loop, strict=True):
        torch.testing.assert_close(packed, slow, atol=1e-6, rtol=1e-5)


def test_a_model_without_a_vision_tower_is_left_alone() -> None:
    class Plain:
        base_model = SimpleNamespace()

    pack_vision_attention(Plain())  # type: ignore[arg-type]
    assert vars(Plain.base_model) == {}


@pytest.mark.parametrize("kind", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_products_are_the_convolution(kind: str) -> None:
    """Results to 1e-5 and gradients to 1e-5 relative, with the same names of weights; a copy keeps its own."""
    tower: Any = base_of(tiny_pair(kind)[0]).visual
    product = copy.deepcopy(tower)
    patches_by_product(product)
    product = copy.deepcopy(product)
    made = []
    for embed in (tower.patch_embed, product.patch_embed):
        values = embed.in_channels * embed.temporal_patch_size * embed.patch_size**2
        patches = torch.randn(12, values, generator=torch.Generator().manual_seed(0)).requires_grad_()
        out = embed(patches)
        out.square().sum().backward()
        gradients = {name: weight.grad for name, weight in embed.named_parameters()}
        made.append({"out": out.detach(), "patches": patches.grad, **gradients})
    expected, ours = made
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (ours[name] - tensor).norm() <= 1e-5 * tensor.norm(), name


def test_other_layers_are_left_alone() -> None:
    tower: Any = torch.nn.Module()
    patches_by_product(tower)
    tower.patch_embed = torch.nn.Module()
    tower.patch_embed.proj = torch.nn.Conv3d(3, 8, kernel_size=(2, 4, 4), stride=(2, 2, 2))
    before = tower.patch_embed.proj(torch.ones(1, 3, 2, 8, 8))
    patches_by_product(tower)
    assert torch.equal(tower.patch_embed.proj(torch.ones(1, 3, 2, 8, 8)), before)
