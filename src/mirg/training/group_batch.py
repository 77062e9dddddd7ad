"""The completions of a step: what is known about each, and how they are dealt to micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch

from mirg.models.prompts import Branch, Prompt, encode_row


@dataclass
class GroupBatch:
    """Completions of some prompts on their way through a step, in this process.

    There are N rows, one per completion; rows of one prompt are neighbours and form a group. ``prompts`` stays complete
    when rows are taken, so that the numbers in ``groups`` keep their meaning.
    """

    rows: list[dict[str, Any]]  # (N,) rows of the dataset, with images and sample
    groups: list[int]  # (N,) the number of each row's prompt in ``prompts``
    prompts: list[Prompt]  # (P,) each encoded once
    columns: dict[str, Any] = field(default_factory=dict)  # TRL's tensors (N, ...), and numbers of the whole batch
    spreads: list[float] = field(default_factory=list)  # (N,) standard deviation of the rewards of the row's group
    found: list[float] = field(default_factory=list)  # (N,) mean object reward of the row's group
    scored: list[bool] | None = None  # (N,) which rows the loss is computed for; None: all
    branches: list[Branch] = field(default_factory=list)  # (N,) completions in turns; empty without looks
    texts: list[str] = field(default_factory=list)  # (N,) what the model wrote in all turns; empty without looks

    @classmethod
    def of(cls, rows: list[dict[str, Any]], processor: Any, thinking: bool | None = None) -> GroupBatch:
        """The batch of dataset rows before anything is sampled; neighbours of one id are a group."""
        groups = group_numbers([row["id"] for row in rows])
        first = [rows[groups.index(number)] for number in range(groups[-1] + 1)]
        return cls(rows, groups, [encode_row(processor, row, thinking) for row in first])

    @property
    def counts(self) -> list[int]:
        """(P,) completions of each prompt in this batch."""
        return [self.groups.count(number) for number in range(len(self.prompts))]

    def of_prompts(self, values: Sequence[Any]) -> list[Any]:
        """(P,) the first of ``values`` (N,) of each prompt."""
        return [values[self.groups.index(number)] for number in range(len(self.prompts))]

    def take(self, rows: Sequence[int]) -> GroupBatch:
        """The given rows of everything that has rows; numbers of the whole batch stay."""
        total = len(self.groups)
        columns = {
            key: value[list(rows)] if isinstance(value, torch.Tensor) and value.dim() and len(value) == total else value
            for key, value in self.columns.items()
        }
        taken = GroupBatch([self.rows[k] for k in rows], [self.groups[k] for k in rows], self.prompts, columns)
        taken.branches = [self.branches[k] for k in rows] if self.branches else []
        return taken

    @property
    def written(self) -> torch.Tensor:
        """(N, longest) 1 at the tokens that the model wrote."""
        mask = self.columns["completion_mask"]
        return mask * self.columns["tool_mask"] if "tool_mask" in self.columns else mask

    def deal(self, parts: int) -> list[GroupBatch]:
        """``parts`` micro-batches with equally many rows."""
        lengths = self.columns["completion_mask"].sum(1).tolist()
        return [self.take(rows) for rows in micro_batches(self.groups, lengths, parts)]


def group_numbers(ids: Sequence[str]) -> list[int]:
    """0, 0, 0, 1, 1, 1 …: neighbours of one id are a group."""
    return [n for n, (_, rows) in enumerate(groupby(ids)) for _ in rows]


def micro_batches(groups: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Row numbers of ``parts`` equal batches: groups stay whole if they fit, and the longest are spread.

    Rows come in the order of their groups, so a group that has to be cut is cut between neighbours.
    """
    size = len(groups) // parts
    together = [list(rows) for _, rows in groupby(range(len(groups)), key=lambda k: groups[k])]
    if any(size % len(rows) for rows in together):
        return [list(range(k * size, (k + 1) * size)) for k in range(parts)]
    made: list[list[int]] = [[] for _ in range(parts)]
    tokens = [0] * parts
    for rows in sorted(together, key=lambda rows: -sum(lengths[k] for k in rows)):
        free = [k for k in range(parts) if len(made[k]) + len(rows) <= size]
        part = min(free, key=lambda k: tokens[k])
        made[part] += rows
        tokens[part] += sum(lengths[k] for k in rows)
    return made


def choose(spreads: Sequence[float], admitted: Sequence[bool], wanted: int) -> list[int]:
    """``wanted`` group numbers in rising order: admitted ones as they come, then those that vary most."""
    first = [k for k, good in enumerate(admitted) if good]
    rest = sorted((k for k, good in enumerate(admitted) if not good), key=lambda k: -spreads[k])
    return sorted((first + rest)[:wanted])


def with_signal(advantages: torch.Tensor) -> list[bool]:
    """Which rows move the policy; the first one stays if none does, so that there is a gradient to take."""
    rows = (advantages != 0).flatten(1).any(1) if advantages.dim() > 1 else advantages != 0
    signal = rows.tolist()
    return signal if any(signal) else [True, *signal[1:]]
