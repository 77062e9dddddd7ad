"""Labels that are written in two ways: "Traffic Light" and "traffic_light" are one class for people, two for a file.

A question about every "traffic light" then has the boxes of one spelling only, which is wrong ground truth.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple

MOST = 20_000  # different labels that are compared; a dataset with more has phrases, and no classes
_MOST_WORDS = 4  # words of a class; longer labels are phrases about one object
_BETWEEN = re.compile(r"[\s_\-\u2010-\u2015]+")


def spelling_key(label: str) -> str:
    """What all spellings of a label share: case, blanks, underscores, hyphens and the form of umlauts do not count.

    >>> spelling_key("Traffic_Light") == spelling_key("traffic-light ")
    True
    """
    return _BETWEEN.sub("", unicodedata.normalize("NFKC", label).casefold())


class LabelUse(NamedTuple):
    """How often a label is used, and the row of its first use."""

    label: str
    uses: int
    row: int


class Spellings(NamedTuple):
    """Labels that seem to be one, the most frequent first; ``plural`` if they differ by the ending of a plural."""

    uses: tuple[LabelUse, ...]
    plural: bool

    def __str__(self) -> str:
        shown = ", ".join(f"{use.label!r} ({use.uses:,})" for use in self.uses)
        kind = "may be singular and plural of one label" if self.plural else "seem to be one label"
        return f"labels {shown} {kind}"


@dataclass
class LabelCounts:
    """Counts the labels of a dataset; memory does not grow with labels that are phrases."""

    uses: dict[str, tuple[int, int]] = field(default_factory=dict)
    too_many: bool = False

    def add(self, label: str, row: int, count: int = 1) -> None:
        """Note ``count`` uses of ``label``; ``row`` holds the first of them."""
        if label in self.uses:
            before, first = self.uses[label]
        elif self.too_many or not label or label.count(" ") >= _MOST_WORDS or len(_BETWEEN.split(label)) > _MOST_WORDS:
            return
        else:
            before, first = 0, row
        self.uses[label] = (before + count, min(first, row))
        if len(self.uses) > MOST:
            self.too_many = True
            self.uses = {}

    def join(self, other: LabelCounts) -> None:
        """Add the counts of other rows."""
        if other.too_many:
            self.too_many, self.uses = True, {}
        for label, (count, row) in other.uses.items():
            self.add(label, row, count)

    def spellings(self) -> list[Spellings]:
        """All groups of labels that seem to be one, in alphabetical order; the order of rows changes nothing."""
        groups: dict[str, list[LabelUse]] = {}
        for label, (count, row) in sorted(self.uses.items()):
            groups.setdefault(spelling_key(label), []).append(LabelUse(label, count, row))
        found = [Spellings(_ranked(uses), False) for key, uses in sorted(groups.items()) if len(uses) > 1 and key]
        for key in sorted(groups):
            plural = next((form for form in _plurals(key) if form in groups), None)
            if plural:
                found.append(Spellings(_ranked([*groups[key], *groups[plural]]), True))
        return found


def _ranked(uses: list[LabelUse]) -> tuple[LabelUse, ...]:
    return tuple(sorted(uses, key=lambda use: (-use.uses, use.label)))


def _plurals(key: str) -> list[str]:
    """The regular English plurals of a key; they count only if the dataset has them as well."""
    if len(key) < 3 or key.endswith("s"):
        return [f"{key}es"] if len(key) >= 3 else []
    return [f"{key}s", f"{key}es", *([f"{key[:-1]}ies"] if key.endswith("y") else [])]
