"""Rows that are conversations about images, and rows that hold a whole sample of mirg as JSON.

A conversation becomes questions with their answers and the images that had been shown by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from mirg.answers import Instructions, Style, instruction_text
from mirg.answers.markup import markup_problem, replaced
from mirg.data.importers.raw import RawBox, RawImage, RawObject, RawSample, Refusal, Text
from mirg.data.importers.rows import Refused, mapping, name_or, paths_of, row_id, short, text_of
from mirg.data.importers.texts import FROM_ZERO_HINT, PLACEHOLDER, ZERO, Images, counts_from_zero, shown, told
from mirg.errors import first_problem
from mirg.frames import FAMILIES
from mirg.geometry import Box
from mirg.samples import ImageRef, Sample


def without_instructions(question: str) -> str:
    """``question`` without instructions of mirg at its end, for whatever family and style they were written."""
    known = _known()
    if not question.endswith(known):
        return question
    found = next(text for text in known if question.endswith(text))
    return question.removesuffix(found).rstrip()


@lru_cache(maxsize=1)
def _known() -> tuple[str, ...]:
    """All instructions, the longest first: one may be the end of another one."""
    styles: tuple[Style, ...] = get_args(Style)
    kinds: tuple[Instructions, ...] = get_args(Instructions)
    texts = {
        instruction_text(family, kind, style) for family in FAMILIES.values() for kind in kinds for style in styles
    }
    return tuple(sorted((f"\n{text}" for text in texts if text), key=len, reverse=True))


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


ASKING = frozenset({"human", "user"})
ANSWERING = frozenset({"gpt", "assistant", "model"})
_IMAGE_TYPES = ("image", "image_url")
_NO_PROBLEM = Refusal("", "")


class Turn(NamedTuple):
    """A question with its answer; ``images`` were shown up to then. ``problem``: why it cannot be used."""

    number: int  # from 1
    question: str  # without placeholders
    answer: str
    images: int
    problem: str = ""
    refusal: Refusal | None = None  # the same with its field

    def check(self, field: str) -> None:
        """Refused if the turn cannot be used; ``field`` is the field of its messages."""
        if self.refusal:
            where = self.refusal.field or field
            raise Refused(where, self.refusal.reason, self.refusal.hint, self.refusal.counts)


class Conversation(NamedTuple):
    """One row: its images in the order of their placeholders, and its turns."""

    row: dict[str, Any]
    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    columns: Mapping[str, str] = {}
    system: str = ""  # what the system messages say

    @property
    def task(self) -> str:
        """The name of the task that the row gives, or "grounding"."""
        return name_or(self.row.get(self.columns.get("task", "task")), "grounding")

    def named(self) -> list[tuple[str, Turn]]:
        """(id, turn) of every question."""
        return [(f"{self.id}-{turn.number}", turn) for turn in self.turns]


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
    given = row.get(columns.get("images", "images"), row.get("image"))
    within = _paths_within(row, columns)
    images = paths_of(within if given is None and within else given)
    if within and images != paths_of(within):
        raise Refused("images", "are not the images that the messages show, in their order", "keep one of the two")
    said, system = _messages(row, columns)
    if first is None and any(counts_from_zero(text) for _, text in said):
        raise Refused("messages", ZERO, FROM_ZERO_HINT, "0")
    total = sum(text.count(PLACEHOLDER) for asks, text in said if asks)
    if total != len(images) and (total or placeholders_needed):
        raise Refused(
            "images",
            f"{total} placeholders for {len(images)} images",
            f"one {PLACEHOLDER} in a question for each",
        )
    turns = _turns(said, 0 if total else len(images), Images(images, first), name_answers=name_answers)
    return Conversation(row, name, images, turns, columns, system)


def _paths_within(row: dict[str, Any], columns: Mapping[str, str]) -> list[Any]:
    """The images that the messages themselves name, as the chat templates of transformers and of OpenAI do:
    ``{"type": "image", "image": "a.png"}`` or ``{"type": "image_url", "image_url": {"url": "a.png"}}``.
    """
    messages = row.get(columns.get("messages", "messages" if "messages" in row else "conversations"))
    found = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get(columns.get("content", "content")) if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") in _IMAGE_TYPES:
                path = part.get("image", part.get("image_url", part.get("path")))
                path = path.get("url") if isinstance(path, dict) else path
                found += [path.removeprefix("file://") if isinstance(path, str) else path] if path is not None else []
    return found


def _messages(row: dict[str, Any], columns: Mapping[str, str]) -> tuple[list[tuple[bool, str]], str]:
    """(whether it asks, text) of every message, and what the system messages say."""
    field = columns.get("messages", "messages" if "messages" in row else "conversations")
    messages = row.get(field)
    if messages is None and not columns.get("messages"):
        messages = _in_columns(row)
    if not isinstance(messages, list) or not messages:
        raise Refused(field, "is missing" if messages is None else "is not a list of messages")
    said: list[tuple[bool, str]] = []
    system: list[str] = []
    for k, message in enumerate(messages):
        where = f"{field}.{k}"
        message = mapping(message, where)
        role = message.get(columns.get("role", "role"), message.get("from"))
        content = message.get(columns.get("content", "content"), message.get("value"))
        if role == "system":
            system.append(content if isinstance(content, str) else "")
            continue
        asks = isinstance(role, str) and (role == columns.get("user") or role in ASKING)
        answers = isinstance(role, str) and (role == columns.get("assistant") or role in ANSWERING)
        if not asks and not answers:
            raise Refused(where, f"the role {short(role)} neither asks nor answers", "--columns user=…,assistant=…")
        said.append((asks, _content(content, where)))
    return said, "\n".join(system)


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


def _content(content: Any, where: str) -> str:
    """A text, or the parts of one: texts and places of images."""
    if not isinstance(content, list):
        return text_of(content, where)
    parts = []
    for part in content:
        part = mapping(part, where)
        parts.append(PLACEHOLDER if part.get("type") in _IMAGE_TYPES else text_of(part.get("text"), where))
    return "".join(parts)


def _turns(said: list[tuple[bool, str]], seen: int, images: Images, *, name_answers: bool) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    asked: list[str] = []
    problem = _NO_PROBLEM
    for asks, text in said:
        try:
            text = told(text, images, "question" if asks else "answer", strict=False) if asks or name_answers else text
        except Refused as refused:
            problem = problem if problem.reason else refused.refusal
        if asks:
            found = shown(text, seen)
            seen += found.images
            problem = problem if problem.reason else Refusal("", found.problem)
            asked.append(found.text)
            continue
        if not asked:
            problem = Refusal("", "an answer without a question")
        turns.append(_turn(len(turns) + 1, asked, text, seen, problem))
        asked, problem = [], _NO_PROBLEM
    if asked:
        turns.append(_turn(len(turns) + 1, asked, "", seen, Refusal("", "a question without an answer")))
    return tuple(turns)


def _turn(number: int, asked: list[str], answer: str, seen: int, problem: Refusal) -> Turn:
    question = without_instructions("\n".join(asked).strip())
    return Turn(number, question, answer, seen, problem.reason, problem if problem.reason else None)
