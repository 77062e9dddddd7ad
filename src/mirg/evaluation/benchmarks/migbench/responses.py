"""The RESPONSES file of a benchmark: JSON lines ``{"index": i, "response": "..."}``, i = position in the annotations.

Nothing is silent: a row that cannot be used becomes a :class:`RowProblem`, and an item without a usable row is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirg.storage import BadLine, read_jsonl

ProblemKind = Literal["broken", "bad_index", "out_of_range", "bad_response", "duplicate"]
KINDS: tuple[ProblemKind, ...] = ("broken", "bad_index", "out_of_range", "bad_response", "duplicate")


@dataclass(frozen=True)
class RowProblem:
    """A row (line number from 1) that is not used, and why."""

    row: int
    kind: ProblemKind
    detail: str


@dataclass(frozen=True)
class Responses:
    """Usable responses by item index, the rows read, and what was wrong with the others.

    ``rows == len(texts) + len(problems)``.
    """

    texts: dict[int, str]
    rows: int
    problems: tuple[RowProblem, ...]


def load_responses(path: str | Path, n_items: int) -> Responses:
    """Read responses to a benchmark of ``n_items`` items; of several rows for one item the first counts.

    Raises ``StorageError`` where the file cannot be read.
    """
    texts: dict[int, str] = {}
    problems: list[RowProblem] = []
    rows = 0
    for row, value in read_jsonl(path):
        rows += 1
        problem = _row_problem(row, value, n_items, texts)
        if problem is not None:
            problems.append(problem)
        elif isinstance(value, Mapping):
            texts[value["index"]] = value["response"]
    return Responses(texts=texts, rows=rows, problems=tuple(problems))


def _row_problem(row: int, value: object, n_items: int, seen: dict[int, str]) -> RowProblem | None:
    if isinstance(value, BadLine):
        return RowProblem(row, "broken", value.reason)
    if not isinstance(value, Mapping):
        return RowProblem(row, "broken", "not an object with index and response")
    index, response = value.get("index"), value.get("response")
    if not isinstance(index, int) or isinstance(index, bool):
        return RowProblem(row, "bad_index", f"index must be an integer, got {str(index)[:40]!r}")
    if not 0 <= index < n_items:
        return RowProblem(row, "out_of_range", f"index {index} is not in 0-{n_items - 1}")
    if not isinstance(response, str):
        return RowProblem(row, "bad_response", f"the response to item {index} is not a text")
    if index in seen:
        return RowProblem(row, "duplicate", f"item {index} has an earlier response, which counts")
    return None
