"""The one interface between mirg and whatever generates text; importing it needs no torch.

An engine takes requests (chat messages with image parts, and the images in that order) and gives back one completion
per request, in order. The same requests with the same settings must give the same completions: evaluation resumes
by that promise. What the vision tokens of a family are, and that they are never sampled, is the engine's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from mirg.errors import ConfigError, EngineError
from mirg.frames import Family, PixelLimits

if TYPE_CHECKING:
    from PIL.Image import Image

    from mirg.answers.prompts import Instructions

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Generation:
    """Generation settings. ``temperature`` 0 is greedy decoding; ``batch_size`` counts requests per forward pass."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse settings that no engine could follow."""
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}", hint="it must be at least 1")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}", hint="it must be at least 1")
        if not 0.0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}", hint="it must be 0 (greedy) or more")


@dataclass(frozen=True)
class Request:
    """One prompt: chat ``messages`` as ``mirg.answers.prompts.messages`` writes them, and its RGB images in order.

    ``prefix`` is text with which the assistant's turn begins already; the model goes on after it.
    """

    sample_id: str
    messages: list[dict[str, Any]]
    images: list[Image]
    prefix: str = ""


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prompt and its prefix, without the end token; ``tokens`` counts generated tokens.

    ``prompt_tokens`` counts those of the prompt, visual ones and prefix included; 0 where the engine does not say.
    """

    text: str
    tokens: int
    finish: Finish
    prompt_tokens: int = 0


def instructions_of(engine: Engine, told: Instructions | None = None) -> Instructions:
    """How much a prompt says about the form of an answer: as ``told``, else as the model was trained, else "full"."""
    return told or getattr(engine, "instructions", None) or "full"


@runtime_checkable
class Engine(Protocol):
    """A loaded model that can be asked.

    ``fingerprint`` changes whenever the weights, the tokenizer or the processor settings change: it is part of the
    cache key of an evaluation. ``limits`` are the pixel limits its processor works with (None: the family's).

    An engine whose completions also depend on how it computes has one more text, ``numerics``, such as
    ``"bfloat16 on cuda"``; it goes into that key, too. A remote engine that cannot tell leaves it out.

    One that can complete a prompt several times at less cost is a :class:`Sampler`, too; see :func:`several`.
    """

    name: str
    family: Family
    limits: PixelLimits | None
    fingerprint: str

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """One completion per request, in order; raises :class:`mirg.errors.EngineError` where it cannot."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """An engine that reads a prompt once for all of its completions."""

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions per request, in order; errors as :meth:`Engine.generate`."""
        ...


def several(engine: Engine, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
    """``n`` completions of every request, in order, by whichever way ``engine`` has.

    The same requests, settings and ``n`` give the same completions. :class:`mirg.errors.EngineError` as the engine, and
    where it gives another number of completions.
    """
    if n < 1:
        raise ConfigError(f"{n} completions per prompt", hint="at least 1")
    if isinstance(engine, Sampler):
        groups = engine.sample(requests, settings, n)
    else:
        flat = engine.generate([request for request in requests for _ in range(n)], settings)
        groups = [list(flat[start : start + n]) for start in range(0, len(flat), n)]
    counts = [len(group) for group in groups]
    if counts != [n] * len(requests):
        raise EngineError(f"{engine.name} gave {sum(counts)} completions for {len(requests)} requests, {n} of each")
    return groups
