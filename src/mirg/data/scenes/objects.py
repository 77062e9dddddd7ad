"""The shapes, colours and textures of the procedural world, and the objects that combine them.

A name is ``"<colour> <shape>"`` ("red ring"), the only thing that questions and answers say about an object. The
texture changes the pixels but not the name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from mirg.errors import DataError
from mirg.geometry import Box

RGB = tuple[int, int, int]
ShapeSet = Literal["basic", "all"]
Pairs = Literal["all", "seen", "held_out"]

# The basic shapes. Width : height of the drawn shape; the box of an object keeps it up to a small jitter.
SHAPES: dict[str, float] = {
    "circle": 1.0,
    "square": 1.0,
    "triangle": 1.1,
    "ring": 1.0,
    "cross": 1.0,
    "star": 1.05,
    "diamond": 0.66,
    "heart": 1.05,
    "arrow": 1.35,
    "moon": 0.72,
}
# All shapes: the order decides which pairs are held out, so new ones go to the end.
ALL_SHAPES: dict[str, float] = SHAPES | {
    "hourglass": 0.8,
    "frame": 1.0,
    "arch": 1.0,
    "bolt": 0.62,
    "tee": 1.0,
    "ell": 0.75,
}

COLOURS: dict[str, RGB] = {
    "red": (214, 32, 38),
    "orange": (247, 138, 14),
    "yellow": (246, 222, 36),
    "green": (34, 150, 56),
    "cyan": (48, 204, 214),
    "blue": (36, 72, 206),
    "purple": (128, 44, 168),
    "pink": (250, 138, 190),
}

TEXTURES: tuple[str, ...] = ("plain", "striped", "dotted")

# In degrees, and so small that a tilted square is not mistaken for a diamond.
TILTS: tuple[int, ...] = (-10, 0, 10)

NAMES: tuple[str, ...] = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
ALL_NAMES: tuple[str, ...] = tuple(f"{colour} {shape}" for colour in COLOURS for shape in ALL_SHAPES)

# Shape number k is held out in colour number 3 k (mod 8): every shape is seen in 7 of 8 colours, every colour in all
# but two shapes. Models were trained with these pairs, so those of an existing shape must never change.
HELD_OUT: frozenset[str] = frozenset(
    f"{list(COLOURS)[3 * k % len(COLOURS)]} {shape}" for k, shape in enumerate(ALL_SHAPES)
)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene; ``box`` is the tight drawn extent in fractions of the image."""

    colour: str
    shape: str
    box: Box
    texture: str = "plain"
    tilt: int = 0

    @property
    def name(self) -> str:
        """What a question calls the object, e.g. ``"red ring"``."""
        return f"{self.colour} {self.shape}"


def split_name(name: str) -> tuple[str, str]:
    """``"red ring"`` as ``("red", "ring")``; DataError if the world has no such object."""
    colour, _, shape = name.partition(" ")
    if colour not in COLOURS or shape not in ALL_SHAPES:
        raise DataError(f"{name!r} is no object of the procedural world", hint="a colour and a shape, e.g. 'red ring'")
    return colour, shape


@cache
def names_of(shapes: ShapeSet = "basic", pairs: Pairs = "all") -> tuple[str, ...]:
    """The names of a world, colour by colour: with ``pairs`` "seen" without :data:`HELD_OUT`, "held_out" only those."""
    names = NAMES if shapes == "basic" else ALL_NAMES
    if pairs == "all":
        return names
    return tuple(name for name in names if (name in HELD_OUT) == (pairs == "held_out"))


def similar_names(name: str, names: Sequence[str] = NAMES) -> list[str]:
    """Those of ``names`` that share the colour or the shape of ``name``, but not both."""
    colour, shape = split_name(name)
    others = [other for other in names if other != name]
    same_colour = [other for other in others if other.startswith(f"{colour} ")]
    return same_colour + [other for other in others if other.endswith(f" {shape}")]
