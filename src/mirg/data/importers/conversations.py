"""Rows that are conversations about images, and rows that hold a whole sample of mirg as JSON.

A conversation becomes questions with their answers and the images that had been shown by then. The format ``sharegpt``
is that of LLaMA-Factory: ``messages`` or ``conversations`` with ``images``; one sample per question. Nothing in it says
how boxes are written. An answer is read by the grammar of :mod:`mirg.answers` (text and JSON style), else by the boxes
inside its sentences; the frame of the boxes is found out over all rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from mirg.answers import Instructions, Style, instruction_text
from mirg.answers.blocks import RawAnswer, split
from mirg.answers.grammar import parse
from mirg.answers.image_names import ascii_forms
from mirg.answers.markup import cited, markup_problem, replaced
from mirg.answers.places import unread_place
from mirg.data.importers.answered import asked_image, boxes_of, image_around, is_hidden, marked_up, placed, stated_order
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawObject, RawSample, Refusal, Source
from mirg.data.importers.rows import Refused, box_of, each, mapping, name_or, paths_of, refusing, row_id, short, text_of
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import (
    ANY_BOX,
    FROM_ZERO_HINT,
    PLACEHOLDER,
    ZERO,
    Images,
    counts_from_zero,
    plain,
    referred,
    shown,
    told,
)
from mirg.errors import first_problem
from mirg.families import FAMILIES
from mirg.frames import swapped
from mirg.samples import ImageRef, Sample
from mirg.samples.schema import ANSWER_FRAME_META

# --- rows that hold a whole sample ------------------------------------------------------------------------------------


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
    boxes = [RawBox(image, box, frame="fraction") for image, box in cited(sample.question)]
    first, *words = replaced(sample.question, lambda *_: "\0").split("\0")
    if len(words) != len(boxes):
        raise Refused(field, "its question holds a null character")
    return RawSample(
        id=sample.id,
        task=sample.task,
        images=tuple(_image(ref, path) for ref, path in zip(sample.images, paths, strict=True)),
        question=(first, *(part for pair in zip(boxes, words, strict=True) for part in pair)),
        targets=tuple(RawBox(t.image, t.box, t.label, "fraction") for t in sample.targets),
        relation=sample.relation,
        image_hidden=sample.image_hidden,
        trajectory=told,
        source=sample.source,
        meta={key: value for key, value in sample.meta.items() if key != ANSWER_FRAME_META},
    )


def _image(ref: ImageRef, path: str) -> RawImage:
    objects = tuple(RawObject(note.label, note.box, note.attributes, "fraction") for note in ref.objects)
    return RawImage(path, role=ref.role, caption=ref.caption, frame=ref.frame, objects=objects)


# --- conversations ----------------------------------------------------------------------------------------------------

_ASKS = {"human": True, "user": True, "gpt": False, "assistant": False, "model": False}  # by the role of a message
_IMAGE_TYPES = ("image", "image_url")


class Turn(NamedTuple):
    """A question with its answer; ``images`` were shown up to then. ``refusal``: why it cannot be used."""

    id: str  # that of the row and the number of the question, from 1
    question: str  # without placeholders
    answer: str
    images: int
    refusal: Refusal | None = None  # its field is empty if it is that of the messages

    def check(self, field: str) -> None:
        """Refused if the turn cannot be used; ``field`` is the field of its messages."""
        if self.refusal:
            where, reason, hint, _, counts = self.refusal
            raise Refused(where or field, reason, hint, counts)


class Conversation(NamedTuple):
    """One row: its images in the order of their placeholders, and its turns."""

    row: dict[str, Any]
    id: str
    task: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    system: str  # what the system messages say


def conversation(
    value: Any,
    kind: str,
    columns: Mapping[str, str] | None = None,
    *,
    placeholders_needed: bool = True,
    first: int | None = 1,
    name_answers: bool = False,
) -> Conversation:
    """Read a row of LLaMA-Factory's two forms: ``conversations`` (from, value) or ``messages`` (role, content).

    Without either, the question and the answer may be columns of the row.

    ``columns`` gives other names: of the columns ``messages``, ``images``, ``id``, of the keys ``role`` and
    ``content``, and of the roles ``user`` and ``assistant``. Refused if the row is not a conversation, or the number of
    placeholders is not that of images (none at all is allowed unless ``placeholders_needed``: images then come first).
    ``first`` is the number of the first image in the texts, None if that is not settled: the row is then refused if it
    names image 0. Questions, with ``name_answers`` also answers, come with the names of images as they count from 1.
    """
    columns = columns or {}
    row = mapping(value)
    name = row_id(row, kind, columns.get("id", "id"))
    said, system, within = _messages(row, columns)
    given = row.get(columns.get("images", "images"), row.get("image"))
    images = paths_of(within if given is None and within else given)
    if within and images != paths_of(within):
        raise Refused("images", "are not the images that the messages show, in their order", "keep one of the two")
    if first is None and any(counts_from_zero(text) for _, text in said):
        raise Refused("messages", ZERO, FROM_ZERO_HINT, "0")
    total = sum(text.count(PLACEHOLDER) for asks, text in said if asks)
    if total != len(images) and (total or placeholders_needed):
        hint = f"one {PLACEHOLDER} in a question for each"
        raise Refused("images", f"{total} placeholders for {len(images)} images", hint)
    turns = _turns(name, said, 0 if total else len(images), Images(images, first), name_answers)
    task = name_or(row.get(columns.get("task", "task")), "grounding")
    return Conversation(row, name, task, images, turns, system)


def _messages(row: dict[str, Any], columns: Mapping[str, str]) -> tuple[list[tuple[bool, str]], str, list[Any]]:
    """(whether it asks, text) of every message, what the system messages say, and the images that messages name."""
    field = columns.get("messages", "messages" if "messages" in row else "conversations")
    messages = row.get(field)
    if messages is None and not columns.get("messages"):
        messages = _in_columns(row)
    if not isinstance(messages, list) or not messages:
        raise Refused(field, "is missing" if messages is None else "is not a list of messages")
    roles = _ASKS | {columns[role]: _ASKS[role] for role in ("user", "assistant") if role in columns}
    said: list[tuple[bool, str]] = []
    system: list[str] = []
    paths: list[Any] = []
    for k, message in enumerate(messages):
        where = f"{field}.{k}"
        message = mapping(message, where)
        role = message.get(columns.get("role", "role"), message.get("from"))
        content = message.get(columns.get("content", "content"), message.get("value"))
        if role == "system":
            system.append(content if isinstance(content, str) else "")
            continue
        asks = roles.get(role) if isinstance(role, str) else None
        if asks is None:
            raise Refused(where, f"the role {short(role)} neither asks nor answers", "--columns user=…,assistant=…")
        said.append((asks, _content(content, where, paths)))
    return said, "\n".join(system), paths


def _content(content: Any, where: str, paths: list[Any]) -> str:
    """A text, or the parts of one: texts and places of images, as the chat templates of transformers and of OpenAI
    have them: ``{"type": "image", "image": "a.png"}`` or ``{"type": "image_url", "image_url": {"url": "a.png"}}``.
    """
    if not isinstance(content, list):
        return text_of(content, where)
    texts = []
    for part in content:
        part = mapping(part, where)
        if part.get("type") not in _IMAGE_TYPES:
            texts.append(text_of(part.get("text"), where))
            continue
        texts.append(PLACEHOLDER)
        path = part.get("image", part.get("image_url", part.get("path")))
        path = path.get("url") if isinstance(path, dict) else path
        paths += [path.removeprefix("file://") if isinstance(path, str) else path] if path is not None else []
    return "".join(texts)


def _in_columns(row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The messages of a row whose question and answer are columns: ``query`` and ``response`` with a ``history``
    (ms-swift), or ``instruction``, ``input`` and ``output`` (Alpaca). None if it has neither.
    """
    asks, answers = ("query", "response") if "query" in row else ("instruction", "output")
    if not isinstance(row.get(asks), str):
        return None
    more = row.get("input") if asks == "instruction" else None
    question = "\n".join([row[asks], text_of(more, "input")]) if more else row[asks]
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise Refused("history", "is not a list of pairs of a question and an answer")
    said = [*history, [question, row.get(answers)]]
    messages = [
        {"role": role, "content": t} for pair in said for role, t in zip(("user", "assistant"), pair, strict=True)
    ]
    messages = messages[:-1] if row.get(answers) is None else messages
    return [{"role": "system", "content": row["system"]}, *messages] if row.get("system") else messages


def _turns(name: str, said: list[tuple[bool, str]], seen: int, images: Images, name_answers: bool) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    asked: list[str] = []
    refusal: Refusal | None = None  # the first of a turn
    unanswered = [(False, "")] if said and said[-1][0] else []
    for k, (asks, text) in enumerate([*said, *unanswered]):
        if asks or name_answers:
            try:
                text = told(text, images, "question" if asks else "answer", strict=False)
            except Refused as refused:
                refusal = refusal or refused.refusal
        if asks:
            found = shown(text, seen)
            seen += found.images
            refusal = refusal or (Refusal("", found.problem) if found.problem else None)
            asked.append(found.text)
            continue
        if k == len(said):
            refusal = Refusal("", "a question without an answer")
        elif not asked:
            refusal = Refusal("", "an answer without a question")
        question = "\n".join(asked).strip()
        if question.endswith(_instructions()):
            question = question.removesuffix(next(filter(question.endswith, _instructions()))).rstrip()
        turns.append(Turn(f"{name}-{len(turns) + 1}", question, text, seen, refusal))
        asked, refusal = [], None
    return tuple(turns)


@lru_cache(maxsize=1)
def _instructions() -> tuple[str, ...]:
    """What mirg writes at the end of a question, the longest first: one may be the end of another one."""
    styles: tuple[Style, ...] = get_args(Style)
    kinds: tuple[Instructions, ...] = get_args(Instructions)
    texts = {
        instruction_text(family, kind, style) for family in FAMILIES.values() for kind in kinds for style in styles
    }
    return tuple(sorted((f"\n{text}" for text in texts if text), key=len, reverse=True))


# --- samples of conversations -----------------------------------------------------------------------------------------

_COMPLETE = "an answer is used if all of it is understood"


@refusing
def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question; its id is the row's and the number of the question, from 1."""
    talk = conversation(value, "sharegpt", options.columns, first=options.image_index_from)
    return each([(turn.id, turn) for turn in talk.turns], partial(turn_sample, talk, options.image_index_from))


def turn_sample(talk: Conversation, first: int | None, name: str, turn: Turn) -> RawSample:
    """The sample of one question of a conversation; ``first`` is what its answer counts images from."""
    turn.check("messages")
    paths = talk.images[: turn.images]
    return asked_and_answered(name, talk.task, paths, turn.question, turn.answer, first=first, system=talk.system)


def asked_and_answered(
    name: str,
    task: str,
    paths: tuple[str, ...],
    question: str,
    response: str,
    *,
    first: int | None = None,
    system: str = "",
) -> RawSample:
    """The sample of a question without placeholders and a response of any spelling, its boxes in the source's frame.

    The question counts images from 1; ``first`` is what the response counts them from, None: not settled. ``system``
    may state the order of coordinates. Refused if the response holds no readable answer, names an image that is not
    understood, or does not say which image a box lies in.
    """
    count, images = len(paths), Images(paths, first)
    if not count:
        raise Refused("images", "no image was shown before the question")
    blocks = split(response)
    if blocks.answer is None:
        raise Refused("answer", "the thinking never ends")
    stated = stated_order(f"{system}\n{question}\n{blocks.answer}")
    asked = asked_image(plain(question), count)
    subject = next((phrase for _, phrase in referred(question) if phrase), "")
    marked = partial(marked_up, images=count, frame=None, pattern=ANY_BOX, stated=stated)
    found = _found(blocks.answer, images, stated)
    # None is an explicit "none": the question has an answer, and it is that no image holds it.
    targets = () if found is None else placed(found, count, asked, subject)
    if first == 0 and asked and targets and all(box.image == asked - 1 for box in targets):
        reason = f"names image {asked - 1} and the answer image {asked - 2}: one of them may count from 1"
        raise Refused("question", reason, "count images alike in questions and answers")
    thinking = told(blocks.thinking, images, "thinking", strict=False)
    return RawSample(
        id=name,
        task=task,
        images=tuple(RawImage(path) for path in paths),
        question=marked(question, field="question"),
        targets=targets,
        image_hidden=is_hidden(plain(question), count, targets),
        thinking=marked(thinking, field="thinking") if thinking.strip() else None,
        meta={"subject": subject} if subject else {},
    )


def _found(answer: str, images: Images, stated: str) -> list[RawBox] | None:
    """The boxes of an answer block; None if it says that no image holds the object."""
    raw = parse(answer)
    if raw.json:
        return _of_json(raw, images, stated)
    if raw.failure is None and raw.noise is None and not raw.boxes:
        return None
    text = told(answer, images, "answer")
    if len(images.paths) > 1 and raw.unsafe:
        raise Refused("answer", f"holds no box that can be used: {raw.unsafe}", _COMPLETE)
    found = boxes_of(text, len(images.paths), frame=None, pattern=ANY_BOX, stated=stated)
    phrases = [phrase for _, phrase in referred(answer)]
    if len(phrases) == len(found):
        found = [item._replace(label=p) for item, p in zip(found, phrases, strict=True)]
    return found


def _of_json(raw: RawAnswer, images: Images, stated: str) -> list[RawBox] | None:
    if problem := raw.unsafe or raw.failure:
        hint = 'name images by "image_1" in place of "1"' if problem.startswith("numbers as keys") else _COMPLETE
        raise Refused("answer", f"holds no box that can be used: {problem}", hint)
    if not raw.boxes:
        return None
    before, after = (told(text, images, "answer") for text in raw.around)
    if unread_place(ascii_forms(f"{before}\n{after}"), ()):
        raise Refused("answer", "holds a box outside of its JSON", _COMPLETE)
    count = len(images.paths)
    if raw.doubtful and count > 1 and any(box.name is None for box in raw.boxes):
        reason = f"may name an image in a way that is not understood: the key {raw.doubtful[:40]!r}"
        raise Refused("answer", reason, _COMPLETE)
    found = []
    for k, box in enumerate(raw.boxes):
        if (box.yx and stated == "xy") or (stated == "yx" and not box.yx):
            raise Refused("answer", "has a box whose key has another order of coordinates than the one that is stated")
        numbers = box_of(swapped(box.numbers) if box.yx else box.numbers, f"answer.{k}")
        number = 0 if box.name is None else images.number(box.name, "answer")
        found.append(RawBox(number, numbers, name_or(box.label, "")))
    if any(box.image for box in found):
        return found
    around = image_around(before, after, count)
    return [box._replace(image=around) for box in found]


_ABOUT = "LLaMA-Factory's messages or conversations with images"
SOURCE = Source("sharegpt", _ABOUT, json_rows, convert, "auto", names_images=True)
