"""Rows that ask the same, and files that hold the same: one pass keeps 28 bytes a row and 20 an image.

Two samples are the same where question, images (by content where the row has it, else by name) and targets are. They
are the same in another order where the images are, and the question is once its image numbers follow the images.

Keys are 64 bits and the same in every process: digests of texts, and Python's hashes of numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from mirg.samples import Sample
from mirg.samples.reorder import renumbered


class Repeat(NamedTuple):
    """Row ``row`` repeats row ``first``, or a file that it names holds what a file of row ``first`` holds.

    ``kind`` is "duplicate" (the same in everything), "reordered", "conflicting_targets" or "copied_file". The paths are
    keys of the names of the two files (see :func:`text_key`).
    """

    kind: str
    first: int
    row: int
    first_path: int = 0
    path: int = 0


class Duplicates:
    """Takes the rows one by one; :meth:`repeats` says what was met twice."""

    def __init__(self) -> None:
        rows, images = {"exact": "q", "loose": "q", "order": "q", "row": "I"}, {"content": "q", "path": "q", "at": "I"}
        self._columns = {name: array(kind) for name, kind in (rows | images).items()}  # of rows, and of images

    def add(self, row: int, sample: Sample, digests: list[str | None]) -> None:
        """Note one row; ``digests`` are the SHA-256 of its images, None if not known."""
        keys = tuple([digest or ref.path for digest, ref in zip(digests, sample.images, strict=True)])
        ordered = tuple(sorted(keys))
        images = _together(keys)
        targets = tuple([(target.image, target.box) for target in sample.targets])
        exact = hash((_together([sample.question, *[t.label for t in sample.targets]]), images, targets))
        now = {number: ordered.index(key) + 1 for number, key in enumerate(keys, 1)}
        loose = _together([renumbered(sample.question, now), *ordered])
        self._append(exact=exact, loose=loose, order=images, row=row)
        for digest, ref in zip(digests, sample.images, strict=True):
            if digest:
                self._append(content=text_key(digest), path=text_key(ref.path), at=row)

    def _append(self, **values: int) -> None:
        for name, value in values.items():
            self._columns[name].append(value)

    def join(self, later: Duplicates) -> None:
        """Add rows that come after all of these."""
        for name, column in later._columns.items():
            self._columns[name] += column

    def repeats(self) -> Iterator[Repeat]:
        """Every row that repeats an earlier one, then every file that holds what another one holds.

        Rows come in their order in each group. A file comes once for each name after the first.
        """
        exact, order, rows = (self._columns[name] for name in ("exact", "order", "row"))
        for group in _groups(np.asarray(self._columns["loose"])):
            firsts: dict[int, int] = {}
            first = group[0]
            for place in group:
                same = firsts.setdefault(exact[place], place)
                if same != place:
                    yield Repeat("duplicate", rows[same], rows[place])
                elif place != first:
                    kind = "conflicting_targets" if order[place] == order[first] else "reordered"
                    yield Repeat(kind, rows[first], rows[place])
        paths, rows = self._columns["path"], self._columns["at"]
        for group in _groups(np.asarray(self._columns["content"])):
            first = group[0]
            seen = {paths[first]}
            for place in group[1:]:
                if paths[place] not in seen:
                    seen.add(paths[place])
                    yield Repeat("copied_file", rows[first], rows[place], paths[first], paths[place])


def text_key(text: str) -> int:
    """64 bits of the BLAKE2b digest of ``text``, signed."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), signed=True)


def _together(texts: Sequence[str]) -> int:
    """One key of several texts, none of which can be taken for two."""
    text = "\0".join(texts)
    return text_key(text if text.count("\0") < len(texts) else repr(texts))


def _groups(keys: np.ndarray) -> Iterator[list[int]]:
    """The places of every key that occurs more than once, ascending, the group of the earliest place first."""
    if not keys.size:
        return
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], np.diff(keys[order]) != 0)))
    ends = np.append(starts[1:], keys.size)
    starts, ends = starts[ends - starts > 1], ends[ends - starts > 1]
    for group in np.argsort(order[starts]).tolist():
        yield order[starts[group] : ends[group]].tolist()
