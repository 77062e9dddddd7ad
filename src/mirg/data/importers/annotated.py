"""Samples out of annotated single images, as annotation tools give them: objects with labels and boxes.

One sample per image asks for all objects of one label; every object is kept as annotation for ``mirg data compose``. An
object that cannot be used makes the image incomplete: its label is not asked for, and ``meta["incomplete"]`` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from mirg.data.importers.coco_file import CROWD_KEYS, IGNORE_KEYS, flag
from mirg.data.importers.label_map import LabelMap
from mirg.data.importers.raw import (
    ImportOptions,
    Outcome,
    RawBox,
    RawImage,
    RawObject,
    RawSample,
    Refusal,
    asks_for_every,
)
from mirg.data.importers.rows import chosen, is_writable
from mirg.samples.coverage import (
    ANNOTATED,
    CROWD,
    IGNORE,
    REFUSED_BOX,
    REGION_NAMES,
    coverage_meta,
    label_key,
    vocabulary_name,
)

EMPTY = (
    "a photograph without boxes; the file lists images whether or not somebody annotated them; "
    "if all were annotated for all labels, --negatives keep takes those without boxes as images that hold no object"
)
_EDGE = 1e-3  # of the image, by which a rounded box may leave it
_NUMBER = re.compile(r"[-+]?\d{1,7}(?:\.\d*)?(?:e[-+]?\d{1,2})?", re.IGNORECASE | re.ASCII)
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


def inside(numbers: Iterable[float]) -> tuple[float, ...]:
    """Fractions that leave the image only by rounding, set onto its edge."""
    return tuple(0.0 if -_EDGE <= v < 0 else 1.0 if 1 < v <= 1 + _EDGE else v for v in numbers)


def boxed(label: str, numbers: Iterable[float], attributes: dict[str, Any] | None = None) -> RawObject | Unusable:
    """The object in the box [x1, y1, x2, y2], unless the box has no area."""
    x1, y1, x2, y2 = numbers
    if x2 <= x1 or y2 <= y1:
        return Unusable(label, f"object without area: {label!r}")
    return RawObject(label, (x1, y1, x2, y2), attributes)


def around(label: str, points: Iterable[Sequence[float]], attributes: dict[str, Any]) -> RawObject | Unusable:
    """The object of a polygon, by the box around its points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return boxed(label, (min(xs), min(ys), max(xs), max(ys)), attributes)


def corners_in(label: str, words: Sequence[str]) -> list[float] | Unusable:
    """The numbers in the texts of an XML file."""
    if all(map(is_decimal, words)):
        return [float(word) for word in words]
    return Unusable(label, f"object with corners that are not numbers: {label!r}, {', '.join(words)[:60]}")


def is_decimal(text: str) -> bool:
    """Whether a text is a number that may be a coordinate or an angle."""
    return _NUMBER.fullmatch(text) is not None


def turned(label: str, angle: str) -> Unusable | None:
    """A rotated object cannot be used, since its box is another one than the upright box around it."""
    if is_decimal(angle) and float(angle) % 360 == 0:
        return None
    return Unusable(label, f"object is rotated: {label!r}, {angle[:20]} degrees", "draw it upright")


def convert(value: Annotated | Refusal, options: ImportOptions) -> list[Outcome]:
    """The sample of an image, and a refusal for each object that cannot be used; only refusals if nothing is left.

    The label map is applied first. An image without objects that was annotated asks for a label, and has no targets.
    """
    if isinstance(value, Refusal):
        return [value]
    image = _mapped(value, options.labels) if options.labels else value
    bad = [thing for thing in image.objects if isinstance(thing, Unusable)]
    # The same box twice is one object.
    things = {(thing.label, thing.numbers): thing for thing in image.objects if isinstance(thing, RawObject)}
    good = tuple(_marked(thing) for thing in things.values())
    # Regions that are not single objects (mirg.samples.coverage).
    regions = {label_key(t.label) for t in good if t.attributes and not {CROWD, IGNORE}.isdisjoint(t.attributes)}
    refused: list[Outcome] = [Refusal("objects", thing.reason, thing.hint, image.name) for thing in bad]
    known = all(thing.label.strip() and is_writable(thing.label) for thing in good)
    if not known or any(not thing.label for thing in bad):
        reason = "object of unknown label in the image: nothing can be asked for"
        return [*refused, Refusal("objects", reason, _HINT, image.name)]
    if regions & REGION_NAMES:
        reason = "region that nobody annotated in the image: objects of every label may be missing there"
        return [*refused, Refusal("objects", reason, "remove the region, or cut it out of the image", image.name)]
    open_keys = {label_key(thing.label) for thing in bad} | regions
    usable = sorted({thing.label for thing in good if label_key(thing.label) not in open_keys})
    if not image.objects and (image.annotated or options.negatives == "keep"):
        usable = sorted(set(image.labels))
    if usable:
        return [*refused, _sample(image, good, usable)]
    if refused:
        return refused
    if regions:
        reason = "every object is a crowd or an ignored region: nothing can be asked for"
        return [Refusal("objects", reason, "", image.name)]
    if image.objects or image.annotated:
        reason = "no object, and the file names no label for which the image was annotated"
        return [Refusal("objects", reason, "import it in one file with images that have objects", image.name)]
    return [Refusal("objects", "no object, and nothing says that it was annotated", EMPTY, image.name)]


def _marked(thing: RawObject) -> RawObject:
    """``thing``, marked as a region if its label says that nobody annotated there, or an attribute says so in words."""
    attributes = thing.attributes or {}
    told = {CROWD: 1} if any(flag(attributes.get(key)) for key in CROWD_KEYS) else {}
    told |= {IGNORE: 1} if any(flag(attributes.get(key)) for key in IGNORE_KEYS) else {}
    told |= {IGNORE: 1} if label_key(thing.label) in REGION_NAMES else {}
    rest = {key: value for key, value in attributes.items() if key not in (*CROWD_KEYS, *IGNORE_KEYS)}
    return thing._replace(attributes={**rest, **told}) if rest or told else thing._replace(attributes=None)


def _mapped(image: Annotated, labels: LabelMap) -> Annotated:
    """``image`` with the labels of the map. If all of its objects are dropped, somebody annotated it nevertheless."""
    objects: list[RawObject | Unusable] = []
    for thing in image.objects:
        label = thing.label if label_key(thing.label) in REGION_NAMES else labels.of(thing.label)
        if label is not None:
            objects.append(thing._replace(label=label))
    known = {label for label in map(labels.of, image.labels) if label}
    return replace(image, objects=objects, labels=sorted(known), annotated=image.annotated or bool(image.objects))


def _sample(image: Annotated, things: tuple[RawObject, ...], labels: list[str]) -> RawSample:
    asked = chosen(labels, image.path)
    key = label_key(asked)
    incomplete = [REFUSED_BOX] if any(isinstance(thing, Unusable) for thing in image.objects) else []
    known = vocabulary_name(image.labels) if image.labels else ""
    meta: dict[str, Any] = {**image.meta, **coverage_meta(incomplete, None, known)}
    if not image.objects:
        meta[ANNOTATED] = True
    if image.film:
        meta["image_set"] = image.film
    shown = RawImage(image.path, image.width, image.height, frame=image.frame, objects=things)
    targets = (RawBox(1, thing.numbers, asked) for thing in things if label_key(thing.label) == key)
    return asks_for_every(image.name, shown, asked, targets, meta)
