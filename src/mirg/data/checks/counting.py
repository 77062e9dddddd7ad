"""Tokens of a prompt without a model: those of its images exactly, those of its text by a tokenizer or an estimate."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mirg.errors import ConfigError
from mirg.frames import FAMILIES, MIRG_TINY, Family, PixelLimits, Size, input_size

CountText = Callable[[str], int]

# A token of the vocabularies of Qwen, InternVL and GLM is, roughly: one digit, a word of up to nine Latin letters, two
# characters of another script, up to two signs, or a run of line breaks.
_PIECES = re.compile(r"\d|[A-Za-z]{1,9}|[^\W\d_A-Za-z]{1,2}|(?:[^\w\s]|_){1,2}|\n+")

# What a chat template adds: (tokens of a prompt, tokens around each image). Of the published templates, for one user
# message and the opening of the answer; Qwen2-VL and Qwen2.5-VL put a system message in front.
_TEMPLATES: dict[str, tuple[int, int]] = {
    "qwen2-vl": (19, 2),
    "qwen2.5-vl": (19, 2),
    "mimo-vl": (19, 2),
    "qwen3-vl": (8, 2),
    "internvl": (8, 3),
    "glm-v": (6, 2),
}
_OTHER_TEMPLATE = (19, 2)
_TILE_TOKENS = 256  # of an InternVL tile of 448 pixels: 32 x 32 patches, four of them a token


def estimated(text: str) -> int:
    """Tokens of a text, estimated without a tokenizer; see docs/how-to/check-and-show.md for how far it is off."""
    return len(_PIECES.findall(text))


def tokenizer(path: Path) -> CountText:
    """The counter of a ``tokenizer.json``. ConfigError where the file is none, or the tokenizers package is missing."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError("--tokenizer needs the tokenizers package", hint="pip install tokenizers") from error
    if not path.is_file():
        raise ConfigError(f"no tokenizer {path}", hint="name the tokenizer.json of a model folder")
    try:
        loaded = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises plain Exception for whatever is wrong with the file
        raise ConfigError(f"{path} is no tokenizer.json: {error}") from error
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def template_tokens(family: Family, n_images: int) -> int:
    """What the chat template adds to the text of a prompt with ``n_images`` images."""
    prompt, image = _TEMPLATES.get(family.name, _OTHER_TEMPLATE)
    return prompt + image * n_images


def image_tokens(size: Size, family: Family, limits: PixelLimits | None = None) -> int:
    """Visual tokens of an image of ``size`` (width, height): one for each ``factor`` x ``factor`` pixels of its input.

    InternVL turns each tile into 256 tokens and adds a small copy of the whole image where there are several tiles.
    ImageError where the family's processor refuses the image.
    """
    width, height = input_size(size, family, limits)
    cells = (width // family.factor) * (height // family.factor)
    if family.resize == "tiles":
        return (cells + (cells > 1)) * _TILE_TOKENS
    return cells


def limits_for(family: Family, max_pixels: int | None) -> PixelLimits:
    """The family's limits with another upper one.

    ConfigError where that lies below the lower one, and for the tiny model, whose patches are those of its recipe.
    """
    if family.name == MIRG_TINY.name:
        known = ", ".join(name for name in FAMILIES if name != MIRG_TINY.name)
        raise ConfigError(f"tokens of {family.name} are not counted: its recipe sets them", hint=f"known: {known}")
    if max_pixels is None:
        return family.limits
    if max_pixels < family.limits.min_pixels:
        raise ConfigError(
            f"--max-pixels {max_pixels} is less than {family.name} makes of any image",
            hint=f"its images have at least {family.limits.min_pixels} pixels",
        )
    return PixelLimits(family.limits.min_pixels, max_pixels)
