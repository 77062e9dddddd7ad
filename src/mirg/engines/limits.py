"""Limits for requests to an endpoint: rates in sliding windows, budgets that are never exceeded, and Retry-After."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from pydantic import Field

from mirg.config import Section
from mirg.errors import EndpointError

WINDOW = 60.0  # seconds


class Clock:
    """The time of this machine when the object was made, and monotonic from then on: setting the clock has no effect.

    It counts from 1970, because the ledger stores the times of an earlier run's attempts. Tests replace it.
    """

    def __init__(self) -> None:
        self._begin = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._begin + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep in the event loop."""
        await asyncio.sleep(seconds)


class Limits(Section):
    """Rates, concurrency and patience. Rates hold in every window of 60 seconds, also across a restart."""

    concurrency: int = Field(default=16, ge=1, le=4096, description="Most concurrent requests.")
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout: float = Field(default=180, gt=0, description="Seconds for one whole reply.")
    tries: int = Field(default=8, ge=1, description="Attempts of one request in one run.")
    max_wait: float = Field(default=120, gt=0, description="Longest pause between two attempts, seconds.")


class Budget(Section):
    """Hard limits over the life of a ledger; None means no limit. An attempt that may have been billed counts."""

    requests: int | None = Field(default=None, ge=1, description="Attempts, also those that failed.")
    tokens: int | None = Field(default=None, ge=1, description="Input and output.")
    money: float | None = Field(default=None, gt=0, description="In the currency of the price.")


class Price(Section):
    """Cost of a million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """Cost of so many tokens, in the currency of the prices."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class BudgetUsed(EndpointError):
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
    """At most ``requests`` and ``tokens`` in every window of 60 seconds; requests are sent in the order they came."""

    def __init__(
        self, requests: int | None, tokens: int | None, clock: Clock, sent: Iterable[tuple[float, int]] = ()
    ) -> None:
        """``sent``: (time, tokens) of attempts by an earlier run, oldest first; one in the future counts as now."""
        self.requests = requests
        self.tokens = tokens
        self._clock = clock
        now = clock.now()  # the clock of an earlier run may have been ahead, which must not cause a wait of hours
        self._sent = deque((min(at, now), tokens) for at, tokens in sent)
        self._sum = sum(tokens for _, tokens in self._sent)
        self._turn = asyncio.Lock()

    async def take(self, tokens: int) -> None:
        """Wait until a request of ``tokens`` may be sent. EndpointError if it exceeds the limit of a whole minute."""
        if self.requests is None and self.tokens is None:
            return
        if self.tokens is not None and tokens > self.tokens:
            raise EndpointError(
                f"one request may take {tokens:,} tokens, limits.tokens_per_minute is {self.tokens:,}",
                hint="lower sampling.max_tokens or images.max_side, or raise the limit",
            )
        async with self._turn:
            while (delay := self._delay(tokens)) > 0:
                await self._clock.sleep(delay)
            self._sent.append((self._clock.now(), tokens))
            self._sum += tokens

    def _delay(self, tokens: int) -> float:
        """Seconds until the oldest attempt leaves the window, 0 if there is room."""
        now = self._clock.now()
        while self._sent and self._sent[0][0] <= now - WINDOW:
            self._sum -= self._sent.popleft()[1]
        full = self.requests is not None and len(self._sent) >= self.requests
        full = full or (self.tokens is not None and self._sum + tokens > self.tokens)
        return max(self._sent[0][0] + WINDOW - now, 0.001) if full and self._sent else 0.0


class BudgetGuard:
    """Keeps a budget: the largest cost of a request is reserved before it is sent, so no budget is exceeded."""

    def __init__(self, budget: Budget, spent: Cost) -> None:
        self.budget = budget
        self.spent = spent
        self.aside = Cost()
        self._changed = asyncio.Condition()

    async def reserve(self, need: Cost) -> None:
        """Reserve ``need``, waiting for pending requests if the unused part of their reservations could be enough.

        BudgetUsed if it could not.
        """
        async with self._changed:
            while self._lacking(self.spent + self.aside + need):
                short = self._lacking(self.spent + need)
                if short:
                    raise BudgetUsed(
                        f"the budget is used up: {short}",
                        hint="raise it and run the same command again; answered requests are not sent again",
                    )
                await self._changed.wait()
            self.aside += need

    async def settle(self, reserved: Cost, actual: Cost) -> None:
        """Replace a reservation by the actual cost."""
        async with self._changed:
            self.aside -= reserved
            self.spent += actual
            self._changed.notify_all()

    def _lacking(self, total: Cost) -> str:
        """Which limit ``total`` would break, in words; empty if it breaks none."""
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

    ``headers`` have names in lower case. A date is compared with the clock of the server if ``Date`` gives it, else
    with ``now``, in seconds since 1970. None if no value is readable.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
        if name == "retry-after" and value:
            until, there = _seconds(value), _seconds(headers.get("date", ""))
            return None if until is None else max(until - (now if there is None else there), 0.0)
    return None


def _seconds(date: str) -> float | None:
    """An HTTP date in seconds since 1970."""
    try:
        at = parsedate_to_datetime(date)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()  # HTTP dates are in GMT by definition
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
