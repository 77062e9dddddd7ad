"""``mirg data split``: parts of a dataset that share no image, no image set and no group that the user names.

A group of samples goes to a part by a number of its own, so rows added elsewhere move nothing; the shares are met as
well as that allows, which is within about the square root of the number of groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from mirg.data.groups import Groups
from mirg.data.keys import SPAN, keyed
from mirg.data.output import add_carried, refuse_overwriting_inputs, rejected, write_rejections
from mirg.errors import ConfigError, DataError
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Rejection
from mirg.samples.grouping import GroupBy, NoGroup
from mirg.storage import atomic_folder

_NO_GROUP = "--ungrouped keep groups it by what is known; it may then share a scene with another part"


@dataclass
class SplitReport:
    """Samples and groups of each part, the share that was asked for, and what is odd about the result."""

    shares: dict[str, float]
    samples: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    largest_group: int = 0
    group_by: str = ""
    ungrouped: int = 0  # samples whose group cannot be found, kept with what they share images with
    warnings: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def n_samples(self) -> int:
        """Samples of all parts."""
        return self.samples.total()

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        parts = {
            name: {
                "asked": share,
                "share": self.samples[name] / max(1, self.n_samples),
                "samples": self.samples[name],
                "groups": self.groups[name],
            }
            for name, share in self.shares.items()
        }
        return {
            "samples": self.n_samples,
            "parts": parts,
            "largest_group": self.largest_group,
            "group_by": self.group_by,
            "ungrouped": self.ungrouped,
            "warnings": self.warnings,
            "rejected": len(self.rejections),
            "rejections": [row.model_dump() for row in self.rejections],
        }


def parse_parts(text: str) -> dict[str, float]:
    """``train=0.8,val=0.2`` as names and shares, which are scaled to a sum of 1. ConfigError for anything else.

    >>> parse_parts("train=3, val=1")
    {'train': 0.75, 'val': 0.25}
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not (0.0 < share < float("inf")) or not name.replace("-", "_").isidentifier() or name in shares:
            raise ConfigError(
                f"--parts {text}: {part.strip()!r} is no part",
                hint="NAME=SHARE with commas: train=0.8,val=0.1,test=0.1",
            )
        shares[name] = share
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def write_split(
    source: DatasetFolder,
    out: str | Path,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    by: GroupBy | None = None,
    keep_ungrouped: bool = False,
    copy: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> SplitReport:
    """Write ``OUT/NAME`` for every part, all of them or none. ``shares`` sum to 1 (see :func:`parse_parts`).

    Samples that share an image (by digest, or by place where a row has none), an image set or a group of ``by`` are in
    one part. A sample whose group cannot be found is rejected, or with ``keep_ungrouped`` counted and grouped by what
    is known of its images. Rejected rows are in ``OUT/rejected.jsonl``. ConfigError; DataError if no row can be used.
    """
    out = Path(out)
    refuse_overwriting_inputs(out, [source], copy=copy)
    report = SplitReport(dict(shares), group_by=by.text if by else "")
    groups = Groups(source, by)
    refused: set[int] = set()
    for row, sample in source.numbered(report.rejections.append):
        try:
            groups.add(sample)
        except NoGroup as problem:
            if keep_ungrouped:
                groups.add(sample, ungrouped=True)
                report.ungrouped += 1
            else:
                refused.add(row)
                report.rejections.append(rejected(source, row, sample, "group", f"no group: {problem}", _NO_GROUP))
        _tell(on_progress, "grouping", len(groups), len(source))
    if not len(groups):
        first = f"; first: {report.rejections[0]}" if report.rejections else ""
        hint = "check the option --group-by" if refused else "`mirg data check` lists every rejection"
        raise DataError(f"{source.root} has no usable sample{first}", hint=hint)
    parts = _assigned(groups, shares, seed)
    with atomic_folder(out, overwrite=overwrite) as work:
        _write_parts(source, work, parts, refused, report, seed, copy, on_progress)
        write_rejections(work, report.rejections)
    _judge(report, groups, parts)
    return report


def part_of(name: int, shares: Mapping[str, float], seed: int) -> str:
    """The part of a group called ``name``: a function of this name, the seed and the shares."""
    place = keyed("part", seed, name) / SPAN
    for part, upto in zip(shares, accumulate(shares.values()), strict=True):
        if place < upto:
            return part
    return next(reversed(list(shares)))  # the sum of the shares was rounded down


def _assigned(groups: Groups, shares: Mapping[str, float], seed: int) -> list[str]:
    """The part of every sample, by its number."""
    known: dict[int, str] = {}
    parts = []
    for number in range(len(groups)):
        group = groups.group(number)
        if group not in known:
            known[group] = part_of(groups.name(number), shares, seed)
        parts.append(known[group])
    return parts


def _write_parts(
    source: DatasetFolder,
    work: Path,
    parts: list[str],
    refused: set[int],
    report: SplitReport,
    seed: int,
    copy: bool,
    on_progress: Callable[[str, int, int], None] | None,
) -> None:
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(_writer(source, work / name, name, share, seed))
            for name, share in report.shares.items()
        }
        carriers = {name: Carrier(source, writer, "all" if copy else "none") for name, writer in writers.items()}
        usable = (item for item in source.numbered(lambda _: None) if item[0] not in refused)
        for number, (row, sample) in enumerate(usable):
            name = parts[number]
            if add_carried(writers[name], carriers[name], sample, row, report.rejections):
                report.samples[name] += 1
            _tell(on_progress, "writing", number + 1, len(parts))


def _writer(source: DatasetFolder, path: Path, name: str, share: float, seed: int) -> DatasetWriter:
    card = source.card
    return DatasetWriter(
        path,
        name=f"{card.name}-{name}",
        description=f"{card.description} The part {name!r} of a split, {share:.4g} of the samples asked for.".strip(),
        created_by=f"mirg data split {card.name}",
        seed=seed,
        license=card.license,
    )


def _judge(report: SplitReport, groups: Groups, parts: list[str]) -> None:
    """Count the groups, and say where shares cannot be what they should."""
    sizes = Counter(groups.group(number) for number in range(len(groups)))
    where = {groups.group(number): part for number, part in enumerate(parts)}
    report.groups.update(where.values())
    report.largest_group = max(sizes.values())
    for name, share in report.shares.items():
        if report.largest_group > share * len(groups):
            report.warnings.append(
                f"{report.largest_group} of {len(groups)} samples are connected by shared images or groups, "
                f"more than the share of {name!r} ({share:.4g})"
            )
        if not report.samples[name]:
            report.warnings.append(f"the part {name!r} is empty: {len(sizes)} groups of samples, none fell to it")


def _tell(on_progress: Callable[[str, int, int], None] | None, stage: str, done: int, total: int) -> None:
    if on_progress:
        on_progress(stage, done, total)
