"""Photographs that EXIF rotates: nothing in the file tells in which orientation their boxes were drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mirg.answers.markup import cited
from mirg.images import ORIENTATION_WORDS, Header
from mirg.samples import ImageRef, Sample
from mirg.samples.schema import EXIF_META


def rotated(sample: Sample, header: Callable[[ImageRef], object]) -> Iterator[tuple[int, str]]:
    """(place from 0, what EXIF does) of the images with boxes that are not stored upright.

    ``header`` gives the :class:`mirg.images.Header` of an image, or anything else if it is not known. Nothing is
    yielded for a sample whose ``meta`` says that the question was settled when it was imported.
    """
    told = sample.meta.get(EXIF_META)
    if told and not isinstance(told, list):
        return
    settled = told if isinstance(told, list) else []
    for place, ref in enumerate(sample.images):
        if place < len(settled) and settled[place]:
            continue
        found = header(ref)
        if isinstance(found, Header) and found.orientation != 1 and _has_boxes(sample, place + 1):
            yield place, f"image {ref.path} is {ORIENTATION_WORDS[found.orientation]} by EXIF"


def _has_boxes(sample: Sample, image: int) -> bool:
    noted = bool(sample.images[image - 1].objects) or any(target.image == image for target in sample.targets)
    return noted or ("<box image=" in sample.question and any(number == image for number, _ in cited(sample.question)))
