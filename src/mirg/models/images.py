"""What the image processors of the families make of images: inputs of the model, visual tokens, pixel limits.

Qwen's and GLM's processors cut an image into a grid of patches. InternVL's and SmolVLM's cut it into square tiles, each
of which becomes a fixed number of visual tokens, and add a small copy of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mirg.families import Family, PixelLimits

if TYPE_CHECKING:
    import torch

# Under these names, models take what their processors make of images. Other results only say how a text is written.
IMAGE_INPUTS = ("pixel_values", "image_grid_thw", "image_position_ids", "pixel_attention_mask", "spatial_shapes")
_LARGEST = 4096  # pixels of a side, in SmolVLM's processor


def joined(inputs: list[Mapping[str, torch.Tensor]], device: Any) -> dict[str, torch.Tensor]:
    """The image inputs of several prompts as those of one forward pass, in order; prompts without images add nothing.

    SmolVLM's tensors have one row for each prompt, but its model counts only the tiles: one row holds those of all.
    """
    import torch

    shown = [one for one in inputs if one]
    if not shown:
        return {}
    axis = int(shown[0]["pixel_values"].dim() == 5)
    return {name: torch.cat([one[name] for one in shown], axis).to(device) for name in shown[0]}


def image_features(processor: Any, inputs: Mapping[str, Any]) -> int:
    """How many visual tokens a model makes of its image ``inputs``."""
    images = processor.image_processor
    if (grid := inputs.get("image_grid_thw")) is not None:
        return int(grid.prod(-1).sum()) // images.merge_size**2
    if (places := inputs.get("image_position_ids")) is not None:  # of patches; -1 is padding
        return int((places[..., 0] >= 0).sum()) // images.pooling_kernel_size**2
    if (shapes := inputs.get("spatial_shapes")) is not None:  # (tiles, 2): rows and columns of patches
        return int((-(-shapes // images.downsample_factor)).prod(-1).sum())
    if (pixels := inputs.get("pixel_values")) is None:
        return 0
    tiles = pixels.flatten(0, -4).flatten(1)
    return int(tiles.any(1).sum()) * tile_tokens(processor)  # SmolVLM pads a batch with tiles that hold only zeros


def tile_tokens(processor: Any) -> int:
    """Visual tokens of a tile; 0 if the processor has no tiles."""
    return getattr(processor, "image_seq_length", 0) or getattr(processor, "image_seq_len", 0)


def with_own_cells(family: Family, processor: Any) -> Family:
    """``family`` with the visual tokens or tiles of this processor, from which those of a checkpoint may differ."""
    images = processor.image_processor
    if hasattr(images, "merge_size"):
        return replace(family, factor=images.patch_size * images.merge_size)
    if family.tile_tokens:
        return replace(family, factor=_tile(images), tile_tokens=tile_tokens(processor))
    return family


def _tile(images: Any) -> int:
    """The side of a tile in pixels."""
    return images.max_image_size["longest_edge"] if hasattr(images, "max_image_size") else images.size["height"]


def pixel_limits(images: Any, wanted: PixelLimits | None = None) -> PixelLimits:
    """The limits of an image processor, to which it is set first if there are any ``wanted``.

    Where images are cut into tiles, the limits become whole tiles.
    """
    if hasattr(images, "max_patches"):
        area = _tile(images) ** 2
        if wanted is not None:
            images.min_patches = max(-(-wanted.min_pixels // area), 1)
            images.max_patches = max(wanted.max_pixels // area, images.min_patches)
        return PixelLimits(images.min_patches * area, images.max_patches * area)
    size = images.size
    if hasattr(images, "max_image_size"):
        tile = _tile(images)
        if wanted is not None:
            size["longest_edge"] = max(min(math.isqrt(wanted.max_pixels), _LARGEST) // tile, 1) * tile
        longest = size["longest_edge"] if images.do_image_splitting else tile
        return PixelLimits(tile**2, longest**2)
    if wanted is not None:
        size["shortest_edge"], size["longest_edge"] = wanted.min_pixels, wanted.max_pixels
    return PixelLimits(size["shortest_edge"], size["longest_edge"])
