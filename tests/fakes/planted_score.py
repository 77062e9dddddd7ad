"""Scores of the verification on planted replies: per defect how many are found, and how many correct ones refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fakes.planted import FAMILY
from fakes.planted_defects import MEANT, Planted
from mirg.trajectories.checks import VerifyConfig, failures, verify
from mirg.trajectories.teacher.replies import read_reply

HELD_OUT = "held_out"


@dataclass
class Row:
    """Replies with one defect: how many, how many are refused, and how many by a check meant for the defect."""

    n: int = 0
    found: int = 0
    by_meant: int = 0


@dataclass
class Score:
    """``defects`` by name; held-out wordings have separate rows and are in none of the sums.

    ``recall`` and ``false_rejections`` are shares of all defective and of all correct replies.
    """

    defects: dict[str, Row] = field(default_factory=dict)
    correct: dict[str, Row] = field(default_factory=dict)
    missed: list[tuple[str, str, str]] = field(default_factory=list)
    refused: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Share of the defective replies that are refused, without wordings held out."""
        rows = [row for name, row in self.defects.items() if HELD_OUT not in name]
        return sum(row.found for row in rows) / sum(row.n for row in rows)

    @property
    def recall_with_held_out(self) -> float:
        """Share of all defective replies that are refused."""
        rows = self.defects.values()
        return sum(row.found for row in rows) / sum(row.n for row in rows)

    @property
    def precision(self) -> float:
        """Share of the refused replies that are defective, without wordings held out."""
        found = sum(row.found for name, row in self.defects.items() if HELD_OUT not in name)
        return found / (found + sum(row.found for row in self.correct.values()))

    @property
    def false_rejections(self) -> float:
        """Share of the correct replies that are refused."""
        return sum(row.found for row in self.correct.values()) / sum(row.n for row in self.correct.values())


def found_by(planted: Planted) -> dict[str, str]:
    """The checks that refuse a reply, with their reasons; ``reply`` if it cannot even be parsed."""
    read = read_reply(planted.text, planted.sample, FAMILY)
    if isinstance(read, str):
        return {"reply": read}
    config = VerifyConfig.model_validate({"language": planted.language})
    results = verify(planted.sample, read, family=FAMILY, config=config)
    return failures(results)


def score(rows: Iterable[Planted]) -> Score:
    """Read and verify every reply."""
    total = Score()
    for planted in rows:
        reasons = found_by(planted)
        if planted.defect:
            name = f"{planted.defect}, {HELD_OUT}" if planted.group == HELD_OUT else planted.defect
            row = total.defects.setdefault(name, Row())
            if not reasons and planted.group != HELD_OUT:
                total.missed.append((planted.defect, planted.wording, planted.text))
        else:
            row = total.correct.setdefault(planted.group, Row())
            if reasons:
                total.refused.append((planted.text, reasons))
        row.n += 1
        row.found += bool(reasons)
        row.by_meant += bool(set(reasons) & MEANT.get(planted.defect, frozenset()))
    return total
