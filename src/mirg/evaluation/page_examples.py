"""The worked examples at the head of a page: what the last model does better than the one before it, on three samples.

They are chosen because they show that, so the note beside them counts how often it happens, and how often the reverse.
With one model they are one answer of each outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from mirg.errors import EvaluationError
from mirg.evaluation.compare import Evaluation, common
from mirg.evaluation.failures import NO_SUCH_IMAGE, named_image, true_box_ious
from mirg.evaluation.page_gallery import Gallery
from mirg.evaluation.page_tables import Evaluated
from mirg.evaluation.records import Outcome, Record
from mirg.report.cards import shuffle_key
from mirg.report.data import OUTCOME_TITLES, Example, Examples

SHOWN = 3
# The more one can learn from a wrong answer at a glance, the earlier.
_WRONG: tuple[Outcome, ...] = ("wrong_image", "wrong_box", "unreadable")


def worked_examples(evaluated: Sequence[Evaluated], gallery: Gallery) -> Examples | None:
    """Examples out of the last two evaluations, or out of the only one; None where they share no item."""
    if not evaluated:
        return None
    if len(evaluated) == 1:
        return _of_one(evaluated[0], gallery)
    before, after = evaluated[-2:]
    try:
        pairs = list(
            zip(*common(Evaluation(before.name, before.records), Evaluation(after.name, after.records)), strict=True)
        )
    except EvaluationError:  # not the same samples: said where the paired difference is missing
        return None
    return _of_two(before.name, after.name, pairs, gallery) if pairs else None


def mended(pairs: Iterable[tuple[Record, Record]]) -> list[tuple[Record, Record]]:
    """The (before, after) pairs that are wrong before and right after, best examples first.

    A new task comes before another example of the same one. Else a wrong image before a wrong box before an unreadable
    answer; a question that hides the image, one target, and an answer about images that are there, before others; about
    three images before more or fewer; then an order that names do not decide.
    """
    found = sorted((pair for pair in pairs if not pair[0].joint and pair[1].joint), key=_worth)
    turns: dict[str, int] = {}
    ranked = []
    for pair in found:
        turns[pair[0].task] = turns.get(pair[0].task, -1) + 1
        ranked.append((turns[pair[0].task], _worth(pair), pair))
    return [pair for _, _, pair in sorted(ranked, key=lambda row: row[:2])]


def verdict(record: Record) -> str:
    """What is right or wrong with an answer, beyond the title of its outcome.

    >>> verdict(record)  # it names Image-3, the target is in Image-2
    'Image-3 instead of Image-2'
    """
    true = _images(record.target_images, record)
    if record.failure is not None:
        return record.failure
    if record.outcome == "wrong_image":
        return f"{_images((box.image for box in record.predicted), record)} instead of {true}"
    if not record.targets:
        return true
    if len(record.predicted) != len(record.targets):
        n = len(record.predicted)
        return f"{true}, {n} box{'es' if n != 1 else ''} instead of {len(record.targets)}"
    return f"{true}, {'mean ' if len(record.targets) > 1 else ''}IoU {_iou(record):.2f}"


def _of_two(before: str, after: str, pairs: Sequence[tuple[Record, Record]], gallery: Gallery) -> Examples:
    found = mended(pairs)
    broken = sum(1 for a, b in pairs if a.joint and not b.joint)
    right = sum(1 for a, b in pairs if a.joint and b.joint)
    chosen = found[:SHOWN]
    note = (
        f"Of {len(pairs):,} items {after} mends {len(found):,} that {before} gets wrong and breaks {broken:,} that it "
        f"gets right; {right:,} are right both times, {len(pairs) - len(found) - broken - right:,} wrong both times."
    )
    if chosen:
        note += (
            f" {_these(len(chosen))} because {after} mends {before}'s answer: they show what changes, not how often."
        )
    examples = (
        Example(
            f"{OUTCOME_TITLES[a.outcome]} → {OUTCOME_TITLES[b.outcome]}{_gain(a, b)}",
            (gallery.item(before, a), gallery.item(after, b)),
            (verdict(a), verdict(b)),
        )
        for a, b in chosen
    )
    return Examples(note, tuple(examples))


def _of_one(evaluation: Evaluated, gallery: Gallery) -> Examples:
    by_worth = sorted(evaluation.records, key=lambda record: _worth((record, record)))
    chosen = [record for outcome in ("right", *_WRONG) for record in islice(_with(by_worth, outcome), 1)][:SHOWN]
    note = f"{_these(len(chosen))}, one of each outcome: they show what can happen, not how often."
    examples = (Example(OUTCOME_TITLES[r.outcome], (gallery.item(evaluation.name, r),), (verdict(r),)) for r in chosen)
    return Examples(note, tuple(examples))


def _with(records: Iterable[Record], outcome: str) -> Iterable[Record]:
    return (record for record in records if record.outcome == outcome)


def _these(n: int) -> str:
    return "This one is chosen" if n == 1 else f"These {n} are chosen"


def _worth(pair: tuple[Record, Record]) -> tuple[int, int, int, str]:
    """A sort key: the smaller, the better the example."""
    before = pair[0]
    kind = _WRONG.index(before.outcome) if before.outcome in _WRONG else len(_WRONG)
    unclear = (before.image_hidden, len(before.targets) == 1, named_image(before) != NO_SUCH_IMAGE).count(False)
    return kind, unclear, abs(before.n_images - 3), shuffle_key(before.id)


def _gain(before: Record, after: Record) -> str:
    return f"; IoU {_iou(before):.2f} → {_iou(after):.2f}" if before.targets and before.failure is None else ""


def _iou(record: Record) -> float:
    """Mean over the true boxes of the IoU inside their images."""
    ious = true_box_ious(record)
    return sum(ious) / len(ious)


def _images(images: Iterable[int], record: Record) -> str:
    """The images in words; a number that the sample does not have is said to be none."""
    named = [
        f"Image-{image}{'' if image <= record.n_images else ' (there is none)'}" if image else "no image"
        for image in sorted(set(images))
    ]
    return ", ".join(named) or "none"
