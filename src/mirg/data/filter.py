"""``mirg data filter``: the samples of a dataset that meet every criterion, with a count of the others by reason."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirg.data.checks.leakage import Leakage
from mirg.data.criteria import Criteria, why_dropped
from mirg.data.keys import keyed
from mirg.data.output import add_carried, refuse_overwriting_inputs, rejected, write_rejections
from mirg.errors import ConfigError, DataError, ImageError
from mirg.frames import family
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Rejection, Sample, refuse_for_family
from mirg.samples.folder import ImageCheck

OVER_LIMIT = "over the limit"


@dataclass
class FilterReport:
    """Rows read = ``n_kept`` + all that were ``dropped`` by a criterion + the number of ``rejections``.

    ``leaks`` names the samples that share something with a benchmark; they are counted in ``dropped``.
    """

    n_kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    leaks: list[Rejection] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows read."""
        return self.n_kept + self.dropped.total() + len(self.rejections)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "rows": self.n_rows,
            "kept": self.n_kept,
            "tasks": dict(sorted(self.tasks.items())),
            "dropped": dict(self.dropped.most_common()),
            "leaks": [row.model_dump() for row in self.leaks],
            "rejected": len(self.rejections),
            "rejections": [row.model_dump() for row in self.rejections],
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

    ``look`` says how far image files are looked at; from "header" on, sizes that rows do not tell are filled in and
    written. ``leakage`` leaves out what a benchmark holds too, and lists it in ``OUT/rejected.jsonl``. ``limit`` keeps
    that many of those that pass, chosen by ``seed`` and id. Raises ConfigError, or DataError if nothing passes.
    """
    out = Path(out)
    refuse_overwriting_inputs(out, [source], copy=copy)
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: at least one sample is kept")
    report = FilterReport()
    passing = _passing(source, criteria, leakage, look, report, on_progress)
    if limit is not None:
        passing = _chosen(passing, limit, seed, report)
    with _writer(source, out, criteria, limit, seed, overwrite) as writer:
        carrier = Carrier(source, writer, "all" if copy else "none")
        for row, sample in passing:
            if add_carried(writer, carrier, sample, row, report.rejections):
                report.n_kept += 1
                report.tasks[sample.task] += 1
        if not report.n_kept:
            raise DataError(_nothing(source, report), hint="loosen a criterion")
    write_rejections(out, report.rejections + report.leaks)
    return report


def _passing(
    source: DatasetFolder,
    criteria: Criteria,
    leakage: Leakage | None,
    look: ImageCheck,
    report: FilterReport,
    on_progress: Callable[[int], None] | None,
) -> Iterator[tuple[int, Sample]]:
    """The rows that meet the criteria; what the others failed is counted."""
    for row, sample in source.numbered(report.rejections.append, images=look):
        refused = _refused(source, row, sample, criteria)
        reason = None if refused else why_dropped(sample, criteria)
        if not refused and not reason and leakage and (leak := leakage.why(sample)):
            benchmark, where, words = leak
            report.leaks.append(rejected(source, row, sample, where, words))
            reason = f"leakage: shared with {benchmark}" if benchmark else "leakage: same group as a shared image"
        if refused:
            report.rejections.append(refused)
        elif reason:
            report.dropped[reason] += 1
        else:
            yield row, sample
        if on_progress:
            on_progress(row)


def _refused(source: DatasetFolder, row: int, sample: Sample, criteria: Criteria) -> Rejection | None:
    """Why the family of the criteria cannot be shown the images of ``sample``, or None."""
    if criteria.family is None:
        return None
    try:
        refuse_for_family(sample, family(criteria.family), criteria.limits)
    except ImageError as error:
        return rejected(source, row, sample, "images", error.message, error.hint)
    return None


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
            report.dropped[OVER_LIMIT] += 1
    for _, row, text in sorted(kept, key=lambda entry: -entry[1]):
        yield -row, Sample.model_validate_json(text)


def _writer(
    source: DatasetFolder, out: Path, criteria: Criteria, limit: int | None, seed: int, overwrite: bool
) -> DatasetWriter:
    card = source.card
    words = criteria.words() + (f", {limit} of them by seed {seed}" if limit else "")
    return DatasetWriter(
        out,
        name=card.name,
        description=f"{card.description} Filtered: {words}.".strip(),
        created_by="mirg data filter",
        seed=seed if limit else card.seed,
        license=card.license,
        overwrite=overwrite,
    )


def _nothing(source: DatasetFolder, report: FilterReport) -> str:
    reasons = [f"{reason} {count}" for reason, count in report.dropped.most_common()]
    reasons += [f"{len(report.rejections)} rejected, first: {report.rejections[0]}"] if report.rejections else []
    return f"no sample of {source.root} passes, {report.n_rows} rows read ({'; '.join(reasons) or 'it is empty'})"
