"""InternVL3 (with Qwen2 as its language model) and InternVL3.5 (with Qwen3): an image is cut into tiles of one size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.families import MEAN, text_sizes, tokenizer_of, write_model
from mirg.models.processors import image_only

TILE, PATCH = 56, 14  # pixels: a tile has 4 x 4 patches, and 2 x 2 of them are one visual token
TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>"),
    *("<ref>", "</ref>", "<box>", "</box>", "<video>"),
)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def internvl(language: str) -> Callable[[Path], Path]:
    """What writes a model with a language model of the type ``language``."""

    def write(folder: Path) -> Path:
        from transformers import InternVLConfig, PreTrainedTokenizerFast
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        plain = tokenizer_of(TOKENS, "<|im_end|>", "<|endoftext|>")
        named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=plain.backend_tokenizer,
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
            clean_up_tokenization_spaces=False,
            extra_special_tokens=named | {"video_token": "<video>"},
        )
        images = GotOcr2ImageProcessorPil(size={"height": TILE, "width": TILE}, max_patches=6, **MEAN)
        processor: Any = image_only("internvl")(images, tokenizer, TEMPLATE, image_seq_length=4)
        vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = InternVLConfig(
            text_config=text_sizes(tokenizer, model_type=language),
            vision_config=vision | {"image_size": [TILE, TILE], "patch_size": [PATCH, PATCH], "attention_bias": True},
            image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
            image_seq_length=4,
            tie_word_embeddings=True,
        )
        return write_model(folder, config, processor)

    return write
