"""What a reader gets and gives: the settings of an import, and what it makes of a row before any image file is opened.

Boxes are still numbers in the frame of the source, and paths are those of the row. ``mirg.data.importers.finish`` turns
a :class:`RawSample` into a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from mirg.data.importers.label_map import LabelMap
from mirg.samples import Relation, Role, Trajectory

# fraction: 0-1; relative_1000: 0-1000 per axis; pixels: of the original; resized_pixels: of what a model family sees.
FrameName = Literal["auto", "fraction", "relative_1000", "pixels", "resized_pixels"]

# How much of the image files is read: nothing; size; size and digest; every pixel and digest.
Look = Literal["none", "header", "hash", "decode"]

Negatives = Literal["auto", "keep", "drop"]
Exif = Literal["apply", "ignore"]


class ImportOptions(BaseModel):
    """Settings of one import; each reader uses what concerns it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str = Field(description="Folder that the rows' image paths are relative to.")
    strip: str = Field(default="", description="Beginning of the rows' paths to leave out: /data/raw/")
    frame: FrameName | None = Field(default=None, description="Frame of the boxes; None: that of the format.")
    family: str | None = Field(default=None, description="Model family whose resized pixels the boxes are in.")
    min_pixels: int | None = Field(default=None, ge=1, description="Fewest pixels of a resized image; None: default.")
    max_pixels: int | None = Field(default=None, ge=1, description="Most pixels of a resized image; None: default.")
    trainer: str = Field(default="", description="Trainer whose loader resized the images before the processor.")
    look: Look = "hash"
    # Boxes of photographs that EXIF rotates: apply, they are in the upright picture; ignore, in the stored pixels.
    # None: as apply, with a warning, unless the sizes of the row tell.
    exif: Exif | None = None
    columns: dict[str, str] = Field(default={}, description="Columns of hf, sharegpt and ms-swift: question=text")
    split: str = Field(default="train", description="Split of a datasets folder or hub dataset.")
    stride: int = Field(default=10, ge=1, description="Every how many frames of a video one is taken.")
    frames: int = Field(default=6, ge=2, le=64, description="Frames of one sample of a video.")
    labels: LabelMap | None = Field(default=None, description="Labels to rename, merge and drop.")
    meta: dict[str, str] = Field(default={}, description="Fields of the rows to keep, by their key: image_set=film")
    # Images without objects as samples without targets: if the file says that they were annotated (auto), every one
    # that it lists (keep), or none (drop).
    negatives: Negatives = "auto"
    image_index_from: Literal[0, 1] | None = None  # number of the first image in texts; None: found out over all rows
    stored: str = ""  # folder for images that a source holds as bytes; set by the import, which copies them


Numbers = tuple[float, float, float, float]


class RawBox(NamedTuple):
    """Four numbers in Image-{image}, in the frame of the source unless ``frame`` says another."""

    image: int
    numbers: Numbers
    label: str = ""
    frame: FrameName | None = None


class RawObject(NamedTuple):
    """Object-level annotation of one image."""

    label: str
    numbers: Numbers
    attributes: dict[str, Any] | None = None
    frame: FrameName | None = None  # None: the frame of the source


# The question that importers of annotations write about a label.
EVERY = "Point to every {}."

# A text with boxes in it: they become markup in fractions.
Text = tuple[str | RawBox, ...]


@dataclass(frozen=True, slots=True)
class RawImage:
    """One image of a row; ``path`` as the row has it, sizes if the source gives them."""

    path: str
    width: int = 0
    height: int = 0
    role: Role = "candidate"
    caption: str | None = None
    frame: int | None = None
    objects: tuple[RawObject, ...] = ()


@dataclass(frozen=True, slots=True)
class RawSample:
    """One question with its truth; fields as in :class:`mirg.samples.Sample`.

    ``thinking`` becomes a trajectory whose answer are the targets; ``trajectory`` is one that the source holds already.
    ``source`` is the kind of the import unless the row names another.
    """

    id: str
    task: str
    images: tuple[RawImage, ...]
    question: Text
    targets: tuple[RawBox, ...] = ()
    relation: Relation = "none"
    image_hidden: bool = False
    thinking: Text | None = None
    trajectory: Trajectory | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class Refusal(NamedTuple):
    """Why a row, or one question of it, is not used.

    ``counts`` is evidence of how the source numbers images: "0" if the row names image 0 and that was not expected,
    "1" if it names an image that exists only if images are counted from 1.
    """

    field: str
    reason: str
    hint: str = ""
    id: str | None = None
    counts: Literal["", "0", "1"] = ""


class Row(NamedTuple):
    """One unit of a source: ``value`` is what :attr:`Source.convert` gets; ``file`` and ``number`` are its place."""

    file: str
    number: int
    value: Any


Outcome = RawSample | Refusal


@dataclass(frozen=True, slots=True)
class Source:
    """A format: how its rows are read, and what becomes of one.

    ``read`` streams rows and raises DataError for a file of another format. ``convert`` is pure and gets only the
    row's value, so that rows can be converted in any process. ``frame``: the frame of its boxes, "auto" if the
    format leaves it open. ``stores``: it may hold images as bytes, which ``read`` writes below ``options.stored``.
    ``maps_labels``: ``read`` and ``convert`` apply ``options.labels`` themselves, since they make questions of labels.
    ``names_images``: its texts name images by numbers, so that the importer finds out what they count from.
    """

    kind: str
    about: str
    read: Callable[[Path, ImportOptions], Iterator[Row]]
    convert: Callable[[Any, ImportOptions], list[Outcome]]
    frame: FrameName
    stores: bool = False
    maps_labels: bool = False
    names_images: bool = False


def asks_for_every(
    name: str, image: RawImage, label: str, targets: Iterable[RawBox], meta: dict[str, Any] | None = None
) -> RawSample:
    """The sample that asks for all objects of ``label`` in an annotated image; ``targets`` are their boxes."""
    question = (EVERY.format(label),)
    return RawSample(name, "detection", (image,), question, tuple(targets), meta={"subject": label} | (meta or {}))
