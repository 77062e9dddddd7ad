"""One entry of the table of reasons."""

from __future__ import annotations

from dataclasses import dataclass

# Marks the part of a text that differs from row to row: a number, a name, a box.
VARIES = "…"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is refused: the texts that a report gives for it, what they mean, and what to do.

    ``says`` are whole texts, in which :data:`VARIES` marks the parts that vary.
    """

    says: tuple[str, ...]
    meaning: str
    remedy: str
