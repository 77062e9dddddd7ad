"""How many tokens a sample costs a model family, before any model is there to ask.

Image tokens are exact: the cells of the resized image. Text tokens are an estimate, rather too many than too few:
tokenizers of these families write a digit and a sign as one token each, and a word as one for about four letters.
"""

from __future__ import annotations

import re

from mirg.answers import messages, prompt_text, write_completion
from mirg.frames import Family, PixelLimits, Size, input_size
from mirg.samples import Sample

_PIECES = re.compile(r"[a-zA-Z]+|\S")
_LETTERS = 5  # of a word, per token
_TEMPLATE = 30  # tokens that a chat template adds to a turn
_TILE_TOKENS = 256  # InternVL: 448 x 448 pixels in patches of 14, four to a token


def image_tokens(size: Size, family: Family, limits: PixelLimits | None = None) -> int:
    """Visual tokens of an image of ``size`` (width, height in pixels). ImageError where the family refuses it."""
    width, height = input_size(size, family, limits)
    cells = (width // family.factor) * (height // family.factor)
    if family.resize != "tiles":
        return cells
    return _TILE_TOKENS * (cells + (cells > 1))  # several tiles come with a thumbnail


def text_tokens(text: str) -> int:
    """About how many tokens ``text`` is.

    >>> text_tokens("Find the red ring (10,250).")
    12
    """
    return sum(-(-len(piece) // _LETTERS) for piece in _PIECES.findall(text))


def sample_tokens(sample: Sample, family: Family, limits: PixelLimits | None = None) -> int:
    """Tokens of the prompt and, where there is a trajectory, the completion.

    AnswerError where one cannot be written, DataError where the size of an image is not known.
    """
    text = prompt_text(messages(sample, family, limits), "")
    told = sample.trajectory
    if told is not None:
        text += write_completion(told.thinking, told.answer, sample.sizes, family, limits=limits)
    shown = sum(image_tokens(size, family, limits) + 2 for size in sample.sizes)  # two marks around each image
    return shown + text_tokens(text) + _TEMPLATE
