"""Engines for tests: real implementations of the interface whose completions are a function, not a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mirg.engines.base import Completion, Generation, Request
from mirg.families import FAMILIES, Family, PixelLimits

Script = Callable[[Request, Generation], str]


@dataclass
class ScriptedEngine:
    """Completes each request with ``script(request, settings)``; ``asked`` lists the ids of every call.

    ``die_after`` calls that many batches and then raises ``KeyboardInterrupt``, as a kill between batches would.
    """

    script: Script
    name: str = "scripted"
    family: Family = FAMILIES["qwen3-vl"]
    limits: PixelLimits | None = None
    fingerprint: str = "scripted-1"
    numerics: str = "float32 on cpu"
    die_after: int | None = None
    asked: list[list[str]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        if self.die_after is not None and len(self.asked) >= self.die_after:
            raise KeyboardInterrupt
        self.asked.append([request.sample_id for request in requests])
        self.seeds.append(settings.seed)
        texts = [self.script(request, settings) for request in requests]
        return [Completion(text=text, tokens=len(text.split()), finish="stop") for text in texts]


def by_id(texts: dict[str, str], default: str = "") -> Script:
    """A script that looks the completion up by sample id."""
    return lambda request, settings: texts.get(request.sample_id, default)
