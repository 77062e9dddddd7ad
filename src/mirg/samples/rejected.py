"""Rows that are not used: what is recorded about each, the file that lists them, and the counts of a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from mirg.samples.schema import Sample
from mirg.storage import write_atomic

REJECTED_FILE = "rejected.jsonl"


class Rejection(BaseModel):
    """One row that is not used, and why. ``row`` counts the lines of ``file`` from 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    row: int
    id: str | None
    field: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        owner = f" (sample {self.id})" if self.id else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.row}{owner}: {self.field}: {self.reason}{hint}"


R = TypeVar("R", bound=Rejection)


@dataclass
class Tally(Generic[R]):
    """What became of the rows of a dataset: rows read = all ``kept`` + all ``dropped`` + ``n_rejected``.

    ``kept`` counts the samples that were written, by a word for the outcome; ``tasks`` counts them by task. ``dropped``
    counts by reason the samples that could be used but were not wanted. Rejected rows cannot be used. ``rejections``
    holds the rejections, and what was recorded about dropped samples, in the order in which they were met; at most
    ``most`` of them if that is set.
    """

    kept: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    n_rejected: int = 0
    rejections: list[R] = field(default_factory=list)
    most: int | None = None

    @property
    def n_kept(self) -> int:
        """Samples written."""
        return self.kept.total()

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return self.n_kept + self.dropped.total() + self.n_rejected

    def keep(self, sample: Sample, word: str = "kept") -> None:
        """Count a sample that was written."""
        self.kept[word] += 1
        self.tasks[sample.task] += 1

    def drop(self, word: str, rejection: R | None = None) -> None:
        """Count a sample that is not wanted, and list what is recorded about it."""
        self.dropped[word] += 1
        if rejection is not None:
            self._list(rejection)

    def reject(self, rejection: Rejection, sample: Sample | None = None) -> Rejection:
        """Count and list a row that cannot be used; returns the listed rejection.

        ``sample`` is given if the row could be read: a report may record more about it.
        """
        self.n_rejected += 1
        self._list(rejection)
        return rejection

    def first(self) -> str:
        """The first rejection for the end of an error message, or nothing."""
        return f"; first: {self.rejections[0]}" if self.rejections else ""

    def rejected_dict(self) -> dict[str, Any]:
        """``rejected`` and ``rejections`` as JSON values."""
        return {"rejected": self.n_rejected, "rejections": [row.model_dump() for row in self.rejections]}

    def _list(self, rejection: Any) -> None:
        if self.most is None or len(self.rejections) < self.most:
            self.rejections.append(rejection)


def rejection_line(rejection: Rejection) -> bytes:
    """A line of ``rejected.jsonl``. Half of a surrogate pair, which an id of a damaged row may hold, is written too."""
    value = rejection.model_dump(mode="python")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def write_rejections(folder: Path, rejections: Iterable[Rejection]) -> None:
    """Write ``rejected.jsonl`` into ``folder`` if there is any rejection."""
    lines = b"".join(map(rejection_line, rejections))
    if lines:
        write_atomic(folder / REJECTED_FILE, lines)
