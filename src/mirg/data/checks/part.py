"""What one process finds in a chunk of rows: everything but what is only seen across chunks.

A chunk is checked as if it were the whole file, so that processes need not know of each other. Where an id turns out to
be that of an earlier chunk, the chunk is checked again with the ids before it, from what is known of its image files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from mirg.data.checks.duplicates import Duplicates
from mirg.data.checks.findings import LISTED, Finding, Log, warning
from mirg.data.checks.histograms import Histograms
from mirg.data.checks.leakage import MOST_BITS, Digests, Use, uses
from mirg.data.checks.lengths import LengthCounts, Lengths
from mirg.data.checks.problems import (
    DEFAULT_BOXES,
    BoxLimits,
    Problem,
    box_warnings,
    count_labels,
    forbidden_tokens,
    prompt_problem,
    rotated,
    text_problem,
)
from mirg.data.rows import Chunk
from mirg.errors import ConfigError, MirgError
from mirg.frames import FAMILIES, QWEN3_VL, Family
from mirg.images import Header, ImageLimits
from mirg.samples import DatasetCard, DatasetFolder, Rejection, Sample, refused_image
from mirg.samples.folder import ImageCheck, parse_row
from mirg.samples.ids import TextSet
from mirg.samples.labels import LabelCounts
from mirg.samples.tokens import text_tokens, tokenizer

Look = Literal["none", "header", "hash", "decode"]

# How image files are inspected while rows are read; hash and decode also compare the SHA-256 of the row.
_READ: dict[Look, ImageCheck] = {"none": "none", "header": "header", "hash": "header", "decode": "decode"}


@dataclass(frozen=True)
class CheckConfig:
    """What is checked. ``near`` is the most bits in which hashes of images that look alike differ, None: no look."""

    look: Look = "decode"
    families: tuple[Family, ...] = ()
    max_pixels: int | None = None
    max_tokens: int | None = None
    tokenizer: Path | None = None
    boxes: BoxLimits = DEFAULT_BOXES
    against: tuple[Path, ...] = ()
    near: int | None = 4
    listed: int = LISTED

    def __post_init__(self) -> None:
        """Refuse a level that there is not, and a distance that cannot be searched."""
        if self.look not in get_args(Look):
            raise ConfigError(f"no look {self.look!r}", hint=f"known: {', '.join(get_args(Look))}")
        if self.near is not None and not 0 <= self.near <= MOST_BITS:
            raise ConfigError(
                f"--near {self.near} is not 0 to {MOST_BITS}", hint="4 finds resized and recompressed copies"
            )

    @property
    def hashed(self) -> bool:
        """Whether image files are compared with the digests of the rows."""
        return self.look in ("hash", "decode")


class Job(NamedTuple):
    """What a process has to know. ``file`` is the name of samples.jsonl in rejections, ``run`` differs every time."""

    root: str
    file: str
    card: str  # as JSON: a job is a key of the workers' cache
    limits: ImageLimits
    config: CheckConfig
    run: str


@dataclass
class Facts:
    """What is known of the image files of a chunk, by path: header or defect, and the two kinds of digests."""

    verdicts: dict[str, Header | str] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)


@dataclass
class Part:
    """What was found in one chunk.

    ``ids`` are those that later rows may not have, ``unused_ids`` those of rows refused for their images. ``images``
    are the first use of every file with its digest, if there are benchmarks.
    """

    rejections: Log[Rejection]
    warnings: Log[Finding]
    accepted: int = 0
    ids: list[str] = field(default_factory=list)
    unused_ids: list[str] = field(default_factory=list)
    histograms: Histograms = field(default_factory=lambda: Histograms(None))
    duplicates: Duplicates = field(default_factory=Duplicates)
    images: dict[tuple[str, str | None], Use] = field(default_factory=dict)
    lengths: list[LengthCounts] = field(default_factory=list)
    labels: LabelCounts = field(default_factory=LabelCounts)
    facts: Facts = field(default_factory=Facts)


def check_chunk(job: Job, chunk: Chunk) -> Part:
    """What is found in ``chunk``, without the rows before it. Each process inspects an image once."""
    checker = _checker(job)
    part = checker.check(chunk, TextSet())
    part.facts = checker.facts(part.facts)
    return part


@lru_cache(maxsize=1)
def _checker(job: Job) -> ChunkChecker:
    return ChunkChecker(job)


def lengths_of(config: CheckConfig) -> list[Lengths]:
    """A counter for each family. ConfigError if lengths cannot be counted as told."""
    count, how = text_tokens, "estimated"
    if config.tokenizer is not None:
        count, how = tokenizer(config.tokenizer), f"counted by {config.tokenizer.name}"
    return [Lengths(family, config.max_pixels, count, how, config.max_tokens) for family in config.families]


def rejection_kind(rejection: Rejection) -> str:
    """The field without its places: ``images.3`` and ``images.0`` are one kind of trouble."""
    return ".".join(part for part in rejection.field.split(".") if not part.isdigit())


class ChunkChecker:
    """Checks chunks in sequence and remembers the image files."""

    def __init__(self, job: Job) -> None:
        self.file, self.config = job.file, job.config
        self.folder = DatasetFolder(Path(job.root), DatasetCard.model_validate_json(job.card), job.limits)
        self.tokens = forbidden_tokens(self.config.families or FAMILIES.values())
        self.prompts = self.config.families or (QWEN3_VL,)
        self.lengths = lengths_of(self.config)
        self.verdicts: dict[str, Header | str] = {}
        self.digests = Digests(self.folder, look=self.config.hashed)
        self.files = Digests(self.folder, believe=False)

    def check(self, chunk: Chunk, seen: TextSet) -> Part:
        """What is found in ``chunk``; ``seen`` are the ids of earlier rows and gets those of these."""
        part = Part(Log(self.config.listed), Log(self.config.listed))
        for row, line in enumerate(chunk.lines, chunk.first):
            if line.strip():
                self._row(part, row, line, seen)
        part.lengths = [lengths.take() for lengths in self.lengths]
        return part

    def facts(self, asked: Facts) -> Facts:
        """What is known of the files that ``asked`` names in its verdicts."""
        digests, files = self.digests.known, self.files.known
        return Facts(
            asked.verdicts,
            {path: digests[path] for path in asked.verdicts if path in digests},
            {path: files[path] for path in asked.verdicts if path in files},
        )

    def know(self, facts: Facts) -> None:
        """Take over what another process knows of image files, instead of what was known here."""
        self.verdicts, self.digests.known, self.files.known = facts.verdicts, facts.digests, facts.files

    def _row(self, part: Part, row: int, line: bytes, seen: TextSet) -> None:
        outcome = parse_row(self.file, row, line, seen)
        if isinstance(outcome, Rejection):
            part.rejections.add(rejection_kind(outcome), outcome)
            return
        sample = outcome
        if self.config.look != "none":
            outcome = self.folder.look_at(row, sample, _READ[self.config.look], self.verdicts)
            known = self.verdicts
            part.facts.verdicts.update({ref.path: known[ref.path] for ref in sample.images if ref.path in known})
        if isinstance(outcome, Rejection):
            part.unused_ids.append(sample.id)
            part.rejections.add(rejection_kind(outcome), outcome)
            return
        seen.add(outcome.id)
        part.ids.append(outcome.id)
        problem = self._problem(outcome)
        if problem is None:
            self._accept(part, row, outcome)
        else:
            refused = Rejection(file=self.file, row=row, id=outcome.id, **problem._asdict())
            part.rejections.add(rejection_kind(refused), refused)

    def _problem(self, sample: Sample) -> Problem | None:
        problem = text_problem(sample, self.tokens) or prompt_problem(sample, self.prompts)
        return problem or (self._other_file(sample) if self.config.hashed else None)

    def _other_file(self, sample: Sample) -> Problem | None:
        for number, ref in enumerate(sample.images):
            if ref.sha256 and (found := self.files.of(ref)) is not None and found != ref.sha256.lower():
                reason = f"image {ref.path} is not the file that the row describes (its sha256 is {found[:12]}…)"
                return Problem(f"images.{number}", reason, "restore the file, or write its digest into the row")
        return None

    def _accept(self, part: Part, row: int, sample: Sample) -> None:
        part.accepted += 1
        part.histograms.add(sample)
        count_labels(part.labels, row, sample)
        for kind, where, reason in box_warnings(sample, self.config.boxes):
            part.warnings.add(kind, warning(kind, row, sample.id, where, reason))
        for number, reason in rotated(sample, lambda ref: self.verdicts.get(ref.path)) if self.verdicts else ():
            part.warnings.add("rotated_by_exif", warning("rotated_by_exif", row, sample.id, f"images.{number}", reason))
        digests = [self.digests.of(ref) for ref in sample.images]
        part.duplicates.add(row, sample, digests)
        if self.config.against:
            for use, digest in uses(sample, digests):
                part.images.setdefault((use.path, digest), use)
        if not self.lengths and (found := self._refused(row, sample)) is not None:
            part.warnings.add(found.kind, found)
        for lengths in self.lengths:
            if (found := self._measure(lengths, row, sample)) is not None:
                part.warnings.add(found.kind, found)

    def _refused(self, row: int, sample: Sample, family: Family = QWEN3_VL) -> Finding | None:
        """A warning that names the image which the processor of ``family`` refuses; most families refuse the same."""
        found = refused_image(sample, family)
        if found is None:
            return None
        place, error = found
        return warning("not_for_family", row, sample.id, f"images.{place}", f"{family.name}: {error.message}")

    def _measure(self, lengths: Lengths, row: int, sample: Sample) -> Finding | None:
        name, most = lengths.family.name, self.config.max_tokens
        try:
            tokens = lengths.add(sample)
        except MirgError as error:
            named = self._refused(row, sample, lengths.family)
            return named or warning("not_for_family", row, sample.id, "images", f"{name}: {error.message}")
        if tokens is None or most is None or tokens <= most:
            return None
        return warning("too_long", row, sample.id, "row", f"{tokens:,} tokens for {name} are more than {most:,}")
