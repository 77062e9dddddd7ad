"""Sizes of a sample's images, of which some may be unknown."""

from __future__ import annotations

from mirg.errors import DataError
from mirg.frames import Family, Size
from mirg.samples.schema import Sample

UNIT: Size = (1, 1)


def sizes_in(sample: Sample, family: Family) -> list[Size]:
    """(width, height) in pixels of every image, Image-1 first; (1, 1) if it is unknown and not needed.

    A family that counts in thousandths needs no size. DataError, naming the sample, where the family counts in pixels
    of the resized image and a size is unknown.
    """
    sizes = []
    for number, image in enumerate(sample.images, 1):
        if not image.measured and family.box_frame != "relative_1000":
            raise DataError(
                f"sample {sample.id}: the size of Image-{number} is not known, and {family.name} counts in its pixels",
                hint="mirg data filter DATASET OUT --look header writes the sizes",
            )
        sizes.append(image.size if image.measured else UNIT)
    return sizes
