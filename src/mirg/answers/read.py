"""Reading an answer out of whatever a model wrote: total, and linear in the length.

:func:`read` gives boxes, or an explicit "none", or a failure with a reason; it never raises. It is tolerant (either
style, any family's decorations, a missing thinking block), while the format score beside it is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mirg.answers.blocks import Blocks, RawAnswer, RawBox, look_order, split
from mirg.answers.grammar import parse
from mirg.answers.image_names import LAST
from mirg.errors import MirgError
from mirg.families import Family, PixelLimits
from mirg.frames import Size, extent, swapped
from mirg.geometry import Box, box_problem

# Part of the key of every stored evaluation: changes whenever some completion would be read differently.
READER_VERSION = "mirg.read/5"

NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
NO_IMAGE_NAMED = "no image named"
NO_ORDER = "order of its coordinates unknown"


class ReadBox(NamedTuple):
    """One box of an answer: ``image`` as written (0 if the box names no image), ``box`` in fractions of that image.

    ``problem`` is None, or why the box cannot count: "inverted", "empty", "outside", "non-finite", "no such image",
    "no image named", "order of its coordinates unknown" (a family that writes y first used a key that does not say the
    order), "3 numbers instead of 4". The box is (0, 0, 0, 0) if its place is not finite.
    """

    image: int
    box: Box
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a completion says. ``failure`` is None exactly if an answer was read: boxes, or ``none``.

    ``format_score`` is 1 (one think block, one answer block that parses, nothing else) or 0 with ``format_reason``;
    ``paired_tags`` counts the well-paired blocks (0 to 2), for a format reward with partial credit. ``tolerated`` names
    what has one meaning but is not what any family writes, such as JSON that had to be repaired.
    """

    boxes: tuple[ReadBox, ...]
    none: bool
    failure: str | None
    thinking: str
    answer_text: str
    format_score: float
    format_reason: str | None
    paired_tags: int = 0
    tolerated: str | None = None


def read(
    text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None, *, looks: bool = False
) -> Reading:
    """The answer of a completion about images of ``sizes`` (width, height in pixels of the originals, Image-1 first).

    Only the answer block is read, never the thinking. Without answer tags, the text after the thinking is read
    if it is an answer and nothing else. With a single image, a missing ``Image-1:`` is supplied. With ``looks``, those
    of the text are part of its format: each belongs inside the thinking and holds one box.
    """
    blocks = split(text)
    if looks and blocks.problem is None:
        blocks = replace(blocks, problem=look_problem(text, sizes, family, limits))
    if blocks.answer is None:
        return _failed(blocks, "the thinking never ends and no answer block follows")
    raw = parse(blocks.answer, family.box_key)
    if not blocks.tagged and (raw.failure or raw.noise):  # only a text that is an answer and nothing else
        return _failed(blocks, f"no answer block, and the rest is not an answer: {raw.failure or raw.noise}")
    if raw.failure:
        return _failed(blocks, raw.failure)
    boxes = placed(raw, sizes, family, limits)
    problems = [box.problem for box in boxes]
    unnamed = "a box without its image" if NO_IMAGE_NAMED in problems else None
    reason = blocks.problem or raw.noise or unnamed or (NO_ORDER if NO_ORDER in problems else None)
    return Reading(
        boxes=tuple(boxes),
        none=not boxes,
        failure=None,
        thinking=blocks.thinking,
        answer_text=blocks.answer.strip(),
        format_score=0.0 if reason else 1.0,
        format_reason=reason,
        paired_tags=blocks.pairs,
        tolerated=raw.tolerated,
    )


def placed(raw: RawAnswer, sizes: Sequence[Size], family: Family, limits: PixelLimits | None) -> list[ReadBox]:
    """The boxes of an answer as written, in fractions of the images that they name; arguments as :func:`read`."""
    images: dict[int | None, _Image] = {}
    boxes: list[ReadBox] = []
    for box in raw.boxes:
        image = images.get(box.image)
        if image is None:
            image = images[box.image] = _image(box.image, sizes, family, limits)
        boxes.append(_place(box, image, family, raw.json))
    return boxes


def look_problem(text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None) -> str | None:
    """What breaks the format of the looks of a completion, or None. A look that names no place in an image does."""
    problem, spans = look_order(text)
    for start, end in spans:
        raw = parse(text[start:end], family.box_key)
        boxes = placed(raw, sizes, family, limits)
        unread = raw.failure or raw.noise or (None if len(boxes) == 1 else f"{len(boxes)} boxes")
        if unread or boxes[0].problem == NO_IMAGE_NAMED:
            return f"a look that does not parse: {unread or NO_IMAGE_NAMED}"
    return problem


def _failed(blocks: Blocks, why: str) -> Reading:
    reason = blocks.problem or f"the answer does not parse: {why}"
    return Reading((), False, why, blocks.thinking, (blocks.answer or "").strip(), 0.0, reason, blocks.pairs)


class _Image(NamedTuple):
    """The image that boxes name: its number, its size in the numbers of the frame, and why it cannot count."""

    number: int
    extent: Size | None
    problem: str | None


def _image(written: int | None, sizes: Sequence[Size], family: Family, limits: PixelLimits | None) -> _Image:
    """What is known of an image. If the sample has no image of this number, the frame is one pixel."""
    number = 1 if written is None and len(sizes) == 1 else written or 0
    number = len(sizes) if number == LAST else number
    known = 1 <= number <= len(sizes)
    missing = None if known else NO_IMAGE_NAMED if written is None else "no such image"
    if not known and family.box_frame == "resized_pixels":  # of an image that is not there
        return _Image(number, None, missing)
    try:
        return _Image(number, extent(sizes[number - 1] if known else (1, 1), family, limits), missing)
    except MirgError as error:
        return _Image(number, None, f"no frame: {error.message}")


def _place(raw: RawBox, image: _Image, family: Family, json: bool) -> ReadBox:
    """A box as written becomes a box in fractions of its image, with the first problem found."""
    y_first = family.axes == "yx" if raw.yx is None else raw.yx
    if len(raw.numbers) != 4:
        return ReadBox(image.number, NO_BOX, f"{len(raw.numbers)} numbers instead of 4")
    if image.extent is None:
        return ReadBox(image.number, NO_BOX, image.problem)
    if json and y_first and raw.yx is None:
        return ReadBox(image.number, NO_BOX, NO_ORDER)
    width, height = image.extent
    x1, y1, x2, y2 = swapped(raw.numbers) if y_first else raw.numbers
    box = (x1 / width, y1 / height, x2 / width, y2 / height)
    problem = box_problem(box)
    return ReadBox(image.number, NO_BOX if problem == "non-finite" else box, image.problem or problem)
