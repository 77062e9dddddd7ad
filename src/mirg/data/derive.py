"""One way from datasets to a new one: samples go through a judge, and every row is kept, dropped or rejected.

``mirg data filter``, ``mix``, ``split``, ``difficulty``, ``export`` and ``mirg trajectories build`` and ``filter`` are
written with it, so that all of them count alike, name their rejected rows alike, and never write over what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mirg.errors import ConfigError, ImageError
from mirg.samples import Carrier, Copy, DatasetCard, DatasetFolder, DatasetWriter, Rejection, Sample, Tally
from mirg.samples.folder import ImageCheck, OnReject


class Outcome(NamedTuple):
    """What becomes of a sample.

    With a ``sample``, that one is written and counted under ``word``. Without one, the row is dropped and counted under
    ``word``, or rejected if there is no word; ``rejection`` says why, and is optional for a dropped row.
    """

    sample: Sample | None
    word: str = "kept"
    rejection: Rejection | None = None


Judge = Callable[[int, Sample], Outcome]  # the line of samples.jsonl, from 1, and its sample


def sift(
    source: DatasetFolder,
    judge: Judge,
    tally: Tally[Any],
    on_reject: OnReject | None = None,
    *,
    images: ImageCheck = "none",
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Sample, str]]:
    """Yield (row, sample, word) for each sample of ``source`` that ``judge`` keeps, in the order of the file.

    The other rows are counted in ``tally``, broken ones too, and what is recorded about them goes to ``on_reject``.
    Samples that are yielded are not counted: whoever writes them does that, since the writing may fail. ``images`` says
    how image files are inspected, and ``on_progress`` receives the number of every row that could be read, after
    it was judged.
    """

    def reject(rejection: Rejection, sample: Sample | None = None) -> None:
        listed = tally.reject(rejection, sample)
        if on_reject:
            on_reject(listed)

    for row, sample in source.numbered(reject, images=images):
        outcome = judge(row, sample)
        if outcome.sample is not None:
            yield row, outcome.sample, outcome.word
        elif outcome.rejection is not None and not outcome.word:
            reject(outcome.rejection, sample)
        else:
            tally.drop(outcome.word, outcome.rejection)
            if outcome.rejection is not None and on_reject:
                on_reject(outcome.rejection)
        if on_progress:
            on_progress(row)


class Derived:
    """A dataset that is written out of samples of other datasets, with counts and rejections.

    ``writer`` is an open :class:`DatasetWriter`. Images are copied or referred to as ``copy`` says (see
    :class:`Carrier`). Everything is counted in ``tally``; what is recorded about rows that are not written goes to
    ``on_reject``, by default to the ``rejected.jsonl`` of the writer.

    >>> with writer_like(source.card, out, "mirg data filter") as writer:  # doctest: +SKIP
    ...     Derived(writer, tally).write(source, lambda row, sample: Outcome(sample))
    """

    def __init__(
        self, writer: DatasetWriter, tally: Tally[Any], copy: Copy = "none", on_reject: OnReject | None = None
    ) -> None:
        self.writer, self.tally, self.on_reject = writer, tally, on_reject or writer.reject
        self.copy: Copy = copy
        self._carriers: dict[int, Carrier] = {}

    def write(
        self,
        source: DatasetFolder,
        judge: Judge,
        *,
        images: ImageCheck = "none",
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Write the samples of ``source`` that ``judge`` keeps; the arguments are those of :func:`sift`."""
        for found in sift(source, judge, self.tally, self.on_reject, images=images, on_progress=on_progress):
            self.keep(source, *found)

    def keep(self, source: DatasetFolder, row: int, sample: Sample, word: str = "kept") -> bool:
        """Write a sample of row ``row`` of ``source``; False if its images cannot be brought along: it is rejected."""
        if id(source) not in self._carriers:
            self._carriers[id(source)] = Carrier(source, self.writer, self.copy)
        try:
            carried = self._carriers[id(source)].carry(sample)
        except ImageError as error:
            self.on_reject(self.tally.reject(source.rejection(row, sample, "images", error), sample))
            return False
        self.writer.add(carried)
        self.tally.keep(carried, word)
        return True


def writer_like(
    card: DatasetCard,
    out: str | Path,
    command: str,
    words: str = "",
    *,
    name: str = "",
    seed: int | None = None,
    overwrite: bool = False,
) -> DatasetWriter:
    """A writer for a dataset made by ``command`` out of the one of ``card``, whose name, licence and seed it keeps.

    ``words`` are added to the description; ``name`` and ``seed`` replace those of the card.
    """
    return DatasetWriter(
        out,
        name=name or card.name,
        description=f"{card.description} {words}".strip(),
        created_by=command,
        seed=card.seed if seed is None else seed,
        license=card.license,
        overwrite=overwrite,
    )


def refuse_overwriting_inputs(out: Path, sources: Iterable[DatasetFolder], *, copy: bool = False) -> None:
    """Raise ConfigError if writing ``out`` would remove a source, or images that the new rows refer to."""
    for source in sources:
        for folder in (source.root.resolve(), *([] if copy else source.roots.declared.values())):
            if folder.is_relative_to(out.resolve()):
                raise ConfigError(f"{out} holds {folder}, which is read from", hint="write to another folder")
