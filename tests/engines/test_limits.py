"""Rates in every window, budgets that are never exceeded, and what Retry-After says."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clocks import FakeClock
from mirg.engines.limits import WINDOW, BudgetGuard, BudgetUsed, Clock, Cost, Rates, retry_after
from mirg.errors import EndpointError
from mirg.trajectories.teacher.recipe import Budget

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("why", "headers", "seconds"),
    [
        ("seconds", {"retry-after": "7"}, 7.0),
        ("a fraction, which some servers send", {"retry-after": "0.25"}, 0.25),
        ("a date", {"retry-after": formatdate(NOW + 90, usegmt=True)}, 90.0),
        (
            "a date without a zone is in GMT",
            {"retry-after": formatdate(NOW + 5, usegmt=True).removesuffix(" GMT")},
            5.0,
        ),
        ("a date that has passed", {"retry-after": formatdate(NOW - 90, usegmt=True)}, 0.0),
        (
            "a date of a server whose clock is another",
            {"retry-after": formatdate(NOW + 7290, usegmt=True), "date": formatdate(NOW + 7200, usegmt=True)},
            90.0,
        ),
        ("a date beside a broken one", {"retry-after": formatdate(NOW + 90, usegmt=True), "date": "soon"}, 90.0),
        ("milliseconds come first", {"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ("broken milliseconds", {"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ("nothing", {}, None),
        ("nonsense", {"retry-after": "tomorrow"}, None),
        ("negative", {"retry-after": "-3"}, None),
        ("not a number", {"retry-after": "nan"}, None),
        ("endless", {"retry-after": "inf"}, None),
        ("an impossible date", {"retry-after": "Wed, 99 Nov 2026 18:00:00 GMT"}, None),
    ],
)
def test_retry_after(why: str, headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after(headers, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds, abs=1.0)), why


def test_a_date_without_a_zone_is_in_gmt_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = formatdate(NOW + 5, usegmt=True).removesuffix(" GMT")
        assert retry_after({"retry-after": date}, NOW) == pytest.approx(5.0, abs=1.0)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=40))
def test_retry_after_is_total(text: str) -> None:
    found = retry_after({"retry-after": text}, NOW)
    assert found is None or found >= 0


def in_windows(times: list[tuple[float, int]]) -> tuple[int, int]:
    """Most requests and most tokens in any window of 60 seconds."""
    inside = [[t for t in times if start <= t[0] < start + WINDOW] for start, _ in times]
    return max(len(part) for part in inside), max(sum(tokens for _, tokens in part) for part in inside)


@given(
    st.integers(1, 8), st.integers(50, 400), st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.lists(st.integers(1, 50), max_size=5),
)  # fmt: skip
def test_no_window_holds_more_than_allowed(requests: int, tokens: int, needs: list[int], before: list[int]) -> None:
    clock, sent = FakeClock(), list[tuple[float, int]]()
    earlier = [(clock.now() - 10, need) for need in before][:requests]

    async def go() -> None:
        rates = Rates(requests, tokens, clock, earlier)

        async def one(need: int) -> None:
            await rates.take(need)
            sent.append((clock.now(), need))

        await asyncio.gather(*map(one, needs))

    asyncio.run(go())
    most_requests, most_tokens = in_windows(earlier + sent)
    assert len(sent) == len(needs)
    assert most_requests <= requests and most_tokens <= max(tokens, sum(n for _, n in earlier))


def test_a_request_waits_until_the_oldest_leaves_the_window() -> None:
    clock = FakeClock()
    rates = Rates(2, None, clock, [(clock.now() - 40, 1), (clock.now() - 10, 1)])
    asyncio.run(rates.take(1))
    assert clock.slept == [pytest.approx(WINDOW - 40)]


def test_a_clock_that_is_set_changes_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither during a run, nor by attempts of an earlier one whose clock was ahead."""
    clock = Clock()
    before = clock.now()
    for wrong in (0.0, 4e9):
        monkeypatch.setattr("time.time", lambda wrong=wrong: wrong)
        assert 0 <= clock.now() - before < 3600
    fake = FakeClock()
    asyncio.run(Rates(1, None, fake, [(fake.now() + 1e9, 1)]).take(1))
    assert sum(fake.slept) == pytest.approx(WINDOW)


def test_a_request_larger_than_a_minute_is_said_at_once() -> None:
    with pytest.raises(EndpointError, match="tokens_per_minute is 10"):
        asyncio.run(Rates(None, 10, FakeClock()).take(11))


@given(
    st.integers(1, 30), st.integers(1, 2000),
    st.lists(st.tuples(st.integers(1, 100), st.floats(0, 1)), min_size=1, max_size=60),
)  # fmt: skip
def test_a_budget_is_never_exceeded_and_used_as_far_as_it_goes(
    requests: int, tokens: int, work: list[tuple[int, float]]
) -> None:
    """Every request costs some share of what was set aside; who does not fit waits for change, or is refused."""
    refused, spent = list[int](), list[Cost]()

    async def go() -> BudgetGuard:
        guard = BudgetGuard(Budget(requests=requests, tokens=tokens), Cost())

        async def one(most: int, share: float) -> None:
            need, actual = Cost(1, most), Cost(1, int(most * share))
            try:
                await guard.reserve(need)
            except BudgetUsed:
                refused.append(most)
                return
            held = guard.spent + guard.aside
            assert held.requests <= requests and held.tokens <= tokens
            await asyncio.sleep(0)
            spent.append(actual)
            await guard.settle(need, actual)

        await asyncio.gather(*(one(*entry) for entry in work))
        return guard

    guard = asyncio.run(go())
    assert guard.aside == Cost() and guard.spent == sum(spent, Cost())
    assert guard.spent.requests <= requests and guard.spent.tokens <= tokens
    for most in refused:  # nobody was sent away who would fit now
        assert guard.spent.requests == requests or guard.spent.tokens + most > tokens


def test_money_may_be_spent_to_the_last_cent() -> None:
    """In floating point, 0.1 + 0.2 is more than 0.3. A request that exceeds the budget by a thousandth is refused."""
    guard = BudgetGuard(Budget(money=0.3), Cost(money=0.1))
    asyncio.run(guard.reserve(Cost(1, 10, 0.2)))
    assert guard.aside.money == 0.2
    for need in (0.001, 0.1):
        with pytest.raises(BudgetUsed, match="of 0.3000 in money is spent"):
            asyncio.run(BudgetGuard(Budget(money=0.3), Cost(money=0.3)).reserve(Cost(1, 10, need)))
