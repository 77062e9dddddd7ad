"""The contact sheet of ``mirg data show``: every sample with its images, boxes, question, truth and reasoning.

One file that opens offline. The browser lays out and paints only the cards near the window, so that thousands of
images stay usable. Texts are untrusted; jinja2 escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mirg.geometry import Box
from mirg.images import DEFAULT_LIMITS, ImageLimits
from mirg.report.cards import Frame, Rect, cut, in_pixels
from mirg.report.images import Embedded, ImageBudget, Thumbs
from mirg.report.pages import asset, environment, markup, render_page
from mirg.storage import write_atomic

BUDGET = 25_000_000  # bytes of a whole page, about
IMAGE_SHARE = 0.85  # of the budget, for thumbnails
MAX_BOXES = 60  # drawn on one image

BoxKind = Literal["true", "given", "noted", "predicted"]


class SheetBox(NamedTuple):
    """A box in fractions of its image: a target (true), one of the question, another annotated object, or an answer."""

    kind: BoxKind
    box: Box
    label: str = ""


class SheetImage(NamedTuple):
    """One image: ``path`` is None if it may not be opened, and ``problem`` is the reason."""

    path: Path | None
    tag: str
    note: str = ""  # role and frame
    caption: str = ""
    boxes: tuple[SheetBox, ...] = ()
    problem: str = ""


class SheetSample(NamedTuple):
    """One card, all of it text. ``chain`` is the reasoning; ``facts`` are (name, value)."""

    id: str
    task: str
    question: str
    images: tuple[SheetImage, ...]
    tags: tuple[str, ...] = ()
    hidden: bool = False
    targets: tuple[str, ...] = ()
    chain: str = ""
    answer: tuple[str, ...] = ()
    written: str = ""
    facts: tuple[tuple[str, str], ...] = ()


class SheetData(NamedTuple):
    """The page: ``samples`` in the order in which they are shown; ``notes`` are said at its head."""

    title: str
    subtitle: str
    samples: Sequence[SheetSample]
    notes: Sequence[str] = ()


class Sheet(NamedTuple):
    """What was made: the page, how many cards it has, how many did not fit, and what is said at its head."""

    html: str
    shown: int
    left_out: int
    notes: tuple[str, ...] = ()


def write_sheet(path: Path, data: SheetData, *, budget: int = BUDGET, limits: ImageLimits = DEFAULT_LIMITS) -> Sheet:
    """Write the page to ``path``, atomically."""
    sheet = render_sheet(data, budget=budget, limits=limits)
    write_atomic(path, sheet.html)
    return sheet


def render_sheet(data: SheetData, *, budget: int = BUDGET, limits: ImageLimits = DEFAULT_LIMITS) -> Sheet:
    """The page as text, of about ``budget`` bytes at most; what does not fit is counted and said."""
    cards = _cards(data.samples, budget, limits)
    left_out = len(data.samples) - len(cards)
    notes = [*data.notes, *([f"{left_out:,} samples were left out to keep this file small."] if left_out else [])]
    html = render_page(
        "sheet.html.j2",
        style=asset("report.css") + asset("sheet.css"),
        data=data,
        keys=bool(cards),
        notes=notes,
        cards=[html for _, html in cards],
        tasks=sorted({cut(sample.task, 300) for sample, _ in cards}),
        both_hidden=len({sample.hidden for sample, _ in cards}) == 2,
    )
    return Sheet(html, len(cards), left_out, tuple(data.notes))


def _cards(samples: Sequence[SheetSample], budget: int, limits: ImageLimits) -> list[tuple[SheetSample, str]]:
    """The samples that fit, with their cards as HTML."""
    paths = list(dict.fromkeys(image.path for sample in samples for image in sample.images if image.path))
    thumbs, names = Thumbs.fitting(paths, int(budget * IMAGE_SHARE), limits), ImageBudget(0)
    template: Any = environment().get_template("sheet_card.html.j2")
    cards: list[tuple[SheetSample, str]] = []
    drawn: set[Path] = set()
    for sample in samples:
        fresh = thumbs.make(image.path for image in sample.images if image.path)
        held = set(drawn)
        frames = _frames(sample.images, fresh, thumbs, held)
        html = template.render(sample=sample, frames=frames, anchor=names.anchor(sample.id))
        if len(html) <= budget:
            budget -= len(html)
            drawn = held
            thumbs.keep(fresh)
            cards.append((sample, markup(html)))
    return cards


def _frames(
    images: Sequence[SheetImage], fresh: Mapping[Path, Embedded], thumbs: Thumbs, drawn: set[Path]
) -> tuple[Frame, ...]:
    """The images as the page draws them; ``drawn`` are those that an earlier drawing holds."""
    frames = []
    for image in images:
        thumb = fresh.get(image.path) or thumbs.get(image.path) if image.path else None
        problem = image.problem or (thumbs.problems.get(image.path, "") if image.path else "")
        if image.path:  # a page may be passed on: no folders in it
            problem = problem.replace(str(image.path), image.path.name)
        rects = tuple(
            Rect(box.kind, cut(box.label, 80), *place)
            for box in image.boxes[:MAX_BOXES]
            if thumb and (place := in_pixels(box.box, thumb.width, thumb.height))
        )
        said = ", ".join(f"true {rect.label}".strip() for rect in rects if rect.kind == "true") or "no target"
        stored = image.path is not None and image.path not in drawn
        frames.append(
            Frame(
                cut(image.tag, 100), cut(image.note, 100), thumb, cut(problem, 300), rects, said, stored, image.caption
            )
        )
        drawn |= {image.path} if image.path else set()
    return tuple(frames)
