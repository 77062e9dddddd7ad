"""Whether a model family's image processor takes the images of a sample."""

from __future__ import annotations

from mirg.errors import ImageError
from mirg.frames import Family, PixelLimits, input_size
from mirg.samples.schema import Sample


def refused_image(sample: Sample, family: Family, limits: PixelLimits | None = None) -> tuple[int, ImageError] | None:
    """(place from 0, why) of the first image of ``sample`` that the processor of ``family`` refuses, or None.

    Images whose size the sample does not say are passed over.
    """
    for place, ref in enumerate(sample.images):
        if not (ref.width and ref.height):
            continue
        try:
            input_size(ref.size, family, limits)
        except ImageError as error:
            return place, ImageError(f"image {ref.path}: {error.message}", hint=error.hint)
    return None


def refuse_for_family(sample: Sample, family: Family, limits: PixelLimits | None = None) -> None:
    """ImageError, naming sample and image, if there is a :func:`refused_image`."""
    found = refused_image(sample, family, limits)
    if found is not None:
        raise ImageError(f"sample {sample.id}: {found[1].message}", hint=found[1].hint)
