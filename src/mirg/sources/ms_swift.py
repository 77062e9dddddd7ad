"""ms-swift's grounding rows: ``messages``, ``images`` and ``objects``, whose boxes fill the ``<bbox>`` of the messages.

``objects`` holds ``ref`` (names, in the order of ``<ref-object>``), ``bbox`` ([x1, y1, x2, y2], in the order of
``<bbox>``), ``bbox_type`` ("real": pixels, the default; "norm1"; "norm1000"), ``image_id`` (from 0, one per box; 0
where it is not given), ``width`` and ``height`` (pixels, one per image).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mirg.sources.answered import is_hidden
from mirg.sources.conversations import Conversation, Turn, conversation
from mirg.sources.frames import FrameName
from mirg.sources.options import ImportOptions
from mirg.sources.raw import Outcome, RawBox, RawImage, RawSample, Row, Source, Text
from mirg.sources.rows import Refused, box_of, each, mapping, name_or, short, text_of, whole
from mirg.sources.stream import read_rows

_FRAMES: dict[str, FrameName] = {"real": "pixels", "norm1": "fraction", "norm1000": "relative_1000"}
_SLOT = re.compile(r"<ref-object>|<bbox>")
_REF, _BOX = "<ref-object>", "<bbox>"
_HINT = "see the custom dataset format of ms-swift"


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The rows of JSON lines or of a JSON list; DataError where it is neither."""
    for number, value in read_rows(path):
        yield Row(path.name, number, value)


class _Objects(NamedTuple):
    refs: list[str]
    boxes: list[RawBox]
    sizes: list[tuple[int, int]]  # (width, height) in pixels of every image, 0 where not told


class _Said(NamedTuple):
    """A turn with its slots filled; labels of boxes by position in the answer."""

    turn: Turn
    question: list[str | RawBox]
    refs: list[str]  # of the question
    targets: list[RawBox]


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question whose answer has boxes; its id is the row's and the number of the question, from 1."""
    try:
        talk = conversation(value, "ms-swift", options.columns, placeholders_needed=False)
        objects = _objects(talk.row.get("objects"), len(talk.images))
        said = _filled(talk, objects)
    except Refused as refused:
        return [refused.refusal]
    return each([(f"{talk.id}-{one.turn.number}", one) for one in said], partial(_sample, talk, objects))


def _objects(value: Any, images: int) -> _Objects:
    if value is None:
        raise Refused("objects", "is missing", "rows whose boxes stand in the texts are of the kind sharegpt")
    value = mapping(value, "objects")
    kind = value.get("bbox_type", "real")
    if not isinstance(kind, str) or kind not in _FRAMES:
        raise Refused("objects.bbox_type", f"{short(kind)} is none of {', '.join(_FRAMES)}", _HINT)
    refs = [text_of(ref, f"objects.ref.{k}") for k, ref in enumerate(_list(value, "ref"))]
    given = _list(value, "bbox")
    ids = _list(value, "image_id") or [0] * len(given)
    if len(ids) != len(given):
        raise Refused("objects.image_id", f"{len(ids)} images for {len(given)} boxes", _HINT)
    boxes = []
    for k, (box, index) in enumerate(zip(given, ids, strict=True)):
        number = 1 + whole(index, f"objects.image_id.{k}")
        if not 1 <= number <= images:
            raise Refused(f"objects.image_id.{k}", f"image {number - 1} does not exist, there are {images}, from 0")
        boxes.append(RawBox(number, box_of(box, f"objects.bbox.{k}"), frame=_FRAMES[kind]))
    widths, heights = _list(value, "width"), _list(value, "height")
    if not len(widths) == len(heights) or len(widths) not in (0, images):
        raise Refused("objects.width", f"{len(widths)} widths, {len(heights)} heights, {images} images", _HINT)
    sizes = [
        (whole(width, "objects.width"), whole(height, "objects.height"))
        for width, height in zip(widths, heights, strict=True)
    ]
    return _Objects(refs, boxes, sizes or [(0, 0)] * images)


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Refused(f"objects.{name}", f"{short(found)} is no list", _HINT)
    return found


def _filled(talk: Conversation, objects: _Objects) -> list[_Said]:
    """All turns with their slots filled, in the order of the messages. Refused where the counts differ."""
    texts = [text for turn in talk.turns for text in (turn.question, turn.answer)]
    for slot, values, name in ((_REF, objects.refs, "ref"), (_BOX, objects.boxes, "bbox")):
        slots = sum(text.count(slot) for text in texts)
        if slots != len(values):
            raise Refused(f"objects.{name}", f"{len(values)} of them for {slots} {slot} in the messages", _HINT)
    refs, boxes = iter(objects.refs), iter(objects.boxes)
    said = []
    for turn in talk.turns:
        question = _parts(turn.question, refs, boxes)
        answer = _parts(turn.answer, refs, boxes)
        named = [part[1] for part in question if isinstance(part, tuple) and part[0] == _REF]
        flat = [part[1] if isinstance(part, tuple) else part for part in question]
        said.append(_Said(turn, flat, named, _targets(answer, named)))
    return said


def _parts(text: str, refs: Iterator[str], boxes: Iterator[RawBox]) -> list[str | tuple[str, Any]]:
    parts: list[str | tuple[str, Any]] = []
    end = 0
    for slot in _SLOT.finditer(text):
        parts += [text[end : slot.start()], (slot.group(), next(refs if slot.group() == _REF else boxes))]
        end = slot.end()
    return [*parts, text[end:]]


def _targets(answer: list[str | tuple[str, Any]], asked: list[str]) -> list[RawBox]:
    """The boxes of an answer with their names: one by one where there are as many, else the one before it."""
    slots = [part for part in answer if isinstance(part, tuple)]
    names = [value for kind, value in slots if kind == _REF]
    boxes = [value for kind, value in slots if kind == _BOX]
    if len(names) == len(boxes):
        labels = names
    else:
        labels, last = [], asked[0] if len(asked) == 1 else ""
        for kind, value in slots:
            last = value if kind == _REF else last
            labels += [last] if kind == _BOX else []
    return [box._replace(label=label) for box, label in zip(boxes, labels, strict=True)]


def _sample(talk: Conversation, objects: _Objects, name: str, said: _Said) -> RawSample:
    turn, count = said.turn, said.turn.images
    if turn.problem:
        raise Refused("messages", turn.problem)
    if not said.targets:
        raise Refused("messages", "the answer holds no box", "only questions for places can be used")
    question: Text = tuple(said.question)
    words = " ".join(part for part in question if isinstance(part, str))
    holding = {box.image for box in said.targets}
    late = max(holding | {part.image for part in question if isinstance(part, RawBox)})
    if late > count:
        raise Refused("objects.image_id", f"a box lies in Image-{late}, which is shown after the question")
    return RawSample(
        id=name,
        task=name_or(talk.row.get(talk.columns.get("task", "task")), "grounding"),
        images=tuple(
            RawImage(path, *size) for path, size in zip(talk.images[:count], objects.sizes[:count], strict=True)
        ),
        question=question,
        targets=tuple(said.targets),
        image_hidden=is_hidden(words, count, said.targets),
        meta={"subject": said.refs[0]} if said.refs else {},
    )


SOURCE = Source("ms-swift", "ms-swift's messages with objects (ref, bbox, bbox_type)", read, convert, "pixels")
