"""The ``strict`` protocol of MIG-Bench: the same responses, scored for what they claim.

* Only the answer is read (``mirg.answers.read``), never the thinking: what stands after the last ``</think>``, and
  inside ``<answer>`` if there is one. Sentences around the boxes are allowed if other models write them, and the
  image of a box is the one last named before it: ``Image-2``, ``image 2``, "the second image", "the 2th image".
* A box counts only in the image that it names. Where an item has several images and no image is named, the
  response fails. Static accepts either image of its pair, not both.
* All four numbers of a box are in one frame, the 0-1000 frame of the model family.
* Inverted, empty, outside and non-finite boxes fail the response, with the reason.
* Boxes are matched one to one: with one true box and k answered ones, the best IoU is divided by k.

``strict-box`` differs in one point: where the question says which image is meant, the answer need not say it again. An
answer without any name of an image is then read as an answer about that image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mirg.answers import ordinals
from mirg.answers.read import Reading, read
from mirg.data.importers.migbench import Item
from mirg.errors import ConfigError
from mirg.families import Family, PixelLimits
from mirg.frames import Size
from mirg.geometry import iou

_ANY_SIZE: Size = (1000, 1000)  # the 0-1000 frame does not depend on the size
_ORDINAL = re.compile(rf"\b({ordinals.ANY}) image\b", re.IGNORECASE)
_BOX_PROBLEMS = {
    "inverted": "inverted box",
    "empty": "empty box",
    "outside": "box outside the image",
    "non-finite": "non-finite box",
}


@dataclass(frozen=True)
class StrictScore:
    """``iou`` in [0, 1], 0 after a ``failure`` (its reason); ``image_ok``: exactly the right image is named."""

    iou: float
    image_ok: bool
    failure: str | None


def check_family(family: Family) -> None:
    """Raise :class:`ConfigError` for a family that counts in pixels: the annotations do not hold image sizes."""
    if family.box_frame == "resized_pixels":
        raise ConfigError(
            f"family {family.name} writes pixels of the resized input, and MIG-Bench's annotations hold no image sizes",
            hint="pass the folder of the benchmark's images with --root",
        )


def score_response(
    response: str,
    item: Item,
    family: Family,
    sizes: Sequence[Size] | None = None,
    limits: PixelLimits | None = None,
    *,
    must_name: bool = True,
) -> StrictScore:
    """Score one response; never raises for any text.

    ``sizes`` are (width, height) of the item's images in pixels, which families of the 0-1000 frame do not need. With
    ``must_name=False`` (``strict-box``) an answer without the name of an image counts for the image of the question.
    """
    sizes = sizes or [_ANY_SIZE] * len(item.images)
    reading = read_answer(response, sizes, family, limits)
    if not must_name and not item.image_hidden and {box.image for box in reading.boxes} == {0}:
        (target,) = item.targets or (1,)
        alone = read_answer(response, sizes[target - 1 : target], family, limits)  # a single image needs no name
        reading = replace(alone, boxes=tuple(box._replace(image=target) for box in alone.boxes))
    named = {box.image for box in reading.boxes}
    image_ok = len(named) == 1 and named <= set(item.targets)
    failure = _failure(reading, item)
    # One-to-one against the single true box, were it in any one of the images that the annotation accepts.
    usable = [] if failure else [box.box for box in reading.boxes if box.image in item.targets]
    overlap = max((iou(box, item.answer) for box in usable), default=0.0) / max(len(reading.boxes), 1)
    return StrictScore(iou=overlap, image_ok=image_ok, failure=failure)


def read_answer(response: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None) -> Reading:
    """``mirg.answers.read``; if that finds no boxes with images, a second reading allows sentences and ordinals.

    The second look reads the same part of the response, so the thinking stays unread. Image numbers are checked.
    """
    reading = read(response, sizes, family, limits)
    unnamed = any(box.image == 0 for box in reading.boxes)
    if not reading.answer_text or (reading.failure is None and not unnamed):
        return reading
    again = read(f"<answer>{with_image_numbers(reading.answer_text)}</answer>", sizes, family, limits)
    return reading if again.failure is not None else replace(again, thinking=reading.thinking)


def with_image_numbers(text: str) -> str:
    """``text`` with ``Image-2`` in the place of "second image" and "2th image"."""
    return _ORDINAL.sub(lambda match: f"Image-{ordinals.number(match.group(1))}", text)


def _failure(reading: Reading, item: Item) -> str | None:
    if reading.failure is not None:
        return reading.failure
    if not item.targets:
        return "the annotation does not tell the image"
    if not reading.boxes:
        return "the answer is none"
    problem = next((box.problem for box in reading.boxes if box.problem), None)
    return None if problem is None else _BOX_PROBLEMS.get(problem, problem)
