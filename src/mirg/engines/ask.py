"""One question about images outside any dataset: it is written as a sample, sent as one prompt, and its answer read.

``mirg ground`` and ``mirg app`` use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mirg.answers import ordinals
from mirg.answers.blocks import ANSWER_CLOSE, ANSWER_OPEN, TAGS
from mirg.answers.looks import LookBudget, LookStep, replay
from mirg.answers.prompts import Instructions, messages
from mirg.answers.read import Reading, read
from mirg.engines.base import Completion, Engine, Generation, Request, Watch, complete_watched, instructions_of
from mirg.engines.looking import LookEnvironment, looked
from mirg.errors import ConfigError, ImageError
from mirg.frames import input_size
from mirg.geometry import Box, box_problem, clip
from mirg.images import open_image
from mirg.samples.schema import ImageRef, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

# Everything that may be the number of an image in a question, even if the question only counts objects.
_NUMBERED = re.compile(rf"\d|\b{ordinals.ANY_WORD}\b|<box|[一二三四五六七八九十]", re.IGNORECASE)
NO_TRUTH_TASK = "question"


@dataclass(frozen=True)
class FoundBox:
    """One box of the answer: ``image`` counts from 1, ``box`` is in fractions of that image.

    ``pixels`` is (x1, y1, x2, y2) in whole pixels of the original, clipped to it; None if the box is outside the image
    or the image does not exist. ``problem`` says what is wrong with a box.
    """

    image: int
    box: Box
    pixels: tuple[int, int, int, int] | None
    problem: str | None


@dataclass(frozen=True)
class Grounding:
    """The answer to one question. ``found`` is empty if the answer is ``none`` or could not be read.

    ``mentioned`` are the boxes in the sentences of a completion without an answer block, as models write that were not
    trained on this form. They are shown to people and never scored.
    """

    question: str
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    completion: Completion
    reading: Reading
    found: tuple[FoundBox, ...]
    mentioned: tuple[FoundBox, ...] = ()
    looks: tuple[LookStep, ...] | None = None  # in order; None: looks are off

    @property
    def failure(self) -> str | None:
        """Why there is no usable answer, None if there is one: a box in an image, or an explicit "none"."""
        if self.reading.failure:
            return self.reading.failure
        if self.reading.none or any(box.pixels for box in self.found):
            return None
        return "no box can be used: " + ", ".join(f"Image-{b.image}: {b.problem}" for b in self.found)

    def as_json(self) -> dict[str, Any]:
        """Plain data: images, reasoning, boxes in pixels and fractions, and the raw completion."""
        images = zip(self.names, self.sizes, strict=True)
        return {
            "question": self.question,
            "images": [
                {"image": number, "path": name, "width": width, "height": height}
                for number, (name, (width, height)) in enumerate(images, start=1)
            ],
            "thinking": self.reading.thinking,
            "none": self.reading.none and self.reading.failure is None,
            "boxes": [self._box_json(box) for box in self.found],
            "mentioned": [self._box_json(box) for box in self.mentioned],
            "failure": self.failure,
            "completion": self.completion.text,
            "tokens": self.completion.tokens,
            "finish": self.completion.finish,
            **({} if self.looks is None else {"looks": [_look_json(step) for step in self.looks]}),
        }

    @property
    def drawn(self) -> tuple[FoundBox, ...]:
        """The boxes that a picture shows: those of the answer, or if there are none, those that are mentioned."""
        return self.found or self.mentioned

    def _box_json(self, found: FoundBox) -> dict[str, Any]:
        return {
            "image": found.image,
            "path": self.name_of(found.image),
            "pixels": found.pixels,
            "box": found.box,
            "problem": found.problem,
        }

    def name_of(self, image: int) -> str | None:
        """The path given for ``Image-{image}``, None if there is no such image."""
        return self.names[image - 1] if 1 <= image <= len(self.names) else None


def open_images(paths: Sequence[Path]) -> list[Image]:
    """Every image as RGB, upright. :class:`mirg.errors.ImageError` names the first one that cannot be opened."""
    if not paths:
        raise ConfigError("no images", hint="pass the paths of one or more image files")
    return [open_image(path) for path in paths]


class Shown(NamedTuple):
    """Images that a model accepts, with their names, and why each of the others was left out."""

    names: list[str]
    images: list[Image]
    left_out: list[str]


def shown(engine: Engine, names: Sequence[str], images: Sequence[Image], question: str) -> Shown:
    """The images that the engine's processor accepts.

    ImageError if it accepts none of them. Also if the question refers to images by number and an image before others is
    left out, since their numbers would change.
    """
    found = Shown([], [], [])
    moved = False
    for name, image in zip(names, images, strict=True):
        try:
            input_size(image.size, engine.family, engine.limits)
        except ImageError as error:
            found.left_out.append(f"image {name}: {error}")
            continue
        moved |= bool(found.left_out)
        found.names.append(name)
        found.images.append(image)
    if found.left_out and (not found.images or (moved and _NUMBERED.search(question))):
        why = "the question refers to images by number, and leaving it out would change the numbers of the others"
        raise ImageError(found.left_out[0], hint=why if found.images else "no other image is left")
    return found


def question_sample(names: Sequence[str], images: Sequence[Image], question: str) -> Sample:
    """The question about ``images`` as a sample without a truth; ConfigError if the question is empty."""
    if not question.strip():
        raise ConfigError("the question is empty", hint="say what to look for, for example: the red bicycle")
    refs = [ImageRef(path=name, width=i.width, height=i.height) for name, i in zip(names, images, strict=True)]
    return Sample(
        id="question", task=NO_TRUTH_TASK, images=tuple(refs), question=question, image_hidden=True, source="user"
    )


def ask(
    engine: Engine,
    names: Sequence[str],
    images: Sequence[Image],
    question: str,
    *,
    settings: Generation | None = None,
    instructions: Instructions | None = None,
    watch: Watch | None = None,
    look: LookBudget | None = None,
) -> Grounding:
    """Ask ``engine`` the question about ``images``, which it knows as ``Image-1`` … in this order.

    ``names`` appear only in the output. The question can refer to a place by ``<box image=1>0.1,0.2,0.3,0.4</box>``, in
    fractions. ``instructions`` None means those that the engine's model was trained with, "full" if that is not known.
    ``look`` says how often the model may look at a part of an image. ``watch`` is given the completion while it grows,
    without looks only. Raises :class:`mirg.errors.AnswerError` if the question cannot be written as a prompt.
    """
    sample = question_sample(names, images, question)
    look, family, limits = look or LookBudget(), engine.family, engine.limits
    told = instructions_of(engine, instructions)
    prompt = messages(sample, family, limits, told, max_looks=look.max_looks)
    request, settings = Request(sample.id, prompt, list(images)), settings or Generation(batch_size=1)
    steps = None
    if look.max_looks:
        environment = LookEnvironment(images, family, look, limits)
        completion = looked(engine, [request], [environment], settings, 1)[0][0].completion
        steps = tuple(replay(completion.text, sample.sizes, family, look, limits))
    else:
        completion = complete_watched(engine, request, settings, watch)
    reading = read(completion.text, sample.sizes, family, limits, looks=steps is not None)
    found = _found(reading, sample.sizes)
    mentioned: tuple[FoundBox, ...] = ()
    if reading.failure and not any(tag in completion.text for tag in TAGS):
        said = read(f"{ANSWER_OPEN}{completion.text}{ANSWER_CLOSE}", sample.sizes, family, limits)
        mentioned = tuple(box for box in _found(said, sample.sizes) if box.pixels)
    return Grounding(question, tuple(names), tuple(sample.sizes), completion, reading, found, mentioned, steps)


def _found(reading: Reading, sizes: Sequence[tuple[int, int]]) -> tuple[FoundBox, ...]:
    return tuple(FoundBox(b.image, b.box, _pixels(b.box, sizes, b.image), b.problem) for b in reading.boxes)


def _look_json(step: LookStep) -> dict[str, Any]:
    """A look as plain data: the image and its box in fractions, the crop's name and pixels, or why it was refused."""
    look = step.look
    place = {"image": look.image if look else None, "box": look.box if look else None}
    return {**place, "name": step.name, "pixels": step.pixels, "refusal": step.refusal}


def _pixels(box: Box, sizes: Sequence[tuple[int, int]], image: int) -> tuple[int, int, int, int] | None:
    if not 1 <= image <= len(sizes) or box_problem(box) not in {None, "outside"}:
        return None
    x1, y1, x2, y2 = clip(box)
    if box_problem((x1, y1, x2, y2)):
        return None
    width, height = sizes[image - 1]
    # At least one pixel wide and high: rounding must not turn a thin box into a line.
    left, top = min(round(x1 * width), width - 1), min(round(y1 * height), height - 1)
    return (left, top, max(round(x2 * width), left + 1), max(round(y2 * height), top + 1))
