"""Samples that a file holds whole, as JSON: the column ``record`` and its like in what ``mirg data export`` writes."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from mirg.answers.markup import markup_problem, replaced
from mirg.data.importers.raw import RawBox, RawImage, RawObject, RawSample, Text
from mirg.data.importers.rows import Refused
from mirg.errors import first_problem
from mirg.geometry import Box
from mirg.samples import ImageRef, Sample

_MARK = "\0"  # in the place of a box while a text is taken apart


def is_record(value: Any) -> bool:
    """Whether ``value`` is a text that begins like the JSON of a sample."""
    return isinstance(value, str) and value.startswith('{"id":') and '"images":' in value


def recorded(record: str, paths: tuple[str, ...], field: str = "record") -> RawSample:
    """The sample that ``record`` holds, about the images ``paths``; its boxes are fractions.

    The sizes of the record are those of the images that a trainer gives the processor, so they are not used. Refused if
    the record is not a sample, or is about another number of images.
    """
    try:
        sample = Sample.model_validate_json(record)
    except ValidationError as error:
        where, reason = first_problem(error)
        raise Refused(field, f"is not a sample of mirg: {where}: {reason}") from error
    if len(sample.images) != len(paths):
        raise Refused(field, f"is about {len(sample.images)} images, the row has {len(paths)}")
    told = sample.trajectory
    problem = markup_problem(told.thinking, len(paths)) if told else None
    if problem:
        raise Refused(field, f"its reasoning cannot be used: {problem}")
    return RawSample(
        id=sample.id,
        task=sample.task,
        images=tuple(_image(ref, path) for ref, path in zip(sample.images, paths, strict=True)),
        question=_text(sample.question, field),
        targets=tuple(RawBox(t.image, t.box, t.label, "fraction") for t in sample.targets),
        relation=sample.relation,
        image_hidden=sample.image_hidden,
        trajectory=told,
        source=sample.source,
        meta=sample.meta,
    )


def _image(ref: ImageRef, path: str) -> RawImage:
    objects = tuple(RawObject(note.label, note.box, note.attributes, "fraction") for note in ref.objects)
    return RawImage(path, role=ref.role, caption=ref.caption, frame=ref.frame, objects=objects)


def _text(text: str, field: str) -> Text:
    """``text`` with its markup as boxes."""
    boxes: list[RawBox] = []

    def taken_out(image: int, box: Box) -> str:
        boxes.append(RawBox(image, box, frame="fraction"))
        return _MARK

    first, *rest = replaced(text, taken_out).split(_MARK)
    if len(rest) != len(boxes):
        raise Refused(field, "its question holds a null character")
    parts: list[str | RawBox] = [first]
    for box, words in zip(boxes, rest, strict=True):
        parts += [box, words]
    return tuple(parts)
