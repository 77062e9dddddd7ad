"""What a visitor of the page has: images, boxes drawn on them, and questions that models are answering or answered."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mirg.answers.looks import LookBudget
from mirg.answers.prompts import Instructions
from mirg.engines.ask import Grounding, ask
from mirg.engines.base import Engine, Generation
from mirg.errors import ConfigError, MirgError
from mirg.geometry import Box, box_problem
from mirg.images import open_image
from mirg.report.images import data_uri
from mirg.samples.schema import Target
from mirg.serve.limits import ServeLimits
from mirg.serve.prompts import accepted_images

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger("mirg.app")
FEWEST = 2  # images of one question; the most are those of the limits
LOOK_SECONDS = 0.1  # between two looks at a completion that grows
_MOST_SESSIONS = 100
_LEAST_SIDE = 0.003  # of a drawn box, as a fraction; less is a click
_PLACES = 4  # decimals of a drawn box: a tenth of a pixel in an image of a thousand

Status = Literal["waiting", "writing", "done", "cancelled", "failed"]


class Cancelled(MirgError):
    """The visitor, or the end of the program, ended a question."""


@dataclass(frozen=True)
class Picture:
    """An image of the page: its file, the name that is shown, its pixels as RGB, and a small copy for the page."""

    path: Path
    name: str
    image: Image
    uri: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels of the original."""
        return self.image.size


@dataclass(frozen=True)
class Answer:
    """What a model answers, or has written so far; ``problem`` and ``hint`` say why it failed."""

    model: str
    status: Status = "waiting"
    text: str = ""
    seconds: float = 0.0
    grounding: Grounding | None = None
    problem: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Turn:
    """One question with the answer of every model; ``asked`` is the time, in seconds since 1970."""

    question: str
    pictures: tuple[Picture, ...]
    answers: tuple[Answer, ...]
    asked: float


@dataclass
class Session:
    """One open page."""

    pictures: tuple[Picture, ...] = ()
    targets: list[Target] = field(default_factory=list)  # the right answer, from the visitor
    given: list[tuple[int, Box]] = field(default_factory=list)  # the boxes of the question that the page shows
    turns: list[Turn] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)

    def show(self, paths: Sequence[str | Path], limits: ServeLimits) -> None:
        """Open the images at ``paths``; those that are already open are not opened again.

        With other images than before, the drawn targets are dropped. ImageError or ConfigError say what is wrong.
        """
        known = {picture.path: picture for picture in self.pictures}
        if len(paths) > limits.images:
            raise ConfigError(
                f"{len(paths)} images are more than the {limits.images} that are allowed", hint="remove some of them"
            )
        pictures = tuple(known.get(Path(path)) or _opened(Path(path), limits) for path in paths)
        if pictures != self.pictures:
            self.targets.clear()
        self.pictures = pictures


class Sessions:
    """The sessions by the key of their page; the oldest one ends if there are too many."""

    def __init__(self) -> None:
        self._by_key: dict[str, Session] = {}
        self._lock = threading.Lock()
        self.closed = False

    def of(self, key: str | None) -> Session:
        """The session of a page, made on the first call."""
        with self._lock:
            session = self._by_key.setdefault(key or "", Session())
            while len(self._by_key) > _MOST_SESSIONS:
                self._by_key.pop(next(iter(self._by_key))).cancel.set()
            return session

    def end(self, key: str | None) -> None:
        """Forget a session and end its question."""
        with self._lock:
            if session := self._by_key.pop(key or "", None):
                session.cancel.set()

    def close(self) -> None:
        """End all questions, as the server does before it stops."""
        with self._lock:
            self.closed = True
            for session in self._by_key.values():
                session.cancel.set()


def _opened(path: Path, limits: ServeLimits) -> Picture:
    image = open_image(path, limits=limits.image)
    return Picture(path, path.name, image, data_uri(image))


def drawn_box(given: Mapping[str, Any], count: int) -> tuple[int, Box] | None:
    """(image number, box in fractions) that the page sent for a drawn box; None if it is only a click.

    ConfigError if it is no box in one of the ``count`` images: the numbers come from a browser.
    """
    number, box = given.get("image"), given.get("box")
    numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)
    if not isinstance(box, list) or not numbers or type(number) is not int or not 1 <= number <= count:
        raise ConfigError("the drawn box is not in one of the images", hint="draw it inside one image")
    x1, y1, x2, y2 = (round(min(max(float(v), 0.0), 1.0), _PLACES) if v == v else 0.0 for v in box)
    found: Box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if min(found[2] - found[0], found[3] - found[1]) < _LEAST_SIDE or box_problem(found):
        return None
    return number, found


class Model:
    """A model of the page; it answers one question at a time."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        limits: ServeLimits,
        *,
        instructions: Instructions | None = None,
        look: LookBudget | None = None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.limits = limits
        self.instructions: Instructions | None = instructions
        self.look = look
        self._one = ThreadPoolExecutor(1, thread_name_prefix="mirg-app")

    def answer(self, pictures: Sequence[Picture], question: str, cancel: threading.Event) -> Iterator[Answer]:
        """The answer while it grows; the last one is done, cancelled or failed. No exception leaves this method."""
        begun = time.monotonic()
        latest = Answer(self.name)
        texts = [""]

        def watch(text: str) -> None:
            texts[0] = text
            if cancel.is_set() or gone.is_set():
                raise Cancelled("cancelled")

        gone = threading.Event()  # nobody waits for this answer any more
        yield latest
        waiting = self._one.submit(self._asked, pictures, question, watch)
        try:
            while not wait([waiting], LOOK_SECONDS).done and not cancel.is_set():
                seconds = time.monotonic() - begun
                if seconds > self.limits.answer_seconds:
                    raise ConfigError(f"no answer within {self.limits.answer_seconds:g} s", hint="ask for less")
                if texts[0] != latest.text:
                    latest = replace(latest, status="writing", text=texts[0], seconds=seconds)
                    yield latest
            seconds = time.monotonic() - begun
            if not waiting.done():
                raise Cancelled("cancelled")
            grounding = waiting.result()
            yield Answer(self.name, "done", grounding.completion.text, seconds, grounding)
        except Cancelled:
            yield replace(latest, status="cancelled", text=texts[0], seconds=time.monotonic() - begun)
        except MirgError as error:
            yield replace(latest, status="failed", text=texts[0], problem=error.message, hint=error.hint)
        except Exception as error:  # for example out of memory: the page must stay usable
            logger.exception("the model failed")
            hint = "the terminal shows where; try fewer or smaller images, or start the page again"
            yield replace(latest, status="failed", text=texts[0], problem=_words(error), hint=hint)
        finally:
            gone.set()
            waiting.cancel()

    def _asked(self, pictures: Sequence[Picture], question: str, watch: Any) -> Grounding:
        watch("")
        if not FEWEST <= len(pictures) <= self.limits.images:
            raise ConfigError(
                f"{len(pictures)} images are here, and a question is about {FEWEST} to {self.limits.images}",
                hint="add or remove images",
            )
        if len(question) > self.limits.text:
            raise ConfigError(f"the question has more than {self.limits.text:,} characters", hint="shorten it")
        images = accepted_images((p.image for p in pictures), [question], self.engine, self.limits, param="question")
        settings = Generation(self.limits.new_tokens, batch_size=1)
        names = [picture.name for picture in pictures]
        told = {"instructions": self.instructions, "look": self.look}
        return ask(self.engine, names, images, question, settings=settings, watch=watch, **told)


def _words(error: Exception) -> str:
    return f"the model failed ({type(error).__name__})"


def ask_all(session: Session, models: Sequence[Model], question: str) -> Iterator[tuple[Answer, ...]]:
    """Ask the models one after another; yields the answers of all of them whenever one grows.

    The finished turn is appended to the session unless it was cancelled before any model wrote something.
    """
    session.cancel = cancel = threading.Event()
    pictures, asked = session.pictures, time.time()
    answers = [Answer(model.name) for model in models]
    for number, model in enumerate(models):
        for answer in model.answer(pictures, question, cancel):
            answers[number] = answer
            yield tuple(answers)
    if any(answer.text or answer.problem for answer in answers):
        session.turns.append(Turn(question, pictures, tuple(answers), asked))


def found_targets(answer: Answer) -> list[Target]:
    """The boxes of an answer as targets, clipped to their images."""
    grounding = answer.grounding
    if grounding is None:
        return []
    usable = [box for box in grounding.drawn if box.pixels]
    return [Target(image=box.image, box=_inside(box.box)) for box in usable]


def _inside(box: Box) -> Box:
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
    return (x1, y1, x2, y2)
