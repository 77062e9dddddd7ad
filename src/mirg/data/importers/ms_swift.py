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
from mirg.data.importers.conversations import Conversation, Turn, conversation, is_record, recorded
from mirg.data.importers.frames import FrameName
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Source, Text
from mirg.data.importers.rows import Refused, box_of, each, mapping, short, text_of, whole
from mirg.data.importers.sharegpt import asked_and_answered, turn_sample
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import ANY_BOX, image_names, plain, with_boxes

REF, BOX = "<ref-object>", "<bbox>"
HINT = "see the custom dataset format of ms-swift"
MOST_BOXES = 99_000  # of one row
_FRAMES: dict[str, FrameName] = {"real": "pixels", "norm1": "fraction", "norm1000": "relative_1000"}


class Objects(NamedTuple):
    """What fills the placeholders of the messages, in order."""

    refs: list[str]
    boxes: list[RawBox]  # their image is 0 unless image_id says it
    placed: bool  # image_id says it
    sizes: list[tuple[int, int]]  # (width, height) in pixels of every image, 0 if the row does not say


def objects_of(talk: Conversation, images: int) -> Objects:
    """The objects of a row with so many images; empty if it has neither the field nor placeholders for it.

    Refused if a part is damaged, or a box in pixels may lie in several images.
    """
    value = talk.row.get("objects")
    if nothing_in(value):
        if any(BOX in text or REF in text for turn in talk.turns for text in (turn.question, turn.answer)):
            raise Refused("objects", "is missing, and the messages hold placeholders for its boxes", HINT)
        return Objects([], [], False, [(0, 0)] * images)
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
    return Objects(refs, boxes, bool(numbers) and all(numbers), _sizes(value, images))


def nothing_in(value: Any) -> bool:
    """Whether the field ``objects`` is missing or holds neither names nor boxes: boxes may then be in the texts."""
    return value is None or (isinstance(value, dict) and not value.get("ref") and not value.get("bbox"))


def _numbers(value: dict[str, Any], boxes: int, images: int) -> list[int]:
    """The image of every box in pixels, from 1; 0 if there is no image_id, which only a single image allows."""
    ids = _list(value, "image_id")
    if not ids:
        if images > 1 and boxes:
            raise Refused(
                "objects.image_id",
                f"is missing: it says in which of {images} images a box of bbox_type real lies",
                HINT,
            )
        return [0] * boxes
    if len(ids) != boxes:
        raise Refused("objects.image_id", f"{len(ids)} images for {boxes} boxes", HINT)
    numbers = [1 + whole(index, f"objects.image_id.{k}") for k, index in enumerate(ids)]
    for k, number in enumerate(numbers):
        if not 1 <= number <= images:
            raise Refused(
                f"objects.image_id.{k}", f"image {number - 1} does not exist, counted from 0, there are {images} images"
            )
    return numbers


def _sizes(value: dict[str, Any], images: int) -> list[tuple[int, int]]:
    widths, heights = _list(value, "width"), _list(value, "height")
    if not len(widths) == len(heights) or len(widths) not in (0, images):
        raise Refused("objects.width", f"{len(widths)} widths, {len(heights)} heights, {images} images", HINT)
    sizes = [
        (whole(width, "objects.width"), whole(height, "objects.height"))
        for width, height in zip(widths, heights, strict=True)
    ]
    return sizes or [(0, 0)] * images


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Refused(f"objects.{name}", f"{short(found)} is not a list", HINT)
    return found


_SLOT = re.compile(r'<ref-object>|"<bbox>"|<bbox>')
_FROM_ONE = "image_id counts from 0, names in texts from 1"
# Box number k is written [_FIRST + k, _FIRST + k, _FIRST + k + 1, _FIRST + k + 1]: no real box is, in any axis order.
_FIRST = 900_000
_STAND_IN = re.compile(r"\[(9\d{5}),\1,9\d{5},9\d{5}\]")
_PLACE = re.compile(r"(?:\b(?:in|on|within|inside)\s{1,3}(?:the\s{1,3})?|在)$", re.IGNORECASE)
_Reader = Callable[..., RawSample]  # asked_and_answered of one row, but for the texts
_NAMING_KEY = re.compile(r"[\"'](?:image|img|picture|photo)\w*[\"']\s*:", re.IGNORECASE)


class _Filled(NamedTuple):
    """A text whose slots are filled; ``refs`` are the names in it with the positions behind them."""

    text: str
    refs: list[tuple[int, str]]


class _Said(NamedTuple):
    turn: Turn
    question: _Filled
    answer: _Filled


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question whose answer has boxes; its id is the row's and the number of the question, from 1."""
    try:
        talk = conversation(
            value, "ms-swift", options.columns, placeholders_needed=False, first=options.image_index_from
        )
    except Refused as refused:
        return [refused.refusal]
    try:
        if is_record(talk.row.get("record")):
            return [recorded(talk.row["record"], talk.images)]
        talk = talk._replace(turns=_with_solution(talk))
        objects = objects_of(talk, len(talk.images))
        said = _filled(talk, objects)
    except Refused as refused:
        return [refused.refusal._replace(id=talk.id)]
    make = partial(_sample, talk, objects, options.image_index_from)
    return each([(f"{talk.id}-{one.turn.number}", one) for one in said], make)


def _with_solution(talk: Conversation) -> tuple[Turn, ...]:
    """The turns; a last question without an answer is answered by the column ``solution``, as in rows for GRPO."""
    solution = talk.row.get("solution")
    last = talk.turns[-1] if talk.turns else None
    if last is None or last.answer or not last.question or not isinstance(solution, str):
        return talk.turns
    return (*talk.turns[:-1], last._replace(answer=solution, problem="", refusal=None))


def _filled(talk: Conversation, objects: Objects) -> list[_Said]:
    """All turns with their slots filled, in the order of the messages. Refused if the counts differ."""
    texts = [text for turn in talk.turns for text in (turn.question, turn.answer)]
    for slot, values, name in ((REF, objects.refs, "ref"), (BOX, objects.boxes, "bbox")):
        slots = sum(text.count(slot) for text in texts)
        if slots != len(values):
            raise Refused(f"objects.{name}", f"{len(values)} of them for {slots} {slot} in the messages", HINT)
    if objects.boxes and (stated_order("\n".join([talk.system, *texts])) == "yx" or any(map(_y_first, texts))):
        raise Refused("messages", "tell an order [y1, x1, y2, x2], but objects.bbox are [x1, y1, x2, y2]", HINT)
    refs, boxes = iter(objects.refs), iter(range(len(objects.boxes)))
    return [_Said(turn, _fill(turn.question, refs, boxes), _fill(turn.answer, refs, boxes)) for turn in talk.turns]


def _y_first(text: str) -> bool:
    """Whether a <bbox> is the value of a key whose order is [y1, x1, y2, x2]."""
    orders = (box_order(key_before(text, slot.start()) or "") for slot in _SLOT.finditer(text))
    return any(order is not None and order.yx for order in orders)


def _fill(text: str, refs: Iterator[str], boxes: Iterator[int]) -> _Filled:
    """``text`` with names, escaped inside JSON, and stand-ins for boxes."""
    parts: list[str] = []
    named: list[tuple[int, str]] = []
    length = end = 0
    for slot in _SLOT.finditer(text):
        before = text[end : slot.start()]
        if slot.group() == REF:
            ref = next(refs)
            word = json.dumps(ref, ensure_ascii=False)[1:-1] if before.endswith('"') else ref
            named.append((length + len(before) + len(word), ref))
        else:
            first = _FIRST + next(boxes)
            word = f"[{first},{first},{first + 1},{first + 1}]"
        parts += [before, word]
        length += len(before) + len(word)
        end = slot.end()
    return _Filled("".join([*parts, text[end:]]), named)


def _sample(talk: Conversation, objects: Objects, first: int | None, name: str, said: _Said) -> RawSample:
    turn = said.turn
    turn.check("messages")
    if not turn.images:
        raise Refused("images", "no image was shown before the question")
    paths = talk.images[: turn.images]
    if nothing_in(talk.row.get("objects")):
        return turn_sample(talk, first, name, turn)
    read_texts = partial(asked_and_answered, name, "", paths, first=first)
    raw = (_by_image_id if objects.placed else _by_texts)(objects, said, paths, read_texts)
    _check_all_read(said.answer.text, raw)
    refs = [ref for _, ref in said.question.refs]
    labels = _labels(said.answer, refs)
    return replace(
        raw,
        id=name,
        task=talk.task,
        images=tuple(RawImage(path, *size) for path, size in zip(paths, objects.sizes[: turn.images], strict=True)),
        question=_with_real_boxes(raw.question, objects),
        targets=tuple(_real_box(box, objects, labels) for box in raw.targets),
        thinking=_with_real_boxes(raw.thinking, objects) if raw.thinking else None,
        meta={"subject": refs[0]} if refs else raw.meta,
    )


def _by_texts(objects: Objects, said: _Said, paths: tuple[str, ...], read_texts: _Reader) -> RawSample:
    """The sample with stand-ins for its boxes, each in the image that the texts name."""
    return read_texts(question=said.question.text, response=said.answer.text)


def _by_image_id(objects: Objects, said: _Said, paths: tuple[str, ...], read_texts: _Reader) -> RawSample:
    """The sample with stand-ins for its boxes, each in the image of its ``image_id``.

    Refused if the answer itself names another image, or one that cannot be understood.
    """
    count = said.turn.images
    blocks = split(said.answer.text)
    if blocks.answer is None:
        raise Refused("answer", "the thinking never ends")
    stand_ins = [_stand_in(int(found[1]) - _FIRST) for found in _STAND_IN.finditer(blocks.answer)]
    if not stand_ins:
        return _by_texts(objects, said, paths, read_texts)
    targets = [box._replace(image=objects.boxes[_index(box)].image) for box in stand_ins]
    question, thinking = (_in_images(text, objects) for text in (said.question.text, blocks.thinking))
    late = max(box.image for box in (*targets, *_boxes_in(question), *_boxes_in(thinking)))
    if late > count:
        raise Refused("objects.image_id", f"a box lies in Image-{late}, which is shown after the question")
    _check_own_names(said.answer.text, blocks.answer, targets, read_texts)
    if not names_in(blocks.answer):
        _check_question(plain(said.question.text), count, targets, question)
    return RawSample(
        id="",
        task="",
        images=(),
        question=question,
        targets=tuple(targets),
        image_hidden=is_hidden(plain(said.question.text), count, targets),
        thinking=thinking if blocks.thinking.strip() else None,
    )


def _check_all_read(response: str, raw: RawSample) -> None:
    """Refuse an answer of which a box became neither a target nor a citation in the reasoning."""
    read_ones = {_index(box) for box in (*raw.targets, *_boxes_in(raw.thinking or ()))}
    if any(int(found[1]) - _FIRST not in read_ones for found in _STAND_IN.finditer(response)):
        raise Refused("answer", "holds a <bbox> outside of its reasoning and its answer")


def _check_own_names(response: str, answer: str, targets: list[RawBox], read_texts: _Reader) -> None:
    """Refuse an answer whose own names of images contradict ``image_id``, or are not understood."""
    try:
        own = read_texts(question="?", response=response).targets  # a question that names nothing
    except Refused:
        if names_in(answer) or _NAMING_KEY.search(answer):
            raise
        return
    by_number = {box.numbers: box.image for box in targets}
    for box in own:
        if by_number.get(box.numbers, box.image) != box.image:
            said = f"image {by_number[box.numbers] - 1} (from 0), but the text says Image-{box.image}"
            raise Refused("objects.image_id", f"contradicts the answer: {said}", _FROM_ONE)


def _check_question(question: str, count: int, targets: list[RawBox], parts: Text) -> None:
    """Refuse a question that asks in one image ("Where in Image-1?") for boxes that ``image_id`` puts into others."""
    asked = asked_image(question, count)
    known = {box.image for box in (*targets, *_boxes_in(parts))}  # an image with a box of the question is a reference
    names = [name for name in image_names(question, count) if name.number == asked]
    if asked not in known and any(_PLACE.search(question, 0, name.start) for name in names):
        raise Refused("objects.image_id", f"contradicts the question, which asks about Image-{asked}", _FROM_ONE)


def _in_images(text: str, objects: Objects) -> Text:
    """``text`` with a stand-in for each box, in the image of its ``image_id``."""
    parts = with_boxes(text, lambda _: 0, None, ANY_BOX)
    return tuple(
        part._replace(image=objects.boxes[_index(part)].image) if isinstance(part, RawBox) else part for part in parts
    )


def _boxes_in(text: Text) -> list[RawBox]:
    return [part for part in text if isinstance(part, RawBox)]


def _stand_in(index: int) -> RawBox:
    first = float(_FIRST + index)
    return RawBox(0, (first, first, first + 1, first + 1))


def _index(box: RawBox) -> int:
    """Which box of ``objects`` a stand-in is for. Refused if it is a box that the text itself holds."""
    index = int(box.numbers[0]) - _FIRST
    if index < 0 or box.numbers != _stand_in(index).numbers:
        raise Refused("messages", "a text holds numbers of a box beside the placeholders of objects", HINT)
    return index


def _real_box(box: RawBox, objects: Objects, labels: dict[int, str]) -> RawBox:
    index = _index(box)
    return objects.boxes[index]._replace(image=box.image, label=labels.get(index) or box.label or labels.get(-1, ""))


def _with_real_boxes(text: Text, objects: Objects) -> Text:
    return tuple(_real_box(part, objects, {}) if isinstance(part, RawBox) else part for part in text)


def _labels(answer: _Filled, asked: list[str]) -> dict[int, str]:
    """The names of an answer's boxes by index: one by one if there are as many, else the one before each.

    The name at -1 is that of the question, for boxes of an answer that names nothing.
    """
    block = split(answer.text).answer or ""
    start = answer.text.rfind(block)
    refs = [(end - start, ref) for end, ref in answer.refs if start < end <= start + len(block)]
    found = [(match.start(), int(match[1]) - _FIRST) for match in _STAND_IN.finditer(block)]
    labels = {-1: asked[0] if len(asked) == 1 else ""}
    if len(refs) == len(found):
        return labels | {index: ref for (_, index), (_, ref) in zip(found, refs, strict=True)}
    for position, index in found:
        before = [ref for end, ref in refs if end <= position]
        if before:
            labels[index] = before[-1]
    return labels


SOURCE = Source(
    kind="ms-swift",
    about="ms-swift's messages, with objects (ref, bbox, bbox_type) or boxes in texts",
    read=json_rows,
    convert=convert,
    frame="auto",
    names_images=True,
)
