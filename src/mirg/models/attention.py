"""Attention inside the vision tower over many images at once.

Without flash-attention, transformers calls attention once per image and layer: a batch of 50 small images costs
hundreds of tiny calls. Images of one size need one call: fold the packed sequence into a batch. Equal to the loop (a
test holds it).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
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
    lengths = (cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).tolist()
    if len(set(lengths)) == 1:
        q, k, v = (t[0].unflatten(1, (len(lengths), lengths[0])).transpose(0, 1) for t in (query, key, value))
        return _attend(q, k, v, scaling, dropout).transpose(1, 2).flatten(0, 1)[None], None
    pieces = [torch.split(t, lengths, dim=2) for t in (query, key, value)]
    outs = [_attend(q, k, v, scaling, dropout) for q, k, v in zip(*pieces, strict=True)]
    return torch.cat(outs, dim=2).transpose(1, 2), None


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
    """Let the vision tower attend to all images of a batch in one call; a no-op where it uses flash-attention."""
    visual = getattr(model.base_model, "visual", None)
    if visual is None or "flash" in (visual.config._attn_implementation or ""):
        return
    AttentionInterface.register(PACKED_SDPA, packed_sdpa)
    visual.config._attn_implementation_internal = PACKED_SDPA
