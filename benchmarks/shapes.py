"""Models of published sizes with random weights, and the floating-point operations that an update of one needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from mirg.models.tiny import TinyConfig, build_processor
from mirg.models.tokenizer import train_tokenizer
from mirg.scenes.corpus import corpus, names

CELL = 28  # pixels of a visual token
HEAD = 128  # width of an attention head


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2.5-VL, from the ``config.json`` of its release. The vision tower is the same in all of them."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tied: bool
    vision_layers: int = 32
    vision_width: int = 1280
    vision_mlp: int = 3420

    @property
    def shrunk(self) -> Shape:
        """A few layers of an eighth of the width: the same code on any machine, no measurement."""
        return replace(
            self, width=self.heads // self.kv_heads * HEAD, layers=2, heads=self.heads // self.kv_heads, kv_heads=1,
            mlp=512, vocabulary=2048, vision_layers=2, vision_width=128, vision_mlp=256,
        )  # fmt: skip


SHAPES = {
    "qwen2.5-vl-3b": Shape(2048, 36, 16, 2, 11008, 151936, tied=True),
    "qwen2.5-vl-7b": Shape(3584, 28, 28, 4, 18944, 152064, tied=False),
}


def build(shape: Shape, side: int, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A random model on ``device``, and a processor that makes images of ``side`` pixels."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    tokenizer = train_tokenizer(corpus(n=100), names=names(), coordinates=range(0, 1001, 40), max_images=8)
    processor = build_processor(TinyConfig(model_type="qwen2_5_vl", image_side=side), tokenizer)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in _SPECIAL.items()}
    text = {
        "vocab_size": shape.vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "intermediate_size": shape.mlp,
        "max_position_embeddings": 32768, "tie_word_embeddings": shape.tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {
        "depth": shape.vision_layers, "hidden_size": shape.vision_width, "intermediate_size": shape.vision_mlp,
        "num_heads": shape.vision_width // 80 if shape.vision_width > 128 else 4, "out_hidden_size": shape.width,
        "patch_size": CELL // 2, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
        "fullatt_block_indexes": list(range(shape.vision_layers))[max(shape.vision_layers // 4 - 1, 0) :: 8],
    }  # fmt: skip
    config = AutoConfig.for_model(
        "qwen2_5_vl", text_config=text, vision_config=vision, tie_word_embeddings=shape.tied,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **ids,
    )  # fmt: skip
    config.mirg_family = "qwen2.5-vl"
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, processor


_SPECIAL = {
    "image_token_id": "image_pad",
    "video_token_id": "video_pad",
    "vision_start_token_id": "vision_start",
    "vision_end_token_id": "vision_end",
}


def needed_flops(model: Any, prompt: int, visual: int, completion: int, rows: int, shared: bool) -> float:
    """Operations that forward and backward of ``rows`` completions of one prompt need: what utilisation is told from.

    Twice a weight for every token that it multiplies, four times the width for every pair of tokens that attend, and
    three times all of it for both passes; recomputed activations and attention inside the vision tower are not
    counted. ``shared``: the prompt goes through once, else once per row. ``prompt`` includes ``visual`` tokens.
    """
    text, tower = model.config.text_config, model.base_model.visual
    layers = _weights(model.base_model.language_model.layers)
    prompts = 1 if shared else rows
    tokens = prompts * prompt + rows * completion
    pairs = prompts * prompt**2 / 2 + rows * completion * (prompt + completion / 2)
    attended = 4 * text.num_attention_heads * HEAD * text.num_hidden_layers * pairs
    said = 2 * text.hidden_size * text.vocab_size * rows * completion
    seen = 2 * prompts * visual * (4 * (_weights(tower) - _weights(tower.merger)) + _weights(tower.merger))
    return 3 * (2 * layers * tokens + attended + said + seen)


def _weights(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def ceiling(device: str, dtype: torch.dtype) -> float:
    """Operations per second of the best of ten products of large square matrices."""
    import time

    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(11):
        began = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
