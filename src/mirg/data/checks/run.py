"""``mirg data check`` as a function: one pass over the rows, then what is only seen across them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from mirg.data.checks.duplicates import Copied, Duplicates, Twin, text_key
from mirg.data.checks.findings import Finding, Log, warning
from mirg.data.checks.histograms import Histograms
from mirg.data.checks.leakage import Holdout, Images, SharedImage, Watch, alike
from mirg.data.checks.lengths import LengthSummary
from mirg.data.checks.part import CheckConfig, ChunkChecker, Job, Look, Part, check_chunk, lengths_of, rejection_kind
from mirg.data.checks.problems import spelling_warnings
from mirg.data.rows import Chunk, chunks_of, rows_at
from mirg.executors import Executor, Local
from mirg.samples import DatasetFolder, Rejection, Sample
from mirg.samples.card import CARD_FILE, SAMPLES_FILE
from mirg.samples.ids import TextSet
from mirg.samples.labels import LabelCounts

__all__ = ["CheckConfig", "Look", "Report", "check_dataset"]

Tell = Callable[[str, int, int], None]


@dataclass
class Report:
    """Everything that was found. Lists hold the first of each kind; counts are of all."""

    dataset: str
    look: Look
    accepted: int = 0
    rejections: Log[Rejection] = field(default_factory=Log)
    warnings: Log[Finding] = field(default_factory=Log)
    histograms: Histograms = field(default_factory=Histograms)
    lengths: list[LengthSummary] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    against_rejected: int = 0  # rows of the benchmarks that cannot be read, so were not compared
    shared: list[SharedImage] = field(default_factory=list)
    compared_by_look: bool = False

    @property
    def rejected(self) -> int:
        """Rows that cannot be used."""
        return self.rejections.total

    @property
    def rows(self) -> int:
        """All rows: accepted + rejected."""
        return self.accepted + self.rejected

    def as_dict(self) -> dict[str, object]:
        """The report as JSON holds it."""
        return {
            "dataset": self.dataset,
            "rows": self.rows,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "look": self.look,
            "tasks": self.histograms.counts,
            "rejections": [rejection.model_dump() for rejection in self.rejections.kept],
            "rejected_by": dict(sorted(self.rejections.counts.items())),
            "warned": self.warnings.total,
            "warned_by": dict(sorted(self.warnings.counts.items())),
            "warnings": [finding.as_dict() for finding in self.warnings.kept],
            "lengths": [summary.as_dict() for summary in self.lengths],
            "against": self.against,
            "against_rejected": self.against_rejected,
            "compared_by_look": self.compared_by_look,
            "shared_images": [shared.as_dict() for shared in self.shared],
            "histograms": self.histograms.as_dict(),
        }


def check_dataset(
    folder: DatasetFolder,
    config: CheckConfig | None = None,
    tell: Tell | None = None,
    *,
    executor: Executor | None = None,
) -> Report:
    """Read and check all rows of ``folder``; ``tell(stage, done, total)`` hears how far it is.

    The report is the same whichever ``executor`` works on the rows. Memory: about 400 bytes a row and 20 an image; in
    each process some chunks of rows, and one entry for each distinct image if files are inspected. Raises ConfigError
    for settings that are not possible, DataError for a benchmark that is not a dataset.
    """
    told = tell or (lambda stage, done, total: None)
    return _Check(folder, config or CheckConfig(), told, executor or Local()).run()


class _Check:
    def __init__(self, folder: DatasetFolder, config: CheckConfig, tell: Tell, executor: Executor) -> None:
        self.folder, self.config, self.tell, self.executor = folder, config, tell, executor
        self.report = Report(str(folder.root), config.look)
        self.report.rejections = Log(config.listed)
        self.report.warnings = Log(config.listed)
        self.lengths = lengths_of(config)
        self.duplicates = Duplicates()
        self.labels = LabelCounts()
        self.by_look = config.near is not None and config.look == "decode" and bool(config.against)
        self.images = Images() if self.by_look else None
        self.seen = TextSet()

    def run(self) -> Report:
        benchmarks = [self._benchmark(path) for path in self.config.against]
        watch = Watch(benchmarks)
        total = len(self.folder)
        if self.folder.changed:
            self._warn("changed_rows", 1, None, "row", f"{SAMPLES_FILE} is not the file that {CARD_FILE} describes")
        for part in self._parts():
            self._join(part, watch)
            self.tell("checking", self.report.rows, total)
        self._across()
        self.report.lengths = [lengths.summary() for lengths in self.lengths]
        self.report.shared = watch.shared
        self.report.against = [benchmark.name for benchmark in benchmarks]
        self.report.against_rejected = sum(benchmark.rejected for benchmark in benchmarks)
        self.report.compared_by_look = self.by_look
        self._look_alike(benchmarks)
        return self.report

    def _benchmark(self, path: Path) -> Holdout:
        self.tell(f"reading {path.name}", 0, 1)
        folder = DatasetFolder.open(path)
        return Holdout(folder, look=self.config.hashed, name=folder.card.name, uses=self.by_look)

    def _parts(self) -> Iterator[Part]:
        """What was found in each chunk, in their order, the ids of all rows before it considered."""
        job = Job(
            str(self.folder.root.resolve()),
            str(self.folder.root / SAMPLES_FILE),
            self.folder.card.model_dump_json(),
            self.folder.limits,
            self.config,
            uuid4().hex,
        )
        here = ChunkChecker(job)
        chunks = chunks_of(self.folder)
        if isinstance(self.executor, Local):
            yield from (here.check(chunk, self.seen) for chunk in chunks)
            return
        waiting: deque[Chunk] = deque()

        def sent() -> Iterator[Chunk]:
            for chunk in chunks:
                waiting.append(chunk)
                yield chunk

        for part in self.executor.map(partial(check_chunk, job), sent(), chunk=1):
            chunk = waiting.popleft()
            if any(name in self.seen for names in (part.ids, part.unused_ids) for name in names):
                here.know(part.facts)
                yield here.check(chunk, self.seen)
            else:
                for name in part.ids:
                    self.seen.add(name)
                yield part

    def _join(self, part: Part, watch: Watch) -> None:
        report = self.report
        report.accepted += part.accepted
        report.rejections.join(part.rejections, rejection_kind)
        report.warnings.join(part.warnings, lambda finding: finding.kind)
        report.histograms.join(part.histograms)
        self.duplicates.join(part.duplicates)
        self.labels.join(part.labels)
        for (_, digest), use in part.images.items():
            watch.note(use, digest)
            if self.images is not None:
                self.images.note(use, digest)
        for lengths, counts in zip(self.lengths, part.lengths, strict=True):
            lengths.join(counts)

    def _warn(self, kind: str, row: int, sample_id: str | None, where: str, reason: str) -> None:
        self.report.warnings.add(kind, warning(kind, row, sample_id, where, reason))

    def _across(self) -> None:
        """What repeats: counted from the arrays, then named by reading the listed rows a second time."""
        for kind, row, reason in spelling_warnings(self.labels):
            self._warn(kind, row, None, "label", reason)
        self.tell("looking for copies", 0, 1)
        twins: Log[Twin] = Log(self.config.listed)
        for twin in self.duplicates.twins():
            twins.add(twin.kind, twin)
        copies: Log[Copied] = Log(self.config.listed)
        for copied in self.duplicates.copies():
            copies.add("copied_file", copied)
        rows = {row for pair in (*twins.kept, *copies.kept) for row in (pair.first, pair.row)}
        samples = rows_at(self.folder, rows)
        for twin in sorted(twins.kept, key=lambda twin: twin.row):
            self._warn(twin.kind, twin.row, samples[twin.row].id, "row", _repeats(twin, samples[twin.first]))
        for copied in copies.kept:
            first, other = samples[copied.first], samples[copied.row]
            same = f"{_path(other, copied.path)} holds what {_path(first, copied.first_path)} (sample {first.id}) holds"
            self._warn("copied_file", copied.row, other.id, "images", same)
        for log in (twins, copies):
            for kind, number in log.counts.items():
                self.report.warnings.count(kind, number - min(number, self.config.listed))

    def _look_alike(self, benchmarks: Sequence[Holdout]) -> None:
        if self.images is None or self.config.near is None:
            return
        for benchmark in benchmarks:
            self.tell(f"comparing with {benchmark.name}", 0, 1)
            self.report.shared += alike(self.folder, self.images, benchmark, self.config.near, self.executor)


def _repeats(twin: Twin, first: Sample) -> str:
    words = {
        "duplicate": "has the question, images and targets of",
        "reordered": "asks the same about the same images, in another order, as",
        "conflicting_targets": "asks the same about the same images, with other targets, as",
    }
    return f"{words[twin.kind]} row {twin.first} (sample {first.id})"


def _path(sample: Sample, key: int) -> str:
    return next((ref.path for ref in sample.images if text_key(ref.path) == key), sample.images[0].path)
