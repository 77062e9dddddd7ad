"""Labels of a dataset that are written in two ways: two spellings of one class are wrong ground truth."""

from __future__ import annotations

from collections.abc import Iterator

from mirg.samples import Sample
from mirg.samples.labels import LabelCounts


def count_labels(counts: LabelCounts, row: int, sample: Sample) -> None:
    """Count the labels of the object notes of ``sample``, or of its targets if it has no notes."""
    notes = [note.label for ref in sample.images for note in ref.objects]
    for label in notes or [target.label for target in sample.targets]:
        counts.add(label, row)


def spelling_warnings(counts: LabelCounts) -> Iterator[tuple[str, int, str]]:
    """(kind, row of the first use of the rarest label, reason) for every group of labels that seem to be one."""
    for found in counts.spellings():
        yield "label_spelling", found.uses[-1].row, str(found)
