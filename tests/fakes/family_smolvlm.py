"""SmolVLM2: the longer side of an image gets one length, and the image is cut into tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.families import text_sizes, tokenizer_of, trl_template, write_model
from mirg.models.processors import image_only

TILE, PATCH = 64, 8  # pixels: a tile has 8 x 8 patches, and 4 x 4 of them are one visual token
TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>", "<global-img>"),
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    "<end_of_utterance>",
)


def write_smolvlm(folder: Path) -> Path:
    """A random model with Llama as its language model."""
    from transformers import SmolVLMConfig
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    tokenizer = tokenizer_of(TOKENS, "<end_of_utterance>", "<|im_end|>")
    images = SmolVLMImageProcessorPil(size={"longest_edge": 4 * TILE}, max_image_size={"longest_edge": TILE})
    processor: Any = image_only("smolvlm")(images, tokenizer, trl_template("smolvlm"), image_seq_len=4)
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = SmolVLMConfig(
        text_config=text_sizes(tokenizer, model_type="llama"),
        vision_config=vision | {"image_size": TILE, "patch_size": PATCH},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=4,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    return write_model(folder, config, processor)
