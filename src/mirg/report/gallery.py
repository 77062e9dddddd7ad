"""Which answers a page shows: a bounded, spread-out, repeatable choice out of thousands."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol, TypeVar

PER_OUTCOME = 24


class Answered(Protocol):
    """What the choice looks at: a gallery item has it, and so has whatever stands for one before it is made."""

    @property
    def sample_id(self) -> str:
        """Whose answer it is."""
        ...

    @property
    def task(self) -> str:
        """The sample's task."""
        ...

    @property
    def model(self) -> str:
        """Who answered."""
        ...

    @property
    def outcome(self) -> str:
        """How it ended."""
        ...


A = TypeVar("A", bound=Answered)


def select(items: Iterable[A], per_outcome: int = PER_OUTCOME) -> list[A]:
    """At most ``per_outcome`` items of every (model, outcome), the tasks in turn.

    The choice depends on sample ids only, so the same samples come up for every model where the outcomes allow it,
    and rebuilding a page gives the same page. The result is in round-robin order over (model, outcome), so that any
    beginning of it is balanced.
    """
    groups: dict[tuple[str, str], list[A]] = defaultdict(list)
    for item in items:
        groups[item.model, item.outcome].append(item)
    spread = [_tasks_in_turn(group)[:per_outcome] for group in groups.values()]
    return [group[place] for place in range(per_outcome) for group in spread if place < len(group)]


def _tasks_in_turn(items: list[A]) -> list[A]:
    by_task: dict[str, list[A]] = defaultdict(list)
    for item in sorted(items, key=lambda item: shuffle_key(item.sample_id)):
        by_task[item.task].append(item)
    ranked = [(place, task, item) for task, group in by_task.items() for place, item in enumerate(group)]
    return [item for _, _, item in sorted(ranked, key=lambda row: row[:2])]


def shuffle_key(sample_id: str) -> str:
    """A key to sort samples by: their order has nothing to do with their names, and is the same every time."""
    return hashlib.sha256(sample_id.encode("utf-8", "replace")).hexdigest()
