"""The patch embedding as a product is the convolution."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from fakes.tiny import tiny_pair
from mirg.models.packing import base_of
from mirg.models.vision import patches_by_product


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
