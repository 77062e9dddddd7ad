"""Which answers a page shows, and their images with boxes in pixels, as the templates print them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar

from mirg.console import clean
from mirg.geometry import Box
from mirg.report.data import Example, GalleryItem, Mark, Picture, RolloutGroup
from mirg.report.draw import Kind, drawable
from mirg.report.images import Embedded, ImageBudget

MAX_TEXT = 4000  # characters of one text
MAX_MARKS = 60  # boxes drawn on one image
PER_OUTCOME = 24

# before and after: what two models answered to the same sample; noted: an annotated object that no question is about;
# look: what a model looked at.
RectKind = Kind | Literal["before", "after", "noted", "look"]
Layer = tuple[RectKind, tuple[Mark, ...]]
A = TypeVar("A")


class Rect(NamedTuple):
    """A box in pixels of the original image."""

    kind: RectKind
    label: str
    x: float
    y: float
    width: float
    height: float
    answer: int = 0  # the number of the answer that it belongs to, from 0


class Frame(NamedTuple):
    """One image of a card: ``image`` is None if it could not be opened, and ``problem`` is the reason.

    ``stored`` is True in the one frame whose drawing holds the image; other drawings refer to it.
    """

    tag: str
    caption: str
    image: Embedded | None
    problem: str
    rects: tuple[Rect, ...]
    said: str  # for readers that do not see the drawing
    stored: bool
    below: str = ""  # a line below the image


class Card(NamedTuple):
    """One item of a page, its images, and the name of its place on the page, which a link may end with."""

    item: Any
    frames: tuple[Frame, ...]
    anchor: str


class Worked(NamedTuple):
    """One example and its images; ``kinds`` are the styles of the boxes of its answers."""

    example: Example
    frames: tuple[Frame, ...]
    kinds: tuple[RectKind, ...]


def build_cards(chosen: Sequence[GalleryItem], budget: ImageBudget) -> list[Card]:
    """Cards for the items whose images fit into the budget."""
    several = len({item.model for item in chosen}) > 1
    return [
        Card(
            item,
            build_frames(item.pictures, item.true, item.given, layers(item), budget),
            budget.anchor(item.sample_id, item.model if several else ""),
        )
        for item in chosen
        if budget.take(item.pictures)
    ]


def layers(item: GalleryItem) -> list[Layer]:
    """The boxes of an answer: its looks by their numbers, and its boxes."""
    looks = enumerate((look.mark for look in item.looks), 1)
    marks = tuple(mark._replace(label=f"{k}. {mark.label}") for k, mark in looks if mark)
    return [*([("look", marks)] if marks else []), ("predicted", item.predicted)]  # type: ignore[list-item]


def build_rollouts(groups: Sequence[RolloutGroup], budget: ImageBudget) -> list[Card]:
    """Cards for the groups whose images fit into the budget; the boxes of every completion are on them."""
    cards = []
    for group in groups:
        if budget.take(group.pictures):
            layers: list[Layer] = [("predicted", one.predicted) for one in group.completions]
            frames = build_frames(group.pictures, group.true, group.given, layers, budget)
            cards.append(Card(group, frames, budget.anchor(f"step-{group.step}", group.sample_id)))
    return cards


def build_examples(examples: Sequence[Example], budget: ImageBudget) -> list[Worked]:
    """The examples whose images fit into the budget."""
    found = []
    for example in examples:
        first = example.answers[0]
        if budget.take(first.pictures):
            kinds: tuple[RectKind, ...] = ("predicted",) if len(example.answers) == 1 else ("before", "after")
            answered: list[Layer] = [(kind, item.predicted) for kind, item in zip(kinds, example.answers, strict=True)]
            frames = build_frames(first.pictures, first.true, first.given, answered, budget)
            found.append(Worked(example, frames, kinds))
    return found


def build_frames(
    pictures: Sequence[Picture],
    true: tuple[Mark, ...],
    given: tuple[Mark, ...],
    answered: Sequence[Layer],
    budget: ImageBudget,
) -> tuple[Frame, ...]:
    """The images of one sample, which must be in ``budget``, with their boxes.

    The truth lies on top, so that a perfect prediction shows as a green line in a dashed one.
    """
    layers: list[tuple[int, Layer]] = [(0, ("given", given)), *enumerate(answered), (0, ("true", true))]
    frames = []
    for number, picture in enumerate(pictures, start=1):
        rects: list[Rect] = []
        for answer, (kind, marks) in layers:
            mine = [mark for mark in marks if mark.image == number][:MAX_MARKS]
            rects += [
                Rect(kind, cut(mark.label, 80), *place, answer)
                for mark in mine
                if (place := in_pixels(mark.box, picture.width, picture.height))
            ]
        said = (f"{r.kind} box at {r.x:.0f},{r.y:.0f} to {r.x + r.width:.0f},{r.y + r.height:.0f}" for r in rects)
        # A page may be passed on: it names the file, not the folders of the machine it was made on.
        problem = budget.problems.get(picture.path, "").replace(str(picture.path), picture.path.name)
        frames.append(
            Frame(
                tag=f"Image-{number}",
                caption=picture.caption,
                image=budget.get(picture.path),
                problem=problem,
                rects=tuple(rects),
                said=", ".join(said) or "no box",
                stored=budget.first(picture.path),
            )
        )
    return tuple(frames)


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """Cleaned text of at most ``limit`` characters, saying how many are missing."""
    text = clean(text).strip()
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def in_pixels(box: Box, width: int, height: int) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of a box on an image of this size, or None if nothing of it can be drawn."""
    inside = drawable(box)
    if inside is None:
        return None
    x1, y1, x2, y2 = inside
    return (x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height)


def select(
    items: Iterable[A],
    per_outcome: int = PER_OUTCOME,
    key: Callable[[A], tuple[str, str, str, str]] = attrgetter("model", "outcome", "task", "sample_id"),
) -> list[A]:
    """At most ``per_outcome`` items of every (model, outcome), spread over the tasks.

    ``key`` gives model, outcome, task and sample id of an item. The choice depends on sample ids only, so the same
    samples come up for every model where the outcomes allow it, and rebuilding a page gives the same page. The result
    is in round-robin order over (model, outcome), so that any beginning of it is balanced.
    """
    groups: dict[tuple[str, str], dict[str, list[A]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        model, outcome, task, _ = key(item)
        groups[model, outcome][task].append(item)
    spread = []
    for tasks in groups.values():
        shuffled = [sorted(group, key=lambda item: shuffle_key(key(item)[3])) for _, group in sorted(tasks.items())]
        spread.append(_in_turn(shuffled)[:per_outcome])
    return _in_turn(spread)


def _in_turn(groups: Iterable[Sequence[Any]]) -> list[Any]:
    return [item for turn in zip_longest(*groups) for item in turn if item is not None]


def shuffle_key(sample_id: str) -> str:
    """A key to sort samples by: their order has nothing to do with their names, and is the same every time."""
    return hashlib.sha256(sample_id.encode("utf-8", "replace")).hexdigest()
