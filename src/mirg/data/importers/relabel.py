"""What the options change in the samples of a reader: fields kept in ``Sample.meta``, the label map, negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mirg.data.importers.label_map import LabelMap
from mirg.data.importers.raw import EVERY, ImportOptions, Numbers, RawBox, RawObject, RawSample
from mirg.data.importers.rows import Refused, chosen, is_number, short, text_of
from mirg.errors import ConfigError
from mirg.geometry import iou_matrix
from mirg.samples.labels import LabelCounts

IMAGE_SET = "image_set"
# Keys of ``meta`` that importers write and other stages read.
_RESERVED = {"subject", "annotated", "incomplete", "categories", "vocabulary", "index", "either_image", "exif"}


def parse_fields(text: str) -> dict[str, str]:
    """``scene,image_set=film`` as key of ``meta`` -> field of the row. ConfigError for a key that has a meaning.

    >>> parse_fields("scene, image_set=film")
    {'scene': 'scene', 'image_set': 'film'}
    """
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, equals, field = (piece.strip() for piece in part.partition("="))
        field = field if equals else name
        if not name or not field or name in found:
            raise ConfigError(f"--meta {text}: {part!r} is not a field", hint="FIELD or KEY=FIELD, with commas")
        if name in _RESERVED:
            raise ConfigError(f"--meta {text}: meta.{name} has a meaning already", hint=f"rename it: my_{name}={field}")
        found[name] = field
    return found


def with_fields(raw: RawSample, value: Any, wanted: Mapping[str, str], met: set[str]) -> RawSample:
    """``raw`` with the fields of its row, or of the row's image entry; ``met`` gets the fields that are there.

    Refused if a field holds no text, number or truth value, or if the importer wrote another value under its key.
    """
    row = value if isinstance(value, Mapping) else {}
    entry = row.get("image")
    entry = entry if isinstance(entry, Mapping) else {}
    meta = dict(raw.meta)
    for name, column in wanted.items():
        found = row.get(column, entry.get(column))
        if found is None:
            continue
        if not (isinstance(found, str | bool) or is_number(found)):
            raise Refused(column, f"holds no text or number: {short(found)}", "--meta keeps plain values")
        met.add(column)
        found = text_of(found, column) if isinstance(found, str) else found
        if name != IMAGE_SET and meta.get(name, found) != found:
            reason = f"would replace meta.{name}: {short(meta[name])}"
            raise Refused(column, reason, f"rename it: --meta my_{name}={column}")
        meta[name] = str(found) if name == IMAGE_SET else found
    return replace(raw, meta=meta)


TWICE = 0.9  # IoU from which two boxes of one label are probably one object that was annotated under two labels


@dataclass
class Noted:
    """What one row says of labels."""

    labels: Counter[str] = field(default_factory=Counter)  # how often each is used
    met: frozenset[str] = frozenset()  # old labels of the map that it has
    overlapping: int = 0  # pairs of boxes of one label that are probably one object
    negatives: int = 0  # samples without targets of images that were annotated
    fields: set[str] = field(default_factory=set)  # fields to keep (``--meta``) that it has

    def add(self, raw: RawSample) -> None:
        """Count the labels of the objects of ``raw``, or of its targets if it has no objects."""
        things = [thing.label for image in raw.images for thing in image.objects] or [box.label for box in raw.targets]
        self.labels.update(filter(None, things))
        self.negatives += is_negative(raw)


@dataclass
class LabelReport:
    """What all rows of an import say of labels."""

    counts: LabelCounts = field(default_factory=LabelCounts)
    met: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    overlapping: int = 0

    def take(self, row: int, noted: Noted) -> None:
        """Add what row number ``row`` says."""
        for label, count in noted.labels.items():
            self.counts.add(label, row, count)
        self.met |= noted.met
        self.fields |= noted.fields
        self.overlapping += noted.overlapping

    def warnings(self, options: ImportOptions) -> list[str]:
        """Fields and labels that the source does not have, labels that seem to be one, and boxes that do."""
        missing = sorted(set(options.meta.values()) - self.fields)
        found = [f"no row has the field {name!r}, which --meta keeps" for name in missing]
        if options.labels:
            found += options.labels.unknown(self.met | options.labels.take_met(), self.counts.uses)
        found += [f"{spellings}; --labels MAP merges labels" for spellings in self.counts.spellings()]
        if self.overlapping:
            found.append(
                f"boxes of one label that overlap by {100 * TWICE:.0f} % or more: {self.overlapping:,} pairs; an "
                "object may have a box for each of two labels that the map merges"
            )
        return found


def is_negative(raw: RawSample) -> bool:
    """Whether the images of ``raw`` were annotated and hold no object that the question is about."""
    return raw.meta.get("annotated") is True and not raw.targets


def checked(raw: RawSample, value: Any, options: ImportOptions, noted: Noted, *, mapped: bool) -> RawSample:
    """``raw`` as the options want it: with fields of its row (``value``), labels mapped unless they are.

    Refused if it is a negative that is not wanted, or its question asks for a label that is dropped. With a label map,
    equal boxes are kept once.
    """
    if options.negatives == "drop" and is_negative(raw):
        raise Refused("objects", "annotated image without objects is left out by --negatives drop")
    if options.meta:
        raw = with_fields(raw, value, options.meta, noted.fields)
    if options.labels is None:
        return raw
    raw, overlapping = merged(raw if mapped else relabelled(raw, options.labels))
    noted.overlapping += overlapping
    return raw


def relabelled(raw: RawSample, labels: LabelMap) -> RawSample:
    """``raw`` with its objects and targets renamed. Refused if a target is dropped: the question asks for it.

    For formats whose questions are texts of the file, or ask for every object of a label. Other formats map labels
    before they write questions, and set :attr:`mirg.data.importers.raw.Source.maps_labels`.
    """
    images = []
    for image in raw.images:
        named = [(thing, labels.of(thing.label)) for thing in image.objects]
        kept = tuple(thing._replace(label=label) for thing, label in named if label is not None)
        images.append(replace(image, objects=kept))
    raw = replace(raw, images=tuple(images))
    if len(images) == 1 and raw.question == (EVERY.format(raw.meta.get("subject")),):
        return _asked_again(raw, labels)
    targets: list[RawBox] = []
    for k, box in enumerate(raw.targets):
        label = labels.of(box.label)
        if label is None:
            reason = f"the label of a target is dropped by the label map: {box.label!r}"
            raise Refused(f"targets.{k}", reason, "the question asks for it, so the row cannot be used")
        targets.append(box._replace(label=label))
    return replace(raw, targets=tuple(targets))


def _asked_again(raw: RawSample, labels: LabelMap) -> RawSample:
    """``raw``, which asks for every object of a label and whose objects are mapped, with a new question and targets."""
    things = raw.images[0].objects
    names = sorted({thing.label for thing in things})
    asked = labels.of(raw.meta["subject"])
    if not names:
        raise Refused("objects", "every object is dropped by the label map")
    if asked not in names:
        asked = chosen(names, raw.id)
    frame = raw.targets[0].frame if raw.targets else None
    return replace(
        raw,
        question=(EVERY.format(asked),),
        targets=tuple(RawBox(1, thing.numbers, asked, frame) for thing in things if thing.label == asked),
        meta=raw.meta | {"subject": asked},
    )


def merged(raw: RawSample) -> tuple[RawSample, int]:
    """``raw`` with equal boxes of one label once, and the number of pairs that are left and overlap by :data:`TWICE`.

    After two labels became one, an object that had a box for each of them would be asked for twice.
    """
    images = tuple(replace(image, objects=_once(image.objects)) for image in raw.images)
    rounded = {(box.image, box.label, box.frame, *(round(v, 6) for v in box.numbers)): box for box in raw.targets[::-1]}
    targets = tuple(reversed(rounded.values()))
    places: dict[tuple[int, str], list[Numbers]] = {}
    things = [(number, thing) for number, image in enumerate(images, 1) for thing in image.objects]
    for number, thing in things or [(box.image, box) for box in targets]:
        places.setdefault((number, thing.label), []).append(thing.numbers)
    pairs = (iou_matrix(boxes, boxes) for boxes in places.values() if len(boxes) > 1)
    overlapping = sum(int(np.triu(ious_NN >= TWICE, k=1).sum()) for ious_NN in pairs)
    return replace(raw, images=images, targets=targets), overlapping


def _once(things: Iterable[RawObject]) -> tuple[RawObject, ...]:
    found: dict[tuple[str, tuple[float, ...]], RawObject] = {}
    for thing in things:
        key = (thing.label, tuple(round(v, 6) for v in thing.numbers))
        first = found.setdefault(key, thing)
        if first is not thing:
            found[key] = first._replace(attributes=_joined(first.attributes or {}, thing.attributes or {}))
    return tuple(found.values())


def _joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Attributes of both; a flag that one of them sets is set, any other contradiction is left out."""
    same = {key: value for key, value in {**b, **a}.items() if a.get(key, value) == b.get(key, value)}
    flags = {key for key in a.keys() & b.keys() if all(value in (0, 1) for value in (a[key], b[key]))}
    return same | dict.fromkeys(flags - same.keys(), True)
