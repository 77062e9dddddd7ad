"""One part of a reward: a number and, if it is not the best, the reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """``value`` is finite and in [0, 1]; ``reason`` is a non-empty text exactly where ``value`` < 1."""

    value: float
    reason: str | None = None


BEST = Part(1.0)
