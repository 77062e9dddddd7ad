"""Whether a model family takes the images of a sample, and the sizes that its frame needs."""

from __future__ import annotations

from mirg.errors import DataError, ImageError
from mirg.frames import Family, PixelLimits, Size, input_size
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
