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
from mirg.data.derive import Derived, Judge, Outcome, refuse_overwriting_inputs, sift, writer_like
from mirg.data.rows import keyed
from mirg.errors import ConfigError, DataError, ImageError, MirgError
from mirg.families import PixelLimits, family
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, refuse_for_family
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
        images = (self.min_images, self.max_images or self.min_images)
        pairs = {"images": images, "size": (self.min_size, self.max_size)}
        for name, bounds in (pairs | {"pass_rate": self.pass_rate, "reward_std": self.reward_std}).items():
            low, high = bounds or (0, 0)
            if low > high:
                raise ValueError(f"{name}: the least ({low}) is more than the most ({high})")
        if self.max_tokens and not self.family:
            raise ValueError("max_tokens needs a family: tokens of one are not those of another")
        if self.family:
            family(self.family)
        return self

    @property
    def limits(self) -> PixelLimits | None:
        """Pixels of an image that ``family`` has resized; None without a family."""
        if self.family is None:
            return None
        own = family(self.family).limits
        return PixelLimits(self.min_pixels or own.min_pixels, self.max_pixels or own.max_pixels)

    def words(self) -> str:
        """The criteria that are set with their values, for the card of the new dataset."""
        told = self.model_dump(mode="json", exclude_defaults=True)
        spelled = (f"{key} {' '.join(map(str, v)) if isinstance(v, list) else v}" for key, v in told.items())
        return ", ".join(spelled) or "everything"


def why_dropped(sample: Sample, criteria: Criteria) -> str | None:
    """The first criterion that ``sample`` fails, in a few words that many samples share; None if it passes."""
    return next(_failures(sample, criteria), None)


def _failures(sample: Sample, criteria: Criteria) -> Iterator[str]:
    count = len(sample.images)
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for t in sample.targets]
    failed = {
        "task": (criteria.tasks and sample.task not in criteria.tasks) or sample.task in criteria.not_tasks,
        "source": criteria.sources and not any(fnmatchcase(sample.source, pattern) for pattern in criteria.sources),
        "image not hidden": criteria.hidden_only and not sample.image_hidden,
        "no trajectory": criteria.has_trajectory and sample.trajectory is None,
        "too few images": count < criteria.min_images,
        "too many images": criteria.max_images is not None and count > criteria.max_images,
        "target too small": min(areas, default=1.0) < criteria.min_size,
        "target too large": max(areas, default=0.0) > criteria.max_size,
    }
    yield from (reason for reason, found in failed.items() if found)
    for name, bounds in (("pass rate", criteria.pass_rate), ("reward std", criteria.reward_std)):
        value = sample.meta.get(name.replace(" ", "_"))
        if bounds is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            if not criteria.keep_unrated:
                yield f"no {name}"
        elif not bounds[0] <= value <= bounds[1]:
            yield name
    if criteria.max_tokens is not None and criteria.family is not None:
        try:
            if _counter(criteria.family, criteria.limits)(sample).total > criteria.max_tokens:
                yield "too many tokens"
        except MirgError:
            yield "tokens cannot be counted" if all(ref.measured for ref in sample.images) else "image size not known"


@lru_cache(maxsize=8)
def _counter(name: str, limits: PixelLimits | None) -> SampleCounter:
    return SampleCounter(family(name), limits)


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
    limited = f", {limit} of them by seed {seed}" if limit else ""
    words = f"Filtered: {criteria.words()}{limited}."
    chosen_by = seed if limit else None
    with writer_like(source.card, out, "mirg data filter", words, seed=chosen_by, overwrite=overwrite) as writer:
        derived = Derived(writer, report, "all" if copy else "none")
        judge = _judge(source, criteria, leakage)
        found = sift(source, judge, report, derived.on_reject, images=look, on_progress=on_progress)
        passing = ((row, sample) for row, sample, _ in found)
        for row, sample in passing if limit is None else _chosen(passing, limit, seed, report):
            derived.keep(source, row, sample)
        if not report.n_kept:
            reasons = [f"{reason} {count}" for reason, count in report.dropped.most_common()]
            reasons += [f"{report.n_rejected} rejected, first: {report.rejections[0]}"] if report.rejections else []
            why = f"{report.n_rows} rows read ({'; '.join(reasons) or 'it is empty'})"
            raise DataError(f"no sample of {source.root} passes, {why}", hint="loosen a criterion")
    return report


def _judge(source: DatasetFolder, criteria: Criteria, leakage: Leakage | None) -> Judge:
    """Rejects what the family of the criteria refuses, and drops what fails a criterion or is in a benchmark."""

    def judge(row: int, sample: Sample) -> Outcome:
        try:
            if criteria.family is not None:
                refuse_for_family(sample, family(criteria.family), criteria.limits)
        except ImageError as error:
            return Outcome(None, "", source.rejection(row, sample, "images", error))
        if reason := why_dropped(sample, criteria):
            return Outcome(None, reason)
        leak = leakage.why(sample) if leakage else None
        if leak is None:
            return Outcome(sample)
        benchmark, where, words = leak
        reason = f"leakage: shared with {benchmark}" if benchmark else "leakage: same group as a shared image"
        return Outcome(None, reason, source.rejection(row, sample, where, words))

    return judge


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
