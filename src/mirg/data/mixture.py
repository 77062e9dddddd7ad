"""Several datasets as one endless sequence: what a training loop reads and ``mirg data mix`` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from types import TracebackType
from typing import NamedTuple

from mirg.data.keys import keyed
from mirg.data.order import Order
from mirg.data.rows import Rows
from mirg.samples import DatasetFolder, Sample
from mirg.samples.folder import OnReject

Weight = int | float | str | Fraction


class Mixed(NamedTuple):
    """A sample of a mixture, the number of the dataset (from 0) that its images belong to, and where it stands there.

    ``line`` counts the lines of samples.jsonl from 1; the row came ``again`` times before in this epoch.
    """

    dataset: int
    sample: Sample
    line: int
    again: int


class Mixture:
    """``mixture[position]`` is the sample at a position from 0; see :class:`mirg.data.order.Order`.

    ``parts`` gives each dataset a name, which is put before ids that an earlier dataset has too, and a weight. A row
    that comes again in the same epoch has the id ``ID~k``. Broken rows go to ``on_reject``; without one they raise
    DataError. ConfigError as :class:`Order`. Used in a ``with`` block, the files are closed at its end.

    >>> with Mixture({"a": (folder_a, 2), "b": (folder_b, 1)}, seed=0) as mixture:  # doctest: +SKIP
    ...     for mixed in mixture.tail(steps_done * batch_size): ...
    """

    def __init__(
        self,
        parts: Mapping[str, tuple[DatasetFolder, Weight]],
        *,
        seed: int = 0,
        epoch: int = 0,
        on_reject: OnReject | None = None,
    ) -> None:
        self.names = list(parts)
        self.folders = [folder for folder, _ in parts.values()]
        self._rows = [Rows(folder, on_reject) for folder in self.folders]
        sizes = [len(rows) for rows in self._rows]
        self.order = Order([weight for _, weight in parts.values()], sizes, seed=seed, epoch=epoch)
        self._clashes = self._find_clashes()

    @property
    def sizes(self) -> list[int]:
        """Usable rows of each dataset."""
        return self.order.sizes

    def __getitem__(self, position: int) -> Mixed:
        """The sample at ``position``, with an id of its own; IndexError where it is negative."""
        draw = self.order[position]
        sample = self._rows[draw.dataset][draw.row]
        name = sample.id
        if keyed(sample.id) in self._clashes[draw.dataset]:
            name = f"{self.names[draw.dataset]}:{name}"
        if draw.again:
            name = f"{name}~{draw.again}"
        if name != sample.id:
            sample = sample.model_copy(update={"id": name})
        return Mixed(draw.dataset, sample, self._rows[draw.dataset].lines[draw.row], draw.again)

    def tail(self, position: int = 0) -> Iterator[Mixed]:
        """Samples from ``position`` on, without end: what a run resumed there goes on with."""
        while True:
            yield self[position]
            position += 1

    def __enter__(self) -> Mixture:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with ExitStack() as stack:
            for rows in self._rows:
                stack.push(rows)

    def _find_clashes(self) -> list[set[int]]:
        """For each dataset, the keys of its ids that an earlier one has too."""
        seen: set[int] = set()
        clashes: list[set[int]] = []
        for rows in self._rows:
            clashes.append(seen.intersection(rows.keys))
            seen.update(rows.keys)
        return clashes
