"""Which answers a page shows, and the cards and worked examples that the templates print.

Numbers are formatted, boxes are in pixels of the original image, and long texts are cut.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from mirg.console import clean
from mirg.report.data import OUTCOME_TITLES, Example, GalleryItem, Mark, Picture
from mirg.report.draw import Kind, drawable
from mirg.report.images import Embedded, ImageBudget

MAX_TEXT = 4000  # characters of one text
MAX_MARKS = 60  # boxes drawn on one image

RectKind = Kind | Literal["before", "after"]  # the last two: what two models answered to the same sample
Layer = tuple[RectKind, tuple[Mark, ...]]


@dataclass(frozen=True)
class Rect:
    """A box in pixels of the original image."""

    kind: RectKind
    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Frame:
    """One image of a card: ``image`` is None if it could not be opened, and ``problem`` is the reason."""

    tag: str
    caption: str
    image: Embedded | None
    problem: str
    rects: tuple[Rect, ...]
    said: str  # for readers that do not see the drawing


@dataclass(frozen=True)
class Card:
    """One gallery item, ready to print."""

    item: GalleryItem
    outcome_title: str
    question: str
    thinking: str
    answer: str
    failure: str
    frames: tuple[Frame, ...]


def build_cards(chosen: list[GalleryItem], budget: ImageBudget) -> tuple[list[Card], int]:
    """Cards for the items whose images fit into the budget, and the number of items that did not fit."""
    cards = [build_card(item, budget) for item in chosen if budget.take(item.pictures)]
    return cards, len(chosen) - len(cards)


def build_card(item: GalleryItem, budget: ImageBudget) -> Card:
    """One card. The images of the item must be in ``budget``."""
    # Painted in this order: the truth lies on top, so that a perfect prediction shows as a green line in a dashed one.
    layers: list[Layer] = [("given", item.given), ("predicted", item.predicted), ("true", item.true)]
    return Card(
        item=item,
        outcome_title=OUTCOME_TITLES[item.outcome],
        question=cut(item.question),
        thinking=cut(item.thinking),
        answer=cut(item.answer),
        failure=cut(item.failure or ""),
        frames=build_frames(item.pictures, layers, budget),
    )


def build_frames(pictures: Sequence[Picture], layers: Sequence[Layer], budget: ImageBudget) -> tuple[Frame, ...]:
    """The images of one sample with their boxes, the last layer on top. The images must be in ``budget``."""
    return tuple(_frame(number, picture, layers, budget) for number, picture in enumerate(pictures, start=1))


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Cleaned text of at most ``limit`` characters, saying how many are missing."""
    text = clean(text).strip()
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def _frame(number: int, picture: Picture, layers: Sequence[Layer], budget: ImageBudget) -> Frame:
    rects: list[Rect] = []
    for kind, marks in layers:
        mine = [mark for mark in marks if mark.image == number][:MAX_MARKS]
        rects.extend(rect for rect in (_rect(kind, mark, picture) for mark in mine) if rect)
    said = ", ".join(f"{r.kind} box at {r.x:.0f},{r.y:.0f} to {r.x + r.width:.0f},{r.y + r.height:.0f}" for r in rects)
    problem = budget.problems.get(picture.path, "")
    return Frame(
        tag=f"Image-{number}",
        caption=picture.caption,
        image=budget.get(picture.path),
        problem=_without_folder(problem, picture.path),
        rects=tuple(rects),
        said=said or "no box",
    )


def _rect(kind: RectKind, mark: Mark, picture: Picture) -> Rect | None:
    box = drawable(mark.box)
    if box is None:
        return None
    x1, y1, x2, y2 = box
    width, height = picture.width, picture.height
    return Rect(kind, cut(mark.label, 80), x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height)


def _without_folder(problem: str, path: Path) -> str:
    """A page may be passed on: it names the file, not the folders of the machine it was made on."""
    return problem.replace(str(path), path.name)


MAX_EXAMPLE_TEXT = 700  # characters of one reasoning: an example is for reading at a glance


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


def build_examples(examples: tuple[Example, ...], budget: ImageBudget) -> list[Worked]:
    """The examples whose images fit into the budget."""
    return [_worked(example, budget) for example in examples if budget.take(example.answers[0].pictures)]


def _worked(example: Example, budget: ImageBudget) -> Worked:
    kinds: tuple[RectKind, ...] = ("predicted",) if len(example.answers) == 1 else ("before", "after")
    first = example.answers[0]
    answered: list[Layer] = [(kind, item.predicted) for kind, item in zip(kinds, example.answers, strict=True)]
    layers: list[Layer] = [("given", first.given), *answered, ("true", first.true)]
    return Worked(
        title=cut(example.title, 200),
        question=cut(first.question),
        task=first.task,
        sample_id=first.sample_id,
        frames=build_frames(first.pictures, layers, budget),
        answers=tuple(
            Answer(
                item=item,
                kind=kind,
                outcome_title=OUTCOME_TITLES[item.outcome],
                verdict=cut(verdict, 300),
                thinking=cut(item.thinking, MAX_EXAMPLE_TEXT),
                answer=cut(item.answer, MAX_EXAMPLE_TEXT),
            )
            for item, kind, verdict in zip(example.answers, kinds, example.verdicts, strict=True)
        ),
    )


PER_OUTCOME = 24


class Answered(Protocol):
    """An answer as :func:`select` reads it: a gallery item, or what a gallery item is made from later."""

    @property
    def sample_id(self) -> str:
        """The id of the sample."""
        ...

    @property
    def task(self) -> str:
        """The task of the sample."""
        ...

    @property
    def model(self) -> str:
        """The name of the model."""
        ...

    @property
    def outcome(self) -> str:
        """The outcome of the answer."""
        ...


A = TypeVar("A", bound=Answered)


def select(items: Iterable[A], per_outcome: int = PER_OUTCOME) -> list[A]:
    """At most ``per_outcome`` items of every (model, outcome), spread over the tasks.

    The choice depends on sample ids only, so the same samples come up for every model where the outcomes allow it,
    and rebuilding a page gives the same page. The result is in round-robin order over (model, outcome), so that any
    beginning of it is balanced.
    """
    groups: dict[tuple[str, str], list[A]] = defaultdict(list)
    for item in items:
        groups[item.model, item.outcome].append(item)
    spread = [_tasks_in_turn(group)[:per_outcome] for group in groups.values()]
    return [group[place] for place in range(per_outcome) for group in spread if place < len(group)]


def _tasks_in_turn(items: list[A]) -> list[A]:
    by_task: dict[str, list[A]] = defaultdict(list)
    for item in sorted(items, key=lambda item: shuffle_key(item.sample_id)):
        by_task[item.task].append(item)
    ranked = [(place, task, item) for task, group in by_task.items() for place, item in enumerate(group)]
    return [item for _, _, item in sorted(ranked, key=lambda row: row[:2])]


def shuffle_key(sample_id: str) -> str:
    """A key to sort samples by: their order has nothing to do with their names, and is the same every time."""
    return hashlib.sha256(sample_id.encode("utf-8", "replace")).hexdigest()
