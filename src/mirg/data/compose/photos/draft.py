"""A sample before its images are stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mirg.geometry import Box
from mirg.samples import ObjectNote, Relation, Role, Target

if TYPE_CHECKING:
    from PIL import Image

LABEL = "patch"  # what is looked for in photographs that nobody annotated
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class DraftImage:
    """One image with its annotation; ``photo`` is the pool index of the photograph it comes from."""

    image: Image.Image
    photo: int
    role: Role
    boxes: tuple[Box, ...] = ()  # of patches, fractions

    @property
    def objects(self) -> tuple[ObjectNote, ...]:
        """The patches as object-level annotation."""
        return tuple(ObjectNote(label=LABEL, box=box) for box in self.boxes)


@dataclass(frozen=True)
class Draft:
    """What a task returns; ``target`` points at one patch of ``images``."""

    task: str
    images: tuple[DraftImage, ...]
    question: str
    target: Target
    relation: Relation
    image_hidden: bool
    meta: dict[str, JsonValue] = field(default_factory=dict)
