"""The first layer of a Qwen-VL vision tower as the matrix product that it is.

Its convolution has kernels as large as their steps, so each patch is multiplied by one matrix. The kernels that
libraries keep for three-dimensional convolutions are several times slower at that, backward most of all.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch.nn import functional as F


def patches_by_product(tower: Any) -> None:
    """Let the patch embedding of ``tower`` multiply; weights, their names and results (but for rounding) stay.

    A layer that is no such convolution is left as it is.
    """
    layer = getattr(getattr(tower, "patch_embed", None), "proj", None)
    if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size == layer.stride and layer.groups == 1:
        layer.forward = MethodType(_multiply, layer)


def _multiply(self: torch.nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    """(patches, channels, frames, rows, columns), each as large as the kernel, to (patches, width, 1, 1, 1)."""
    return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]
