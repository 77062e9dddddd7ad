"""The interface between mirg and everything that generates text; importing it needs no torch.

An engine takes requests (chat messages with image parts, and the images in that order) and returns one completion per
request, in order. The same requests with the same settings must give the same completions, which a resumed evaluation
relies on. The engine is responsible for never sampling the vision tokens of a family.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from mirg.answers.looks import LookBudget
from mirg.errors import ConfigError, EngineError
from mirg.families import Family, PixelLimits

if TYPE_CHECKING:
    from PIL.Image import Image

    from mirg.answers.prompts import Instructions
    from mirg.samples import Sample

Finish = Literal["stop", "length"]
OpenedBy = Literal["model", "template", "server"]
# Is given the text of a completion while it grows, again and again; what it raises ends the completion.
Watch = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """Generation settings. ``temperature`` 0 is greedy decoding; ``batch_size`` counts requests per forward pass."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse values outside the valid range."""
        for name in ("max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}", hint="it must be at least 1")
        if not 0.0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}", hint="it must be 0 (greedy) or more")


@dataclass(frozen=True)
class Request:
    """One prompt: chat ``messages`` as ``mirg.answers.prompts.messages`` writes them, and its RGB images in order.

    ``prefix`` is the beginning of the assistant's turn, which the model continues. ``thinking`` asks the chat template
    to let the model think or not (``enable_thinking``); None: as chosen for the engine, else the template's default.
    ``draw`` counts the answers that are sampled to one prompt through :class:`Streaming`.
    """

    sample_id: str
    messages: list[dict[str, Any]]
    images: list[Image]
    prefix: str = ""
    thinking: bool | None = None
    draw: int = 0


@dataclass(frozen=True)
class Completion:
    """The assistant's turn after the prefix, without the end token; ``tokens`` counts the generated tokens.

    ``prompt_tokens`` counts those of the prompt with visual tokens and prefix, 0 if the engine does not report it.
    ``opened_by`` says who wrote the tag at the beginning of the thinking. If the chat template did, ``text`` begins
    with what the template wrote of the turn, so that a reader sees the whole turn. ``server``: the endpoint returned
    the thinking in a separate field, and the tags were put around it here.
    """

    text: str
    tokens: int
    finish: Finish
    prompt_tokens: int = 0
    opened_by: OpenedBy = "model"


@dataclass(frozen=True)
class Offline:
    """vLLM inside this process. ``arguments`` are those of ``vllm.LLM`` and win over what mirg chooses.

    The ``samples`` that will be asked with ``instructions``, and the ``new_tokens`` of a completion, say how long
    prompts and completions become and how many images a prompt has; with ``look``, crops are added to both.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    samples: Iterable[Sample] = ()
    instructions: Instructions | None = None
    new_tokens: int = 512
    look: LookBudget = field(default_factory=LookBudget)


def draw_seed(seed: int, request: str, draw: int) -> int:
    """The seed (31 bits) of the completion number ``draw`` of a request: a pure function of the three arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{draw}:{request}".encode()).digest()[:4], "big") >> 1


def instructions_of(engine: Engine, chosen: Instructions | None = None) -> Instructions:
    """How much a prompt says about the form of an answer: ``chosen``, else as in training, else "full"."""
    return chosen or getattr(engine, "instructions", None) or "full"


@runtime_checkable
class Engine(Protocol):
    """A loaded model.

    ``fingerprint`` changes whenever the weights, the tokenizer or the processor settings change: it is part of the
    cache key of an evaluation. ``limits`` are the pixel limits of its processor (None: the family's).

    An engine whose completions also depend on how it computes has the attribute ``numerics``, such as
    ``"bfloat16 on cuda"``, which is part of that key as well. A remote engine that does not know it has no such
    attribute. The attribute ``thinking`` is what the engine asks of the chat template (see :class:`Request`), and is
    part of the key if it is not None. An engine that can complete a prompt several times at less cost is also a
    :class:`Sampler`.
    """

    name: str
    family: Family
    limits: PixelLimits | None
    fingerprint: str

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """One completion per request, in order; raises :class:`mirg.errors.EngineError`."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """An engine that reads a prompt once for all of its completions."""

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions per request, in order; errors as :meth:`Engine.generate`."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """An engine whose completions do not depend on which requests are asked together, and arrive one by one."""

    def stream(self, requests: Iterable[Request], settings: Generation) -> Iterator[Completion | EngineError]:
        """Completions in order, or the error of a request that is refused; requests are taken on demand.

        Sampled completions of equal requests differ if their ``draw`` does.
        """
        ...

    def remembering(self, file: Path) -> AbstractContextManager[None]:
        """Keep every completion in ``file`` as it arrives, and use those that it holds."""
        ...


@runtime_checkable
class Watched(Protocol):
    """An engine that shows a completion while it grows."""

    def complete_watched(self, request: Request, settings: Generation, watch: Watch) -> Completion:
        """The completion that :meth:`Engine.generate` gives, with calls of ``watch`` before it ends.

        Errors as :meth:`Engine.generate`, and whatever ``watch`` raises.
        """
        ...


def complete_watched(engine: Engine, request: Request, settings: Generation, watch: Watch | None) -> Completion:
    """One completion; ``watch`` sees it grow if the engine is :class:`Watched`, and otherwise only when it is whole."""
    if watch is not None and isinstance(engine, Watched):
        return engine.complete_watched(request, settings, watch)
    completions = engine.generate([request], settings)
    if len(completions) != 1:
        raise EngineError(f"engine {engine.name} gave {len(completions)} completions for one prompt")
    if watch is not None:
        watch(completions[0].text)
    return completions[0]


def several(engine: Engine, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
    """``n`` completions of every request, in order.

    The same requests, settings and ``n`` give the same completions. Raises :class:`mirg.errors.EngineError`, also if
    the engine returns another number of completions.
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
