"""Looks: the model asks, inside its thinking, to see a part of an image enlarged (``docs/concepts/looks.md``).

A look is written ``<look>Image-2: (x1,y1),(x2,y2)</look>``, in the style and the frame of the model family, and ends
the model's turn. The crop is shown in the next turn as ``Image-2a``. Boxes are always those of the whole images. What
becomes of every look follows from the text, the sizes of the images and the budget: no pixel is needed.

Sources: MGPO (arXiv 2507.05920), whose loss is on the tokens of the model only, and ViGoRL (arXiv 2505.23678).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from mirg.answers.blocks import ANSWER_OPEN, LOOK_CLOSE, LOOK_OPEN, THINK_CLOSE, THINK_OPEN, without_end_tokens
from mirg.answers.grammar import parse
from mirg.answers.markup import Style, look_form
from mirg.answers.read import placed
from mirg.errors import ImageError
from mirg.families import Family, PixelLimits
from mirg.frames import Size, input_size, to_frame
from mirg.geometry import EDGE_TOLERANCE, Box

LOOKS_VERSION = "mirg.looks/1"  # part of the settings of an evaluation: changes if some look would be read otherwise
LOOK_BLOCK = re.compile("<look>(?:(?!</?look>).)*</look>", re.DOTALL)  # a complete look of a text; linear
LEAST_SIDE = 4  # pixels of the original; a crop with a shorter side shows nothing

_UNREAD = "This look names no box in one image."
_UNCLOSED = "This look is not closed."
_LATE = "A look belongs inside the thinking, not behind it."
_SPENT = "No look is left."
_MISSING = "There is no Image-{image}."
_OUTSIDE = "This box is not inside Image-{image}."
_NO_AREA = "This box has no area: x1 must be less than x2, and y1 less than y2."
_SMALL = "This part of Image-{image} has only {width} x {height} pixels."
_LONG = "This part of Image-{image} is too long and thin to be shown."
# What :attr:`mirg.answers.read.ReadBox.problem` becomes; any other problem is _UNREAD.
_WORDS = {"no such image": _MISSING, "outside": _OUTSIDE, "inverted": _NO_AREA, "empty": _NO_AREA}


class LookBudget(BaseModel):
    """How often a model may look again, and how large it sees what it looks at. ``max_looks`` 0: no looks at all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_looks: int = Field(default=0, ge=0, le=16, description="Looks of one answer; 0: looks are off.")
    crop_pixels: int = Field(
        default=262_144, ge=1024, description="Area of a crop as the model sees it, within the model's own limits."
    )

    @property
    def turns(self) -> int:
        """Most turns of the model: its looks, one more for a look that is refused, and the answer."""
        return self.max_looks + 2 if self.max_looks else 1

    def images(self, n_images: int) -> int:
        """Most images of a sample with ``n_images``, crops included."""
        return n_images + self.max_looks


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a part of ``Image-{image}``; ``box`` is in fractions of that whole image."""

    image: int
    box: Box


@dataclass(frozen=True, slots=True)
class FoundLook:
    """A look in ``text[start:end]``. ``look`` is None if it cannot be made, and ``problem`` tells the model why.

    ``noise``: what in it is not part of a look. A look that is not ``closed`` ends where the text ends.
    """

    look: Look | None
    problem: str | None
    start: int
    end: int
    noise: str | None = None
    closed: bool = True


@dataclass(frozen=True, slots=True)
class LookStep:
    """What becomes of one look: a crop called ``name`` (``Image-2a``), or a ``refusal`` in words for the model.

    ``pixels`` is the crop (left, upper, right, lower) in whole pixels of the original; ``shown`` is the (width, height)
    in pixels to which it is resized.
    """

    look: Look | None
    name: str = ""
    pixels: tuple[int, int, int, int] | None = None
    shown: Size | None = None
    refusal: str | None = None


def look_text(
    look: Look, sizes: Sequence[Size], family: Family, style: Style | None = None, limits: PixelLimits | None = None
) -> str:
    """A look as the family writes it; ``sizes`` are (width, height) in pixels of the originals, Image-1 first.

    Text style: ``<look>Image-2: (40,80),(400,520)</look>``, JSON: ``<look>{"image": 2, "bbox_2d": [40, 80, 400, 520]}
    </look>``, without the line break.
    """
    numbers = to_frame(look.box, sizes[look.image - 1], family, limits)
    return f"{LOOK_OPEN}{look_form(str(look.image), numbers, family, style)}{LOOK_CLOSE}"


def crop_name(image: int, count: int) -> str:
    """The name of the crop number ``count`` (from 1) of ``Image-{image}``.

    >>> crop_name(2, 1), crop_name(2, 26), crop_name(2, 27), crop_name(12, 703)
    ('Image-2a', 'Image-2z', 'Image-2aa', 'Image-12aaa')
    """
    letters = ""
    while count > 0:
        count, rest = divmod(count - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"Image-{image}{letters}"


def find_look(text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None) -> FoundLook | None:
    """The first look of a turn, complete or not closed; None without a look. Total, and linear in the length."""
    found = next(found_looks(text, sizes, family, limits), None)
    start = text.find(LOOK_OPEN)
    if found is None and start >= 0:
        return FoundLook(None, _UNCLOSED, start, len(text), closed=False)
    return found


def found_looks(
    text: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None
) -> Iterator[FoundLook]:
    """Every complete look of a text, in order; an opening tag without an end is passed over."""
    done = 0
    while (close := text.find(LOOK_CLOSE, done)) >= 0:
        start, end = text.rfind(LOOK_OPEN, done, close), close + len(LOOK_CLOSE)
        if start >= 0:
            look, problem, noise = _read(text[start + len(LOOK_OPEN) : close], sizes, family, limits)
            yield FoundLook(look, problem, start, end, noise)
        done = end


def _read(
    content: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None
) -> tuple[Look | None, str | None, str | None]:
    raw = parse(content, family.box_key)
    boxes = placed(raw, sizes, family, limits) if raw.failure is None else []
    if len(boxes) != 1:
        return None, _UNREAD, raw.failure or raw.noise or "not one box"
    image, box, problem = boxes[0]
    if problem is None:
        return Look(image, box), None, raw.noise
    return None, (_WORDS.get(problem, _UNREAD) if image else _UNREAD).format(image=image), raw.noise


def cut_turn(text: str) -> str:
    """A turn up to the end of its first look: whatever a model wrote behind it is not part of the turn."""
    opening = text.find(LOOK_OPEN)
    close = text.find(LOOK_CLOSE, opening) if opening >= 0 else -1
    return text if close < 0 else text[: close + len(LOOK_CLOSE)]


def joined(turns: Sequence[str]) -> str:
    """The turns of the model as one completion, which the reader and the rewards take.

    A later turn may begin with ``<think>`` again, as the chat templates of some families do: it continues the thinking.
    """
    parts = [cut_turn(text) for text in turns]
    ended = [without_end_tokens(text) for text in parts[:-1]]
    return "".join([text if k == 0 else _continued(text) for k, text in enumerate([*ended, *parts[-1:]])])


def _continued(turn: str) -> str:
    bare = turn.lstrip()
    return bare.removeprefix(THINK_OPEN) if bare.startswith(THINK_OPEN) else turn


def split_turns(completion: str) -> list[str]:
    """The turns of a completion, each but the last ending with a look; white space between them is left out."""
    pieces = re.split(rf"(?<={LOOK_CLOSE})\s*", completion)
    return [piece for k, piece in enumerate(pieces) if piece or k == 0]


def replay(
    text: str, sizes: Sequence[Size], family: Family, budget: LookBudget, limits: PixelLimits | None = None
) -> list[LookStep]:
    """What becomes of every complete look of a completion (:func:`joined` turns), in order.

    A pure function: the environment of a rollout, the rewards and the pages of an evaluation all use it.
    """
    ends = [place for tag in (THINK_CLOSE, ANSWER_OPEN) if (place := text.find(tag)) >= 0]
    steps: list[LookStep] = []
    counts: dict[int, int] = {}
    made = 0
    for found in found_looks(text, sizes, family, limits):
        step = _step(found, sizes, family, budget, limits, made=made, late=any(end < found.start for end in ends))
        if step.look and step.refusal is None:
            made += 1
            count = counts[step.look.image] = counts.get(step.look.image, 0) + 1
            step = LookStep(step.look, crop_name(step.look.image, count), step.pixels, step.shown)
        steps.append(step)
    return steps


def _step(
    found: FoundLook,
    sizes: Sequence[Size],
    family: Family,
    budget: LookBudget,
    limits: PixelLimits | None,
    *,
    made: int,
    late: bool,
) -> LookStep:
    look = found.look
    if late or made >= budget.max_looks or look is None:
        return LookStep(look, refusal=_LATE if late else _SPENT if made >= budget.max_looks else found.problem)
    pixels = crop_pixels(look.box, sizes[look.image - 1])
    width, height = pixels[2] - pixels[0], pixels[3] - pixels[1]
    if min(width, height) < LEAST_SIDE:
        return LookStep(look, refusal=_SMALL.format(image=look.image, width=width, height=height))
    try:
        return LookStep(look, "", pixels, crop_size((width, height), family, budget, limits))
    except ImageError:
        return LookStep(look, refusal=_LONG.format(image=look.image))


def crop_pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """(left, upper, right, lower): the whole pixels of an image of ``size`` that ``box``, in fractions, touches."""
    low = [math.floor(v * side + EDGE_TOLERANCE * side) for v, side in zip(box[:2], size, strict=True)]
    high = [math.ceil(v * side - EDGE_TOLERANCE * side) for v, side in zip(box[2:], size, strict=True)]
    return (max(low[0], 0), max(low[1], 0), min(high[0], size[0]), min(high[1], size[1]))


def crop_size(size: Size, family: Family, budget: LookBudget, limits: PixelLimits | None = None) -> Size:
    """(width, height) in pixels to which a crop of ``size`` is resized: about ``budget.crop_pixels``, enlarged if less.

    A family whose processor makes one grid of an image gets the size that the processor would choose, so that a crop is
    resized only once. Raises :class:`ImageError` if the processor would refuse it.
    """
    own = limits or family.limits
    frames = 2 if family.resize == "frames" else 1
    area = min(max(budget.crop_pixels * frames, own.min_pixels), own.max_pixels) / frames
    scale = math.sqrt(area / (size[0] * size[1]))
    scaled = (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
    seen = input_size(scaled, family, limits)
    return seen if family.grids else scaled
