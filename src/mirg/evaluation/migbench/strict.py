"""The ``strict`` protocol of MIG-Bench: the same responses, scored for what they claim.

* Only the answer is read (``mirg.answers.read``), never the thinking: what stands after the last ``</think>``, and
  inside ``<answer>`` if there is one. Sentences around the boxes are allowed if other models write them, and the
  image of a box is the one last named before it: ``Image-2``, ``image 2``, "the second image", "the 2th image".
* A box counts only in the image that it names. Where an item has several images and no image is named, the
  response fails. Static accepts either image of its pair, not both.
* All four numbers of a box are in one frame, the 0-1000 frame of the model family.
* Inverted, empty, outside and non-finite boxes fail the response, with the reason.
* Boxes are matched one to one: with one true box and k answered ones, the best IoU is divided by k.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from mirg.answers import ordinals
from mirg.answers.read import Reading, read
from mirg.data.importers.migbench import Item
from mirg.errors import ConfigError
from mirg.frames import Family, Size
from mirg.geometry import iou

_ANY_SIZE: Size = (1000, 1000)  # the 0-1000 frame does not depend on the size
_ORDINAL = re.compile(rf"\b({ordinals.ANY}) image\b", re.IGNORECASE)
_BOX_PROBLEMS = {
    "inverted": "inverted box",
    "empty": "empty box",
    "outside": "box outside the image",
    "non-finite": "non-finite box",
}


class StrictScore(NamedTuple):
    """``iou`` in [0, 1], 0 after a ``failure`` (its reason); ``image_ok``: exactly the right image is named."""

    iou: float
    image_ok: bool
    failure: str | None


def check_family(family: Family) -> None:
    """Raise :class:`ConfigError` for a family that counts in pixels: the annotations do not hold image sizes."""
    if family.box_frame != "relative_1000":
        raise ConfigError(
            f"family {family.name} writes pixels of the resized input, and MIG-Bench's annotations hold no image sizes",
            hint="convert the responses to the 0-1000 frame first, then use --family qwen3-vl",
        )


def score_response(response: str, item: Item, family: Family) -> StrictScore:
    """Score one response; never raises for any text."""
    reading = read_answer(response, len(item.images), family)
    named = {box.image for box in reading.boxes}
    image_ok = len(named) == 1 and named <= set(item.targets)
    failure = _failure(reading, item)
    # One-to-one against the single true box, were it in any one of the images that the annotation accepts.
    usable = [] if failure else [box.box for box in reading.boxes if box.image in item.targets]
    overlap = max((iou(box, item.answer) for box in usable), default=0.0) / max(len(reading.boxes), 1)
    return StrictScore(iou=overlap, image_ok=image_ok, failure=failure)


def read_answer(response: str, n_images: int, family: Family) -> Reading:
    """``mirg.answers.read``; if that finds no boxes with images, a second reading allows sentences and ordinals.

    The second look reads the same part of the response, so the thinking stays unread. Image numbers are checked.
    """
    sizes = [_ANY_SIZE] * n_images
    reading = read(response, sizes, family)
    unnamed = any(box.image == 0 for box in reading.boxes)
    if not reading.answer_text or (reading.failure is None and not unnamed):
        return reading
    spelled = _ORDINAL.sub(lambda match: f"Image-{ordinals.number(match.group(1))}", reading.answer_text)
    again = read(f"<answer>{spelled}</answer>", sizes, family)
    return reading if again.failure is not None else replace(again, thinking=reading.thinking)


def _failure(reading: Reading, item: Item) -> str | None:
    if reading.failure is not None:
        return reading.failure
    if not item.targets:
        return "the annotation does not tell the image"
    if not reading.boxes:
        return "the answer is none"
    problem = next((box.problem for box in reading.boxes if box.problem), None)
    return None if problem is None else _BOX_PROBLEMS.get(problem, problem)
