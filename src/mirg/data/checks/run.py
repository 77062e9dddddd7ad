"""``mirg data check`` as a function: one pass over the rows, then what is only seen across them.

A chunk of rows is checked as if it were the whole file, so that processes need not know of each other. Where an id
turns out to be that of an earlier chunk, the chunk is checked again with the ids before it, from what is known of its
image files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from mirg.data.checks import problems
from mirg.data.checks.duplicates import Duplicates, Repeat, text_key
from mirg.data.checks.histograms import Histograms
from mirg.data.checks.leakage import MOST_BITS, Digests, Holdout, Images, Shared, SharedImage, Use, alike, note_shared
from mirg.data.checks.lengths import LengthCounts, Lengths
from mirg.data.checks.problems import DEFAULT_BOXES, LISTED, BoxLimits, Finding, Log
from mirg.data.rows import Chunk, chunks_of, rows_at
from mirg.errors import MirgError
from mirg.executors import Executor, Local
from mirg.families import FAMILIES, QWEN3_VL, Family
from mirg.images import Header
from mirg.samples import DatasetFolder, Rejection, Sample, refused_image
from mirg.samples.card import CARD_FILE, SAMPLES_FILE
from mirg.samples.folder import ImageCheck, parse_row
from mirg.samples.ids import TextSet
from mirg.samples.labels import LabelCounts
from mirg.samples.tokens import text_tokens, tokenizer

Tell = Callable[[str, int, int], None]
Look = Literal["none", "header", "hash", "decode"]

# How image files are inspected while rows are read; hash and decode also compare the SHA-256 of the row.
_READ: dict[Look, ImageCheck] = {"none": "none", "header": "header", "hash": "header", "decode": "decode"}


class CheckConfig(BaseModel):
    """What is checked. ``near`` is the most bits in which hashes of images that look alike differ, None: no look."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    look: Look = "decode"
    families: tuple[Family, ...] = ()
    max_pixels: int | None = None
    max_tokens: int | None = None
    tokenizer: Path | None = None
    boxes: BoxLimits = DEFAULT_BOXES
    against: tuple[Path, ...] = ()
    near: int | None = Field(default=4, ge=0, le=MOST_BITS)
    listed: int = LISTED

    @property
    def hashed(self) -> bool:
        """Whether image files are compared with the digests of the rows."""
        return self.look in ("hash", "decode")

    def lengths(self) -> list[Lengths]:
        """A counter for each family. ConfigError if lengths cannot be counted as told."""
        count, how = text_tokens, "estimated"
        if self.tokenizer is not None:
            count, how = tokenizer(self.tokenizer), f"counted by {self.tokenizer.name}"
        return [Lengths(family, self.max_pixels, count, how, self.max_tokens) for family in self.families]


@dataclass
class Found:
    """What was found in rows. Lists hold the first of each kind; counts are of all."""

    accepted: int = 0
    rejections: Log[Rejection] = field(default_factory=Log)
    warnings: Log[Finding] = field(default_factory=Log)
    histograms: Histograms = field(default_factory=Histograms)
    duplicates: Duplicates = field(default_factory=Duplicates)
    labels: LabelCounts = field(default_factory=LabelCounts)

    def warn(self, kind: str, row: int, sample_id: str | None, where: str, reason: str) -> None:
        """Note a warning of one of the kinds in ``HINTS``."""
        self.warnings.add(kind, Finding(kind, row, sample_id, where, reason))

    def join(self, later: Found) -> None:
        """Add what was found in rows that come after all of these."""
        self.accepted += later.accepted
        self.rejections.join(later.rejections, _kind)
        self.warnings.join(later.warnings, lambda finding: finding.kind)
        self.histograms.join(later.histograms)
        self.duplicates.join(later.duplicates)
        self.labels.join(later.labels)


def _kind(rejection: Rejection) -> str:
    """The field without its places: ``images.3`` and ``images.0`` are one kind of trouble."""
    return ".".join(part for part in rejection.field.split(".") if not part.isdigit())


@dataclass
class Report(Found):
    """Everything that was found in a dataset."""

    dataset: str = ""
    look: Look = "decode"
    lengths: list[dict[str, Any]] = field(default_factory=list)
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
        """The report as JSON values."""
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
            "lengths": self.lengths,
            "against": self.against,
            "against_rejected": self.against_rejected,
            "compared_by_look": self.compared_by_look,
            "shared_images": [shared.as_dict() for shared in self.shared],
            "histograms": self.histograms.as_dict(),
        }


class Facts(NamedTuple):
    """What is known of image files by path: header or defect, and the digest of the file."""

    verdicts: dict[str, Header | str]
    digests: dict[str, str | None]


@dataclass
class Part(Found):
    """What was found in one chunk.

    ``ids`` are those of the rows, with whether later rows may not have them: that of a row refused for its images is
    free. ``images`` are the first use of every file with its digest, if there are benchmarks. ``facts`` are those of
    the files of the chunk.
    """

    histograms: Histograms = field(default_factory=lambda: Histograms(None))
    ids: dict[str, bool] = field(default_factory=dict)
    images: dict[tuple[str, str | None], tuple[Use, str | None]] = field(default_factory=dict)
    lengths: list[LengthCounts] = field(default_factory=list)
    facts: Facts = field(default_factory=lambda: Facts({}, {}))


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
    config, executor = config or CheckConfig(), executor or Local()
    tell = tell or (lambda stage, done, total: None)
    report = Report(0, Log(config.listed), Log(config.listed), dataset=str(folder.root), look=config.look)
    report.compared_by_look = config.near is not None and config.look == "decode" and bool(config.against)
    lengths = config.lengths()
    benchmarks: list[Holdout] = []
    for path in config.against:
        tell(f"reading {path.name}", 0, 1)
        benchmark = DatasetFolder.open(path)
        benchmarks.append(Holdout(benchmark, look=config.hashed, name=benchmark.card.name))
    if folder.changed:
        report.warn("changed_rows", 1, None, "row", f"{SAMPLES_FILE} is not the file that {CARD_FILE} describes")
    shared: Shared = {}
    images: Images = {}
    for part in _parts(folder, config, executor):
        report.join(part)
        for counter, counts in zip(lengths, part.lengths, strict=True):
            counter.join(counts)
        note_shared(shared, part.images.values(), benchmarks)
        for use, digest in part.images.values() if report.compared_by_look else ():
            images.setdefault(use.path, (use, digest))
        tell("checking", report.rows, len(folder))
    for spellings in report.labels.spellings():  # at the first use of the rarest one
        report.warn("label_spelling", spellings.uses[-1].row, None, "label", str(spellings))
    tell("looking for copies", 0, 1)
    _warn_of_copies(report, folder, config.listed)
    report.lengths = [counter.summary() for counter in lengths]
    report.shared = list(shared.values())
    report.against = [benchmark.name for benchmark in benchmarks]
    report.against_rejected = sum(benchmark.rejected for benchmark in benchmarks)
    for benchmark in benchmarks if report.compared_by_look else ():
        tell(f"comparing with {benchmark.name}", 0, 1)
        report.shared += alike(folder, images, benchmark, config.near or 0, executor)
    return report


def _warn_of_copies(report: Report, folder: DatasetFolder, most: int) -> None:
    """Warn of what repeats: counted from the arrays, then named by reading the listed rows a second time."""
    repeats: Log[Repeat] = Log(most)
    for found in report.duplicates.repeats():
        repeats.add(found.kind, found)
    samples = rows_at(folder, {row for found in repeats.kept for row in (found.first, found.row)})
    words = {
        "duplicate": "has the question, images and targets of",
        "reordered": "asks the same about the same images, in another order, as",
        "conflicting_targets": "asks the same about the same images, with other targets, as",
    }
    rows, files = ([one for one in repeats.kept if (one.kind in words) is wanted] for wanted in (True, False))
    for found in (*sorted(rows, key=lambda one: one.row), *files):
        kind, first, other = found.kind, samples[found.first], samples[found.row]
        if kind in words:
            report.warn(kind, found.row, other.id, "row", f"{words[kind]} row {found.first} (sample {first.id})")
        else:
            copied, original = _path(other, found.path), _path(first, found.first_path)
            report.warn(
                kind, found.row, other.id, "images", f"{copied} holds what {original} (sample {first.id}) holds"
            )
    for kind, number in repeats.counts.items():
        report.warnings.counts[kind] += number - min(number, most)


def _path(sample: Sample, key: int) -> str:
    return next((ref.path for ref in sample.images if text_key(ref.path) == key), sample.images[0].path)


def _parts(folder: DatasetFolder, config: CheckConfig, executor: Executor) -> Iterator[Part]:
    """What was found in each chunk, in their order, the ids of all rows before it considered."""
    placed, file = DatasetFolder(folder.root.resolve(), folder.card, folder.limits), str(folder.root / SAMPLES_FILE)
    here, seen, waiting = ChunkChecker(placed, file, config), TextSet(), deque[Chunk]()
    if isinstance(executor, Local):
        yield from (here.check(chunk, seen) for chunk in chunks_of(folder))
        return

    def sent() -> Iterator[Chunk]:
        for chunk in chunks_of(folder):
            waiting.append(chunk)
            yield chunk

    for part in executor.map(partial(check_chunk, uuid4().hex, placed, file, config), sent(), chunk=1):
        chunk = waiting.popleft()
        if any(name in seen for name in part.ids):
            here.facts = part.facts
            yield here.check(chunk, seen)
        else:
            for name in (name for name, used in part.ids.items() if used):
                seen.add(name)
            yield part


_checkers: dict[str, ChunkChecker] = {}  # of this process: the one of the present run


def check_chunk(run: str, folder: DatasetFolder, file: str, config: CheckConfig, chunk: Chunk) -> Part:
    """What is found in ``chunk``, without the rows before it. In a ``run`` each process inspects an image once."""
    if run not in _checkers:
        _checkers.clear()
        _checkers[run] = ChunkChecker(folder, file, config)
    part = _checkers[run].check(chunk, TextSet())
    digests = _checkers[run].facts.digests
    part.facts = Facts(part.facts.verdicts, {path: digests[path] for path in part.facts.verdicts if path in digests})
    return part


class ChunkChecker:
    """Checks chunks in sequence and remembers the image files. ``file`` is the name of samples.jsonl in rejections."""

    def __init__(self, folder: DatasetFolder, file: str, config: CheckConfig) -> None:
        self.folder, self.file, self.config = folder, file, config
        self.tokens = problems.forbidden_tokens(self.config.families or FAMILIES.values())
        self.lengths = self.config.lengths()
        self.facts = Facts({}, {})

    def check(self, chunk: Chunk, seen: TextSet) -> Part:
        """What is found in ``chunk``; ``seen`` are the ids of earlier rows and gets those of these."""
        part = Part(0, Log(self.config.listed), Log(self.config.listed))
        digests = Digests(self.folder, look=self.config.hashed, known=self.facts.digests)
        for row, line in chunk:
            outcome = parse_row(self.file, row, line, seen)
            if isinstance(outcome, Sample):
                outcome = self._used(part, row, outcome, seen, digests)
            if isinstance(outcome, Rejection):
                part.rejections.add(_kind(outcome), outcome)
            else:
                self._accept(part, row, outcome, digests)
        part.lengths = [lengths.take() for lengths in self.lengths]
        return part

    def _used(self, part: Part, row: int, sample: Sample, seen: TextSet, digests: Digests) -> Sample | Rejection:
        """``sample`` with the sizes of its images, or why it cannot be used."""
        part.ids.setdefault(sample.id, False)
        if self.config.look != "none":
            known = self.facts.verdicts
            outcome = self.folder.look_at(row, sample, _READ[self.config.look], known)
            part.facts.verdicts.update({ref.path: known[ref.path] for ref in sample.images if ref.path in known})
            if isinstance(outcome, Rejection):
                return outcome
            sample = outcome
        seen.add(sample.id)
        part.ids[sample.id] = True
        families = self.config.families or (QWEN3_VL,)
        problem = problems.text_problem(sample, self.tokens) or problems.prompt_problem(sample, families)
        if problem is not None:
            return Rejection(file=self.file, row=row, id=sample.id, **problem._asdict())
        for number, ref in enumerate(sample.images if self.config.hashed else ()):
            found = digests.of_file(ref) if ref.sha256 else None
            if ref.sha256 and found is not None and found != ref.sha256.lower():
                where = f"images.{number}"
                reason = f"image {ref.path} is not the file that the row describes (its sha256 is {found[:12]}…)"
                hint = "restore the file, or write its digest into the row"
                return Rejection(file=self.file, row=row, id=sample.id, field=where, reason=reason, hint=hint)
        return sample

    def _accept(self, part: Part, row: int, sample: Sample, digests: Digests) -> None:
        part.accepted += 1
        part.histograms.add(sample)
        notes = [note.label for ref in sample.images for note in ref.objects]
        for label in notes or [target.label for target in sample.targets]:
            part.labels.add(label, row)
        for kind, where, reason in problems.box_warnings(sample, self.config.boxes):
            part.warn(kind, row, sample.id, where, reason)
        verdicts = self.facts.verdicts
        for number, reason in problems.rotated(sample, lambda ref: verdicts.get(ref.path)) if verdicts else ():
            part.warn("rotated_by_exif", row, sample.id, f"images.{number}", reason)
        uses = list(digests.uses(sample))
        part.duplicates.add(row, sample, [digest for _, digest in uses])
        for use, digest in uses if self.config.against else ():
            part.images.setdefault((use.path, digest), (use, digest))
        if not self.lengths:
            _warn_of_refused(part, row, sample, QWEN3_VL)
        for lengths in self.lengths:
            name, most = lengths.family.name, self.config.max_tokens
            try:
                tokens = lengths.add(sample)
            except MirgError as error:
                if not _warn_of_refused(part, row, sample, lengths.family):
                    part.warn("not_for_family", row, sample.id, "images", f"{name}: {error.message}")
                continue
            if tokens is not None and most is not None and tokens > most:
                part.warn("too_long", row, sample.id, "row", f"{tokens:,} tokens for {name} are more than {most:,}")


def _warn_of_refused(part: Part, row: int, sample: Sample, family: Family) -> bool:
    """Warn of the image which the processor of ``family`` refuses, if there is one; most families refuse the same."""
    found = refused_image(sample, family)
    if found is not None:
        part.warn("not_for_family", row, sample.id, f"images.{found[0]}", f"{family.name}: {found[1].message}")
    return found is not None
