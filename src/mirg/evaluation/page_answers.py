"""The answers on a page: the gallery of evaluated samples, and the worked examples at the head of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mirg.answers.blocks import split
from mirg.answers.looks import LOOK_BLOCK
from mirg.answers.markup import cited, replaced
from mirg.errors import EvaluationError, ImageError, MirgError
from mirg.evaluation.compare import Evaluation, common
from mirg.evaluation.failures import NO_SUCH_IMAGE, named_image, true_box_ious
from mirg.evaluation.records import Outcome, Record, SeenLook
from mirg.report.cards import PER_OUTCOME, select, shuffle_key
from mirg.report.data import OUTCOME_TITLES, Example, Examples, GalleryItem, LookShown, Mark, PartLine, Picture
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.samples.card import CARD_FILE

_LEVELS = 3  # folders above a run that are searched for its dataset: data/ is three above runs/eval/rl


@dataclass(frozen=True)
class Gallery:
    """The records to show, and the dataset with their images, or None if it was not found."""

    evaluated: Sequence[Any]
    dataset: DatasetFolder | None
    samples: Mapping[str, Sample]

    @classmethod
    def find(cls, run: Path, evaluated: Sequence[Any], data: Path | None, notes: list[str]) -> Gallery:
        """Find the dataset of the records: ``data`` if given, else one with the same digest in or around ``run``.

        ``evaluated`` are :class:`Evaluation`s, or others with ``records`` and ``settings``.
        """
        if not evaluated:
            return cls(evaluated, None, {})
        wanted = {record.id for e in evaluated for record in e.records}
        digest = next((digest for e in evaluated if (digest := e.settings.get("dataset_digest"))), None)
        dataset = DatasetFolder.open(data) if data is not None else _search(run, evaluated, digest)
        if dataset is None:
            notes.append("The dataset that was evaluated was not found, so the gallery has no images (pass --data).")
            return cls(evaluated, None, {})
        if digest and dataset.card.digest != digest:
            notes.append(f"The dataset {dataset.card.name} is not the one that was evaluated (digest differs).")
        samples = {sample.id: sample for sample in dataset.read(lambda rejection: None) if sample.id in wanted}
        if len(samples) < len(wanted):
            notes.append(f"{len(wanted) - len(samples)} of {len(wanted)} evaluated samples are not in the dataset.")
        return cls(evaluated, dataset, samples)

    def items(self, per_outcome: int = PER_OUTCOME) -> tuple[GalleryItem, ...]:
        """The answers that a page shows (:func:`mirg.report.cards.select`), model by model."""
        answers = [(e.name, record) for e in self.evaluated for record in e.records]
        shown = select(answers, per_outcome, lambda a: (a[0], a[1].outcome, a[1].task, a[1].id))
        chosen = {(model, record.id) for model, record in shown}
        return tuple(self.item(model, record) for model, record in answers if (model, record.id) in chosen)

    @property
    def n_answers(self) -> int:
        """The number of all answers, including those that are not shown."""
        return sum(len(e.records) for e in self.evaluated)

    def item(self, model: str, record: Record) -> GalleryItem:
        """The record of one model as a gallery item; without its sample it has no question and no images."""
        sample = self.samples.get(record.id)
        parts = {"format": record.format, "image": record.image_reward, "object": record.object_reward}
        parts |= {"total": record.total} | (record.look_rewards or {})
        return GalleryItem(
            sample_id=record.id,
            task=record.task,
            model=model,
            outcome=record.outcome,
            question=readable(sample.question) if sample else "",
            pictures=self.pictures(sample) if sample else (),
            true=tuple(Mark(target.image, target.box, target.label) for target in record.targets),
            predicted=tuple(Mark(box.image, box.box, box.problem or "") for box in record.predicted),
            given=tuple(Mark(image, box) for image, box in cited(sample.question)) if sample else (),
            thinking=readable_looks(record),
            answer=answer_part(record),
            failure=record.failure,
            parts=tuple(PartLine(name, value, record.reasons.get(name)) for name, value in parts.items()),
            iou=record.iou,
            tokens=record.completion_tokens,
            looks=tuple(_look(look) for look in record.looks or ()),
        )

    def pictures(self, sample: Sample) -> tuple[Picture, ...]:
        """The images of a sample."""
        return tuple(self._picture(ref) for ref in sample.images)

    def _picture(self, ref: ImageRef) -> Picture:
        caption = f"{ref.role} {ref.frame}" if ref.role == "frame" and ref.frame is not None else ref.role
        try:
            path = self.dataset.image_path(ref) if self.dataset else Path(ref.path)
        except ImageError:
            path = Path("outside the dataset folder")  # does not exist, so the page reports that it cannot be opened
        return Picture(path, ref.width, ref.height, "" if caption == "candidate" else caption)


def readable(question: str) -> str:
    """A question whose box markup is replaced by words; the page draws the boxes.

    >>> readable("Find <box image=2>0.1,0.2,0.3,0.4</box> elsewhere.")
    'Find [the box in Image-2] elsewhere.'
    """
    return replaced(question, lambda image, box: f"[the box in Image-{image}]")


def readable_looks(record: Record) -> str:
    """The thinking of a record, with the number and the name of each look in the place of its numbers.

    >>> readable_looks(record)  # one look in its thinking
    'A closer look. [look 1: Image-2a] It is here.'
    """
    pieces = LOOK_BLOCK.split(record.thinking)
    looks = record.looks if record.looks and len(pieces) == len(record.looks) + 1 else []
    names = [f" [look {k}: {look.name or look.refusal}] " for k, look in enumerate(looks, 1)]
    return "".join(piece + name for piece, name in zip(pieces, [*names, ""], strict=True)) if looks else record.thinking


def _look(look: SeenLook) -> LookShown:
    mark = None if look.image is None or look.box is None else Mark(look.image, look.box, look.name)
    return LookShown(mark, look.name or look.refusal or "", look.refusal is not None)


def answer_part(record: Record) -> str:
    """The text in the answer tags, or the whole completion if it could not be read or has no tags."""
    blocks = split(record.completion)
    if record.failure or not blocks.tagged or blocks.answer is None:
        return record.completion
    return blocks.answer.strip()


def _search(run: Path, evaluated: Sequence[Evaluation], digest: str | None) -> DatasetFolder | None:
    """The first dataset in ``run``, in the folders above it or in an evaluation whose digest is ``digest``, or None.

    If no digest is known, the first dataset inside ``run``.
    """
    for place in (run, *run.resolve().parents[:_LEVELS], *(one.folder for one in evaluated)):
        usual = [place / name for name in ("data/test", "data", "test", "data/eval")]
        others = {card.parent for pattern in ("*", "data/*", "*/data") for card in place.glob(f"{pattern}/{CARD_FILE}")}
        for folder in (*usual, *sorted(others.difference(usual))):
            try:
                dataset = DatasetFolder.open(folder)
            except MirgError:
                continue
            if dataset.card.digest == digest or (digest is None and place == run):
                return dataset
    return None


SHOWN = 3
# Wrong answers from which a reader learns most come first.
_WRONG: tuple[Outcome, ...] = ("wrong_image", "wrong_box", "unreadable")


def worked_examples(evaluated: Sequence[Evaluation], gallery: Gallery) -> Examples | None:
    """Examples from the last two evaluations, or from the only one. None if the two have no item in common.

    Two models: samples that the last one answers right and the one before it wrong. They are chosen because they show
    this, so a note counts how often it happens and how often the reverse happens. One model: an answer of each outcome.
    """
    if not evaluated:
        return None
    if len(evaluated) == 1:
        return _of_one(evaluated[0], gallery)
    try:
        pairs = list(zip(*common(*evaluated[-2:]), strict=True))
    except EvaluationError:  # the samples differ; a note of the page says so
        return None
    return _of_two(evaluated[-2].name, evaluated[-1].name, pairs, gallery) if pairs else None


def mended(pairs: Iterable[tuple[Record, Record]]) -> list[tuple[Record, Record]]:
    """The (before, after) pairs that are wrong before and right after, the best examples first.

    The tasks take turns. Within a task, a wrong image comes before a wrong box, and that before an unreadable answer.
    Then come questions that hide the image, samples with one target, and answers that name existing images; then
    samples with about three images; then an order by a hash of the id.
    """
    found = sorted((pair for pair in pairs if not pair[0].joint and pair[1].joint), key=_worth)
    turns: dict[str, int] = {}
    ranked = []
    for pair in found:
        turns[pair[0].task] = turns.get(pair[0].task, -1) + 1
        ranked.append((turns[pair[0].task], _worth(pair), pair))
    return [pair for _, _, pair in sorted(ranked, key=lambda row: row[:2])]


def verdict(record: Record) -> str:
    """What is right or wrong with an answer, in addition to the title of its outcome.

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
    broken = sum(a.joint and not b.joint for a, b in pairs)
    right = sum(a.joint and b.joint for a, b in pairs)
    chosen = found[:SHOWN]
    note = (
        f"Of {len(pairs):,} items {after} corrects {len(found):,} that {before} gets wrong and breaks {broken:,} that "
        f"it gets right; {right:,} are right both times, {len(pairs) - len(found) - broken - right:,} wrong both times."
    )
    if chosen:
        note += (
            f" {_these(len(chosen))} because {after} corrects {before}'s answer: they show what changes, not how often."
        )
    examples = []
    for a, b in chosen:
        gain = f"; IoU {_iou(a):.2f} → {_iou(b):.2f}" if a.targets and a.failure is None else ""
        title = f"{OUTCOME_TITLES[a.outcome]} → {OUTCOME_TITLES[b.outcome]}{gain}"
        examples.append(Example(title, (gallery.item(before, a), gallery.item(after, b)), (verdict(a), verdict(b))))
    return Examples(note, tuple(examples))


def _of_one(evaluation: Evaluation, gallery: Gallery) -> Examples:
    by_worth = sorted(evaluation.records, key=lambda record: _worth((record, record)), reverse=True)
    best = {record.outcome: record for record in by_worth}
    chosen = [best[outcome] for outcome in ("right", *_WRONG) if outcome in best][:SHOWN]
    note = f"{_these(len(chosen))}, one of each outcome: they show what can happen, not how often."
    examples = (Example(OUTCOME_TITLES[r.outcome], (gallery.item(evaluation.name, r),), (verdict(r),)) for r in chosen)
    return Examples(note, tuple(examples))


def _these(n: int) -> str:
    return "This one is chosen" if n == 1 else f"These {n} are chosen"


def _worth(pair: tuple[Record, Record]) -> tuple[int, int, int, str]:
    """A sort key: the smaller, the better the example."""
    before = pair[0]
    kind = _WRONG.index(before.outcome) if before.outcome in _WRONG else len(_WRONG)
    unclear = (before.image_hidden, len(before.targets) == 1, named_image(before) != NO_SUCH_IMAGE).count(False)
    return kind, unclear, abs(before.n_images - 3), shuffle_key(before.id)


def _iou(record: Record) -> float:
    """The mean IoU over the true boxes, each with the answered box in its image."""
    ious = true_box_ious(record)
    return sum(ious) / len(ious)


def _images(images: Iterable[int], record: Record) -> str:
    """The images in words; a number that the sample does not have is marked."""
    named = [
        f"Image-{image}{'' if image <= record.n_images else ' (there is none)'}" if image else "no image"
        for image in sorted(set(images))
    ]
    return ", ".join(named) or "none"
