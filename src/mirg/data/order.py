"""The order of a weighted mixture: which row of which dataset comes at a position, by arithmetic alone.

It is a function of (seed, epoch, position): a run that is resumed needs no state but the number of the position, and
how many samples are drawn in all, by how many workers, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mirg.data.keys import keyed
from mirg.data.permute import Permutation
from mirg.data.schedule import block, whole_weights
from mirg.errors import ConfigError

_KEPT_PLACES = 2_000_000  # of arranged blocks


class Draw(NamedTuple):
    """Row ``row`` (from 0) of dataset ``dataset`` (from 0); it came ``again`` times before in this epoch."""

    dataset: int
    row: int
    again: int


class Order:
    """``order[position]`` is the :class:`Draw` at a position from 0; there is no last one.

    Among the first n positions a dataset of share p comes n * p times, give or take less than one. Its rows come in a
    shuffled order, each once before any comes twice, shuffled anew every time around and in every epoch.
    ``sizes`` are the numbers of rows. ConfigError where weights and sizes make no mixture.
    """

    def __init__(
        self, weights: Sequence[int | float | str | Fraction], sizes: Sequence[int], *, seed: int = 0, epoch: int = 0
    ) -> None:
        if not sizes or len(weights) != len(sizes):
            raise ConfigError(f"{len(weights)} weights for {len(sizes)} datasets", hint="one weight for each dataset")
        for number, size in enumerate(sizes, 1):
            if size < 1:
                raise ConfigError(f"dataset {number} of the mixture has no rows", hint="leave it out")
        self.weights = whole_weights(weights)
        self.sizes = list(sizes)
        self.seed = seed
        self.epoch = epoch
        self.period = sum(self.weights)
        blocks = max(2, _KEPT_PLACES // self.period)
        self._block = lru_cache(min(blocks, 4096))(self._arranged)
        self._shuffle = lru_cache(4 * len(sizes))(self._shuffled)

    def __getitem__(self, position: int) -> Draw:
        """What comes at ``position``; IndexError where it is negative."""
        if position < 0:
            raise IndexError(f"position {position}: they count from 0")
        number, place = divmod(position, self.period)
        datasets, ranks = self._block(number)
        dataset = datasets[place]
        drawn = number * self.weights[dataset] + ranks[place]
        again, turn = divmod(drawn, self.sizes[dataset])
        return Draw(dataset, self._shuffle(dataset, again)[turn], again)

    def _arranged(self, number: int) -> tuple[list[int], list[int]]:
        """The datasets of a block, and for each place how many of its dataset come before it in the block."""
        datasets = block(self.weights, keyed(self.seed, self.epoch, "block", number))
        counts = [0] * len(self.weights)
        ranks = []
        for dataset in datasets:
            ranks.append(counts[dataset])
            counts[dataset] += 1
        return datasets, ranks

    def _shuffled(self, dataset: int, again: int) -> Permutation:
        return Permutation(self.sizes[dataset], keyed(self.seed, self.epoch, "rows", dataset, again))
