"""Counts of a dataset: the places and sizes of its targets, by task and for all tasks."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields

from mirg.samples import Sample

CELLS = 3  # the image is cut into 3 x 3 cells
SIZE_BINS = 20  # of the square root of a target's share of its image
TASKS = 500  # tasks counted one by one; names may be anything, also a different one in every row
OTHER = "(other tasks)"


@dataclass
class Shape:
    """Counts over samples (images, targets of each) and over targets (image number, cell row by row, size bin)."""

    samples: int = 0
    hidden: int = 0
    images: Counter[int] = field(default_factory=Counter)
    targets: Counter[int] = field(default_factory=Counter)
    target_image: Counter[int] = field(default_factory=Counter)
    cells: Counter[int] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)

    def merge(self, other: Shape) -> None:
        """Add the counts of ``other``."""
        for count in fields(self):
            setattr(self, count.name, getattr(self, count.name) + getattr(other, count.name))

    @property
    def grid(self) -> list[list[int]]:
        """The targets in each of the 3 x 3 cells, by row."""
        return [[self.cells[CELLS * row + column] for column in range(CELLS)] for row in range(CELLS)]

    def as_dict(self) -> dict[str, object]:
        """The counts as JSON values; ``size.edges`` are square roots of area shares."""
        sizes = [self.sizes[k] for k in range(SIZE_BINS)]
        return {
            "samples": self.samples,
            "image_hidden": self.hidden,
            "images_per_sample": _by_number(self.images),
            "targets_per_sample": _by_number(self.targets),
            "target_image": _by_number(self.target_image),
            "target_cell": self.grid,
            "target_size": {"edges": [round(k / SIZE_BINS, 4) for k in range(SIZE_BINS + 1)], "counts": sizes},
        }


class Histograms:
    """The :class:`Shape` of every task, and of all of them."""

    def __init__(self, most: int | None = TASKS) -> None:
        """``most``: tasks that are counted one by one, None for all."""
        self.most = most
        self.tasks: dict[str, Shape] = {}

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        shape = self._shape(sample.task)
        shape.samples += 1
        shape.hidden += sample.image_hidden
        shape.images[len(sample.images)] += 1
        shape.targets[len(sample.targets)] += 1
        for target in sample.targets:
            x1, y1, x2, y2 = target.box
            column, row = (min(max(int(centre * CELLS), 0), CELLS - 1) for centre in ((x1 + x2) / 2, (y1 + y2) / 2))
            shape.target_image[target.image] += 1
            shape.cells[row * CELLS + column] += 1
            side = math.sqrt(max((x2 - x1) * (y2 - y1), 0.0))
            shape.sizes[min(int(side * SIZE_BINS), SIZE_BINS - 1)] += 1

    def join(self, later: Histograms) -> None:
        """Add the counts of rows that come after all of these; ``later`` counts every task by itself."""
        for task, shape in later.tasks.items():
            self._shape(task).merge(shape)

    def _shape(self, task: str) -> Shape:
        if task in self.tasks or self.most is None or len(self.tasks) < self.most:
            return self.tasks.setdefault(task, Shape())
        return self.tasks.setdefault(OTHER, Shape())

    @property
    def all(self) -> Shape:
        """The counts of all tasks together."""
        total = Shape()
        for shape in self.tasks.values():
            total.merge(shape)
        return total

    @property
    def counts(self) -> dict[str, int]:
        """Samples of each task, by name."""
        return {task: self.tasks[task].samples for task in sorted(self.tasks)}

    def as_dict(self) -> dict[str, object]:
        """``all`` and ``tasks`` as JSON values."""
        return {"all": self.all.as_dict(), "tasks": {task: self.tasks[task].as_dict() for task in sorted(self.tasks)}}


def _by_number(counts: Counter[int]) -> dict[str, int]:
    return {str(number): counts[number] for number in sorted(counts)}
