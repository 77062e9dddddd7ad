"""How many tokens a sample costs a model family, and whether its image processor takes the images.

The count is exact for images; for texts, it is that of a tokenizer or an estimate.

No model is loaded. The check of a dataset, the filter by length, the server's limits and the lengths of training rows
all count with these functions, so a sample that one of them accepts is not refused by another.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mirg.errors import ConfigError, DataError, ImageError
from mirg.families import Family, PixelLimits
from mirg.frames import Size, input_size
from mirg.samples.schema import Sample

CountText = Callable[[str], int]

# A token of the vocabularies of Qwen, InternVL and GLM is, roughly: one digit, a word of up to nine Latin letters, two
# characters of another script, up to two signs, or a run of line breaks.
_PIECES = re.compile(r"\d|[A-Za-z]{1,9}|[^\W\d_A-Za-z]{1,2}|(?:[^\w\s]|_){1,2}|\n+")


def image_tokens(size: Size, family: Family, limits: PixelLimits | None = None) -> int:
    """Visual tokens of an image of ``size`` (width, height in pixels).

    One token covers ``family.factor`` x ``family.factor`` pixels of the resized image. InternVL and SmolVLM turn each
    tile of that size into ``family.tile_tokens`` and add a small copy of the whole image if there are several tiles.
    ``limits`` are the fewest and most pixels of the resized image, by default those of the family. Raises ImageError if
    the family's processor refuses the image.
    """
    columns, rows = _cells(size, family, limits)
    return _tiles(columns, rows) * family.tile_tokens if family.tile_tokens else columns * rows


def mark_tokens(size: Size, family: Family, limits: PixelLimits | None = None) -> int:
    """Tokens besides the visual ones that the processor writes for an image: its ends, its tiles, rows of tiles."""
    image, tile, row = family.marks
    if not (tile or row):
        return image
    columns, rows = _cells(size, family, limits)
    return image + tile * _tiles(columns, rows) + row * (rows if columns * rows > 1 else 0)


def _cells(size: Size, family: Family, limits: PixelLimits | None) -> tuple[int, int]:
    width, height = input_size(size, family, limits)
    return width // family.factor, height // family.factor


def _tiles(columns: int, rows: int) -> int:
    """With the small copy of the whole image, which is added if there are several."""
    return columns * rows + (columns * rows > 1)


def text_tokens(text: str) -> int:
    """Tokens of a text, estimated without a tokenizer; docs/how-to/check-and-show.md says how accurate this is.

    >>> text_tokens("Find the red ring (10,250).")
    12
    """
    return len(_PIECES.findall(text))


def template_tokens(family: Family, n_images: int) -> int:
    """What the chat template adds to the text of a prompt with ``n_images`` images."""
    prompt, image = family.template_tokens
    return prompt + image * n_images


def tokenizer(path: Path) -> CountText:
    """A function that counts the tokens of a text with a ``tokenizer.json``.

    Raises ConfigError if the file cannot be loaded, or if the package tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ConfigError("--tokenizer needs the tokenizers package", hint="pip install tokenizers") from error
    if not path.is_file():
        raise ConfigError(f"no tokenizer {path}", hint="name the tokenizer.json of a model folder")
    try:
        loaded = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises plain Exception for any problem with the file
        raise ConfigError(f"{path} is no tokenizer.json: {error}") from error
    return lambda text: len(loaded.encode(text, add_special_tokens=False).ids)


def refused_image(sample: Sample, family: Family, limits: PixelLimits | None = None) -> tuple[int, ImageError] | None:
    """(place from 0, why) of the first image of ``sample`` that the processor of ``family`` refuses, or None.

    Images whose size the sample does not say are passed over.
    """
    for place, ref in enumerate(sample.images):
        try:
            if ref.measured:
                input_size(ref.size, family, limits)
        except ImageError as error:
            return place, ImageError(f"image {ref.path}: {error.message}", hint=error.hint)
    return None


def refuse_for_family(sample: Sample, family: Family, limits: PixelLimits | None = None) -> None:
    """ImageError, naming sample and image, if there is a :func:`refused_image`."""
    found = refused_image(sample, family, limits)
    if found is not None:
        raise ImageError(f"sample {sample.id}: {found[1].message}", hint=found[1].hint)


def sizes_in(sample: Sample, family: Family) -> list[Size]:
    """(width, height) in pixels of every image, Image-1 first; (1, 1) if it is unknown and not needed.

    A family that counts in thousandths needs no size. DataError, naming the sample, if the family counts in pixels of
    the resized image and a size is unknown.
    """
    for number, image in enumerate(sample.images, 1):
        if not image.measured and family.box_frame != "relative_1000":
            raise DataError(
                f"sample {sample.id}: the size of Image-{number} is not known, and {family.name} counts in its pixels",
                hint="mirg data filter DATASET OUT --look header writes the sizes",
            )
    return [image.size if image.measured else (1, 1) for image in sample.images]
