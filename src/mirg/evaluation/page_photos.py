"""Answers about photographs on a page: six chosen ones and six random ones of one model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from mirg.evaluation.compare import Evaluation
from mirg.evaluation.page_answers import Gallery, verdict
from mirg.evaluation.page_tables import read_evaluation
from mirg.evaluation.records import RECORDS_FILE, Record
from mirg.families import MIRG_TINY_PHOTO
from mirg.report.cards import shuffle_key
from mirg.report.data import Example, Examples, ShownAnswers

FOLDER = Path("photographs")  # in a demo on scenes: samples of photographs, and the answers of mirg-tiny-photo
DATA, ANSWERS = FOLDER / "data", FOLDER / "answers"
SOURCE = "photos"  # of samples that are composed from photographs
N = 6
_OF_THE_DEMO = (
    f"{MIRG_TINY_PHOTO} ships with mirg as well. Here it answers questions about photographs that are part of the "
    "package, without further training. make demo PHOTOS=folder trains it on your own photographs."
)
_CHOSEN = (
    "The answers with the highest reward, the tasks taking turns; a hash of the sample id decides between equal "
    "ones: they show the best case."
)


def photo_answers(
    run: Path, evaluated: Sequence[Evaluation], gallery: Gallery, notes: list[str]
) -> ShownAnswers | None:
    """What the last model answers about photographs, if the samples are composed from some.

    For a demo on scenes: the answers of ``mirg-tiny-photo`` in ``photographs``. None if there are neither.
    """
    if evaluated and any(sample.source == SOURCE for sample in gallery.samples.values()):
        return _shown("Answers about photographs", evaluated[-1], gallery)
    if not (run / ANSWERS / RECORDS_FILE).is_file():
        return None
    one = read_evaluation(MIRG_TINY_PHOTO, run / ANSWERS, notes)
    if not one.records:
        return None
    return _shown("On photographs", one, Gallery.find(run, [one], None, notes), _OF_THE_DEMO)


def _shown(title: str, one: Evaluation, gallery: Gallery, more: str = "") -> ShownAnswers:
    drawn = random.Random(0).sample(sorted(one.records, key=lambda r: r.id), min(N, len(one.records)))
    right = sum(record.joint for record in drawn)
    usual = f"Drawn with a fixed seed, {right} of {len(drawn)} are right: they show the usual case."
    groups = (("Chosen answers", _CHOSEN, best(one.records)), ("Random answers", usual, drawn))
    note = f"{sum(r.joint for r in one.records):,} of {len(one.records):,} answers of {one.name} are right"
    chance = one.chance.get("overall", {}).get("joint_accuracy")
    note += f"; by chance, {100 * chance:.0f} % would be." if chance is not None else "."
    return ShownAnswers(
        title,
        f"{note} {more}".strip(),
        tuple((name, Examples(how, _examples(one.name, records, gallery))) for name, how, records in groups),
    )


def best(records: Sequence[Record], n: int = N) -> list[Record]:
    """The ``n`` records with the highest reward, the tasks taking turns."""
    turns: dict[str, int] = {}
    ranked = []
    for record in sorted(records, key=lambda r: (-r.total, shuffle_key(r.id))):
        turns[record.task] = turns.get(record.task, -1) + 1
        ranked.append((turns[record.task], record))
    return [record for _, record in sorted(ranked, key=lambda row: (row[0], -row[1].total, row[1].task))[:n]]


def _examples(model: str, records: Sequence[Record], gallery: Gallery) -> tuple[Example, ...]:
    return tuple(Example(r.task.replace("_", " "), (gallery.item(model, r),), (verdict(r),)) for r in records)
