"""The checks that need the model: its reserved tokens, the pixels of all images, and the length of the prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mirg.answers.blocks import forbid_vision
from mirg.engines.base import Engine
from mirg.errors import AnswerError, ImageError
from mirg.samples.tokens import image_tokens, text_tokens
from mirg.serve.limits import Refused, ServeLimits

if TYPE_CHECKING:
    from PIL.Image import Image


def accepted_images(
    images: Iterable[Image], texts: Sequence[str], engine: Engine, limits: ServeLimits, *, param: str = "messages"
) -> list[Image]:
    """The ``images`` of a prompt with ``texts``, which are decoded while they are counted, the cheapest checks first.

    Refused (400) if a text holds a token that the family reserves, an image cannot be opened or shown to the model, or
    pixels or tokens are more than ``limits`` allow.
    """
    try:
        for text in texts:
            forbid_vision(text, engine.family, "a message")
        kept = list(_within(images, limits.pixels, param))
        shown = sum(image_tokens(image.size, engine.family, engine.limits) for image in kept)
    except AnswerError as error:
        raise Refused(400, error.message, param=param, hint=error.hint) from error
    except ImageError as error:
        raise Refused(400, error.message, param=param, code="invalid_image", hint=error.hint) from error
    tokens = shown + sum(map(text_tokens, texts))
    if tokens > limits.prompt_tokens:
        words = f"the prompt is about {tokens:,} tokens, {limits.prompt_tokens:,} are allowed"
        raise Refused(400, words, param=param, code="context_length_exceeded")
    return kept


def _within(images: Iterable[Image], most: int, param: str) -> Iterable[Image]:
    pixels = 0
    for image in images:
        pixels += image.width * image.height
        if pixels > most:
            words = f"the images have more than {most:,} pixels together"
            raise Refused(400, words, param=param, code="invalid_image")
        yield image
