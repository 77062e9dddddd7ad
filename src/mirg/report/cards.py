"""From gallery items to what the template prints: numbers formatted, boxes in pixels, long texts cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mirg.console import clean
from mirg.report.data import OUTCOME_TITLES, GalleryItem, Mark, Picture
from mirg.report.draw import Kind, drawable
from mirg.report.embed import Embedded, ImageBudget

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
    """One image of a card: ``image`` is None where it could not be opened (then ``problem`` says why)."""

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


def build_cards(chosen: list[GalleryItem], shelf: ImageBudget) -> tuple[list[Card], int]:
    """Cards for the items whose images fit on the shelf, and how many did not."""
    cards = [build_card(item, shelf) for item in chosen if shelf.take(item.pictures)]
    return cards, len(chosen) - len(cards)


def build_card(item: GalleryItem, shelf: ImageBudget) -> Card:
    """One card; the item's images must have been taken by ``shelf``."""
    # Painted in this order: the truth lies on top, so that a perfect prediction shows as a green line in a dashed one.
    layers: list[Layer] = [("given", item.given), ("predicted", item.predicted), ("true", item.true)]
    return Card(
        item=item,
        outcome_title=OUTCOME_TITLES[item.outcome],
        question=cut(item.question),
        thinking=cut(item.thinking),
        answer=cut(item.answer),
        failure=cut(item.failure or ""),
        frames=build_frames(item.pictures, layers, shelf),
    )


def build_frames(pictures: Sequence[Picture], layers: Sequence[Layer], shelf: ImageBudget) -> tuple[Frame, ...]:
    """The images of one sample with their boxes, the last layer on top; ``shelf`` must have taken the images."""
    return tuple(_frame(number, picture, layers, shelf) for number, picture in enumerate(pictures, start=1))


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Cleaned text of at most ``limit`` characters, saying how many are missing."""
    text = clean(text).strip()
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def _frame(number: int, picture: Picture, layers: Sequence[Layer], shelf: ImageBudget) -> Frame:
    rects: list[Rect] = []
    for kind, marks in layers:
        mine = [mark for mark in marks if mark.image == number][:MAX_MARKS]
        rects.extend(rect for rect in (_rect(kind, mark, picture) for mark in mine) if rect)
    said = ", ".join(f"{r.kind} box at {r.x:.0f},{r.y:.0f} to {r.x + r.width:.0f},{r.y + r.height:.0f}" for r in rects)
    problem = shelf.problems.get(picture.path, "")
    return Frame(
        tag=f"Image-{number}",
        caption=picture.caption,
        image=shelf.get(picture.path),
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
