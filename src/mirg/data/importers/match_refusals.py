"""Finding a reason in ``refusals.yaml``: every text with which an import refuses a row, its meaning, and what to do.

``tools/refused_page.py`` writes ``docs/how-to/refused.md`` from that table. The code that refuses writes its own
texts; a test collects them and fails if one of them has no entry. The reasons of one import are in its
``rejected.jsonl``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

VARIES = "…"  # marks the part of a text that differs from row to row: a number, a name, a box


class Reason(NamedTuple):
    """Why something is refused: the whole texts that a report gives for it, what they mean, and what to do."""

    says: list[str]
    meaning: str
    remedy: str


@cache
def reasons(part: Literal["rows", "files"]) -> dict[str, list[Reason]]:
    """The reasons for a row, question or object, or those that stop an import, by the title of their group."""
    text = Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8")
    groups = yaml.safe_load(text)[part]
    return {title: [Reason(**entry) for entry in entries] for title, entries in groups.items()}


def is_case(text: str, says: str) -> bool:
    """Whether ``text`` is ``says`` with anything in the place of what varies; linear in the length of the text.

    >>> is_case("has 3 lines for 4 frames", "has … lines for … frames")
    True
    """
    first, *parts = says.split(VARIES)
    if not parts:
        return text == says
    at, end = len(first), len(text) - len(parts[-1])
    if at > end or not text.startswith(first) or not text.endswith(parts[-1]):
        return False
    for part in parts[:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


@cache
def _texts() -> list[str]:
    """The texts for rows, the most exact ones first: "is missing: this is not a task" before "is missing"."""
    texts = [text for group in reasons("rows").values() for reason in group for text in reason.says]
    return sorted(texts, key=lambda text: -len(text.replace(VARIES, "")))


def kind_of(text: str) -> str | None:
    """The text of the table that a reason is a case of, for counting; None if the table has no entry for it.

    >>> kind_of("Image-7 does not exist, there are 3 images")
    'Image-… does not exist, there are … images'
    """
    if text.startswith("sample ") and ": image " in text:  # an image of a sample whose name was known
        text = text[text.index(": image ") + 2 :]
    return next((kind for kind in _texts() if is_case(text, kind)), None)
