"""``mirg data split``: parts of a dataset that share no image, no image set and no group that the user names.

Samples that share one of these, directly or through other samples, form a group and stay together. A group goes to a
part by a number that depends only on the group, so rows added elsewhere move nothing; the shares are met as well as
that allows, which is within about the square root of the number of groups.
"""

from __future__ import annotations

import posixpath
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mirg.data.derive import Derived, Outcome, refuse_overwriting_inputs, sift, writer_like
from mirg.data.rows import SPAN, keyed
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, write_rejections
from mirg.samples.grouping import GroupBy, NoGroup
from mirg.samples.roots import MARK
from mirg.storage import atomic_folder

_NO_GROUP = "--ungrouped keep groups it by what is known; it may then share a scene with another part"


class Groups:
    """The connected components of samples over images, image sets and the groups of ``by``.

    Samples are added in the order of the file and known by their number from 0. An image is known by the digest of its
    file, and by its place, so that a row without digest is joined to one with it. ``labels`` and ``names`` are read
    after the last sample was added. Memory is some dozen bytes per image of a sample.
    """

    def __init__(self, folder: DatasetFolder, by: GroupBy | None = None) -> None:
        self._folder, self._by = folder, by
        self._samples, self._keys = array("Q"), array("Q")  # pairs of a sample and the key of what it is about
        self._names = array("Q")

    def add(self, sample: Sample, *, ungrouped: bool = False) -> None:
        """Note everything that ``sample`` is about.

        NoGroup, before anything is changed, if ``by`` cannot tell its group; ``ungrouped`` takes the groups of those
        images whose group can be found.
        """
        groups = () if self._by is None else self._by.known(sample) if ungrouped else self._by.keys(sample)
        named, own = [keyed("group", group) for group in groups], keyed("set", sample.image_set)
        # A group that the user names goes before the image sets of its samples.
        self._names.append(min(named) // 2 if named else own if self._by is None else SPAN // 2 + own // 2)
        keys = {own, *named, *(keyed("path", self._place(ref.path)) for ref in sample.images)}
        keys |= {keyed("sha256", ref.sha256) for ref in sample.images if ref.sha256}
        self._keys.extend(keys)
        self._samples.extend([len(self._names) - 1] * len(keys))

    def __len__(self) -> int:
        """Samples added."""
        return len(self._names)

    @cached_property
    def labels(self) -> list[int]:
        """For each sample, a number that all samples of its group share."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        _, nodes = np.unique(np.asarray(self._keys), return_inverse=True)
        pairs = np.asarray(self._samples, dtype=np.int64), nodes + len(self)
        size = len(self) + len(nodes)
        edges = coo_array((np.ones(len(nodes), dtype=np.int8), pairs), shape=(size, size))
        return connected_components(edges, directed=False)[1][: len(self)].tolist()

    @cached_property
    def names(self) -> list[int]:
        """For each sample, what its group is known by, from 0 to 2^64 - 1.

        The number depends only on the keys of ``by`` in the group, or on its image sets without such a key: more images
        of one scene do not move the scene.
        """
        least: dict[int, int] = {}
        for label, name in zip(self.labels, self._names, strict=True):
            least[label] = min(name, least.get(label, name))
        return [least[label] for label in self.labels]

    def _place(self, path: str) -> str:
        """Where an image lies, spelled in one way; links are not followed, which would cost a look at every file."""
        folder: Path | None = self._folder.roots.own
        if path.startswith(MARK):
            name, _, path = path[1:].partition("/")
            folder = self._folder.roots.declared.get(name, Path(f"{MARK}{name}"))
        return posixpath.normpath(posixpath.join(str(folder), path))


@dataclass
class SplitReport(Tally[Rejection]):
    """The :class:`Tally` of a split, which counts samples by part in ``kept``; ``groups`` counts the groups of a part.

    ``shares`` are the requested ones. ``ungrouped`` counts the samples without a group that were kept with what
    they share images with; ``warnings`` are sentences about shares that cannot be met.
    """

    shares: dict[str, float] = field(default_factory=dict)
    groups: Counter[str] = field(default_factory=Counter)
    largest_group: int = 0
    group_by: str = ""
    ungrouped: int = 0
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        parts = {}
        for name, share in self.shares.items():
            reached = {"asked": share, "share": self.kept[name] / max(1, self.n_kept)}
            parts[name] = reached | {"samples": self.kept[name], "groups": self.groups[name]}
        return {
            "samples": self.n_kept,
            "parts": parts,
            "largest_group": self.largest_group,
            "group_by": self.group_by,
            "ungrouped": self.ungrouped,
            "warnings": self.warnings,
            **self.rejected_dict(),
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
    tell = on_progress or (lambda stage, done, total: None)
    report = SplitReport(shares=dict(shares), group_by=by.text if by else "")
    groups = Groups(source, by)

    def judge(row: int, sample: Sample) -> Outcome:
        try:
            groups.add(sample)
        except NoGroup as problem:
            if not keep_ungrouped:
                return Outcome(None, "", source.rejection(row, sample, "group", f"no group: {problem}", _NO_GROUP))
            groups.add(sample, ungrouped=True)
            report.ungrouped += 1
        return Outcome(sample)

    heard = sift(source, judge, report, on_progress=lambda row: tell("grouping", row, len(source)))
    rows = array("Q", (row for row, _, _ in heard))
    if not rows:
        hint = "`mirg data check` lists every rejection"
        if any(row.field == "group" for row in report.rejections):
            hint = "check the option --group-by"
        raise DataError(f"{source.root} has no usable sample{report.first()}", hint=hint)
    part = {name: part_of(name, shares, seed) for name in set(groups.names)}
    placed = {row: part[name] for row, name in zip(rows, groups.names, strict=True)}
    with atomic_folder(out, overwrite=overwrite) as work, ExitStack() as stack:
        parts = {}
        for name, share in shares.items():
            words = f"The part {name!r} of a split, {share:.4g} of the samples asked for."
            made = (source.card, work / name, f"mirg data split {source.card.name}", words)
            writer = stack.enter_context(writer_like(*made, name=f"{source.card.name}-{name}", seed=seed))
            parts[name] = Derived(writer, report, "all" if copy else "none", lambda _: None)
        for row, sample in source.numbered(lambda _: None):
            if row in placed:
                parts[placed[row]].keep(source, row, sample, placed[row])
            tell("writing", row, len(source))
        write_rejections(work, report.rejections)
    _count_groups(report, groups, list(placed.values()))
    return report


def part_of(name: int, shares: Mapping[str, float], seed: int) -> str:
    """The part of a group called ``name``: a function of this name, the seed and the shares."""
    place = keyed("part", seed, name) / SPAN
    for part, upto in zip(shares, accumulate(shares.values()), strict=True):
        if place < upto:
            return part
    return next(reversed(list(shares)))  # the sum of the shares was rounded down


def _count_groups(report: SplitReport, groups: Groups, parts: list[str]) -> None:
    """Count the groups, and say where shares cannot be what they should."""
    report.groups.update(dict(zip(groups.labels, parts, strict=True)).values())
    report.largest_group = max(Counter(groups.labels).values())
    for name, share in report.shares.items():
        if report.largest_group > share * len(groups):
            report.warnings.append(
                f"{report.largest_group} of {len(groups)} samples are connected by shared images or groups, "
                f"more than the share of {name!r} ({share:.4g})"
            )
        if not report.kept[name]:
            found = report.groups.total()
            report.warnings.append(f"the part {name!r} is empty: {found} groups of samples, none fell to it")
