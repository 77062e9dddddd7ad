"""``mirg data split``: parts of a dataset that share no image, no image set and no group that the user names.

Samples that share one of these, directly or through other samples, form a group and stay together. A group goes to a
part by a number that depends only on the group, so rows added elsewhere move nothing; the shares are met as well as
that allows, which is within about the square root of the number of groups.
"""

from __future__ import annotations

import posixpath
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from mirg.data.derive import Derived, Judge, Outcome, refuse_overwriting_inputs, sift, writer_like
from mirg.data.keys import SPAN, keyed
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, write_rejections
from mirg.samples.grouping import GroupBy, NoGroup
from mirg.samples.roots import MARK
from mirg.storage import atomic_folder

_NO_GROUP = "--ungrouped keep groups it by what is known; it may then share a scene with another part"


class Groups:
    """The connected components of samples over images, image sets and the groups of ``by``; union-find over numbers.

    Samples are added in the order of the file and known by their number from 0. An image is known by the digest of its
    file, and by its place, so that a row without digest is joined to one with it. Memory is some hundred bytes per
    image.
    """

    def __init__(self, folder: DatasetFolder, by: GroupBy | None = None) -> None:
        self._folder, self._by = folder, by
        self._nodes: dict[int, int] = {}  # key of an image or a set -> node
        self._above = array("Q")
        self._samples = array("Q")  # a node of each sample
        self._names = array("Q")  # of each node: the least name of its group

    def add(self, sample: Sample, *, ungrouped: bool = False) -> None:
        """Join the groups of everything that ``sample`` is about.

        NoGroup, before anything is changed, if ``by`` cannot tell its group; ``ungrouped`` takes the groups of those
        images whose group can be found.
        """
        groups: list[str] = []
        if self._by:
            groups = self._by.known(sample) if ungrouped else self._by.keys(sample)
        name = keyed("set", sample.image_set)
        root = self._root(self._node(name))
        if not groups:
            self._call(root, name if self._by is None else SPAN // 2 + name // 2)
        for group in groups:
            root = self._join(root, self._root(self._node(keyed("group", group))))
            self._call(root, keyed("group", group) // 2)  # below every name of an image set
        for key in self._image_keys(sample):
            root = self._join(root, self._root(self._node(key)))
        self._samples.append(root)

    def __len__(self) -> int:
        """Samples added."""
        return len(self._samples)

    def group(self, number: int) -> int:
        """A number that all samples of one group share."""
        return self._root(self._samples[number])

    def name(self, number: int) -> int:
        """What the group of a sample is known by, from 0 to 2^64 - 1.

        The number depends only on the keys of ``by`` in the group, or on its image sets without such a key: more images
        of one scene do not move the scene.
        """
        return self._names[self.group(number)]

    def _call(self, root: int, name: int) -> None:
        self._names[root] = min(self._names[root], name)

    def _image_keys(self, sample: Sample) -> Iterator[int]:
        for ref in sample.images:
            if ref.sha256:
                yield keyed("sha256", ref.sha256)
            yield keyed("path", self._place(ref.path))

    def _place(self, path: str) -> str:
        """Where an image lies, spelled in one way; links are not followed, which would cost a look at every file."""
        if not path.startswith(MARK):
            return posixpath.normpath(posixpath.join(str(self._folder.roots.own), path))
        name, _, inside = path[1:].partition("/")
        folder = self._folder.roots.declared.get(name)
        return posixpath.normpath(posixpath.join(str(folder), inside)) if folder else path

    def _node(self, key: int) -> int:
        node = self._nodes.setdefault(key, len(self._above))
        if node == len(self._above):
            self._above.append(node)
            self._names.append(SPAN - 1)
        return node

    def _root(self, node: int) -> int:
        above = self._above
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    def _join(self, a: int, b: int) -> int:
        """The root of both; the older node stays, and trees stay shallow by halving the paths."""
        low, high = (a, b) if a < b else (b, a)
        self._above[high] = low
        self._names[low] = min(self._names[low], self._names[high])
        return low


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
        parts = {
            name: {
                "asked": share,
                "share": self.kept[name] / max(1, self.n_kept),
                "samples": self.kept[name],
                "groups": self.groups[name],
            }
            for name, share in self.shares.items()
        }
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
    report = SplitReport(shares=dict(shares), group_by=by.text if by else "")
    groups = Groups(source, by)
    judge, tell = _grouping(source, groups, keep_ungrouped, report), _told(on_progress, "grouping", len(source))
    grouped = array("Q", (row for row, _, _ in sift(source, judge, report, on_progress=tell)))
    if not grouped:
        hint = "`mirg data check` lists every rejection"
        if any(row.field == "group" for row in report.rejections):
            hint = "check the option --group-by"
        raise DataError(f"{source.root} has no usable sample{report.first()}", hint=hint)
    parts = _assigned(groups, shares, seed)
    with atomic_folder(out, overwrite=overwrite) as work:
        placed = zip(grouped, parts, strict=True)
        _write_parts(source, work, placed, report, seed, copy, _told(on_progress, "writing", len(source)))
        write_rejections(work, report.rejections)
    _judge(report, groups, parts)
    return report


def _grouping(source: DatasetFolder, groups: Groups, keep_ungrouped: bool, report: SplitReport) -> Judge:
    """A judge that adds every sample to ``groups`` and rejects those without a group, unless they are to be kept."""

    def judge(row: int, sample: Sample) -> Outcome:
        try:
            groups.add(sample)
        except NoGroup as problem:
            if not keep_ungrouped:
                return Outcome(None, "", source.rejection(row, sample, "group", f"no group: {problem}", _NO_GROUP))
            groups.add(sample, ungrouped=True)
            report.ungrouped += 1
        return Outcome(sample)

    return judge


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
    placed: Iterator[tuple[int, str]],
    report: SplitReport,
    seed: int,
    copy: bool,
    on_progress: Callable[[int], None],
) -> None:
    """Write the rows that are ``placed``, as (row, part) in the order of the file; the others were counted before."""
    card = source.card
    with ExitStack() as stack:
        parts = {}
        for name, share in report.shares.items():
            words = f"The part {name!r} of a split, {share:.4g} of the samples asked for."
            command = f"mirg data split {card.name}"
            writer = writer_like(card, work / name, command, words, name=f"{card.name}-{name}", seed=seed)
            parts[name] = Derived(stack.enter_context(writer), report, "all" if copy else "none", lambda _: None)
        place, part = next(placed)
        for row, sample in source.numbered(lambda _: None):
            if row == place:
                parts[part].keep(source, row, sample, part)
                place, part = next(placed, (0, ""))
            on_progress(row)


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
        if not report.kept[name]:
            report.warnings.append(f"the part {name!r} is empty: {len(sizes)} groups of samples, none fell to it")


def _told(on_progress: Callable[[str, int, int], None] | None, stage: str, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(stage, done, total) if on_progress else None
