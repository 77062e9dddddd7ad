"""ms-swift's rows: ``messages``, ``images`` and ``objects``, whose boxes fill the ``<bbox>`` of the messages.

``objects`` holds ``ref`` (names, in the order of ``<ref-object>``), ``bbox`` ([x1, y1, x2, y2], in the order of
``<bbox>``), ``bbox_type`` ("real": pixels, the default; "norm1"; "norm1000"), ``image_id`` (from 0, one per box),
``width`` and ``height`` (pixels, one per image).

ms-swift uses ``image_id`` only to find the image whose size normalises a "real" box. Otherwise the texts say which
image a box lies in: the placeholders are filled with numbers in place of the boxes, and the texts are read like
those of any conversation. Rows without ``objects`` are read in the same way, and so are rows for GRPO, whose answer is
the column ``solution``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from mirg.answers.blocks import split
from mirg.answers.image_names import names_in
from mirg.answers.json_style import box_order
from mirg.answers.places import key_before
from mirg.data.importers.answered import asked_image, is_hidden, stated_order
from mirg.data.importers.conversations import (
    Conversation,
    Turn,
    asked_and_answered,
    conversation,
    is_record,
    recorded,
    turn_sample,
)
from mirg.data.importers.raw import FrameName, ImportOptions, Outcome, RawBox, RawImage, RawSample, Source, Text
from mirg.data.importers.rows import Refused, box_of, each, mapping, refusing, short, text_of, whole
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import ANY_BOX, image_names, numbers_of, plain, with_boxes

REF, BOX = "<ref-object>", "<bbox>"
HINT = "see the custom dataset format of ms-swift"
MOST_BOXES = 99_000  # of one row
_FRAMES: dict[str, FrameName] = {"real": "pixels", "norm1": "fraction", "norm1000": "relative_1000"}
_SLOT = re.compile(r'<ref-object>|"<bbox>"|<bbox>')
_FROM_ONE = "image_id counts from 0, names in texts from 1"
# Box number k is written [_FIRST + k, _FIRST + k, _FIRST + k + 1, _FIRST + k + 1]: no real box is, in any axis order.
_FIRST = 900_000
_PLACE = re.compile(r"(?:\b(?:in|on|within|inside)\s{1,3}(?:the\s{1,3})?|在)$", re.IGNORECASE)
_NAMING_KEY = re.compile(r"[\"'](?:image|img|picture|photo)\w*[\"']\s*:", re.IGNORECASE)


class Objects(NamedTuple):
    """What fills the placeholders of the messages, in order."""

    refs: list[str]
    boxes: list[RawBox]  # their image is 0 unless image_id says it
    sizes: list[tuple[int, int]]  # (width, height) in pixels of every image, 0 if the row does not say


class _Filled(NamedTuple):
    """A text whose slots are filled, with (the end, the name or the number of the box) of every slot."""

    text: str
    slots: list[tuple[int, str | int]]


def objects_of(talk: Conversation) -> Objects:
    """The objects of a row; empty if it has neither the field nor placeholders for it.

    Refused if a part is damaged, or a box in pixels may lie in several images.
    """
    value, images = talk.row.get("objects"), len(talk.images)
    if nothing_in(value):
        if any(BOX in text or REF in text for turn in talk.turns for text in (turn.question, turn.answer)):
            raise Refused("objects", "is missing, and the messages hold placeholders for its boxes", HINT)
        return Objects([], [], [(0, 0)] * images)
    if isinstance(value, str | list):
        hint = 'write it as an object: {"ref": ["dog"], "bbox": [[x1, y1, x2, y2]]}'
        raise Refused("objects", "is a list or a text, as in ms-swift 2", hint)
    value = mapping(value, "objects")
    kind = value.get("bbox_type") or "real"
    if not isinstance(kind, str) or kind not in _FRAMES:
        raise Refused("objects.bbox_type", f"is not one of {', '.join(_FRAMES)}: {short(kind)}", HINT)
    refs = [text_of(ref, f"objects.ref.{k}") for k, ref in enumerate(_list(value, "ref"))]
    given = _list(value, "bbox")
    if len(given) > MOST_BOXES:
        raise Refused("objects.bbox", f"{len(given)} boxes in one row; at most {MOST_BOXES} can be read")
    numbers = _numbers(value, len(given), images) if kind == "real" else [0] * len(given)
    boxes = [
        RawBox(number, box_of(box, f"objects.bbox.{k}"), frame=_FRAMES[kind])
        for k, (box, number) in enumerate(zip(given, numbers, strict=True))
    ]
    widths, heights = ([whole(v, f"objects.{name}") for v in _list(value, name)] for name in ("width", "height"))
    if not len(widths) == len(heights) or len(widths) not in (0, images):
        raise Refused("objects.width", f"{len(widths)} widths, {len(heights)} heights, {images} images", HINT)
    return Objects(refs, boxes, list(zip(widths, heights, strict=True)) or [(0, 0)] * images)


def nothing_in(value: Any) -> bool:
    """Whether the field ``objects`` is missing or holds neither names nor boxes: boxes may then be in the texts."""
    return value is None or (isinstance(value, dict) and not value.get("ref") and not value.get("bbox"))


def _numbers(value: dict[str, Any], boxes: int, images: int) -> list[int]:
    """The image of every box in pixels, from 1; 0 if there is no image_id, which only a single image allows."""
    field, ids = "objects.image_id", _list(value, "image_id")
    if not ids:
        if images > 1 and boxes:
            reason = f"is missing: it says in which of {images} images a box of bbox_type real lies"
            raise Refused(field, reason, HINT)
        return [0] * boxes
    if len(ids) != boxes:
        raise Refused(field, f"{len(ids)} images for {boxes} boxes", HINT)
    numbers = [1 + whole(index, f"{field}.{k}") for k, index in enumerate(ids)]
    for k, number in enumerate(numbers):
        if not 1 <= number <= images:
            reason = f"image {number - 1} does not exist, counted from 0, there are {images} images"
            raise Refused(f"{field}.{k}", reason)
    return numbers


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if not isinstance(found, list | None):
        raise Refused(f"objects.{name}", f"{short(found)} is not a list", HINT)
    return found or []


@refusing
def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question whose answer has boxes; its id is the row's and the number of the question, from 1."""
    first = options.image_index_from
    talk = conversation(value, "ms-swift", options.columns, placeholders_needed=False, first=first)
    # A last question without an answer is answered by the column "solution", as in rows for GRPO.
    solution = talk.row.get("solution")
    last = talk.turns[-1] if talk.turns else None
    if last and last.question and not last.answer and isinstance(solution, str):
        talk = talk._replace(turns=(*talk.turns[:-1], last._replace(answer=solution, refusal=None)))
    try:
        if is_record(talk.row.get("record")):
            return [recorded(talk.row["record"], talk.images)]
        objects = objects_of(talk)
        filled = _filled(talk, objects)
    except Refused as refused:
        return [refused.refusal._replace(id=talk.id)]
    parts = [(turn.id, (turn, *texts)) for turn, texts in zip(talk.turns, filled, strict=True)]
    return each(parts, partial(_sample, talk, objects, first))


def _filled(talk: Conversation, objects: Objects) -> list[tuple[_Filled, _Filled]]:
    """Question and answer of all turns with their slots filled, in order. Refused if the counts differ."""
    texts = [text for turn in talk.turns for text in (turn.question, turn.answer)]
    for slot, values, name in ((REF, objects.refs, "ref"), (BOX, objects.boxes, "bbox")):
        slots = sum(text.count(slot) for text in texts)
        if slots != len(values):
            raise Refused(f"objects.{name}", f"{len(values)} of them for {slots} {slot} in the messages", HINT)
    keys = (box_order(key_before(text, slot.start()) or "") for text in texts for slot in _SLOT.finditer(text))
    if objects.boxes and (
        stated_order("\n".join([talk.system, *texts])) == "yx" or any(order is not None and order.yx for order in keys)
    ):
        raise Refused("messages", "tell an order [y1, x1, y2, x2], but objects.bbox are [x1, y1, x2, y2]", HINT)
    refs, boxes = iter(objects.refs), iter(range(len(objects.boxes)))
    return [(_fill(turn.question, refs, boxes), _fill(turn.answer, refs, boxes)) for turn in talk.turns]


def _fill(text: str, refs: Iterator[str], boxes: Iterator[int]) -> _Filled:
    """``text`` with names, escaped inside JSON, and stand-ins for boxes."""
    filled, end = "", 0
    slots: list[tuple[int, str | int]] = []
    for slot in _SLOT.finditer(text):
        filled += text[end : slot.start()]
        end = slot.end()
        value: str | int = next(refs) if slot.group() == REF else next(boxes)
        if isinstance(value, str):
            filled += json.dumps(value, ensure_ascii=False)[1:-1] if filled.endswith('"') else value
        else:
            first = _FIRST + value
            filled += f"[{first},{first},{first + 1},{first + 1}]"
        slots.append((len(filled), value))
    return _Filled(filled + text[end:], slots)


def _sample(
    talk: Conversation, objects: Objects, first: int | None, name: str, said: tuple[Turn, _Filled, _Filled]
) -> RawSample:
    turn, question, answer = said
    turn.check("messages")
    if not turn.images:
        raise Refused("images", "no image was shown before the question")
    paths = talk.images[: turn.images]
    if nothing_in(talk.row.get("objects")):
        return turn_sample(talk, first, name, turn)
    read = partial(asked_and_answered, name, "", paths, first=first)
    block = split(turn.answer).answer
    if any(box.image for box in objects.boxes) and (block is None or BOX in block):
        raw = _by_image_id(objects, turn.images, question.text, answer.text, read)
    else:
        raw = read(question.text, answer.text)
    found = {_index(box) for box in (*raw.targets, *_boxes_in(raw.thinking or ()))}
    if len(found) < turn.answer.count(BOX):
        raise Refused("answer", "holds a <bbox> outside of its reasoning and its answer")
    refs = [ref for _, ref in question.slots if isinstance(ref, str)]
    labels = _labels(answer)
    default = refs[0] if len(refs) == 1 else ""
    return replace(
        raw,
        id=name,
        task=talk.task,
        images=tuple(RawImage(path, *size) for path, size in zip(paths, objects.sizes[: turn.images], strict=True)),
        question=_with_real_boxes(raw.question, objects),
        targets=tuple(
            objects.boxes[_index(box)]._replace(image=box.image, label=labels.get(_index(box)) or box.label or default)
            for box in raw.targets
        ),
        thinking=_with_real_boxes(raw.thinking, objects) if raw.thinking else None,
        meta={"subject": refs[0]} if refs else raw.meta,
    )


def _by_image_id(
    objects: Objects, count: int, question: str, response: str, read: Callable[..., RawSample]
) -> RawSample:
    """The sample with stand-ins for its boxes, each in the image of its ``image_id``.

    Refused if the answer itself names another image, or one that cannot be understood.
    """
    blocks = split(response)
    if blocks.answer is None:
        raise Refused("answer", "the thinking never ends")

    def box(match: re.Match[str]) -> RawBox:
        found = RawBox(0, numbers_of(match))
        return found._replace(image=objects.boxes[_index(found)].image)

    asked, answer, thinking = (with_boxes(text, box, ANY_BOX) for text in (question, blocks.answer, blocks.thinking))
    targets = _boxes_in(answer)
    late = max((box.image for part in (asked, answer, thinking) for box in _boxes_in(part)), default=0)
    if late > count:
        raise Refused("objects.image_id", f"a box lies in Image-{late}, which is shown after the question")
    try:
        own = read("?", response).targets  # a question that names nothing
    except Refused:
        if names_in(blocks.answer) or _NAMING_KEY.search(blocks.answer):
            raise
        own = ()
    placed = {box.numbers: box.image for box in targets}
    for named in own:
        if placed.get(named.numbers, named.image) != named.image:
            said = f"image {placed[named.numbers] - 1} (from 0), but the text says Image-{named.image}"
            raise Refused("objects.image_id", f"contradicts the answer: {said}", _FROM_ONE)
    if not names_in(blocks.answer):
        # "Where in Image-1?" for boxes in other images; an image with a box of the question is a reference.
        words, known = plain(question), {box.image for box in (*targets, *_boxes_in(asked))}
        where = asked_image(words, count)
        names = [name for name in image_names(words, count) if name.number == where]
        if where not in known and any(_PLACE.search(words, 0, name.start) for name in names):
            raise Refused("objects.image_id", f"contradicts the question, which asks about Image-{where}", _FROM_ONE)
    hidden = is_hidden(plain(question), count, targets)
    cited = thinking if blocks.thinking.strip() else None
    return RawSample("", "", (), asked, tuple(targets), image_hidden=hidden, thinking=cited)


def _boxes_in(text: Text) -> list[RawBox]:
    return [part for part in text if isinstance(part, RawBox)]


def _index(box: RawBox) -> int:
    """Which box of ``objects`` a stand-in is for. Refused if it is a box that the text itself holds."""
    first = int(box.numbers[0])
    if first < _FIRST or box.numbers != (first, first, first + 1, first + 1):
        raise Refused("messages", "a text holds numbers of a box beside the placeholders of objects", HINT)
    return first - _FIRST


def _with_real_boxes(text: Text, objects: Objects) -> Text:
    return tuple(
        objects.boxes[_index(part)]._replace(image=part.image) if isinstance(part, RawBox) else part for part in text
    )


def _labels(answer: _Filled) -> dict[int, str]:
    """The names of an answer's boxes by index: one by one if there are as many, else the one before each."""
    block = split(answer.text).answer or ""
    start = answer.text.rfind(block)
    slots = [value for end, value in answer.slots if start < end <= start + len(block)]
    refs = [value for value in slots if isinstance(value, str)]
    boxes = [value for value in slots if isinstance(value, int)]
    if len(refs) == len(boxes):
        return dict(zip(boxes, refs, strict=True))
    labels: dict[int, str] = {}
    label = ""
    for value in slots:
        if isinstance(value, str):
            label = value
        else:
            labels[value] = label
    return labels


_ABOUT = "ms-swift's messages, with objects (ref, bbox, bbox_type) or boxes in texts"
SOURCE = Source("ms-swift", _ABOUT, json_rows, convert, "auto", names_images=True)
