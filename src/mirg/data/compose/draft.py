"""A sample before its images are stored, and the reason why one is not made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mirg.geometry import Box
from mirg.samples import ObjectNote, Relation, Role, Target

if TYPE_CHECKING:
    from PIL import Image


class Drop(Exception):
    """A draft that is not produced; the message is the reason it is counted under."""


@dataclass(frozen=True)
class Shown:
    """One image of a draft. ``pixels`` is None where the image of the pool is shown as it is.

    ``origin`` is the pool index of the image, ``also`` the one of what was pasted into it.
    """

    origin: int
    role: Role
    notes: tuple[ObjectNote, ...]
    pixels: Image.Image | None = None
    frame: int | None = None
    also: int | None = None


@dataclass(frozen=True)
class Draft:
    """What a task returns. ``kind`` and ``slots`` choose and fill the question (``questions.py``)."""

    task: str
    images: tuple[Shown, ...]
    kind: str
    subject: str
    targets: tuple[Target, ...]
    relation: Relation
    image_hidden: bool
    choices: int
    slots: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def sources(self) -> list[int]:
        """The pool indices of all images that it was made of, each once, in the order of the images."""
        return list(dict.fromkeys(i for shown in self.images for i in (shown.origin, shown.also) if i is not None))


def target(number: int, box: Box, label: str) -> Target:
    """A target in ``Image-{number}``."""
    return Target(image=number, box=box, label=label)
