"""Sizes of vision towers that see an image as square tiles (InternVL, SmolVLM), for the estimate of memory."""

from __future__ import annotations

from typing import Any

from torch import nn

from mirg.models.vision import vision_layers


def tile_tower(tower: Any, config: Any) -> dict[str, Any]:
    """The arguments of :class:`mirg.training.memory.Tower`, whose layers all attend within a tile.

    ``config`` is that of the whole model. AttributeError or StopIteration if the tower is of another kind.
    """
    layers = vision_layers(tower)
    layer, patching = layers[0], next(part for part in tower.modules() if isinstance(part, nn.Conv2d))
    attention = next(part for part in layer.modules() if hasattr(part, "q_proj"))
    grid = _side(config.vision_config.image_size) // _side(config.vision_config.patch_size)
    shuffle = getattr(config, "scale_factor", None) or round(1 / config.downsample_ratio)
    return {
        "layers": len(layers),
        "width": attention.q_proj.in_features,
        "heads": attention.num_heads,
        "mlp": layer.mlp.fc1.out_features,
        "gated": False,
        "inner": 2,
        "rms": False,
        "hooked": True,  # transformers counts its patches as embeddings
        "mergers": 1,
        "merge": shuffle**2,
        "values": patching.weight[0].numel(),
        "window": grid**2,
        "windowed": len(layers),
    }


def _side(size: Any) -> int:
    return size if isinstance(size, int) else size[0]
