"""What a check finds: a kind, a level, and the place; listed up to a number, counted without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Generic, Literal, TypeVar

Level = Literal["error", "warning"]

LISTED = 1000  # findings of one kind that are kept with their place; all are counted

# What each kind of warning means, and what to do about it.
HINTS: dict[str, str] = {
    "changed_rows": "copy the dataset again; if it was changed on purpose, mirg.samples.write_card describes it again",
    "tiny_box": "look at the sample: an object this small may not be visible, or the box is in other units",
    "whole_image_box": "look at the sample: such a box says nothing about the place",
    "repeated_box": "keep one of the two: a second equal target costs recall and cannot be answered",
    "long_box": "look at the sample: the sides of the box may be exchanged or in other units",
    "duplicate": "keep one of the two rows",
    "conflicting_targets": "the same question about the same images has two answers: keep the right one",
    "reordered": "keep both only if orders of the images are wanted (image_orders in a GRPO recipe makes them)",
    "copied_file": "name one of the two files in all rows: equal images then share decoding and image sets",
    "label_spelling": "import again with --labels, which merges labels: a question about one of them misses the other",
    "too_long": "lower --max-pixels or raise the limit of the recipe: training rejects a longer sample",
    "rotated_by_exif": "look at the sample (mirg data show): if its boxes are beside the objects, they were drawn in "
    "the stored picture; import it again with --exif ignore, or with --exif apply if they are right",
    "not_for_family": "this model family's processor refuses the image; leave the sample out for it, or pad the image",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. ``row`` counts the lines of the dataset's samples.jsonl from 1."""

    kind: str
    level: Level
    row: int
    id: str | None
    field: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        owner = f" (sample {self.id})" if self.id else ""
        return f"row {self.row}{owner}: {self.field}: {self.reason}"

    def as_dict(self) -> dict[str, object]:
        """The finding as JSON holds it."""
        return asdict(self)


def warning(kind: str, row: int, sample_id: str | None, field: str, reason: str) -> Finding:
    """A warning of one of the kinds in :data:`HINTS`."""
    return Finding(kind, "warning", row, sample_id, field, reason, HINTS[kind])


T = TypeVar("T")


class Log(Generic[T]):
    """Counts everything by kind and keeps the first of each: memory does not grow with what is wrong."""

    def __init__(self, most: int = LISTED) -> None:
        """``most``: entries of one kind that are kept."""
        self.most = most
        self.counts: Counter[str] = Counter()
        self.kept: list[T] = []

    def add(self, kind: str, entry: T) -> None:
        """Count ``entry``, and keep it if there is room."""
        self.counts[kind] += 1
        if self.counts[kind] <= self.most:
            self.kept.append(entry)

    def count(self, kind: str, number: int) -> None:
        """Count ``number`` more of a kind that are not kept."""
        if number:
            self.counts[kind] += number

    def join(self, other: Log[T], kind: Callable[[T], str]) -> None:
        """Everything in ``other``, which has room for as many, after what is here; ``kind`` tells that of an entry."""
        more = other.counts.copy()
        for entry in other.kept:
            self.add(kind(entry), entry)
            more[kind(entry)] -= 1
        for name, number in more.items():
            self.count(name, number)

    @property
    def total(self) -> int:
        """Everything that was counted."""
        return self.counts.total()
