"""Tiny random models of the real classes of every family, with the real processors, built without a network.

``FAMILY_MODELS`` is the table that ``tests/models/test_families.py`` goes through. A builder writes a model folder of
about 200,000 parameters: random weights, a tokenizer that is trained on a few sentences and has the special tokens of
the family, the real processor class, and a chat template like the published one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from mirg.data.scenes.objects import NAMES
from mirg.models.processors import image_only
from mirg.models.tiny import GRID, SPECIAL_TOKENS, train_tokenizer

WORDS = (
    "Find the red ring in the images. Which image shows it? Answer with a box.",
    "First think about the images between <think> and </think>, then answer between <answer> and </answer>.",
    '<think>Target: red ring.</think><answer>[{"image": 1, "bbox_2d": [10, 22, 38, 40]}]</answer>',
)
# Of all vision towers here; images have 4 to 36 visual tokens.
MEAN = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


@cache
def tokenizer_of(special: Sequence[str], end: str, padding: str) -> Any:
    """A small byte-level BPE tokenizer with the ``special`` tokens of a family, ``end`` and ``padding`` among them."""
    texts = WORDS * 20
    return train_tokenizer(texts, names=NAMES, coordinates=GRID, special=special, end=end, padding=padding)


def trl_template(name: str) -> str:
    """A published chat template that is distributed with TRL."""
    return (resources.files("trl") / "chat_templates" / f"{name}.jinja").read_text()


def write_model(folder: Path, config: Any, processor: Any, stops: Sequence[int] = ()) -> Path:
    """A model of ``config`` with random weights of deviation 1/sqrt(fan-in), and ``processor``, saved to ``folder``."""
    from transformers import AutoModelForImageTextToText

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.dim() > 1:
                    torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
                elif name.endswith("bias"):
                    torch.nn.init.normal_(weight, std=0.02)
    model.tie_weights()
    model.generation_config.eos_token_id = list(stops) or processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


# Qwen2-VL to Qwen3.8: one grid of patches per image.


def _qwen(template: str) -> Callable[[Path, str], Path]:
    def write(folder: Path, kind: str) -> Path:
        from transformers import AutoConfig
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

        patch = 14 if kind.startswith("qwen2") else 16
        area = {"shortest_edge": (4 * patch) ** 2, "longest_edge": (12 * patch) ** 2}
        tokenizer = tokenizer_of(SPECIAL_TOKENS, "<|im_end|>", "<|endoftext|>")
        images = Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, temporal_patch_size=2, size=area, **MEAN)
        processor: Any = image_only(kind)(images, tokenizer, trl_template(template))
        ids = {
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }
        config = AutoConfig.for_model(
            kind,
            text_config=_qwen_text(kind, tokenizer),
            vision_config=_qwen_vision(kind, patch),
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **{name: tokenizer.convert_tokens_to_ids(token) for name, token in ids.items()},
        )
        return write_model(folder, config, processor)

    return write


def text_sizes(tokenizer: Any, **others: Any) -> dict[str, Any]:
    """Two layers of width 32 with two heads of 16, one of them for keys: the language model of every builder."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        **others,
    }


def _qwen_text(kind: str, tokenizer: Any) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
    if not kind.startswith("qwen2"):
        rope["mrope_interleaved"] = True
    others: dict[str, Any] = {}
    if kind.startswith("qwen3_5"):
        rope["partial_rotary_factor"] = 1.0
        others = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 16}
        others |= {"linear_value_head_dim": 16, "layer_types": ["linear_attention", "full_attention"]}
    if kind.endswith("moe"):
        others |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        others |= {"shared_expert_intermediate_size": 16} if kind.startswith("qwen3_5") else {}
    return text_sizes(tokenizer, rope_parameters=rope, **others)


def _qwen_vision(kind: str, patch: int) -> dict[str, Any]:
    common: dict[str, Any] = {"depth": 2, "num_heads": 2, "patch_size": patch}
    common |= {"spatial_merge_size": 2, "temporal_patch_size": 2}
    if kind == "qwen2_vl":
        return common | {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    common |= {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
    if kind == "qwen2_5_vl":
        return common | {"window_size": 4 * patch, "fullatt_block_indexes": [1]}
    common["num_position_embeddings"] = 36
    return common | ({} if kind.startswith("qwen3_5") else {"deepstack_visual_indexes": [0]})


# GLM-4.1V to GLM-4.6V: the same grid; images count as two frames in the limits.

GLM_TOKENS = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"),
    *("<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    *("<|image|>", "<|video|>"),
)
# GLM-4.1V-9B-Thinking: no switch for thinking, and nothing closes the turn of the assistant.
GLM41_TEMPLATE = """[gMASK]<sop>
{%- for msg in messages %}
    {%- if msg.role == 'system' %}
<|system|>
{{ msg.content }}
    {%- elif msg.role == 'user' %}
<|user|>{{ '\\n' }}
        {%- if msg.content is string %}
{{ msg.content }}
        {%- else %}
            {%- for item in msg.content %}
                {%- if item.type == 'video' or 'video' in item %}
<|begin_of_video|><|video|><|end_of_video|>
                {%- elif item.type == 'image' or 'image' in item %}
<|begin_of_image|><|image|><|end_of_image|>
                {%- elif item.type == 'text' %}
{{ item.text }}
                {%- endif %}
            {%- endfor %}
        {%- endif %}
    {%- elif msg.role == 'assistant' %}
        {%- if msg.metadata %}
<|assistant|>{{ msg.metadata }}
{{ msg.content }}
        {%- else %}
<|assistant|>
{{ msg.content }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}<|assistant|>
{% endif %}"""


def _glm45_template() -> str:
    """That of GLM-4.5 with the images of GLM-4.5V and GLM-4.6V."""
    text = trl_template("glm4moe")
    item = "            {%- if item is mapping and item.type == 'text' -%}"
    assert text.count(item) == 1
    image = "            {%- if item is mapping and (item.type == 'image' or 'image' in item) -%}\n"
    image += "                {{- '<|begin_of_image|><|image|><|end_of_image|>' }}\n"
    return text.replace(item, image + item.replace("if", "elif", 1))


def _glm(template: str, text_type: str) -> Callable[[Path, str], Path]:
    def write(folder: Path, kind: str) -> Path:
        from transformers import AutoConfig, AutoImageProcessor  # noqa: F401
        from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
        from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil

        tokenizer = tokenizer_of(GLM_TOKENS, "<|endoftext|>", "<|endoftext|>")
        id_of: Any = tokenizer.convert_tokens_to_ids
        area = {"shortest_edge": 2 * 56 * 56, "longest_edge": 2 * 168 * 168}
        made = Glm46VImageProcessorPil if kind == "glm46v" else Glm4vImageProcessorPil
        images = made(patch_size=14, merge_size=2, temporal_patch_size=2, size=area, **MEAN)
        processor: Any = image_only(kind)(images, tokenizer, template)
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
        others: dict[str, Any] = {"model_type": text_type, "rope_parameters": rope | {"partial_rotary_factor": 0.5}}
        if text_type == "glm4v_moe_text":
            others |= {"moe_intermediate_size": 16, "num_experts_per_tok": 2, "n_routed_experts": 4}
        vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
        ids = {"image": "<|image|>", "video": "<|video|>", "image_start": "<|begin_of_image|>"}
        ids |= {"image_end": "<|end_of_image|>", "video_start": "<|begin_of_video|>", "video_end": "<|end_of_video|>"}
        config = AutoConfig.for_model(
            kind,
            text_config=text_sizes(tokenizer, **others),
            vision_config=vision | {"image_size": 84, "patch_size": 14},
            tie_word_embeddings=True,
            **{f"{name}_token_id": id_of(token) for name, token in ids.items()},
        )
        return write_model(folder, config, processor, [id_of(t) for t in ("<|endoftext|>", "<|user|>")])

    return write


def _of(write: Callable[[Path, str], Path], kind: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder, kind)


# What a row is called -> what writes its model folder. A row is a kind of model; a family may have several.
FAMILY_MODELS: Mapping[str, Callable[[Path], Path]] = {
    "qwen2-vl": _of(_qwen("qwen2_5_vl"), "qwen2_vl"),
    "qwen2.5-vl": _of(_qwen("qwen2_5_vl"), "qwen2_5_vl"),
    "qwen3-vl": _of(_qwen("qwen3_vl"), "qwen3_vl"),
    "qwen3-vl-moe": _of(_qwen("qwen3_vl"), "qwen3_vl_moe"),
    "qwen3.5": _of(_qwen("qwen3_5_think"), "qwen3_5"),
    "qwen3.5-moe": _of(_qwen("qwen3_6"), "qwen3_5_moe"),
    "glm-4.1v": _of(_glm(GLM41_TEMPLATE, "glm4v_text"), "glm4v"),
    "glm-4.5v": _of(_glm(_glm45_template(), "glm4v_moe_text"), "glm4v_moe"),
    "glm-4.6v": _of(_glm(_glm45_template(), "glm4v_moe_text"), "glm46v"),
}
