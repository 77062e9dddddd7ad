"""The contact sheet of ``mirg data show``: every sample with its images, boxes, question, truth and reasoning.

One file that opens offline. Thumbnails and texts lie in one block of JSON; a card is built when it comes near the
window, so that thousands of images stay usable. Texts are untrusted: they become text nodes, never markup, and the
JSON cannot end its own element. The first cards are also shown without the script.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mirg.geometry import Box
from mirg.images import DEFAULT_LIMITS, ImageLimits
from mirg.report.cards import cut, in_pixels
from mirg.report.images import Embedded, Thumbs
from mirg.report.pages import asset, markup, render_page
from mirg.storage import write_atomic

BUDGET = 25_000_000  # bytes of a whole page, about
IMAGE_SHARE = 0.85  # of the budget, for thumbnails
STATIC = 6  # cards that are there without the script
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
    thumbs, cards = _cards(data.samples, budget, limits)
    left_out = len(data.samples) - len(cards)
    first = cards[:STATIC]
    apart = {image["k"] for card in first for image in card["images"]}
    store = {"cards": cards, "uris": {thumb.key: thumb.uri for thumb in thumbs if thumb.key not in apart}}
    notes = [*data.notes, *([f"{left_out:,} samples were left out to keep this file small."] if left_out else [])]
    html = render_page(
        "sheet.html.j2",
        style=asset("report.css") + asset("sheet.css"),
        script=asset("sheet.js"),
        data=data,
        notes=notes,
        store=markup(data_block(store)),
        first=first,
        pictures=[thumb for thumb in thumbs if thumb.key in apart],
        shown=len(cards),
        tasks=sorted({card["task"] for card in cards}),
        both_hidden=len({card["hidden"] for card in cards}) == 2,
    )
    return Sheet(html, len(cards), left_out, tuple(data.notes))


def data_block(value: object) -> str:
    """JSON for a ``<script type="application/json">``: no character in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _cards(
    samples: Sequence[SheetSample], budget: int, limits: ImageLimits
) -> tuple[list[Embedded], list[dict[str, Any]]]:
    """The thumbnails and cards of the samples that fit."""
    paths = list(dict.fromkeys(image.path for sample in samples for image in sample.images if image.path))
    thumbs = Thumbs.fitting(paths, int(budget * IMAGE_SHARE), limits)
    cards: list[dict[str, Any]] = []
    left = budget
    for sample in samples:
        fresh = thumbs.make(image.path for image in sample.images if image.path)
        images = [_image(image, fresh, thumbs) for image in sample.images]
        card = _card(sample, images)
        cost = len(data_block(card)) + sum(len(thumb.uri) for thumb in fresh.values())
        if cost <= left:
            left -= cost
            thumbs.keep(fresh)
            cards.append(card)
    return thumbs.images, cards


def _card(sample: SheetSample, images: list[dict[str, Any]]) -> dict[str, Any]:
    """The sample as the page holds it: cleaned, cut, boxes in pixels of the original."""
    return {
        "id": cut(sample.id, 300),
        "task": cut(sample.task, 300),
        "question": cut(sample.question),
        "images": images,
        "tags": [cut(tag, 100) for tag in sample.tags],
        "hidden": sample.hidden,
        "targets": [cut(line, 300) for line in sample.targets],
        "chain": cut(sample.chain),
        "answer": [cut(line, 300) for line in sample.answer],
        "written": cut(sample.written, 300),
        "facts": [[cut(name, 100), cut(value, 1000)] for name, value in sample.facts],
    }


def _image(image: SheetImage, fresh: dict[Path, Embedded], thumbs: Thumbs) -> dict[str, Any]:
    thumb, problem = None, image.problem
    if image.path is not None:
        thumb = fresh.get(image.path) or thumbs.get(image.path)
        problem = problem or thumbs.problems.get(image.path, "")
        problem = problem.replace(str(image.path), image.path.name)  # a page may be passed on: no folders in it
    rects = [
        [box.kind, cut(box.label, 80), *(round(value, 2) for value in place)]
        for box in image.boxes[:MAX_BOXES]
        if thumb and (place := in_pixels(box.box, thumb.width, thumb.height))
    ]
    said = ", ".join(f"{kind} {label}".strip() for kind, label, *_ in rects if kind == "true")
    return {
        "k": thumb.key if thumb else "",
        "w": thumb.width if thumb else 0,
        "h": thumb.height if thumb else 0,
        "crisp": bool(thumb and thumb.crisp),
        "tag": image.tag,
        "note": cut(image.note, 100),
        "caption": cut(image.caption, 300),
        "problem": cut(problem, 300) or ("" if thumb else "not shown"),
        "rects": rects,
        "said": f"{image.tag}: {said or 'no target'}",
    }
