"""A cache of image features for a frozen vision tower.

A frozen tower computes the same features of an image in every rollout, update and reference pass of every step. They
are computed once and stored in host memory, since device memory is scarce. docs/design/0007-packing.md has the reasons.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from transformers.utils.generic import ModelOutput

from mirg.errors import ConfigError
from mirg.models.packing import base_of

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
        """The features stored under ``key``, on the host; None if there are none."""
        self._asked += 1
        if key not in self._kept:
            return None
        self._hits += 1
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: Hashable, features: Features) -> None:
        """Store a copy on the host. Features larger than the whole budget are not stored and displace nothing."""
        size = _size(features)
        if size > self.budget or key in self._kept:
            return
        self._kept[key] = tuple(part.to("cpu") for part in features)
        self.bytes += size
        while self.bytes > self.budget:
            self.bytes -= _size(self._kept.popitem(last=False)[1])

    def take_share(self) -> float:
        """The hit rate of :meth:`get` since the last call of this method; 0 without calls."""
        share = self._hits / max(self._asked, 1)
        self._asked = self._hits = 0
        return share


def _size(features: Features) -> int:
    return sum(part.nbytes for part in features)


@dataclass
class VisionOutput(ModelOutput):
    """The part of a vision tower's output that the rest of a Qwen-VL model reads."""

    pooler_output: torch.Tensor | None = None
    deepstack_features: list[torch.Tensor] | None = None


def keep_features(model: Any, cache: FeatureCache) -> None:
    """Let the vision tower of ``model`` take the features of a packed row's images from ``cache``.

    A forward pass without ``feature_keys`` is unchanged. ConfigError if the tower is trained, because cached features
    would be wrong after one step.
    """
    tower = base_of(model).visual
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
    mine, its = base_of(model).visual, base_of(reference).visual
    own, other = mine.state_dict(), its.state_dict()
    same = own.keys() == other.keys() and all(_equal(own[name], other[name]) for name in own)
    if same:
        base_of(reference).visual = mine
    return same


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


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
    numbers = _numbers(self)
    found: dict[str, Features] = {}
    for key, part, grid in zip(feature_keys, patches, grid_thw, strict=True):
        if key in found:
            continue
        kept = self.feature_cache.get((key, numbers))
        if kept is None:
            # One image at a time: in a batch, the last bits of its features depend on the other images, and a run that
            # resumes with an empty cache would end with other weights than an uninterrupted one.
            with torch.no_grad():
                kept = _features(self.forward_without_keys(part, grid[None], **kwargs))
            self.feature_cache.put((key, numbers), kept)
        found[key] = tuple(x.to(hidden_states.device, non_blocking=True) for x in kept)
    whole = [torch.cat(parts) for parts in zip(*(found[key] for key in feature_keys), strict=True)]
    return VisionOutput(pooler_output=whole[0], deepstack_features=whole[1:])


def _features(output: Any) -> Features:
    return (output.pooler_output, *(getattr(output, "deepstack_features", None) or ()))


def _numbers(tower: Any) -> tuple[torch.dtype, torch.dtype | None]:
    """The dtype of the tower's weights and that of autocast, which may differ between rollouts and updates."""
    device = tower.device.type
    return tower.dtype, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
