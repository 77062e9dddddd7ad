"""Looking again: an environment that answers the looks of a model with crops, and the turns that follow from it.

Importing this module needs no torch. What becomes of a look is decided by :func:`mirg.answers.looks.replay`; here the
crop is cut from the ORIGINAL pixels, so that a look adds resolution. A bad look is answered with a short text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from mirg.answers.blocks import ANSWER_CLOSE
from mirg.answers.looks import Look, LookBudget, LookStep, find_look, joined, replay
from mirg.engines.base import Completion, Engine, Generation, Request, several
from mirg.errors import EngineError
from mirg.families import Family, PixelLimits
from mirg.frames import Size

if TYPE_CHECKING:
    from PIL.Image import Image

_KEPT_PIXELS = 32 * 2**20  # of crops in a cache


def cut(image: Image, pixels: tuple[int, int, int, int], shown: Size) -> Image:
    """The part (left, upper, right, lower) of an image in whole pixels, resized to ``shown`` (width, height)."""
    from PIL.Image import Resampling

    return image.crop(pixels).resize(shown, Resampling.BICUBIC)


def shown_as(name: str) -> dict[str, Any]:
    """The turn of the environment that shows a crop called ``name``, as a chat message with a place for the image."""
    return _user({"type": "text", "text": f"{name}: "}, {"type": "image", "text": None})


class CropCache:
    """Crops by (digest of the image, pixels, size); shared by the environments of a run, or of one prompt."""

    def __init__(self, most_pixels: int = _KEPT_PIXELS) -> None:
        self._kept: OrderedDict[tuple[object, ...], Image] = OrderedDict()
        self._pixels, self._most = 0, most_pixels

    def crop(self, image: Image, digest: str, step: LookStep) -> Image:
        """The crop of a look that was not refused, resized; equal keys give one image."""
        assert step.pixels is not None and step.shown is not None
        key = (digest, step.pixels, step.shown)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = cut(image, step.pixels, step.shown)
        self._kept[key] = made
        self._pixels += made.width * made.height
        while self._pixels > self._most and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._pixels -= old.width * old.height
        return made


@dataclass(frozen=True)
class Crop:
    """The answer to a look: ``image`` (RGB, as the model sees it) is called ``name``, ``Image-2a``."""

    image: Image
    look: Look
    pixels: tuple[int, int, int, int]
    name: str

    @property
    def words(self) -> str:
        """What stands before the image in the turn of the environment."""
        return f"{self.name}: "

    @property
    def message(self) -> dict[str, Any]:
        """The turn of the environment as a chat message, with a place for the image."""
        return shown_as(self.name)


@dataclass(frozen=True)
class Refusal:
    """The answer to a look that cannot be made: a short text and no image. ``look`` is None if it named no box."""

    words: str
    look: Look | None = None

    @property
    def message(self) -> dict[str, Any]:
        """The turn of the environment as a chat message."""
        return _user({"type": "text", "text": self.words})


def _user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@dataclass(frozen=True)
class LookEnvironment:
    """Answers the looks of one prompt; it has no state, so one environment serves every completion of the prompt.

    ``images`` are the opened originals (RGB, upright), Image-1 first. ``digests`` name them in the cache; without them
    they are computed from the pixels at the first look at an image.
    """

    images: Sequence[Image]
    family: Family
    budget: LookBudget
    limits: PixelLimits | None = None
    digests: Sequence[str] = ()
    cache: CropCache = field(default_factory=CropCache)
    _computed: dict[int, str] = field(default_factory=dict, repr=False)

    def answer(self, turns: Sequence[str]) -> Crop | Refusal | None:
        """The answer to the last of the model's ``turns``, which are all turns of one completion so far.

        None: the turn is final, because it holds no look or was the last one that the budget allows. Never raises; the
        same turns give the same answer.
        """
        if len(turns) >= self.budget.turns:
            return None
        last, sizes = turns[-1], [image.size for image in self.images]
        found = find_look(last, sizes, self.family, self.limits)
        if found is None:
            return None
        if not found.closed:
            return None if ANSWER_CLOSE in last else Refusal(found.problem or "")
        step = replay(joined(turns), sizes, self.family, self.budget, self.limits)[-1]
        if step.refusal is not None or step.look is None or step.pixels is None:
            return Refusal(step.refusal or "", step.look)
        number = step.look.image - 1
        image = self.cache.crop(self.images[number], self._digest(number), step)
        return Crop(image, step.look, step.pixels, step.name)

    def _digest(self, number: int) -> str:
        if self.digests:
            return self.digests[number]
        if number not in self._computed:
            image = self.images[number]
            self._computed[number] = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        return self._computed[number]


class Looked(NamedTuple):
    """One completion in several turns: what the model wrote, and the answers of the environment between them."""

    turns: tuple[Completion, ...]
    answers: tuple[Crop | Refusal, ...]

    @property
    def completion(self) -> Completion:
        """The turns as one completion, whose text the reader and the rewards take; tokens are those of all turns.

        ``prompt_tokens`` are those of the last turn, whose prompt holds everything before it.
        """
        last = self.turns[-1]
        text = joined([turn.text for turn in self.turns])
        return replace(
            last, text=text, tokens=sum(turn.tokens for turn in self.turns), opened_by=self.turns[0].opened_by
        )


@runtime_checkable
class Looker(Protocol):
    """An engine that keeps what it computed of a turn for the next one."""

    def look(
        self, requests: Sequence[Request], environments: Sequence[LookEnvironment], settings: Generation, n: int
    ) -> list[list[Looked]]:
        """As :func:`looked`."""
        ...


def looked(
    engine: Engine, requests: Sequence[Request], environments: Sequence[LookEnvironment], settings: Generation, n: int
) -> list[list[Looked]]:
    """``n`` completions of every request, in order, with the looks that the model makes.

    An engine that is no :class:`Looker` is asked again in rounds: a later turn is a request with the earlier turns and
    the crops. ``settings.max_new_tokens`` counts the tokens of all turns; a completion that has used them up gets no
    further turn. Errors as :func:`mirg.engines.base.several`.
    """
    if isinstance(engine, Looker):
        return engine.look(requests, environments, settings, n)
    first = several(engine, requests, settings, n)
    open_ = [
        _Open(replace(request, draw=draw), environment, [said])
        for request, environment, group in zip(requests, environments, first, strict=True)
        for draw, said in enumerate(group)
    ]
    while waiting := [one for one in open_ if one.proceed(settings.max_new_tokens)]:
        left = max(settings.max_new_tokens - one.tokens for one in waiting)
        said = engine.generate([one.request for one in waiting], replace(settings, max_new_tokens=left))
        if len(said) != len(waiting):
            raise EngineError(f"{engine.name} gave {len(said)} completions for {len(waiting)} requests")
        for one, completion in zip(waiting, said, strict=True):
            one.turns.append(completion)
    done = [Looked(tuple(one.turns), tuple(one.answers)) for one in open_]
    return [done[start : start + n] for start in range(0, len(done), n)]


@dataclass
class _Open:
    """A completion on its way; ``request`` is the prompt of its next turn."""

    request: Request
    environment: LookEnvironment
    turns: list[Completion]
    answers: list[Crop | Refusal] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(turn.tokens for turn in self.turns)

    def proceed(self, most_tokens: int) -> bool:
        """Answer the last turn, if there is anything to answer; whether a further turn is wanted."""
        if len(self.answers) == len(self.turns) or self.tokens >= most_tokens:
            return False
        texts = [turn.text for turn in self.turns]
        answer = self.environment.answer(texts)
        if answer is None:
            return False
        self.answers.append(answer)
        self.request = continued(self.request, texts[-1], answer)
        return True


def continued(request: Request, turn: str, answer: Crop | Refusal) -> Request:
    """The request for the next turn: the prompt, the last turn of the model up to its look, and the answer to it."""
    said = {"role": "assistant", "content": [{"type": "text", "text": request.prefix + joined([turn])}]}
    images = [*request.images, answer.image] if isinstance(answer, Crop) else request.images
    return replace(request, messages=[*request.messages, said, answer.message], images=images, prefix="")
