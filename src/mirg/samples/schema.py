"""The schema of one sample: several images, a question, and the truth (``docs/concepts/samples.md``).

Conventions held everywhere in mirg:

* a box is ``(x1, y1, x2, y2)`` in FRACTIONS of the original image (after EXIF rotation), ``0 <= x1 < x2 <= 1``;
* ``image`` is the number N of ``Image-N`` as the model reads and writes it, so it counts from 1;
* a box inside a text (question, thinking) is markup, ``<box image=2>0.1,0.2,0.3,0.4</box>``, also in fractions.
  It becomes numbers in the frame of a model family only when a prompt or a completion is written (``mirg.answers``).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from mirg.errors import DataError
from mirg.geometry import Box, box_problem

SCHEMA_VERSION = "mirg.samples/1"
# Key of ``meta`` if EXIF rotates images of the sample: in which picture its boxes were drawn ("apply": the upright one,
# "ignore": the stored one), or a list with that for each image. The boxes of a sample are in the upright picture.
EXIF_META = "exif"
# Key of ``meta`` in the records of exported rows: {"family", "min_pixels", "max_pixels"}, the model family whose
# answers a reward reads and the pixel limits of its processor.
ANSWER_FRAME_META = "answer_frame"

Role = Literal["reference", "source", "candidate", "distractor", "frame"]
Relation = Literal[
    "same_object", "changed_object", "same_category", "part_of", "before_after", "corresponds_to", "none"
]


def _checked_box(box: Box) -> Box:
    if problem := box_problem(box):
        raise ValueError(f"box {tuple(box)} is {problem}: fractions with 0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1 expected")
    return box


FractionBox = Annotated[Box, AfterValidator(_checked_box)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ObjectNote(_Model):
    """Object-level annotation: one object of one image."""

    label: str
    box: FractionBox
    attributes: dict[str, JsonValue] = Field(default_factory=dict)


class ImageRef(_Model):
    """One image of a sample, with its image-level annotation.

    ``path`` is relative to the dataset folder, or to another folder that its card declares: ``@NAME/file.jpg``.
    ``width`` and ``height`` are pixels of the original after EXIF rotation; both are left out where nobody has looked
    at the file yet, and filled in when rows are read with ``images="header"`` or more.
    """

    path: str
    width: int = Field(default=0, ge=0)
    height: int = Field(default=0, ge=0)
    sha256: str | None = None
    role: Role = "candidate"
    caption: str | None = None
    frame: int | None = None
    objects: tuple[ObjectNote, ...] = ()

    @model_validator(mode="after")
    def _both_sides(self) -> ImageRef:
        if (self.width == 0) != (self.height == 0):
            raise ValueError("width and height come together, or not at all")
        return self

    @property
    def measured(self) -> bool:
        """Whether the row says how large the image is."""
        return self.width > 0 and self.height > 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the original image. DataError if the row does not say."""
        if not self.measured:
            raise DataError(
                f"the size of image {self.path} is not known: it was imported without a look at the files",
                hint="mirg data filter DATASET OUT --look header writes the sizes",
            )
        return (self.width, self.height)


class Target(_Model):
    """One thing the answer must point at: ``box`` in the image that the model knows as ``Image-{image}``."""

    image: int = Field(ge=1)
    box: FractionBox
    label: str = ""


class Trajectory(_Model):
    """A reasoning chain and its answer, who wrote it, and which checks it passed.

    ``thinking`` holds box markup, so one trajectory serves every model family.
    """

    thinking: str
    answer: tuple[Target, ...]
    writer: str
    checks: tuple[str, ...] = ()
    meta: dict[str, JsonValue] = Field(default_factory=dict)


class Sample(_Model):
    """Several images, a question, and the truth: any number of targets in any images, or none."""

    id: str = Field(min_length=1)
    task: str = Field(min_length=1)
    images: tuple[ImageRef, ...] = Field(min_length=1)
    question: str = Field(min_length=1)
    targets: tuple[Target, ...] = ()
    relation: Relation = "none"
    image_hidden: bool = Field(
        default=False, description="True where the question does not say which image holds the answer."
    )
    source: str = "unknown"
    trajectory: Trajectory | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _targets_point_at_images(self) -> Sample:
        count = len(self.images)
        answer = self.trajectory.answer if self.trajectory else ()
        for where, targets in (("targets", self.targets), ("trajectory", answer)):
            for target in targets:
                if target.image > count:
                    raise ValueError(f"{where}: Image-{target.image} does not exist, the sample has {count} images")
        return self

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of every image, in pixels of the originals."""
        return [image.size for image in self.images]

    @property
    def target_images(self) -> frozenset[int]:
        """The set of image numbers (from 1) that hold a target; empty where the answer is ``none``."""
        return frozenset([target.image for target in self.targets])

    @property
    def image_set(self) -> str:
        """A key shared by samples about the same images in any order: the unit of resampling in evaluation.

        ``meta["image_set"]`` where a dataset names it (crops of one photograph are other files, and no independent
        images), else a digest of the images.
        """
        named = self.meta.get("image_set")
        if isinstance(named, str) and named:
            return named
        keys = sorted([image.sha256 or image.path for image in self.images])
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
