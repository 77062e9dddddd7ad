"""Faster layers for Qwen-VL vision towers: attention over many images at once, and the patch embedding as a product.

Without flash-attention, transformers calls attention once per segment and layer. A segment is an image, or a window of
one: four images of 1,000 visual tokens have 256 windows in Qwen2.5-VL, so a tower of 28 windowed layers makes 7,000
tiny calls. Segments of equal length need one call: they are folded into a batch. The windows of an image have at most
four lengths. The result is equal to the loop (a test checks it).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, PreTrainedModel

# transformers hands packed sequences with their boundaries only to implementations whose name says "flash".
PACKED_SDPA = "mirg_flash_packed_sdpa"
SHORT = 256  # tokens of one segment


def packed_sdpa(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Bidirectional attention inside each segment of a packed sequence.

    ``query``, ``key``, ``value`` are (1, heads, tokens, width); ``cu_seq_lens_q`` the segment bounds, from 0 to
    ``tokens``. Returns (1, tokens, heads, width).
    """
    if cu_seq_lens_q is None:
        raise ValueError("packed attention needs the segment bounds cu_seq_lens_q")
    segments = _segments(cu_seq_lens_q)
    if segments.order is None:
        shape = segments.shapes[0]
        q, k, v = (t[0].unflatten(1, shape).transpose(0, 1) for t in (query, key, value))
        return _attend(q, k, v, scaling, dropout).transpose(1, 2).flatten(0, 1)[None], None
    ordered = [t[0].index_select(1, segments.order).split(segments.sizes, 1) for t in (query, key, value)]
    outs = []
    for shape, *parts in zip(segments.shapes, *ordered, strict=True):
        q, k, v = (part.unflatten(1, shape).transpose(0, 1) for part in parts)
        outs.append(_attend(q, k, v, scaling, dropout).transpose(1, 2).flatten(0, 1))
    return torch.cat(outs).index_select(0, segments.places)[None], None


@dataclass(frozen=True)
class _Segments:
    """Segments sorted by length: ``shapes`` has (segments, length) of each length.

    ``order`` (tokens,) lists the tokens of the packed sequence in that order, ``places`` says where each token of the
    sequence is in it. ``order`` is None if all segments have one length, so that nothing has to be moved.
    """

    shapes: list[tuple[int, int]]
    order: torch.Tensor | None
    places: torch.Tensor

    @property
    def sizes(self) -> list[int]:
        """The number of tokens of each length."""
        return [count * length for count, length in self.shapes]


# All layers of a forward pass are given the same tensor of bounds, and reading it makes the host wait for a GPU.
_KNOWN = WeakIdKeyDictionary()


def _segments(bounds: torch.Tensor) -> _Segments:
    """The segments between ``bounds``, the lengths in the order in which they first occur."""
    if bounds not in _KNOWN:
        starts: dict[int, list[int]] = {}
        for start, end in pairwise(bounds.tolist()):
            if end > start:
                starts.setdefault(end - start, []).append(start)
        shapes = [(len(firsts), length) for length, firsts in starts.items()]
        tokens = [torch.tensor(firsts)[:, None] + torch.arange(length) for length, firsts in starts.items()]
        order = torch.cat([part.flatten() for part in tokens])
        places = order.argsort().to(bounds.device)
        _KNOWN[bounds] = _Segments(shapes, order.to(bounds.device) if len(shapes) > 1 else None, places)
    return _KNOWN[bounds]


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, dropout: float
) -> torch.Tensor:
    # On a CPU the fused kernel's backward pass took a third of a training step with images of a few patches; two
    # products and a softmax do not.
    if query.device.type == "cpu" and query.shape[-2] <= SHORT and not dropout:
        scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
        return scores.softmax(dim=-1) @ value
    return nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scaling)


def pack_vision_attention(model: PreTrainedModel) -> None:
    """Let the vision tower attend to all images of a batch in one call; does nothing if it uses flash-attention."""
    visual = getattr(model.base_model, "visual", None)
    if visual is None or "flash" in (visual.config._attn_implementation or ""):
        return
    AttentionInterface.register(PACKED_SDPA, packed_sdpa)
    visual.config._attn_implementation_internal = PACKED_SDPA


def patches_by_product(tower: Any) -> None:
    """Compute the patch embedding of ``tower`` as a matrix product. Weights and names stay, results differ by rounding.

    Its convolution has kernels as large as their strides, so each patch is multiplied by one matrix. The kernels of
    libraries for three-dimensional convolutions are several times slower at that. Other layers are left unchanged.
    """
    layer = getattr(getattr(tower, "patch_embed", None), "proj", None)
    if isinstance(layer, torch.nn.Conv3d) and layer.kernel_size == layer.stride and layer.groups == 1:
        layer.forward = MethodType(_multiply, layer)


def _multiply(self: torch.nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    """(patches, channels, frames, rows, columns), each as large as the kernel, to (patches, width, 1, 1, 1)."""
    return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]
