"""How fast and how dearly a teacher may be asked: sliding windows for rates, a purse for budgets, and Retry-After."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Protocol

from mirg.errors import TeacherError
from mirg.trajectories.teacher.recipe import Budget

WINDOW = 60.0  # seconds


class Clock(Protocol):
    """The time, in seconds since 1970, and waiting; tests bring their own."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back later."""
        ...


class SystemClock:
    """The clock of this machine when the object was made, and monotonic from there: setting the clock changes nothing.

    Attempts of an earlier run carry its time, so it begins in 1970.
    """

    def __init__(self) -> None:
        self._begin = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._begin + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """As asyncio sleeps."""
        await asyncio.sleep(seconds)


class BudgetUsed(TeacherError):
    """The next request could cost more than is left."""


@dataclass(frozen=True)
class Cost:
    """Requests, tokens (input and output) and money."""

    requests: int = 0
    tokens: int = 0
    money: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.requests + other.requests, self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.requests - other.requests, self.tokens - other.tokens, self.money - other.money)


class Rates:
    """At most ``requests`` and ``tokens`` in every window of 60 seconds; who waits first goes first."""

    def __init__(
        self, requests: int | None, tokens: int | None, clock: Clock, sent: Iterable[tuple[float, int]] = ()
    ) -> None:
        """``sent``: (time, tokens) of attempts by an earlier run, oldest first; one in the future counts as now."""
        self.requests = requests
        self.tokens = tokens
        self._clock = clock
        now = clock.now()  # an earlier run may have had a clock that was ahead: nobody waits for hours because of it
        self._sent = deque((min(at, now), tokens) for at, tokens in sent)
        self._sum = sum(tokens for _, tokens in self._sent)
        self._turn = asyncio.Lock()

    async def take(self, tokens: int) -> None:
        """Wait until a request of ``tokens`` may be sent. TeacherError where it is larger than a whole minute."""
        if self.requests is None and self.tokens is None:
            return
        if self.tokens is not None and tokens > self.tokens:
            raise TeacherError(
                f"one request may take {tokens:,} tokens, limits.tokens_per_minute is {self.tokens:,}",
                hint="fewer sampling.max_tokens, smaller images.max_side, or a higher limit",
            )
        async with self._turn:
            while (delay := self._delay(tokens)) > 0:
                await self._clock.sleep(delay)
            self._sent.append((self._clock.now(), tokens))
            self._sum += tokens

    def _delay(self, tokens: int) -> float:
        """Seconds until the oldest attempt leaves the window, 0 where there is room."""
        now = self._clock.now()
        while self._sent and self._sent[0][0] <= now - WINDOW:
            self._sum -= self._sent.popleft()[1]
        full = self.requests is not None and len(self._sent) >= self.requests
        full = full or (self.tokens is not None and self._sum + tokens > self.tokens)
        return max(self._sent[0][0] + WINDOW - now, 0.001) if full and self._sent else 0.0


class BudgetGuard:
    """What is left of a budget. Nothing is sent before its largest cost is set aside, so no budget is exceeded."""

    def __init__(self, budget: Budget, spent: Cost) -> None:
        self.budget = budget
        self.spent = spent
        self.aside = Cost()
        self._changed = asyncio.Condition()

    async def reserve(self, need: Cost) -> None:
        """Set ``need`` aside, waiting for requests in flight where their change could be enough.

        BudgetUsed where it is not.
        """
        async with self._changed:
            while self._lacking(self.spent + self.aside + need):
                short = self._lacking(self.spent + need)
                if short:
                    raise BudgetUsed(
                        f"the budget is used up: {short}",
                        hint="raise it and run the same command again; what is answered is not asked again",
                    )
                await self._changed.wait()
            self.aside += need

    async def settle(self, reserved: Cost, actual: Cost) -> None:
        """Replace what was set aside by what it came to."""
        async with self._changed:
            self.aside -= reserved
            self.spent += actual
            self._changed.notify_all()

    def _lacking(self, total: Cost) -> str:
        """Which limit ``total`` would break, in words; empty where none."""
        budget, rest = self.budget, self.spent
        if budget.requests is not None and total.requests > budget.requests:
            return f"{rest.requests:,} of {budget.requests:,} requests are spent"
        if budget.tokens is not None and total.tokens > budget.tokens:
            return f"{rest.tokens:,} of {budget.tokens:,} tokens are spent, and one more request may exceed them"
        # Sums of fractions of a cent: a millionth of the budget is rounding.
        if budget.money is not None and total.money > budget.money * (1 + 1e-6):
            return f"{rest.money:.4f} of {budget.money:.4f} in money is spent, and one more request may exceed it"
        return ""


def retry_after(headers: dict[str, str], now: float) -> float | None:
    """Seconds that a server asks to wait, from ``Retry-After`` (seconds or an HTTP date) or ``Retry-After-Ms``.

    ``headers`` have names in lower case. A date is compared with the server's own clock if ``Date`` says it, else with
    ``now``, in seconds since 1970. None if there is nothing readable.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        told = headers.get(name, "").strip()
        try:
            seconds = float(told) * unit
        except ValueError:
            seconds = math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
        if name == "retry-after" and told:
            until, there = _seconds(told), _seconds(headers.get("date", ""))
            return None if until is None else max(until - (now if there is None else there), 0.0)
    return None


def _seconds(date: str) -> float | None:
    """An HTTP date in seconds since 1970."""
    try:
        at = parsedate_to_datetime(date)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()  # HTTP dates are in GMT, whatever they say
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
