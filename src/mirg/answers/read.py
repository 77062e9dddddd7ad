"""Reading an answer out of whatever a model wrote: total, and linear in the length.

:func:`read` gives boxes, or an explicit "none", or a failure with a reason; it never raises. It is tolerant (either
style, any family's decorations, a missing thinking block), while the format score beside it is strict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mirg.answers.blocks import Blocks, split
from mirg.answers.grammar import RawBox, parse
from mirg.answers.image_names import LAST
from mirg.errors import MirgError
from mirg.frames import Family, PixelLimits, Size, extent, swapped
from mirg.geometry import Box, box_problem

# Part of the key of every stored evaluation: changes whenever some completion would be read differently.
READER_VERSION = "mirg.read/4"

NO_BOX: Box = (0.0, 0.0, 0.0, 0.0)
NO_IMAGE_NAMED = "no image named"


class ReadBox(NamedTuple):
    """One box of an answer: ``image`` as written (0 if the box names no image), ``box`` in fractions of that image.

    ``problem`` is None, or why the box cannot count: "inverted", "empty", "outside", "non-finite", "no such image",
    "no image named", "3 numbers instead of 4". The box is (0, 0, 0, 0) if its place is not finite.
    """

    image: int
    box: Box
    problem: str | None = None


_READ_BOX = ReadBox._make


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


def read(text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None) -> Reading:
    """The answer of a completion about images of ``sizes`` (width, height in pixels of the originals, Image-1 first).

    Only the answer block is read, never the thinking. Without answer tags, the text after the thinking is read
    if it is an answer and nothing else. With a single image, a missing ``Image-1:`` is supplied.
    """
    blocks = split(text)
    if blocks.answer is None:
        return _failed(blocks, "the thinking never ends and no answer block follows")
    raw = parse(blocks.answer)
    if not blocks.tagged and (raw.failure or raw.noise):  # only a text that is an answer and nothing else
        return _failed(blocks, f"no answer block, and the rest is not an answer: {raw.failure or raw.noise}")
    if raw.failure:
        return _failed(blocks, raw.failure)
    boxes = _Places(sizes, family, limits).place_all(raw.boxes)
    unnamed = any(box.problem == NO_IMAGE_NAMED for box in boxes)
    reason = blocks.problem or raw.noise or ("a box without its image" if unnamed else None)
    return Reading(
        boxes=boxes,
        none=not boxes,
        failure=None,
        thinking=blocks.thinking,
        answer_text=blocks.answer.strip(),
        format_score=0.0 if reason else 1.0,
        format_reason=reason,
        paired_tags=blocks.pairs,
        tolerated=raw.tolerated,
    )


def _failed(blocks: Blocks, why: str) -> Reading:
    reason = blocks.problem or f"the answer does not parse: {why}"
    answer = (blocks.answer or "").strip()
    return Reading((), False, why, blocks.thinking, answer, 0.0, reason, blocks.pairs)


class _Image(NamedTuple):
    """The image that boxes name: its number, its size in the numbers of the frame, and why it cannot count."""

    number: int
    extent: Size | None
    problem: str | None


class _Places:
    """The images of one reading: boxes as written become boxes in fractions, with the first problem found."""

    def __init__(self, sizes: Sequence[Size], family: Family, limits: PixelLimits | None) -> None:
        self.sizes, self.family, self.limits = sizes, family, limits
        self.y_first = family.axes == "yx"
        self.images: dict[int | None, _Image] = {}  # by the number as written

    def place_all(self, boxes: Sequence[RawBox]) -> tuple[ReadBox, ...]:
        """All boxes in their images. Proper boxes are handled in the loop: a text that loops holds thousands."""
        made: list[ReadBox] = []
        for raw in boxes:
            written, numbers, yx, _, _ = raw
            image = self.images.get(written)
            if image is not None and len(numbers) == 4 and not yx and not self.y_first:
                if image.extent is None:
                    made.append(_READ_BOX((image.number, NO_BOX, image.problem)))
                    continue
                x1, y1, x2, y2 = numbers
                width, height = image.extent
                if 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:
                    box = (x1 / width, y1 / height, x2 / width, y2 / height)
                    made.append(_READ_BOX((image.number, box, image.problem)))
                    continue
            made.append(self.place(raw))
        return tuple(made)

    def place(self, raw: RawBox) -> ReadBox:
        """The box in its image."""
        image = self.images.get(raw.image) or self._image(raw.image)
        if len(raw.numbers) != 4:
            return ReadBox(image.number, NO_BOX, f"{len(raw.numbers)} numbers instead of 4")
        if image.extent is None:
            return ReadBox(image.number, NO_BOX, image.problem)
        width, height = image.extent
        x1, y1, x2, y2 = swapped(raw.numbers) if raw.yx or self.y_first else raw.numbers
        box = (x1 / width, y1 / height, x2 / width, y2 / height)
        problem = box_problem(box)
        if problem is None and image.problem is None:
            return ReadBox(image.number, box)
        return ReadBox(image.number, NO_BOX if problem == "non-finite" else box, image.problem or problem)

    def _image(self, written: int | None) -> _Image:
        """What is known of an image. If the sample has no image of this number, the frame is one pixel."""
        number = 1 if written is None and len(self.sizes) == 1 else written or 0
        number = len(self.sizes) if number == LAST else number
        known = 1 <= number <= len(self.sizes)
        missing = None if known else NO_IMAGE_NAMED if written is None else "no such image"
        found = _Image(number, None, missing)
        if known or self.family.box_frame == "relative_1000":  # else they are pixels of an image that is not there
            try:
                size = extent(self.sizes[number - 1] if known else (1, 1), self.family, self.limits)
                found = _Image(number, size, missing)
            except MirgError as error:
                found = _Image(number, None, f"no frame: {error.message}")
        self.images[written] = found
        return found
