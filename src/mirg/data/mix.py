"""Several datasets as one endless sequence by weights, which a training loop reads and ``mirg data mix`` writes.

Which row of which dataset comes at a position is a function of (seed, epoch, position): a run that is resumed needs no
state but the number of the position, and how many samples are drawn in all, by how many workers, changes nothing.

A block says which dataset comes at which of its places, so that every beginning has the right shares.
The k-th draw of a dataset with share p has the window of places from floor((k - 1) / p) to ceil(k / p), the second one
exclusive, counted from 0. In every schedule that keeps the windows, the draws among the first n places differ from
n * p by less than one; there always is one (Baruah et al., "Proportionate progress", Algorithmica 1996), and taking
the draw whose window closes first finds it, however ties are broken (Jackson's rule for unit jobs).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.derive import Derived, refuse_overwriting_inputs
from mirg.data.rows import Rows, keyed
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, DatasetWriter, Rejection, Sample, Tally
from mirg.samples.folder import OnReject

Weight = int | float | str | Fraction

MAX_BLOCK = 1_000_000  # places; a block of that many is arranged in seconds
_KEPT_PLACES = 2_000_000  # of arranged blocks
_ROUNDS = 6
_MASK = (1 << 64) - 1


def whole_weights(weights: Sequence[Weight]) -> list[int]:
    """The smallest whole numbers in the proportions of ``weights``; "0.7" and 0.7 are seven tenths.

    ConfigError if one is not a positive number, or a block of them all would be too long.

    >>> whole_weights(["0.5", 1, "1/4"])
    [2, 4, 1]
    """
    exact: list[Fraction] = []
    for weight in weights:
        try:
            exact.append(Fraction(str(weight)))
        except (ValueError, ZeroDivisionError) as error:
            raise ConfigError(f"weight {weight!r} is not a number", hint="for example 2, 0.5 or 1/3") from error
        if exact[-1] <= 0:
            raise ConfigError(f"weight {weight} is not positive", hint="leave the dataset out instead")
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    whole = [weight // math.gcd(*whole) for weight in whole]
    if sum(whole) > MAX_BLOCK:
        raise ConfigError(
            f"the weights {', '.join(map(str, weights))} come out even only after {sum(whole):,} samples",
            hint="round them, to three digits for example",
        )
    return whole


def block(whole: Sequence[int], key: int) -> list[int]:
    """The numbers of the datasets at the places of one block: number i comes ``whole[i]`` times.

    ``key`` decides ties, and whether the block is read from its end, which keeps the shares of every beginning.
    """
    length = sum(whole)
    draws = sorted(  # where the window opens and closes
        (k * length // weight, -(-(k + 1) * length // weight), keyed(key, number, k), number)
        for number, weight in enumerate(whole)
        for k in range(weight)
    )
    ready: list[tuple[int, int, int]] = []
    places: list[int] = []
    following = 0
    for place in range(length):
        while following < length and draws[following][0] <= place:
            heapq.heappush(ready, draws[following][1:])
            following += 1
        places.append(heapq.heappop(ready)[2])
    return places[::-1] if keyed(key, "reversed") % 2 else places


class Permutation:
    """The permutation of 0 … ``size`` - 1 that belongs to ``key``; ``permutation[place]`` is the number at a place,
    IndexError outside of 0 … ``size`` - 1.

    It is computed place by place, in constant time and memory, with a Feistel network over pairs of digits, which is
    repeated while a pair lies beyond the size: Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA
    2002). It shuffles; it keeps no secrets. ``size`` is at least 1.
    """

    def __init__(self, size: int, key: int) -> None:
        self.size = size
        # Pairs of digits to this base are at most 2 sqrt(size) + 1 more than the numbers, so walks are short.
        self._base = math.isqrt(size - 1) + 1
        self._keys = [keyed(key, turn) for turn in range(_ROUNDS)]

    def __getitem__(self, place: int) -> int:
        if not 0 <= place < self.size:
            raise IndexError(f"place {place} of a permutation of {self.size}")
        found = place
        while True:
            left, right = divmod(found, self._base)
            for key in self._keys:
                left, right = right, (left + _mixed(key, right)) % self._base
            found = left * self._base + right
            if found < self.size:
                return found


def _mixed(key: int, value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014): five times as fast as a digest."""
    value = (value * 0x9E3779B97F4A7C15 + key) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Draw(NamedTuple):
    """Row ``row`` (from 0) of dataset ``dataset`` (from 0); it came ``again`` times before in this epoch."""

    dataset: int
    row: int
    again: int


class Order:
    """``order[position]`` is the :class:`Draw` at a position from 0 (IndexError below); there is no last one.

    Among the first n positions a dataset of share p comes n * p times, give or take less than one. Its rows come in a
    shuffled order, each once before any comes twice, in a new order every time around and in every epoch.
    ``sizes`` are the numbers of rows. ConfigError if weights and sizes make no mixture.
    """

    def __init__(self, weights: Sequence[Weight], sizes: Sequence[int], *, seed: int = 0, epoch: int = 0) -> None:
        if not sizes or len(weights) != len(sizes):
            raise ConfigError(f"{len(weights)} weights for {len(sizes)} datasets", hint="one weight for each dataset")
        for number, size in enumerate(sizes, 1):
            if size < 1:
                raise ConfigError(f"dataset {number} of the mixture has no rows", hint="leave it out")
        self.weights, self.sizes, self.seed, self.epoch = whole_weights(weights), list(sizes), seed, epoch
        self.period = sum(self.weights)
        self._block = lru_cache(min(max(2, _KEPT_PLACES // self.period), 4096))(self._arranged)
        self._shuffle = lru_cache(4 * len(sizes))(
            lambda dataset, again: Permutation(self.sizes[dataset], keyed(seed, epoch, "rows", dataset, again))
        )

    def __getitem__(self, position: int) -> Draw:
        if position < 0:
            raise IndexError(f"position {position}: they count from 0")
        number, place = divmod(position, self.period)
        dataset, rank = self._block(number)[place]
        again, turn = divmod(number * self.weights[dataset] + rank, self.sizes[dataset])
        return Draw(dataset, self._shuffle(dataset, again)[turn], again)

    def _arranged(self, number: int) -> list[tuple[int, int]]:
        """The datasets of a block, each with the number of its places before this one."""
        ranks = [count() for _ in self.weights]
        datasets = block(self.weights, keyed(self.seed, self.epoch, "block", number))
        return [(dataset, next(ranks[dataset])) for dataset in datasets]


class Mixed(NamedTuple):
    """A sample of a mixture, the number of the dataset (from 0) that its images belong to, and its line there.

    ``line`` counts the lines of samples.jsonl from 1; the row came ``again`` times before in this epoch.
    """

    dataset: int
    sample: Sample
    line: int
    again: int


class Mixture(ExitStack):
    """``mixture[position]`` is the sample at a position from 0, with a unique id; see :class:`Order`.

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
        super().__init__()
        self.names = list(parts)
        self.folders = [folder for folder, _ in parts.values()]
        self._rows = [self.enter_context(Rows(folder, on_reject)) for folder in self.folders]
        self.sizes = [len(rows) for rows in self._rows]  # usable rows of each dataset
        self.order = Order([weight for _, weight in parts.values()], self.sizes, seed=seed, epoch=epoch)
        seen: set[int] = set()
        self._clashes: list[set[int]] = []  # of each dataset, the keys of ids that an earlier one has too
        for rows in self._rows:
            self._clashes.append(seen.intersection(rows.keys))
            seen.update(rows.keys)

    def __getitem__(self, position: int) -> Mixed:
        dataset, row, again = self.order[position]
        sample = self._rows[dataset][row]
        name = f"{self.names[dataset]}:" if keyed(sample.id) in self._clashes[dataset] else ""
        name = f"{name}{sample.id}" + (f"~{again}" if again else "")
        return Mixed(dataset, sample.model_copy(update={"id": name}), self._rows[dataset].lines[row], again)

    def tail(self, position: int = 0) -> Iterator[Mixed]:
        """Samples from ``position`` on, an unlimited stream: a run that is resumed there continues with them."""
        return (self[place] for place in count(position))


@dataclass
class MixReport(Tally[Rejection]):
    """The :class:`Tally` of a mixture, which counts samples by dataset in ``kept``.

    ``sizes`` are the usable rows of each dataset; ``n_again`` of the samples repeat a row that came before.
    """

    n_again: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        datasets = {name: {"rows": size, "samples": self.kept[name]} for name, size in self.sizes.items()}
        return {"samples": self.n_kept, "repeated": self.n_again, "datasets": datasets, **self.rejected_dict()}


def write_mix(
    parts: Mapping[str, tuple[DatasetFolder, Weight]],
    out: str | Path,
    n: int | None = None,
    *,
    seed: int = 0,
    epoch: int = 0,
    copy: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> MixReport:
    """Write the first ``n`` samples of the mixture (by default as many as there are rows) to ``out``, in its order.

    The new rows refer to the original images, or with ``copy`` the images are copied. A position whose image cannot be
    copied is rejected and left out; the others keep their positions. Raises ConfigError for weights, sizes or an
    ``out`` that are not possible, DataError if nothing is written.
    """
    out = Path(out)
    refuse_overwriting_inputs(out, [folder for folder, _ in parts.values()], copy=copy)
    if n is not None and n < 1:
        raise ConfigError(f"--n {n}: a mixture has at least one sample")
    report = MixReport()
    weights = {name: weight for name, (_, weight) in parts.items()}
    writing = DatasetWriter(
        out,
        name=out.name or "mix",
        description=f"A mixture by weight: {', '.join(f'{k} {v}' for k, v in weights.items())}; epoch {epoch}.",
        created_by=f"mirg data mix {' '.join(f'{k}={v}' for k, v in weights.items())}",
        seed=seed,
        license=" / ".join(sorted({folder.card.license for folder, _ in parts.values()} - {""})),
        overwrite=overwrite,
    )
    with (
        writing as writer,
        Mixture(parts, seed=seed, epoch=epoch, on_reject=lambda found: writer.reject(report.reject(found))) as mixture,
    ):
        report.sizes = dict(zip(mixture.names, mixture.sizes, strict=True))
        total = n or sum(mixture.sizes)
        derived = Derived(writer, report, "all" if copy else "none")
        for position in range(total):
            dataset, sample, line, again = mixture[position]
            if writer.has(sample.id):  # a dataset may have an id that looks like one of ours
                free = next(name for k in count(1) if not writer.has(name := f"{sample.id}~{k}"))
                sample = sample.model_copy(update={"id": free})
            report.n_again += derived.keep(mixture.folders[dataset], line, sample, mixture.names[dataset]) and again > 0
            if on_progress:
                on_progress(position + 1, total)
        if not report.n_kept:
            raise DataError(f"no sample of the mixture can be written{report.first()}")
    return report
