"""A clock that moves when somebody sleeps on it."""

from __future__ import annotations

import asyncio

from mirg.engines.limits import Clock


class FakeClock(Clock):
    """``slept`` lists every pause; time passes at once."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.time = start
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)
