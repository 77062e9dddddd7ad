"""The responses to a benchmark, as JSON lines; nothing is silent.

A row is ``{"index": i, "response": "..."}``, where i is the position in the annotations, or a row of the
``records.jsonl`` of ``mirg evaluate``, whose ids end in that position, or in several if one prompt asked for several
items. A row that cannot be used becomes a :class:`RowProblem`, and an item without a usable row is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirg.data.importers.migbench import Item
from mirg.errors import DataError
from mirg.evaluation.migbench.grouping import divide, group_of
from mirg.storage import BadLine, read_jsonl

ProblemKind = Literal["broken", "bad_index", "out_of_range", "bad_response", "duplicate"]
KINDS: tuple[ProblemKind, ...] = ("broken", "bad_index", "out_of_range", "bad_response", "duplicate")
_ID = re.compile(r"migbench(-revised)?-(\d{4,9}(?:\+\d{4,9})*)", re.ASCII)


@dataclass(frozen=True)
class RowProblem:
    """A row (line number from 1) that is not used, and why."""

    row: int
    kind: ProblemKind
    detail: str


@dataclass(frozen=True)
class Responses:
    """Usable responses by item index, the rows read, and what was wrong with the others.

    ``rows == len(texts) + len(problems)`` if each row is about one item.
    """

    texts: dict[int, str]
    rows: int
    problems: tuple[RowProblem, ...]


def load_responses(path: str | Path, n_items: int, *, revised: bool = False, items: Sequence[Item] = ()) -> Responses:
    """Read responses to a benchmark of ``n_items`` items; of several rows for one item the first counts.

    A folder is an evaluation, whose ``records.jsonl`` is read. ``items`` are needed for rows about several items, whose
    answer is divided (:func:`mirg.evaluation.migbench.grouping.divide`). Raises ``StorageError`` if the file cannot be
    read, and :class:`DataError` if it has rows and none of them can be used.
    """
    file = Path(path) / "records.jsonl" if Path(path).is_dir() else Path(path)
    texts: dict[int, str] = {}
    problems: list[RowProblem] = []
    rows = 0
    for row, value in read_jsonl(file):
        rows += 1
        problem = _use(row, value, n_items, revised, items, texts)
        if problem is not None:
            problems.append(problem)
    if problems and not texts:
        first = problems[0]
        raise DataError(
            f"{file}: none of {rows} rows can be used; row {first.row}: {first.detail}",
            hint='a row is {"index": 0, "response": "..."}, or one of the records.jsonl of mirg evaluate',
        )
    return Responses(texts=texts, rows=rows, problems=tuple(problems))


def indices_of(sample_id: str, *, revised: bool) -> list[int] | None:
    """The positions of the items that a sample asks for; None if it is no item of this version."""
    found = _ID.fullmatch(sample_id)
    if found is None or bool(found[1]) != revised:
        return None
    return [int(index) for index in found[2].split("+")]


def _use(
    row: int, value: object, n_items: int, revised: bool, items: Sequence[Item], texts: dict[int, str]
) -> RowProblem | None:
    """Put the response of one row into ``texts``, or say why it cannot be used."""
    if isinstance(value, BadLine):
        return RowProblem(row, "broken", value.reason)
    if not isinstance(value, Mapping):
        return RowProblem(row, "broken", "not an object with index and response")
    index, response = value.get("index"), value.get("response")
    if "index" not in value and isinstance(sample_id := value.get("id"), str) and "completion" in value:
        found = indices_of(sample_id, revised=revised)
        if found is None:
            version = "revised" if revised else "original"
            return RowProblem(row, "bad_index", f"sample {sample_id[:60]!r} is no item of the {version} MIG-Bench")
        if len(found) > 1:
            return _divide(row, found, value["completion"], items, texts)
        (index,), response = found, value["completion"]
    if not isinstance(index, int) or isinstance(index, bool):
        return RowProblem(row, "bad_index", f"index must be an integer, got {str(index)[:40]!r}")
    if not 0 <= index < n_items:
        return RowProblem(row, "out_of_range", f"index {index} is not in 0-{n_items - 1}")
    if not isinstance(response, str):
        return RowProblem(row, "bad_response", f"the response to item {index} is not a text")
    if index in texts:
        return RowProblem(row, "duplicate", f"item {index} has an earlier response, which counts")
    texts[index] = response
    return None


def _divide(
    row: int, members: list[int], response: object, items: Sequence[Item], texts: dict[int, str]
) -> RowProblem | None:
    """The same for a row about several items."""
    group = group_of(members, items)
    if group is None:
        return RowProblem(row, "bad_index", f"items {members} are not one prompt about the same images")
    if not isinstance(response, str):
        return RowProblem(row, "bad_response", f"the response to items {members} is not a text")
    if earlier := [index for index in members if index in texts]:
        return RowProblem(row, "duplicate", f"item {earlier[0]} has an earlier response, which counts")
    texts.update(divide(response, group))
    return None
