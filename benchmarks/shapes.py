"""Models of published sizes with random weights, and the floating-point operations that an update of one needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from mirg.data.scenes.generate import corpus, names
from mirg.models.tiny import TinyConfig, build_processor, train_tokenizer

HEAD = 128  # width of an attention head


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, from the ``config.json`` of its release."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int
    tied: bool
    model_type: str = "qwen2_5_vl"
    vision_layers: int = 32
    vision_width: int = 1280
    vision_mlp: int = 3420
    vision_heads: int = 16
    patch: int = 14
    rope_theta: float = 1e6
    rope_sections: tuple[int, int, int] = (16, 24, 24)
    deepstack: tuple[int, ...] = ()  # layers of the vision tower whose features enter the decoder (Qwen3-VL)

    @property
    def cell(self) -> int:
        """Pixels of a side of a visual token."""
        return 2 * self.patch

    @property
    def shrunk(self) -> Shape:
        """The same code on any machine, not a measurement: few layers, an eighth of the width, a small vocabulary."""
        return replace(
            self, width=self.heads // self.kv_heads * HEAD, layers=2, heads=self.heads // self.kv_heads, kv_heads=1,
            mlp=512, vocabulary=2048, vision_layers=2, vision_width=128, vision_mlp=256, vision_heads=4,
            deepstack=(0,) if self.deepstack else (),
        )  # fmt: skip

    def cut(self, layers: int) -> Shape:
        """The full width with ``layers`` layers in the decoder and in the tower, for comparisons in float32."""
        return replace(self, layers=layers, vision_layers=layers, deepstack=(0,) if self.deepstack else ())


SHAPES = {
    "qwen2.5-vl-3b": Shape(2048, 36, 16, 2, 11008, 151936, tied=True),
    "qwen2.5-vl-7b": Shape(3584, 28, 28, 4, 18944, 152064, tied=False),
    "qwen3-vl-8b": Shape(
        4096, 36, 32, 8, 12288, 151936, tied=False, model_type="qwen3_vl", vision_layers=27, vision_width=1152,
        vision_mlp=4304, patch=16, rope_theta=5e6, rope_sections=(24, 20, 20), deepstack=(8, 16, 24),
    ),
}  # fmt: skip


def named_shape(name: str) -> Shape:
    """The shape called ``name``; ", shrunk" and ", N layers" behind the name change it as the methods do."""
    base, _, change = name.partition(", ")
    shape = SHAPES[base]
    if change == "shrunk":
        return shape.shrunk
    return shape.cut(int(change.removesuffix(" layers"))) if change else shape


def build(shape: Shape, side: int, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A random model on ``device``, and a processor that makes images of ``side`` pixels."""
    config, processor = configuration(shape, side)
    return create(config, device, dtype), processor


def configuration(shape: Shape, side: int) -> tuple[Any, Any]:
    """The configuration of a model of ``shape``, and a processor that makes images of ``side`` pixels.

    The tokenizer is a small one, trained on the spot; the vocabulary of the model is that of the shape.
    """
    from transformers import AutoConfig

    tokenizer = train_tokenizer(corpus(n=100), names=names(), coordinates=range(0, 1001, 40), max_images=8)
    tiny = TinyConfig.model_validate({"model_type": shape.model_type, "image_side": side, "patch": shape.patch})
    processor = build_processor(tiny, tokenizer)
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in _SPECIAL.items()}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(
        shape.model_type, text_config=_text(shape) | ends, vision_config=_vision(shape),
        tie_word_embeddings=shape.tied, **ends, **ids,
    )  # fmt: skip
    config.mirg_family = {"qwen2_5_vl": "qwen2.5-vl", "qwen3_vl": "qwen3-vl"}[shape.model_type]
    return config, processor


def create(config: Any, device: str, dtype: torch.dtype) -> Any:
    """A model of ``config`` with random weights, made on ``device``: the same ones in every call on one machine."""
    from transformers import AutoModelForImageTextToText

    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    return model


def _text(shape: Shape) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": shape.rope_theta, "mrope_section": list(shape.rope_sections)}
    if shape.model_type == "qwen3_vl":
        rope["mrope_interleaved"] = True
    return {
        "vocab_size": shape.vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": HEAD,
        "intermediate_size": shape.mlp, "max_position_embeddings": 32768, "tie_word_embeddings": shape.tied,
        "rope_parameters": rope, "bos_token_id": None,
    }  # fmt: skip


def _vision(shape: Shape) -> dict[str, Any]:
    common = {
        "depth": shape.vision_layers, "hidden_size": shape.vision_width, "intermediate_size": shape.vision_mlp,
        "num_heads": shape.vision_heads, "out_hidden_size": shape.width, "patch_size": shape.patch,
        "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    if shape.model_type == "qwen3_vl":
        return common | {"num_position_embeddings": 2304, "deepstack_visual_indexes": list(shape.deepstack)}
    whole = list(range(shape.vision_layers))[max(shape.vision_layers // 4 - 1, 0) :: 8]
    return common | {"window_size": 8 * shape.patch, "fullatt_block_indexes": whole}


_SPECIAL = {
    "image_token_id": "image_pad",
    "video_token_id": "video_pad",
    "vision_start_token_id": "vision_start",
    "vision_end_token_id": "vision_end",
}


def needed_flops(
    model: Any, prompt: int, visual: int, completion: int, rows: int, shared: bool, adapters: bool = False
) -> float:
    """Floating-point operations that the forward and backward pass of ``rows`` completions of one prompt need.

    Two operations for each weight and token that it multiplies, four times the width for each pair of tokens that
    attend. The backward pass needs the gradients of the activations and those of the weights, each as many operations
    as the forward pass; with ``adapters`` the weights are frozen and need none, and the adapters' own operations are
    left out. Activations that are computed again and attention inside the vision tower are not counted either, so
    utilisation computed from this number is never too high. ``shared``: the prompt is processed once, otherwise once
    for each row. ``prompt`` includes the ``visual`` tokens. ``model`` may be on the meta device.
    """
    text, tower = model.config.text_config, model.base_model.visual
    layers = _weights(model.base_model.language_model.layers)
    prompts = 1 if shared else rows
    tokens = prompts * prompt + rows * completion
    pairs = prompts * prompt**2 / 2 + rows * completion * (prompt + completion / 2)
    attended = 4 * text.num_attention_heads * HEAD * text.num_hidden_layers * pairs
    said = 2 * text.hidden_size * text.vocab_size * rows * completion
    mergers = sum(_weights(m) for m in (tower.merger, *getattr(tower, "deepstack_merger_list", ())))
    seen = 2 * prompts * visual * (4 * (_weights(tower) - mergers) + mergers)
    passes = 2 if adapters else 3
    return passes * (2 * layers * tokens + said + seen) + 3 * attended


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
