"""``mirg data check`` as a function: one pass over the rows, then what is only seen across them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mirg.checking.boxes import DEFAULT_BOXES, BoxLimits, box_warnings
from mirg.checking.counting import estimated, tokenizer
from mirg.checking.duplicates import Copied, Duplicates, Twin
from mirg.checking.findings import LISTED, Finding, Log, warning
from mirg.checking.histograms import Histograms
from mirg.checking.leakage import Digests, Holdout, Images, SharedImage, Watch, alike
from mirg.checking.lengths import Lengths, LengthSummary
from mirg.checking.near import MOST_BITS
from mirg.checking.rows import rows_at
from mirg.checking.texts import Problem, forbidden_tokens, prompt_problem, text_problem
from mirg.errors import ConfigError, MirgError
from mirg.executors import executor
from mirg.frames import FAMILIES, QWEN3_VL, Family
from mirg.samples import DatasetFolder, Rejection, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import ImageCheck

Look = Literal["none", "header", "hash", "decode"]
Tell = Callable[[str, int, int], None]

# How far the image files are looked at while rows are read; hash and decode also compare the SHA-256 of the row.
_READ: dict[Look, ImageCheck] = {"none": "none", "header": "header", "hash": "header", "decode": "decode"}


@dataclass(frozen=True)
class CheckConfig:
    """What is checked. ``near`` is the most bits in which hashes of images that look alike differ, None: no look."""

    look: Look = "decode"
    families: Sequence[Family] = ()
    max_pixels: int | None = None
    max_tokens: int | None = None
    tokenizer: Path | None = None
    boxes: BoxLimits = DEFAULT_BOXES
    against: Sequence[Path] = ()
    near: int | None = 4
    workers: int = 1
    listed: int = LISTED

    def __post_init__(self) -> None:
        """Refuse a distance that cannot be searched."""
        if self.near is not None and not 0 <= self.near <= MOST_BITS:
            raise ConfigError(
                f"--near {self.near} is not 0 to {MOST_BITS}", hint="4 finds resized and recompressed copies"
            )


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


def check_dataset(folder: DatasetFolder, config: CheckConfig | None = None, tell: Tell | None = None) -> Report:
    """Read and check all rows of ``folder``; ``tell(stage, done, total)`` hears how far it is.

    Memory: about 400 bytes a row and 20 an image, and one entry for each distinct image where files are looked at.
    ConfigError for settings that cannot be, DataError for a benchmark that is none.
    """
    return _Check(folder, config or CheckConfig(), tell or (lambda stage, done, total: None)).run()


class _Check:
    def __init__(self, folder: DatasetFolder, config: CheckConfig, tell: Tell) -> None:
        self.folder, self.config, self.tell = folder, config, tell
        self.report = Report(str(folder.root), config.look)
        self.report.rejections = Log(config.listed)
        self.report.warnings = Log(config.listed)
        self.file = str(folder.root / SAMPLES_FILE)
        self.tokens = forbidden_tokens(config.families or FAMILIES.values())
        self.prompts = config.families or (QWEN3_VL,)
        self.lengths = self._lengths()
        self.duplicates = Duplicates()
        self.hashed = config.look in ("hash", "decode")
        self.digests = Digests(folder, look=self.hashed)
        self.files = Digests(folder, believe=False)
        self.by_look = config.near is not None and config.look == "decode" and bool(config.against)
        self.images = Images() if self.by_look else None

    def run(self) -> Report:
        benchmarks = [self._benchmark(path) for path in self.config.against]
        watch = Watch(benchmarks)
        total = len(self.folder)
        for row, sample in self.folder.numbered(self._reject, images=_READ[self.config.look]):
            self.tell("checking", self.report.rows, total)
            problem = self._problem(sample)
            if problem is not None:
                self._reject_sample(row, sample, problem)
                continue
            self._accept(row, sample, watch)
        self._across()
        self.report.lengths = [lengths.summary() for lengths in self.lengths]
        self.report.shared = watch.shared
        self.report.against = [benchmark.name for benchmark in benchmarks]
        self.report.against_rejected = sum(benchmark.rejected for benchmark in benchmarks)
        self.report.compared_by_look = self.by_look
        self._look_alike(benchmarks)
        return self.report

    def _lengths(self) -> list[Lengths]:
        config = self.config
        count, how = estimated, "estimated"
        if config.tokenizer is not None:
            count, how = tokenizer(config.tokenizer), f"counted by {config.tokenizer.name}"
        return [Lengths(family, config.max_pixels, count, how, config.max_tokens) for family in config.families]

    def _benchmark(self, path: Path) -> Holdout:
        self.tell(f"reading {path.name}", 0, 1)
        folder = DatasetFolder.open(path)
        return Holdout(folder, look=self.hashed, name=folder.card.name, uses=self.by_look)

    def _problem(self, sample: Sample) -> Problem | None:
        problem = text_problem(sample, self.tokens) or prompt_problem(sample, self.prompts)
        return problem or (self._other_file(sample) if self.hashed else None)

    def _other_file(self, sample: Sample) -> Problem | None:
        for number, ref in enumerate(sample.images):
            if ref.sha256 and (found := self.files.of(ref)) is not None and found != ref.sha256.lower():
                reason = f"image {ref.path} is not the file that the row describes (its sha256 is {found[:12]}…)"
                return Problem(f"images.{number}", reason, "restore the file, or write its digest into the row")
        return None

    def _reject(self, rejection: Rejection) -> None:
        self.report.rejections.add(_group(rejection.field), rejection)

    def _reject_sample(self, row: int, sample: Sample, problem: Problem) -> None:
        self._reject(
            Rejection(
                file=self.file, row=row, id=sample.id, field=problem.field, reason=problem.reason, hint=problem.hint
            )
        )

    def _accept(self, row: int, sample: Sample, watch: Watch) -> None:
        self.report.accepted += 1
        self.report.histograms.add(sample)
        for kind, where, reason in box_warnings(sample, self.config.boxes):
            self._warn(kind, row, sample.id, where, reason)
        digests = [self.digests.of(ref) for ref in sample.images]
        self.duplicates.add(row, sample, digests)
        if watch.benchmarks:
            watch.see(sample, digests)
        if self.images is not None:
            self.images.see(sample, digests)
        for lengths in self.lengths:
            self._measure(lengths, row, sample)

    def _measure(self, lengths: Lengths, row: int, sample: Sample) -> None:
        name = lengths.family.name
        try:
            tokens = lengths.add(sample)
        except MirgError as error:
            self._warn("not_for_family", row, sample.id, "images", f"{name}: {error.message}")
            return
        if tokens is not None and self.config.max_tokens is not None and tokens > self.config.max_tokens:
            reason = f"{tokens:,} tokens for {name} are more than {self.config.max_tokens:,}"
            self._warn("too_long", row, sample.id, "row", reason)

    def _warn(self, kind: str, row: int, sample_id: str | None, where: str, reason: str) -> None:
        self.report.warnings.add(kind, warning(kind, row, sample_id, where, reason))

    def _across(self) -> None:
        """What repeats: counted from the arrays, then named by reading the rows that are listed once more."""
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
        many = self.config.workers > 1
        with executor("processes", self.config.workers) if many else nullcontext() as run:
            for benchmark in benchmarks:
                self.tell(f"comparing with {benchmark.name}", 0, 1)
                self.report.shared += alike(self.folder, self.images, benchmark, self.config.near, run)


def _repeats(twin: Twin, first: Sample) -> str:
    words = {
        "duplicate": "has the question, images and targets of",
        "reordered": "asks the same about the same images, in another order, as",
        "conflicting_targets": "asks the same about the same images, with other targets, as",
    }
    return f"{words[twin.kind]} row {twin.first} (sample {first.id})"


def _path(sample: Sample, key: int) -> str:
    return next((ref.path for ref in sample.images if hash(ref.path) == key), sample.images[0].path)


def _group(where: str) -> str:
    """The field without its places: ``images.3`` and ``images.0`` are one kind of trouble."""
    return ".".join(part for part in where.split(".") if not part.isdigit())
