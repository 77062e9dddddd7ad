"""``mirg data filter``: the samples of a dataset that meet every criterion, with a count of the others by reason."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mirg.data.checks.leakage import Leakage
from mirg.data.checks.lengths import SampleCounter
from mirg.data.derive import Derived, Outcome, refuse_overwriting_inputs, writer_like
from mirg.data.keys import keyed
from mirg.errors import ConfigError, DataError, ImageError, MirgError
from mirg.frames import PixelLimits, family
from mirg.samples import DatasetFolder, DatasetWriter, Rejection, Sample, Tally, refuse_for_family
from mirg.samples.folder import ImageCheck

OVER_LIMIT = "over the limit"


class Criteria(BaseModel):
    """Every criterion that is set must hold. Sizes are areas of targets as shares of their image, 0 to 1.

    A sample without targets has no size and passes ``min_size`` and ``max_size``; one without ``meta["pass_rate"]``
    or ``meta["reward_std"]`` (numbers from 0 to 1) fails the criterion of that name unless ``keep_unrated``. Bounds are
    inclusive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] = ()
    not_tasks: tuple[str, ...] = ()
    sources: tuple[str, ...] = Field(default=(), description="Patterns of Sample.source, * for anything.")
    min_images: int = Field(default=1, ge=1)
    max_images: int | None = Field(default=None, ge=1)
    min_size: float = Field(default=0.0, ge=0, le=1)
    max_size: float = Field(default=1.0, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    family: str | None = None
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)
    hidden_only: bool = False
    has_trajectory: bool = False
    pass_rate: tuple[float, float] | None = None
    reward_std: tuple[float, float] | None = None
    keep_unrated: bool = False

    @model_validator(mode="after")
    def _bounds(self) -> Criteria:
        pairs = {
            "images": (self.min_images, self.max_images or self.min_images),
            "size": (self.min_size, self.max_size),
            "pass_rate": self.pass_rate or (0, 0),
            "reward_std": self.reward_std or (0, 0),
        }
        for name, (low, high) in pairs.items():
            if low > high:
                raise ValueError(f"{name}: the least ({low}) is more than the most ({high})")
        if self.max_tokens and not self.family:
            raise ValueError("max_tokens needs a family: tokens of one are not those of another")
        if self.family:
            family(self.family)
        return self

    @property
    def limits(self) -> PixelLimits | None:
        """Pixels of a resized image; None for those of the family."""
        if self.family is None or (self.min_pixels is None and self.max_pixels is None):
            return None
        own = family(self.family).limits
        return PixelLimits(self.min_pixels or own.min_pixels, self.max_pixels or own.max_pixels)

    def words(self) -> str:
        """The criteria that are set with their values, for the card of the new dataset."""
        told = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{name} {_spelled(value)}" for name, value in told.items()) or "everything"


def _spelled(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def why_dropped(sample: Sample, criteria: Criteria) -> str | None:
    """The first criterion that ``sample`` fails, in a few words that many samples share; None if it passes."""
    return (
        _by_kind(sample, criteria)
        or _by_images_and_sizes(sample, criteria)
        or _by_measured(sample, criteria)
        or _by_tokens(sample, criteria)
    )


def _by_kind(sample: Sample, criteria: Criteria) -> str | None:
    if (criteria.tasks and sample.task not in criteria.tasks) or sample.task in criteria.not_tasks:
        return "task"
    if criteria.sources and not any(fnmatchcase(sample.source, pattern) for pattern in criteria.sources):
        return "source"
    if criteria.hidden_only and not sample.image_hidden:
        return "image not hidden"
    if criteria.has_trajectory and sample.trajectory is None:
        return "no trajectory"
    return None


def _by_images_and_sizes(sample: Sample, criteria: Criteria) -> str | None:
    count = len(sample.images)
    if count < criteria.min_images:
        return "too few images"
    if criteria.max_images is not None and count > criteria.max_images:
        return "too many images"
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in sample.targets]
    if any(area < criteria.min_size for area in areas):
        return "target too small"
    if any(area > criteria.max_size for area in areas):
        return "target too large"
    return None


def _by_measured(sample: Sample, criteria: Criteria) -> str | None:
    for key, bounds in (("pass_rate", criteria.pass_rate), ("reward_std", criteria.reward_std)):
        if bounds is None:
            continue
        name, value, (low, high) = key.replace("_", " "), sample.meta.get(key), bounds
        if isinstance(value, bool) or not isinstance(value, int | float):
            if not criteria.keep_unrated:
                return f"no {name}"
        elif not low <= value <= high:
            return name
    return None


@lru_cache(maxsize=8)
def _counter(name: str, limits: PixelLimits | None) -> SampleCounter:
    return SampleCounter(family(name), limits)


def _by_tokens(sample: Sample, criteria: Criteria) -> str | None:
    if criteria.max_tokens is None or criteria.family is None:
        return None
    try:
        tokens = _counter(criteria.family, criteria.limits)(sample).total
    except MirgError:
        return "tokens cannot be counted" if all(ref.measured for ref in sample.images) else "image size not known"
    return "too many tokens" if tokens > criteria.max_tokens else None


@dataclass
class FilterReport(Tally[Rejection]):
    """The :class:`Tally` of a filter; ``leaks`` names the dropped samples that share something with a benchmark."""

    leaks: list[Rejection] = field(default_factory=list)

    def drop(self, word: str, rejection: Rejection | None = None) -> None:
        """Count a dropped sample; what is recorded about it is a leak, not a rejection."""
        super().drop(word)
        if rejection is not None:
            self.leaks.append(rejection)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "rows": self.n_rows,
            "kept": self.n_kept,
            "tasks": dict(sorted(self.tasks.items())),
            "dropped": dict(self.dropped.most_common()),
            "leaks": [row.model_dump() for row in self.leaks],
            **self.rejected_dict(),
        }


def write_filtered(
    source: DatasetFolder,
    out: str | Path,
    criteria: Criteria,
    *,
    leakage: Leakage | None = None,
    look: ImageCheck = "none",
    limit: int | None = None,
    seed: int = 0,
    copy: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> FilterReport:
    """Write the samples of ``source`` that pass to ``out``, in their order.

    ``look`` says how image files are inspected; from "header" on, sizes that rows do not have are filled in and
    written. Samples that ``leakage`` finds in a benchmark are left out and listed in ``OUT/rejected.jsonl``. ``limit``
    keeps that many of the samples that pass, chosen by ``seed`` and id. Raises ConfigError if ``limit`` is below 1 or
    ``out`` holds what is read, DataError if nothing passes.
    """
    out = Path(out)
    refuse_overwriting_inputs(out, [source], copy=copy)
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: at least one sample is kept")
    report = FilterReport()
    with _writer(source, out, criteria, limit, seed, overwrite) as writer:
        derived = Derived(writer, report, "all" if copy else "none")
        judge = _Judge(source, criteria, leakage)
        found = derived.sift(source, judge, images=look, on_progress=on_progress)
        passing = ((row, sample) for row, sample, _ in found)
        for row, sample in passing if limit is None else _chosen(passing, limit, seed, report):
            derived.keep(source, row, sample)
        if not report.n_kept:
            raise DataError(_nothing(source, report), hint="loosen a criterion")
    return report


@dataclass(frozen=True)
class _Judge:
    """Rejects what the family of the criteria refuses, and drops what fails a criterion or is in a benchmark."""

    source: DatasetFolder
    criteria: Criteria
    leakage: Leakage | None

    def __call__(self, row: int, sample: Sample) -> Outcome:
        criteria = self.criteria
        try:
            if criteria.family is not None:
                refuse_for_family(sample, family(criteria.family), criteria.limits)
        except ImageError as error:
            return Outcome(None, "", self.source.rejection(row, sample, "images", error))
        reason = why_dropped(sample, criteria)
        if reason:
            return Outcome(None, reason)
        leak = self.leakage.why(sample) if self.leakage else None
        if leak is None:
            return Outcome(sample)
        benchmark, where, words = leak
        reason = f"leakage: shared with {benchmark}" if benchmark else "leakage: same group as a shared image"
        return Outcome(None, reason, self.source.rejection(row, sample, where, words))


def _chosen(
    passing: Iterator[tuple[int, Sample]], limit: int, seed: int, report: FilterReport
) -> Iterator[tuple[int, Sample]]:
    """``limit`` of the samples, in their order: those whose ids have the least keys. As text, they are small."""
    kept: list[tuple[int, int, bytes]] = []
    for row, sample in passing:
        entry = (-keyed("limit", seed, sample.id), -row, sample.model_dump_json(exclude_defaults=True).encode())
        if len(kept) < limit:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
            report.drop(OVER_LIMIT)
    for _, row, text in sorted(kept, key=lambda entry: -entry[1]):
        yield -row, Sample.model_validate_json(text)


def _writer(
    source: DatasetFolder, out: Path, criteria: Criteria, limit: int | None, seed: int, overwrite: bool
) -> DatasetWriter:
    words = criteria.words() + (f", {limit} of them by seed {seed}" if limit else "")
    return writer_like(
        source.card, out, "mirg data filter", f"Filtered: {words}.", seed=seed if limit else None, overwrite=overwrite
    )


def _nothing(source: DatasetFolder, report: FilterReport) -> str:
    reasons = [f"{reason} {count}" for reason, count in report.dropped.most_common()]
    reasons += [f"{report.n_rejected} rejected, first: {report.rejections[0]}"] if report.rejections else []
    return f"no sample of {source.root} passes, {report.n_rows} rows read ({'; '.join(reasons) or 'it is empty'})"
