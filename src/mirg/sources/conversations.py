"""Rows that are conversations about images: questions, their answers, and which images had been shown by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mirg.sources.instructions import without_instructions
from mirg.sources.rows import Refused, mapping, paths_of, row_id, short, text_of
from mirg.sources.texts import PLACEHOLDER, shown

ASKING = frozenset({"human", "user"})
ANSWERING = frozenset({"gpt", "assistant", "model"})


class Turn(NamedTuple):
    """A question with its answer; ``images`` were shown up to then. ``problem``: why it cannot be used."""

    number: int  # from 1
    question: str  # without placeholders
    answer: str
    images: int
    problem: str = ""


class Conversation(NamedTuple):
    """One row: its images in the order of their placeholders, and its turns."""

    row: dict[str, Any]
    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    columns: Mapping[str, str] = {}

    def named(self) -> list[tuple[str, Turn]]:
        """(id, turn) of every question."""
        return [(f"{self.id}-{turn.number}", turn) for turn in self.turns]


def conversation(
    value: Any, kind: str, columns: Mapping[str, str] | None = None, *, placeholders_needed: bool = True
) -> Conversation:
    """Read a row of LLaMA-Factory's two forms: ``conversations`` (from, value) or ``messages`` (role, content).

    ``columns`` tells other names: of the columns ``messages``, ``images``, ``id``, of the keys ``role`` and
    ``content``, and of the roles ``user`` and ``assistant``. Refused where the row is no conversation, or the number of
    placeholders is not that of images (none at all is allowed unless ``placeholders_needed``: images then come first).
    """
    columns = columns or {}
    row = mapping(value)
    name = row_id(row, kind, columns.get("id", "id"))
    images = paths_of(row.get(columns.get("images", "images"), row.get("image")))
    said = _messages(row, columns)
    total = sum(text.count(PLACEHOLDER) for asks, text in said if asks)
    if total != len(images) and (total or placeholders_needed):
        raise Refused(
            "images",
            f"{total} placeholders for {len(images)} images",
            f"one {PLACEHOLDER} in a question for each",
        )
    return Conversation(row, name, images, _turns(said, 0 if total else len(images)), columns)


def _messages(row: dict[str, Any], columns: Mapping[str, str]) -> list[tuple[bool, str]]:
    """(whether it asks, text) of every message."""
    field = columns.get("messages", "messages" if "messages" in row else "conversations")
    messages = row.get(field)
    if not isinstance(messages, list) or not messages:
        raise Refused(field, "is missing" if messages is None else "is no list of messages")
    said: list[tuple[bool, str]] = []
    for k, message in enumerate(messages):
        where = f"{field}.{k}"
        message = mapping(message, where)
        role = message.get(columns.get("role", "role"), message.get("from"))
        content = message.get(columns.get("content", "content"), message.get("value"))
        if role == "system":
            continue
        asks = isinstance(role, str) and (role == columns.get("user") or role in ASKING)
        answers = isinstance(role, str) and (role == columns.get("assistant") or role in ANSWERING)
        if not asks and not answers:
            raise Refused(where, f"the role {short(role)} neither asks nor answers", "--columns user=…,assistant=…")
        said.append((asks, _content(content, where)))
    return said


def _content(content: Any, where: str) -> str:
    """A text, or the parts of one: texts and places of images."""
    if not isinstance(content, list):
        return text_of(content, where)
    parts = []
    for part in content:
        part = mapping(part, where)
        parts.append(PLACEHOLDER if part.get("type") == "image" else text_of(part.get("text"), where))
    return "".join(parts)


def _turns(said: list[tuple[bool, str]], seen: int) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    asked: list[str] = []
    problem = ""
    for asks, text in said:
        if asks:
            found = shown(text, seen)
            seen += found.images
            problem = problem or found.problem
            asked.append(found.text)
        elif asked:
            turns.append(Turn(len(turns) + 1, _question(asked), text, seen, problem))
            asked, problem = [], ""
        else:
            turns.append(Turn(len(turns) + 1, "", text, seen, "an answer without a question"))
    if asked:
        turns.append(Turn(len(turns) + 1, _question(asked), "", seen, "a question without an answer"))
    return tuple(turns)


def _question(texts: list[str]) -> str:
    return without_instructions("\n".join(texts).strip())
