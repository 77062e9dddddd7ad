"""The one interface between mirg and whatever generates text; importing it needs no torch.

An engine takes requests (chat messages with image parts, and the images in that order) and gives back one completion
per request, in order. The same requests with the same settings must give the same completions: evaluation resumes
by that promise. What the vision tokens of a family are, and that they are never sampled, is the engine's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from mirg.errors import ConfigError
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
    """One prompt: chat ``messages`` as ``mirg.answers.prompts.messages`` writes them, and its RGB images in order."""

    sample_id: str
    messages: list[dict[str, Any]]
    images: list[Image]


@dataclass(frozen=True)
class Completion:
    """What the model wrote after the prompt, without the end token; ``tokens`` counts generated tokens."""

    text: str
    tokens: int
    finish: Finish


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
    """

    name: str
    family: Family
    limits: PixelLimits | None
    fingerprint: str

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """One completion per request, in order; raises :class:`mirg.errors.EngineError` where it cannot."""
        ...
