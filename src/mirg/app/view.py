"""What the page shows of images and answers, as HTML without a script: every text of others is escaped by jinja2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mirg.answers.blocks import THINK_CLOSE, THINK_OPEN
from mirg.answers.looks import LookStep
from mirg.answers.markup import cited
from mirg.app.session import Answer, Picture
from mirg.console import clean
from mirg.engines.ask import FoundBox
from mirg.geometry import Box
from mirg.report.cards import MAX_MARKS, in_pixels
from mirg.report.pages import environment
from mirg.samples.schema import Target

FILES = Path(__file__).parent / "static"
_STATUS = {
    "waiting": "Waiting for the model.",
    "writing": "The model is writing.",
    "done": "",
    "cancelled": "Cancelled.",
    "failed": "",
}


class Rect(NamedTuple):
    """A box to draw: a CSS class, and left, top, width and height in pixels of the original."""

    kind: str
    place: tuple[float, ...]
    title: str


class Figure(NamedTuple):
    """One image with its boxes; ``chosen`` if the answer is in it."""

    number: int
    picture: Picture
    rects: tuple[Rect, ...]
    chosen: bool


class Looked(NamedTuple):
    """A look of the model: what came of it in words, and the part of ``picture`` that it saw (None if refused)."""

    words: str
    picture: Picture | None
    window: tuple[int, ...] = ()  # left, top, width and height in pixels of the original


class Line(NamedTuple):
    """One box of an answer in words."""

    image: str
    name: str
    pixels: str
    problem: str


def board_html(pictures: Sequence[Picture], question: str, targets: Sequence[Target]) -> str:
    """The images with the boxes of the question (given) and those of the right answer (true); boxes can be drawn."""
    given = [("given", image, box, "box of the question") for image, box in cited(question)]
    true = [("true", target.image, target.box, "the right answer") for target in targets]
    return _template("board.html.j2").render(figures=_figures(pictures, [*given, *true], frozenset()))


def answer_html(answer: Answer | None, pictures: Sequence[Picture], question: str) -> str:
    """One answer: what became of it, the reasoning, the images with its boxes, and the boxes in pixels."""
    grounding = answer.grounding if answer else None
    found = grounding.drawn if grounding else ()
    seen = [step for step in (grounding.looks if grounding else None) or () if step.look and step.pixels]
    boxes = [("look", step.look.image, step.look.box, f"look {step.name}") for step in seen if step.look]
    boxes += [("predicted", box.image, box.box, "the answer") for box in found if box.pixels]
    given = [("given", image, box, "box of the question") for image, box in cited(question)]
    chosen = frozenset(box.image for box in found if box.pixels)
    return _template("answer.html.j2").render(
        answer=answer,
        status=_status(answer) if answer else "",
        reasoning=_reasoning(answer) if answer else "",
        looks=[_looked(step, pictures) for step in (grounding.looks if grounding else None) or ()],
        nowhere=bool(grounding and grounding.failure is None and grounding.reading.none),
        failure=grounding.failure if grounding and not found else None,
        mentioned=bool(grounding and not grounding.found and grounding.mentioned),
        figures=_figures(pictures, [*given, *boxes], chosen) if grounding else (),
        lines=[_line(box, grounding.name_of(box.image)) for box in found] if grounding else [],
    )


def answer_json(answer: Answer | None) -> str:
    """The answer as JSON; "" until it is whole."""
    if answer is None or answer.status in {"waiting", "writing"}:
        return ""
    said: dict[str, Any] = {"model": answer.model, "status": answer.status, "seconds": round(answer.seconds, 2)}
    if answer.grounding is not None:
        said |= answer.grounding.as_json()
    else:
        said |= {"completion": answer.text, "problem": answer.problem, "hint": answer.hint}
    return clean(json.dumps(said, indent=2, ensure_ascii=False))


def notice_html(words: str, hint: str = "", *, problem: bool = False) -> str:
    """A sentence of the page itself, with what to do."""
    return _template("notice.html.j2").render(words=words, hint=hint, problem=problem)


def _status(answer: Answer) -> str:
    if answer.status != "done" or answer.grounding is None:
        return _STATUS[answer.status]
    completion = answer.grounding.completion
    cut_off = " It was cut off: start the page with a larger --max-new-tokens." if completion.finish == "length" else ""
    return f"{completion.tokens} tokens in {answer.seconds:.1f} s.{cut_off}"


def _reasoning(answer: Answer) -> str:
    """The thinking of an answer; the whole text if it has none."""
    if answer.grounding is not None and answer.grounding.reading.thinking.strip():
        return answer.grounding.reading.thinking.strip()
    return answer.text.partition(THINK_CLOSE)[0].replace(THINK_OPEN, "", 1).strip() or answer.text.strip()


def _figures(
    pictures: Sequence[Picture], boxes: Sequence[tuple[str, int, Box, str]], chosen: frozenset[int]
) -> tuple[Figure, ...]:
    figures = []
    for number, picture in enumerate(pictures, 1):
        rects = [
            Rect(kind, tuple(round(value, 2) for value in place), title)
            for kind, image, box, title in boxes
            if image == number and (place := in_pixels(box, *picture.size))
        ]
        figures.append(Figure(number, picture, tuple(rects[:MAX_MARKS]), number in chosen))
    return tuple(figures)


def _looked(step: LookStep, pictures: Sequence[Picture]) -> Looked:
    if step.look is None or step.pixels is None or step.refusal is not None:
        return Looked(step.refusal or "", None)
    left, top, right, bottom = step.pixels
    words = f"{step.name}, ({left}, {top}) to ({right}, {bottom}) in pixels"
    return Looked(words, pictures[step.look.image - 1], (left, top, right - left, bottom - top))


def _line(box: FoundBox, name: str | None) -> Line:
    pixels = "({}, {}) to ({}, {})".format(*box.pixels) if box.pixels else "no place"
    return Line(f"Image-{box.image}", name or "no such image", pixels, box.problem or "")


@lru_cache
def _template(name: str) -> Any:
    return environment().from_string(asset(name))


def asset(name: str) -> str:
    """A style sheet or script of the page."""
    return (FILES / name).read_text(encoding="utf-8")
