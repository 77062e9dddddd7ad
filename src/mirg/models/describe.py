"""What mirg would do with a model: its family, and what follows from its layers and its chat template."""

from __future__ import annotations

from typing import Any

from mirg.answers.prompts import write_answer
from mirg.errors import ConfigError
from mirg.families import works
from mirg.models.load import LoadedModel
from mirg.models.packing import other_attention
from mirg.models.prompts import opening
from mirg.samples import Target
from mirg.samples.tokens import image_tokens

_SIZE = (1280, 720)  # of the images of the example, in pixels
_EXAMPLE = Target(image=2, box=(0.25, 0.5, 0.75, 1.0), label="red ring")


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Facts about a model, whose weights are not used, as JSON values; the example is a box in an image of 1280 x 720.

    ``opened`` is what the chat template writes of every answer; ``thinking_switch`` says whether it reads
    ``enable_thinking``.
    """
    model: Any = loaded.model
    processor: Any = loaded.processor
    return {
        "family": loaded.family.name,
        "model_type": model.config.model_type,
        "class": type(model).__name__,
        "processor": type(processor).__name__,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "pixels": [loaded.limits.min_pixels, loaded.limits.max_pixels],
        "image_tokens": image_tokens(_SIZE, loaded.family, loaded.limits),
        "end_of_turn": loaded.tokenizer.eos_token,
        "opened": _opened(processor),
        "thinking_switch": "enable_thinking" in str(processor.chat_template),
        "instructions": loaded.instructions,
        "thinking": loaded.thinking,
        "example": write_answer([_EXAMPLE], [_SIZE, _SIZE], loaded.family, limits=loaded.limits),
        **works(loaded.family, other_attention(model)),
    }


def _opened(processor: Any) -> str | None:
    """None without a chat template, or with one that does not take a question without an image."""
    try:
        return opening(processor)
    except (ConfigError, ValueError):
        return None
