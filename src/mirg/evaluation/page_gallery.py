"""Evaluation records and the samples they are about, as gallery items of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mirg.answers.blocks import split
from mirg.answers.markup import cited, replaced
from mirg.errors import ImageError, MirgError
from mirg.evaluation.page_tables import Evaluated
from mirg.evaluation.records import Record
from mirg.report.cards import select
from mirg.report.data import GalleryItem, Mark, PartLine, Picture
from mirg.samples import DatasetFolder, ImageRef, Sample
from mirg.samples.card import CARD_FILE

_LEVELS = 3  # folders above a run that are searched for its dataset: data/ is three above runs/eval/rl


@dataclass(frozen=True)
class Gallery:
    """The records to show, and the dataset with their images (None where it was not found)."""

    evaluated: Sequence[Evaluated]
    dataset: DatasetFolder | None
    samples: Mapping[str, Sample]

    @classmethod
    def find(cls, run: Path, evaluated: Sequence[Evaluated], data: Path | None, notes: list[str]) -> Gallery:
        """Look for the dataset of the records: ``data`` if it is given, else any with their digest around ``run``."""
        if not evaluated:
            return cls(evaluated, None, {})
        wanted = {record.id for e in evaluated for record in e.records}
        digest = next((d for d in (e.settings.get("dataset_digest") for e in evaluated) if d), None)
        dataset = DatasetFolder.open(data) if data is not None else _search(run, digest)
        if dataset is None:
            notes.append("The dataset that was evaluated was not found, so the gallery has no images (pass --data).")
            return cls(evaluated, None, {})
        if digest and dataset.card.digest != digest:
            notes.append(f"The dataset {dataset.card.name} is not the one that was evaluated (digest differs).")
        samples = {sample.id: sample for sample in dataset.read(lambda rejection: None) if sample.id in wanted}
        if len(samples) < len(wanted):
            notes.append(f"{len(wanted) - len(samples)} of {len(wanted)} evaluated samples are not in the dataset.")
        return cls(evaluated, dataset, samples)

    def items(self) -> tuple[GalleryItem, ...]:
        """The answers that a page shows (:func:`mirg.report.cards.select`), model by model."""
        answers = [_Answer(e.name, record) for e in self.evaluated for record in e.records]
        chosen = {(answer.model, answer.sample_id) for answer in select(answers)}
        return tuple(self.item(a.model, a.record) for a in answers if (a.model, a.sample_id) in chosen)

    @property
    def n_answers(self) -> int:
        """All answers, shown or not."""
        return sum(len(e.records) for e in self.evaluated)

    def item(self, model: str, record: Record) -> GalleryItem:
        """The record of one model as a gallery item; without its sample it has no question and no images."""
        sample = self.samples.get(record.id)
        return GalleryItem(
            sample_id=record.id,
            task=record.task,
            model=model,
            outcome=record.outcome,
            question=readable(sample.question) if sample else "",
            pictures=tuple(self._picture(ref) for ref in sample.images) if sample else (),
            true=tuple(Mark(target.image, target.box, target.label) for target in record.targets),
            predicted=tuple(Mark(box.image, box.box, box.problem or "") for box in record.predicted),
            given=tuple(Mark(image, box) for image, box in cited(sample.question)) if sample else (),
            thinking=record.thinking,
            answer=answer_part(record),
            failure=record.failure,
            parts=_parts(record),
            iou=record.iou,
            tokens=record.completion_tokens,
        )

    def _picture(self, ref: ImageRef) -> Picture:
        caption = f"{ref.role} {ref.frame}" if ref.role == "frame" and ref.frame is not None else ref.role
        try:
            path = self.dataset.image_path(ref) if self.dataset else Path(ref.path)
        except ImageError:
            path = Path("outside the dataset folder")  # does not exist: the page says that it cannot be opened
        return Picture(path, ref.width, ref.height, "" if caption == "candidate" else caption)


@dataclass(frozen=True)
class _Answer:
    """A record as the choice sees it; items are made of the chosen ones only, records come in tens of thousands."""

    model: str
    record: Record

    @property
    def sample_id(self) -> str:
        return self.record.id

    @property
    def task(self) -> str:
        return self.record.task

    @property
    def outcome(self) -> str:
        return self.record.outcome


def readable(question: str) -> str:
    """A question with its box markup in words; the boxes themselves are drawn.

    >>> readable("Find <box image=2>0.1,0.2,0.3,0.4</box> elsewhere.")
    'Find [the box in Image-2] elsewhere.'
    """
    return replaced(question, lambda image, box: f"[the box in Image-{image}]")


def answer_part(record: Record) -> str:
    """What stands in the answer tags; the whole completion where nothing could be read or there are no tags."""
    blocks = split(record.completion)
    if record.failure or not blocks.tagged or blocks.answer is None:
        return record.completion
    return blocks.answer.strip()


def _parts(record: Record) -> tuple[PartLine, ...]:
    values = {
        "format": record.format,
        "image": record.image_reward,
        "object": record.object_reward,
        "total": record.total,
    }
    return tuple(PartLine(name, value, record.reasons.get(name)) for name, value in values.items())


def _search(run: Path, digest: str | None) -> DatasetFolder | None:
    """The first dataset in ``run`` or around it with the right digest; inside the run itself also one without it."""
    for place in (run, *run.resolve().parents[:_LEVELS]):
        for folder in _datasets(place):
            try:
                dataset = DatasetFolder.open(folder)
            except MirgError:
                continue
            if dataset.card.digest == digest or (digest is None and place == run):
                return dataset
    return None


def _datasets(place: Path) -> list[Path]:
    """Folders in ``place`` and in its folder ``data`` that look like datasets, the usual names first."""
    usual = [place / name for name in ("data/test", "data", "test", "data/eval")]
    found = {card.parent for pattern in ("*", "data/*") for card in place.glob(f"{pattern}/{CARD_FILE}")}
    return [*usual, *sorted(found.difference(usual))]
