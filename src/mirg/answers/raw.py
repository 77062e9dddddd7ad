"""What the reader finds in an answer block before anything is known about images and frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mirg.answers.image_names import UNKNOWN, Name

MOST_BOXES = 4_096  # of an answer; more of them come from a loop, and the bound also bounds the time
TOO_MANY = f"more than {MOST_BOXES} boxes"


class RawBox(NamedTuple):
    """A box as written: as many ``numbers`` as were there, and the ``image`` it names.

    ``image`` is the number as written, None if none was named, 0 if the name was not understood, and
    :data:`~mirg.answers.image_names.LAST` for the last one; ``name`` has the details. ``yx``: the key of the box says
    that its order is [y1, x1, y2, x2].
    """

    image: int | None
    numbers: tuple[float, ...]
    yx: bool = False
    name: Name | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """``failure`` is None if an answer was read; no boxes then means an explicit "none".

    ``noise`` names the first thing in the block that is not part of an answer, or None. ``unsafe`` says why the answer
    cannot serve as a truth: something in it was seen and not understood, or is missing. ``tolerated`` is the first
    thing that has one meaning and is not what any family writes: repaired JSON, an unusual key, full-width characters.
    ``json``: it was read as JSON; ``around`` is then the text before and after it, and ``doubtful`` a key that may or
    may not number an image.
    """

    boxes: tuple[RawBox, ...]
    failure: str | None = None
    noise: str | None = None
    unsafe: str | None = None
    tolerated: str | None = None
    json: bool = False
    around: tuple[str, str] = ("", "")
    doubtful: str | None = None


def image_of(name: Name | None) -> int | None:
    """The number for :attr:`RawBox.image`."""
    if name is None:
        return None
    return 0 if name.number == UNKNOWN else name.number
