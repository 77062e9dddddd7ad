"""Samples out of annotated single images, as annotation tools give them: objects with labels and boxes.

One sample per image asks for all objects of one label; every object is kept as annotation for ``mirg data compose``. An
object that cannot be used makes the image incomplete: its label is not asked for, and ``meta["incomplete"]`` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mirg.sources.options import ImportOptions
from mirg.sources.raw import Outcome, RawBox, RawImage, RawObject, RawSample, Refusal

_HINT = "correct the object in the tool, and export again"


class Unusable(NamedTuple):
    """An object without a box that could be used: ``label`` is empty if it is not known."""

    label: str
    reason: str
    hint: str = _HINT


@dataclass(frozen=True, slots=True)
class Annotated:
    """What a tool says of one image: ``path`` below the root, (width, height) in pixels or zeros, its objects.

    ``labels``: what the whole file, and so this image, was annotated for. ``annotated`` is true if the file says that
    somebody annotated the image even if it has no objects. ``film`` and ``frame`` place a frame in its film; ``meta``
    goes to the sample.
    """

    name: str
    path: str
    width: int = 0
    height: int = 0
    objects: Sequence[RawObject | Unusable] = ()
    labels: Sequence[str] = ()
    annotated: bool = False
    film: str = ""
    frame: int | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def outcomes(image: Annotated, options: ImportOptions) -> list[Outcome]:
    """The sample of an image, and a refusal for each object that cannot be used; only refusals if nothing is left."""
    bad = [thing for thing in image.objects if isinstance(thing, Unusable)]
    # The same box twice is one object.
    things = {(thing.label, thing.numbers): thing for thing in image.objects if isinstance(thing, RawObject)}
    good = tuple(things.values())
    refused: list[Outcome] = [Refusal("objects", thing.reason, thing.hint, image.name) for thing in bad]
    if any(not thing.label for thing in bad) or not all(_writable(thing.label) for thing in good):
        reason = "object of unknown label in the image: nothing can be asked for"
        return [*refused, Refusal("objects", reason, _HINT, image.name)]
    open_keys = {_key(thing.label) for thing in bad}
    usable = sorted({thing.label for thing in good if _key(thing.label) not in open_keys})
    if not image.objects and image.annotated:
        usable = sorted(set(image.labels))
    if not usable and not refused:
        found = image.objects or image.annotated
        reason = "no object that could be asked for" if found else "no object, and nothing says that it was annotated"
        return [Refusal("objects", reason, "", image.name)]
    return [*refused, _sample(image, good, usable)] if usable else refused


def _key(label: str) -> str:
    """A label in lower case with single spaces: "Dog" and "dog" are one label."""
    return " ".join(label.casefold().split())


def _writable(label: str) -> bool:
    """Whether a label is a text that can be asked for: not blank, and no half of a surrogate pair."""
    return bool(label.strip()) and not any("\ud800" <= letter <= "\udfff" for letter in label)


def vocabulary(labels: Iterable[str]) -> str:
    """A name that two files share if their images are annotated for the same labels, in upper or lower case."""
    keys = sorted(map(_key, set(labels)))
    return hashlib.sha256("\n".join(keys).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _sample(image: Annotated, things: tuple[RawObject, ...], labels: list[str]) -> RawSample:
    asked = labels[int(hashlib.sha256(image.path.encode()).hexdigest(), 16) % len(labels)]
    meta: dict[str, Any] = {"subject": asked, **image.meta}
    if any(isinstance(thing, Unusable) for thing in image.objects):
        meta["incomplete"] = ["refused_box"]
    if image.labels:
        meta["vocabulary"] = vocabulary(image.labels)
    if not image.objects:
        meta["annotated"] = True
    if image.film:
        meta["image_set"] = image.film
    return RawSample(
        id=image.name,
        task="detection",
        images=(RawImage(image.path, image.width, image.height, frame=image.frame, objects=things),),
        question=(f"Point to every {asked}.",),
        targets=tuple(RawBox(1, thing.numbers, asked) for thing in things if _key(thing.label) == _key(asked)),
        meta=meta,
    )
