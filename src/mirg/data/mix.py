"""Several datasets as one endless sequence by weights, which a training loop reads and ``mirg data mix`` writes.

Which row of which dataset comes at a position is a function of (seed, epoch, position): a run that is resumed needs no
state but the number of the position, and how many samples are drawn in all, by how many workers, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from mirg.data.derive import Derived, refuse_overwriting_inputs
from mirg.data.keys import keyed
from mirg.data.rows import Rows
from mirg.data.schedule import Permutation, block, whole_weights
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, DatasetWriter, Rejection, Sample, Tally
from mirg.samples.folder import OnReject

Weight = int | float | str | Fraction

_KEPT_PLACES = 2_000_000  # of arranged blocks


class Draw(NamedTuple):
    """Row ``row`` (from 0) of dataset ``dataset`` (from 0); it came ``again`` times before in this epoch."""

    dataset: int
    row: int
    again: int


class Order:
    """``order[position]`` is the :class:`Draw` at a position from 0; there is no last one.

    Among the first n positions a dataset of share p comes n * p times, give or take less than one. Its rows come in a
    shuffled order, each once before any comes twice, in a new order every time around and in every epoch.
    ``sizes`` are the numbers of rows. ConfigError if weights and sizes make no mixture.
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
        """What comes at ``position``; IndexError if it is negative."""
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


class Mixed(NamedTuple):
    """A sample of a mixture, the number of the dataset (from 0) that its images belong to, and its line there.

    ``line`` counts the lines of samples.jsonl from 1; the row came ``again`` times before in this epoch.
    """

    dataset: int
    sample: Sample
    line: int
    again: int


class Mixture:
    """``mixture[position]`` is the sample at a position from 0; see :class:`Order`.

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
        """The sample at ``position``, with a unique id; IndexError if it is negative."""
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
        """Samples from ``position`` on, an unlimited stream: a run that is resumed there continues with them."""
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
    folders = [folder for folder, _ in parts.values()]
    refuse_overwriting_inputs(out, folders, copy=copy)
    if n is not None and n < 1:
        raise ConfigError(f"--n {n}: a mixture has at least one sample")
    report = MixReport()
    with (
        _writer(out, parts, seed, epoch, overwrite) as writer,
        Mixture(parts, seed=seed, epoch=epoch, on_reject=lambda found: writer.reject(report.reject(found))) as mixture,
    ):
        report.sizes = dict(zip(mixture.names, mixture.sizes, strict=True))
        total = n or sum(mixture.sizes)
        derived = Derived(writer, report, "all" if copy else "none")
        for position in range(total):
            _add(mixture, position, derived, report)
            if on_progress:
                on_progress(position + 1, total)
        if not report.n_kept:
            raise DataError(f"no sample of the mixture can be written{report.first()}")
    return report


def _add(mixture: Mixture, position: int, derived: Derived, report: MixReport) -> None:
    mixed = mixture[position]
    name, k = mixed.sample.id, 1
    while derived.writer.has(name):  # a dataset may have an id that looks like one of ours
        name, k = f"{mixed.sample.id}~{k}", k + 1
    sample = mixed.sample.model_copy(update={"id": name})
    if derived.keep(mixture.folders[mixed.dataset], mixed.line, sample, mixture.names[mixed.dataset]):
        report.n_again += mixed.again > 0


def _writer(
    out: Path, parts: Mapping[str, tuple[DatasetFolder, Weight]], seed: int, epoch: int, overwrite: bool
) -> DatasetWriter:
    words = ", ".join(f"{name} {weight}" for name, (_, weight) in parts.items())
    licenses = sorted({folder.card.license for folder, _ in parts.values()} - {""})
    return DatasetWriter(
        out,
        name=out.name or "mix",
        description=f"A mixture by weight: {words}; epoch {epoch}.",
        created_by=f"mirg data mix {' '.join(f'{name}={weight}' for name, (_, weight) in parts.items())}",
        seed=seed,
        license=" / ".join(licenses),
        overwrite=overwrite,
    )
