"""LFM2.5-VL: images of free size, large ones in tiles; layers of convolution and attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.families import MEAN, text_sizes, tokenizer_of, trl_template, write_model
from mirg.models.processors import image_only

PATCH = 8  # pixels; 2 x 2 patches are one visual token
TOKENS = (
    *("<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<|image_start|>"),
    *("<|image_end|>", "<|img_thumbnail|>"),
    *(f"<|img_row_{row}_col_{column}|>" for row in range(1, 11) for column in range(1, 11)),
)


def write(folder: Path) -> Path:
    """A random model with a layer of convolution and one of attention; images of over 128 x 64 pixels become tiles."""
    from transformers import Lfm2VlConfig
    from transformers.models.lfm2_vl.image_processing_lfm2_vl import Lfm2VlImageProcessor

    tokenizer = tokenizer_of(TOKENS, "<|im_end|>", "<|pad|>")
    tokenizer.add_special_tokens({"bos_token": "<|startoftext|>"})
    tokens = {"min_image_tokens": 4, "max_image_tokens": 16, "tile_size": 64}
    images = Lfm2VlImageProcessor(encoder_patch_size=PATCH, downsample_factor=2, **tokens, **MEAN)
    processor: Any = image_only("lfm2_vl")(images, tokenizer, trl_template("lfm2_2_5_vl"))
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes = text_sizes(tokenizer, model_type="lfm2", layer_types=["conv", "full_attention"])
    config = Lfm2VlConfig(
        text_config=sizes | {"block_multiple_of": 16, "pad_token_id": tokenizer.pad_token_id},
        vision_config=vision | {"model_type": "siglip2_vision_model", "patch_size": PATCH, "num_patches": 64},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=32,
        downsample_factor=2,
    )
    return write_model(folder, config, processor)
