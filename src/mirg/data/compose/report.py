"""What a run of the builders made, where the answers lie, and why drafts were dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mirg.data.compose.pool import CELLS, Pool, cell_of
from mirg.samples import Target


@dataclass
class ComposeReport:
    """Counts of one run: ``n_asked`` is ``n_samples`` and ``n_short``; ``drops`` counts drafts, not samples.

    ``unreadable`` has a line for each image that could not be opened. ``incomplete`` counts the images that are not
    used if it matters that no object is missing, by reason; ``left_out`` says why a task was not tried.
    """

    n_asked: int
    n_images: int
    n_unnoted: int
    n_crowded: int
    n_other_split: int
    n_rejected_rows: int
    incomplete: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    tasks: Counter[str] = field(default_factory=Counter)
    short: dict[str, int] = field(default_factory=dict)
    drops: dict[str, Counter[str]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    languages: Counter[str] = field(default_factory=Counter)
    image_numbers: dict[str, Counter[int]] = field(default_factory=dict)
    cells: list[int] = field(default_factory=lambda: [0] * CELLS)
    uses: Counter[int] = field(default_factory=Counter)
    n_like: int = 0
    n_unlike: int = 0

    @classmethod
    def of_pool(cls, n_asked: int, pool: Pool) -> ComposeReport:
        """An empty report about a pool."""
        return cls(
            n_asked, len(pool), pool.n_unnoted, pool.n_crowded, pool.n_other_split, len(pool.rejected), pool.incomplete
        )

    @property
    def n_samples(self) -> int:
        """Samples written."""
        return self.tasks.total()

    def drop(self, task: str, reasons: Counter[str]) -> None:
        """Count drafts that were not produced."""
        self.drops.setdefault(task, Counter()).update(reasons)

    def add(self, task: str, language: str, targets: Iterable[Target], sources: Iterable[int]) -> None:
        """Count one written sample; ``sources`` are the pool images that it is made of."""
        self.tasks[task] += 1
        self.languages[language] += 1
        self.uses.update(sources)
        for target in targets:
            self.image_numbers.setdefault(task, Counter())[target.image] += 1
            self.cells[cell_of(target.box)] += 1

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values; a function of the samples alone."""
        numbers = sum(self.image_numbers.values(), Counter[int]())
        return {
            "asked": self.n_asked,
            "samples": self.n_samples,
            "tasks": dict(sorted(self.tasks.items())),
            "short": dict(sorted(self.short.items())),
            "left_out": self.left_out,
            "languages": dict(sorted(self.languages.items())),
            "pool": {
                "images": self.n_images,
                "without_objects": self.n_unnoted,
                "too_many_objects": self.n_crowded,
                "other_split": self.n_other_split,
                "rejected_rows": self.n_rejected_rows,
                "incomplete": self.incomplete,
                "used": len(self.uses),
                "most_uses": max(self.uses.values(), default=0),
            },
            "positions": {
                "image": {str(number): numbers[number] for number in sorted(numbers)},
                "image_by_task": {
                    task: {str(number): counts[number] for number in sorted(counts)}
                    for task, counts in sorted(self.image_numbers.items())
                },
                "cell": [self.cells[row : row + 3] for row in range(0, CELLS, 3)],
            },
            "unreadable": sorted(self.unreadable),
            "distractors": {"as_asked": self.n_like, "others": self.n_unlike},
            "dropped": {
                task: dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))
                for task, reasons in sorted(self.drops.items())
                if reasons
            },
        }
