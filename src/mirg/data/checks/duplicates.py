"""Rows that ask the same, and files that hold the same: one pass keeps 28 bytes a row and 20 an image.

Two samples are the same where question, images (by content where the row has it, else by name) and targets are. They
are the same in another order where the images are, and the question is once its image numbers follow the images.

Keys are 64 bits and the same in every process: digests of texts, and Python's hashes of numbers.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from mirg.samples import Sample

# Two patterns, each with its own first letters, are found ten times as fast as one that begins with a choice.
_NAMED = {"Image-": re.compile(r"(Image-)(\d{1,9})"), "<box image=": re.compile(r"(<box image=)(\d{1,9})")}


@dataclass(frozen=True, slots=True)
class Twin:
    """Row ``row`` repeats row ``first``: as ``kind`` says, all of it, in another order, or with other targets."""

    kind: str
    first: int
    row: int


@dataclass(frozen=True, slots=True)
class Copied:
    """A file, as row ``row`` names it, holds what a file of row ``first`` of another name holds; keys of both."""

    first: int
    first_path: int
    row: int
    path: int


class Duplicates:
    """Takes the rows one by one; :meth:`twins` and :meth:`copies` say what was met twice."""

    def __init__(self) -> None:
        self._exact, self._loose, self._order, self._rows = array("q"), array("q"), array("q"), array("I")
        self._content, self._paths, self._image_rows = array("q"), array("q"), array("I")

    def add(self, row: int, sample: Sample, digests: list[str | None]) -> None:
        """Note one row; ``digests`` are the SHA-256 of its images, None if not known."""
        keys = tuple([digest or ref.path for digest, ref in zip(digests, sample.images, strict=True)])
        ordered = tuple(sorted(keys))
        images = _together(keys)
        targets = tuple([(target.image, target.box) for target in sample.targets])
        self._exact.append(hash((_together([sample.question, *[t.label for t in sample.targets]]), images, targets)))
        self._loose.append(_together([_following(sample.question, keys, ordered), *ordered]))
        self._order.append(images)
        self._rows.append(row)
        for digest, ref in zip(digests, sample.images, strict=True):
            if digest:
                self._content.append(text_key(digest))
                self._paths.append(text_key(ref.path))
                self._image_rows.append(row)

    def join(self, later: Duplicates) -> None:
        """Add rows that come after all of these."""
        self._exact += later._exact
        self._loose += later._loose
        self._order += later._order
        self._rows += later._rows
        self._content += later._content
        self._paths += later._paths
        self._image_rows += later._image_rows

    def twins(self) -> Iterator[Twin]:
        """Every row that repeats an earlier one, in the order of the rows of each group."""
        exact, order, rows = (np.asarray(a) for a in (self._exact, self._order, self._rows))
        for group in _groups(np.asarray(self._loose)):
            firsts: dict[int, int] = {}
            first = group[0]
            for place in group:
                same = firsts.setdefault(int(exact[place]), place)
                if same != place:
                    yield Twin("duplicate", int(rows[same]), int(rows[place]))
                elif place != first:
                    kind = "conflicting_targets" if order[place] == order[first] else "reordered"
                    yield Twin(kind, int(rows[first]), int(rows[place]))

    def copies(self) -> Iterator[Copied]:
        """Every file that holds what another one holds, once for each name after the first."""
        paths, rows = np.asarray(self._paths), np.asarray(self._image_rows)
        for group in _groups(np.asarray(self._content)):
            seen = {int(paths[group[0]])}
            for place in group[1:]:
                if int(paths[place]) not in seen:
                    seen.add(int(paths[place]))
                    yield Copied(int(rows[group[0]]), int(paths[group[0]]), int(rows[place]), int(paths[place]))


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


def _following(question: str, keys: tuple[str, ...], ordered: tuple[str, ...]) -> str:
    """The question with every image called by its place among the sorted images."""

    def renumber(found: re.Match[str]) -> str:
        number = int(found[2])
        return f"{found[1]}{ordered.index(keys[number - 1]) + 1 if 1 <= number <= len(keys) else number}"

    for words, pattern in _NAMED.items():
        if words in question:
            question = pattern.sub(renumber, question)
    return question
