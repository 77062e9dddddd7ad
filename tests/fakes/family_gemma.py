"""Gemma 4: every image becomes as many soft tokens as its aspect ratio allows; layers of sliding and full attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.families import text_sizes, tokenizer_of, trl_template, write_model
from mirg.models.processors import image_only

PATCH, POOL = 4, 3  # pixels, and patches a side of a soft token
NAMED = {
    **{"image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>"},
    **{"audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>"},
}
TOKENS = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>", "<|video|>"),
    *NAMED.values(),
)
# What tells the checkpoints apart: per-layer inputs, or experts and images whose tokens see each other in both ways.
KINDS: dict[str, dict[str, Any]] = {
    "small": {"hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0},
    "experts": {
        **{"hidden_size_per_layer_input": 0, "use_bidirectional_attention": "vision", "attention_k_eq_v": True},
        **{"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16},
        **{"num_global_key_value_heads": 1},
    },
}


def write(folder: Path, kind: str) -> Path:
    """A random model with a sliding and a full layer; turns end with a token that is not the tokenizer's last one."""
    from transformers import Gemma4Config
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    tokenizer = tokenizer_of(TOKENS, "<eos>", "<pad>")
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer._set_model_specific_special_tokens(NAMED)
    images = Gemma4ImageProcessorPil(patch_size=PATCH, max_soft_tokens=70, pooling_kernel_size=POOL)
    processor: Any = image_only("gemma4")(images, tokenizer, trl_template("gemma4_v5"))
    id_of: Any = tokenizer.convert_tokens_to_ids
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 32, "global_head_dim": 16}
    text = text_sizes(tokenizer, **layers, vocab_size_per_layer_input=len(tokenizer), **KINDS[kind])
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"num_key_value_heads": 2, "head_dim": 16, "patch_size": PATCH, "pooling_kernel_size": POOL}
    ids = {"boi_token_id": "<|image>", "eoi_token_id": "<image|>", "image_token_id": "<|image|>"}
    ids |= {"video_token_id": "<|video|>", "audio_token_id": "<|audio|>", "boa_token_id": "<|audio>"}
    ids |= {"eoa_token_index": "<audio|>"}
    config = Gemma4Config(
        text_config=text,
        vision_config=vision | {"position_embedding_size": 1024},
        audio_config=None,
        tie_word_embeddings=True,
        **{name: id_of(token) for name, token in ids.items()},
    )
    return write_model(folder, config, processor, [id_of("<eos>"), id_of("<turn|>")])
