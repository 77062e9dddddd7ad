"""Faster vision towers for Qwen-VL: attention over many images, the patch embedding as a product, cached features.

Without flash-attention, transformers calls attention once per segment and layer. A segment is an image, or a window of
one: four images of 1,000 visual tokens have 256 windows in Qwen2.5-VL, so a tower of 28 windowed layers makes 7,000
tiny calls. Segments of equal length need one call: they are folded into a batch. The windows of an image have at most
four lengths. The result is equal to the loop (a test checks it).

A frozen tower computes the same features of an image in every rollout, update and reference pass of every step. They
are computed once and stored in host memory, since device memory is scarce. docs/design/0007-packing.md has the reasons.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary
from transformers import AttentionInterface, PreTrainedModel
from transformers.utils.generic import ModelOutput

from mirg.errors import ConfigError

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
    shapes, order, places = _segments(cu_seq_lens_q)
    sizes = [count * length for count, length in shapes]
    ordered = [(t[0] if order is None else t[0].index_select(1, order)).split(sizes, 1) for t in (query, key, value)]
    outs = []
    for shape, *parts in zip(shapes, *ordered, strict=True):
        q, k, v = (part.unflatten(1, shape).transpose(0, 1) for part in parts)
        outs.append(_attend(q, k, v, scaling, dropout).transpose(1, 2).flatten(0, 1))
    return (outs[0] if order is None else torch.cat(outs).index_select(0, places))[None], None


# All layers of a forward pass are given the same tensor of bounds, and reading it makes the host wait for a GPU.
_KNOWN = WeakIdKeyDictionary()


def _segments(bounds: torch.Tensor) -> tuple[list[tuple[int, int]], torch.Tensor | None, torch.Tensor]:
    """The segments between ``bounds``, grouped by length: (segments, length) of each length as it first occurs.

    Then ``order`` (tokens,) lists the tokens of the packed sequence by length, and ``places`` says where each token of
    the sequence is in it. ``order`` is None if all segments have one length, so that nothing has to be moved.
    """
    if bounds not in _KNOWN:
        starts: dict[int, list[int]] = {}
        for start, end in pairwise(bounds.tolist()):
            if end > start:
                starts.setdefault(end - start, []).append(start)
        shapes = [(len(firsts), length) for length, firsts in starts.items()]
        tokens = [torch.tensor(firsts)[:, None] + torch.arange(length) for length, firsts in starts.items()]
        order = torch.cat([part.flatten() for part in tokens])
        places = order.argsort().to(bounds.device)
        _KNOWN[bounds] = shapes, order.to(bounds.device) if len(shapes) > 1 else None, places
    return _KNOWN[bounds]


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, dropout: float
) -> torch.Tensor:
    # On a CPU the fused kernel's backward pass took a third of a training step with images of a few patches; two
    # products and a softmax do not.
    if query.device.type == "cpu" and query.shape[-2] <= SHORT and not dropout:
        scores = query @ key.transpose(-1, -2) * (scaling or query.shape[-1] ** -0.5)
        return scores.softmax(dim=-1) @ value
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scaling)


def base_of(model: Any) -> Any:
    """The module with vision tower and decoder, inside PEFT's wrapper if there is one."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.model


# What the families call their decoder, their vision tower, and the projection of its features if it is separate.
_DECODERS, _TOWERS, _PROJECTIONS = (
    ("language_model", "text_model"),
    ("visual", "vision_tower", "vision_model"),
    ("multi_modal_projector", "connector", "embed_vision"),
)
VISION = _TOWERS + _PROJECTIONS


def decoder_of(model: Any) -> Any:
    """The decoder, inside PEFT's wrapper if there is one."""
    return _parts(model, _DECODERS)[0]


def tower_of(model: Any) -> Any:
    """The vision tower, inside PEFT's wrapper if there is one."""
    return _parts(model, _TOWERS)[0]


def vision_of(model: Any) -> list[Any]:
    """The vision tower and what projects its features: what ``freeze_vision`` freezes."""
    return _parts(model, VISION)


def tower_layers(tower: Any) -> Any:
    """The layers of a vision tower."""
    if hasattr(tower, "blocks"):
        return tower.blocks
    return tower.encoder.layers if hasattr(tower.encoder, "layers") else tower.encoder.layer


def _parts(model: Any, names: Sequence[str]) -> list[Any]:
    return [part for name in names if (part := getattr(base_of(model), name, None)) is not None]


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
    if isinstance(layer, nn.Conv3d) and layer.kernel_size == layer.stride and layer.groups == 1:
        layer.forward = MethodType(_multiply, layer)


def _multiply(self: nn.Conv3d, patches: torch.Tensor) -> torch.Tensor:
    """(patches, channels, frames, rows, columns), each as large as the kernel, to (patches, width, 1, 1, 1)."""
    return F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]


# Of one image: embeddings (visual tokens, width), then one more of that shape for each DeepStack layer.
Features = tuple[torch.Tensor, ...]


class FeatureCache:
    """Features by key in at most ``budget`` bytes of host memory; the least recently used are dropped first."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.bytes = 0
        self._kept: OrderedDict[Hashable, Features] = OrderedDict()
        self._asked = self._hits = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> Features | None:
        """The features stored under ``key``, on the host; None if nothing is stored."""
        self._asked += 1
        if key not in self._kept:
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: Hashable, features: Features) -> None:
        """Store a copy on the host. Features larger than the whole budget are not stored and displace nothing."""
        size = sum(part.nbytes for part in features)
        if size > self.budget or key in self._kept:
            return
        self._kept[key] = tuple(part.to("cpu") for part in features)
        self.bytes += size
        while self.bytes > self.budget:
            self.bytes -= sum(part.nbytes for part in self._kept.popitem(last=False)[1])

    def take_share(self) -> float:
        """The hit rate of :meth:`get` since the last call of this method; 0 without calls."""
        share = self._hits / max(self._asked, 1)
        self._asked = self._hits = 0
        return share


@dataclass
class VisionOutput(ModelOutput):
    """The part of a vision tower's output that the rest of a Qwen-VL model reads."""

    pooler_output: torch.Tensor | None = None
    deepstack_features: list[torch.Tensor] | None = None


def can_keep_features(model: Any) -> bool:
    """Whether the tower of ``model`` takes images as grids of patches, whose features can be kept by image."""
    return hasattr(base_of(model), "visual")


def keep_features(model: Any, cache: FeatureCache) -> None:
    """Let the vision tower of ``model`` take the features of a packed row's images from ``cache``.

    A forward pass without ``feature_keys`` is unchanged. ConfigError if the tower is trained, because cached features
    would be wrong after one step.
    """
    tower = tower_of(model)
    if any(weight.requires_grad for weight in tower.parameters()):
        raise ConfigError("features of a vision tower that is trained cannot be kept", hint="set freeze_vision: true")
    tower.feature_cache = cache
    if not hasattr(tower, "forward_without_keys"):
        tower.forward_without_keys = tower.forward
        tower.forward = MethodType(_forward, tower)


def share_tower(model: Any, reference: Any) -> bool:
    """Let ``reference`` use the vision tower of ``model`` if the weights of both are equal; returns whether they are.

    With one tower the features of both models are equal to the bit. Two towers with equal weights may use different
    attention kernels.
    """
    mine, its = tower_of(model), tower_of(reference)
    own, other = mine.state_dict(), its.state_dict()
    same = own.keys() == other.keys() and all(
        own[name].dtype == weight.dtype and own[name].device == weight.device and torch.equal(own[name], weight)
        for name, weight in other.items()
    )
    if same:
        base_of(reference).visual = mine
    return same


def _forward(
    self: Any,
    hidden_states: torch.Tensor,
    grid_thw: torch.Tensor,
    *,
    feature_keys: Sequence[str] | None = None,
    **kwargs: Any,
) -> Any:
    if feature_keys is None:
        return self.forward_without_keys(hidden_states, grid_thw, **kwargs)
    patches = hidden_states.split(grid_thw.prod(1).tolist())
    # The dtype of the weights and that of autocast may differ between rollouts and updates.
    device = self.device.type
    dtypes = self.dtype, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    found: dict[str, Features] = {}
    for key, part, grid in zip(feature_keys, patches, grid_thw, strict=True):
        if key in found:
            continue
        kept = self.feature_cache.get((key, dtypes))
        if kept is None:
            # One image at a time: in a batch, the last bits of its features depend on the other images, and a run that
            # resumes with an empty cache would end with other weights than an uninterrupted one.
            with torch.no_grad():
                output = self.forward_without_keys(part, grid[None], **kwargs)
            kept = (output.pooler_output, *(getattr(output, "deepstack_features", None) or ()))
            self.feature_cache.put((key, dtypes), kept)
        found[key] = tuple(x.to(hidden_states.device, non_blocking=True) for x in kept)
    whole = [torch.cat(parts) for parts in zip(*(found[key] for key in feature_keys), strict=True)]
    return VisionOutput(pooler_output=whole[0], deepstack_features=whole[1:])
