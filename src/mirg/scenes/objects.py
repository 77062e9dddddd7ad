"""What the procedural world is made of: shapes, colours, textures, and the objects that combine them.

A name is ``"<colour> <shape>"`` ("red ring"): questions and answers know nothing else about an object. The texture is
a nuisance: it changes the pixels and never the name.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirg.errors import DataError
from mirg.geometry import Box

RGB = tuple[int, int, int]

# Width : height of the drawn shape; the box of an object keeps it up to a small jitter.
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

# Degrees: small enough that a tilted square is never taken for a diamond.
TILTS: tuple[int, ...] = (-10, 0, 10)

NAMES: tuple[str, ...] = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


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
    """``"red ring"`` as ``("red", "ring")``; DataError where the world has no such object."""
    colour, _, shape = name.partition(" ")
    if colour not in COLOURS or shape not in SHAPES:
        raise DataError(f"{name!r} is no object of the procedural world", hint="a colour and a shape, e.g. 'red ring'")
    return colour, shape


def similar_names(name: str) -> list[str]:
    """The names that share the colour or the shape of ``name``, but not both."""
    colour, shape = split_name(name)
    return [f"{colour} {other}" for other in SHAPES if other != shape] + [
        f"{other} {shape}" for other in COLOURS if other != colour
    ]
