"""Worked examples as the template prints them: one row of images for all answers, each model's box in its own style."""

from __future__ import annotations

from dataclasses import dataclass

from mirg.report.cards import Frame, Layer, RectKind, build_frames, cut
from mirg.report.data import OUTCOME_TITLES, Example, GalleryItem
from mirg.report.embed import ImageBudget

MAX_TEXT = 700  # characters of one reasoning: an example is for reading at a glance


@dataclass(frozen=True)
class Answer:
    """One model's answer; ``kind`` is the style of its boxes."""

    item: GalleryItem
    kind: RectKind
    outcome_title: str
    verdict: str
    thinking: str
    answer: str


@dataclass(frozen=True)
class Worked:
    """One example, ready to print."""

    title: str
    question: str
    task: str
    sample_id: str
    frames: tuple[Frame, ...]
    answers: tuple[Answer, ...]


def build_examples(examples: tuple[Example, ...], shelf: ImageBudget) -> list[Worked]:
    """The examples whose images fit on the shelf."""
    return [_worked(example, shelf) for example in examples if shelf.take(example.answers[0].pictures)]


def _worked(example: Example, shelf: ImageBudget) -> Worked:
    kinds: tuple[RectKind, ...] = ("predicted",) if len(example.answers) == 1 else ("before", "after")
    first = example.answers[0]
    answered: list[Layer] = [(kind, item.predicted) for kind, item in zip(kinds, example.answers, strict=True)]
    layers: list[Layer] = [("given", first.given), *answered, ("true", first.true)]
    return Worked(
        title=cut(example.title, 200),
        question=cut(first.question),
        task=first.task,
        sample_id=first.sample_id,
        frames=build_frames(first.pictures, layers, shelf),
        answers=tuple(
            Answer(
                item=item,
                kind=kind,
                outcome_title=OUTCOME_TITLES[item.outcome],
                verdict=cut(verdict, 300),
                thinking=cut(item.thinking, MAX_TEXT),
                answer=cut(item.answer, MAX_TEXT),
            )
            for item, kind, verdict in zip(example.answers, kinds, example.verdicts, strict=True)
        ),
    )
