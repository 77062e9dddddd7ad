"""What a reader makes of a row, before anything is known about its image files.

Boxes are still numbers in the frame of the source, paths still those of the row. ``mirg.data.importers.finish`` turns a
:class:`RawSample` into a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mirg.data.importers.frames import FrameName
from mirg.data.importers.options import ImportOptions
from mirg.samples import Relation, Role, Trajectory

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


# A text with boxes in it: they become markup in fractions.
Text = tuple[str | RawBox, ...]


@dataclass(frozen=True, slots=True)
class RawImage:
    """One image of a row; ``path`` as the row has it, sizes where the source tells them."""

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
    """One unit of a source: ``value`` is what :attr:`Source.convert` gets; ``file`` and ``number`` say where it was."""

    file: str
    number: int
    value: Any


Outcome = RawSample | Refusal


@dataclass(frozen=True, slots=True)
class Source:
    """A format: how its rows are read, and what becomes of one.

    ``read`` streams rows and raises DataError for a file that is none of this kind. ``convert`` is pure and gets the
    row's value alone, so that rows can be converted anywhere. ``frame``: the frame of its boxes, "auto" where the
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
