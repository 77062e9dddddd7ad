"""The recipe of a teacher: closed, divisible, and no place for a key."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mirg.errors import ConfigError
from mirg.trajectories.teacher.recipe import TeacherRecipe

SECRET = "sk-c4n4ry-9f2e7b"


def recipe(**more: Any) -> TeacherRecipe:
    return TeacherRecipe(model="m", **more)


@pytest.mark.parametrize(
    ("why", "more"),
    [
        ("the key where its name belongs", {"key_env": SECRET}),
        ("a password in the address", {"url": f"https://user:{SECRET}@host/v1"}),
        ("a key as a query", {"url": f"https://host/v1?key={SECRET}"}),
        ("a key among the extra fields", {"extra": {"api_key": SECRET}}),
        ("deep inside them", {"extra": {"a": [{"headers": {"Authorization": SECRET}}]}}),
    ],
)
def test_a_secret_is_refused_and_not_repeated(why: str, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**more)
    assert SECRET not in str(caught.value), why


@pytest.mark.parametrize(
    ("why", "more", "said"),
    [
        ("no address", {"url": "localhost:8000"}, "no http"),
        ("a port that is none", {"url": "http://host:99999999/v1"}, "no http"),
        ("what has its own key", {"extra": {"temperature": 1}}, "extra.temperature"),
        ("money without a price", {"budget": {"money": 3}}, "price"),
        ("an unknown family", {"family": "qwen9"}, "qwen9"),
    ],
)
def test_what_makes_no_sense_is_refused(why: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(**more)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="drawz"):
        recipe(drawz=3)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    assert recipe(key_env="MY_KEY").key() == SECRET
    assert recipe(key_env=None).key() is None
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set") as caught:
        recipe(key_env="MY_KEY").key()
    assert "export MY_KEY" in caught.value.hint


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_what_there_is(count: int) -> None:
    whole = recipe(
        budget={"requests": 100, "tokens": 1000, "money": 7.0}, price={"input": 1},
        limits={"requests_per_minute": 30, "tokens_per_minute": 500},
    )  # fmt: skip
    parts = [whole.shared_out(k, count) for k in range(1, count + 1)]
    assert sum(p.budget.requests or 0 for p in parts) == 100 and sum(p.budget.tokens or 0 for p in parts) == 1000
    assert sum(p.budget.money or 0 for p in parts) == pytest.approx(7.0)
    assert sum(p.limits.requests_per_minute or 0 for p in parts) == 30
    assert recipe().shared_out(2, 3) == recipe(), "without limits there is nothing to divide"


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="divided by 4"):
        recipe(budget={"requests": 3}).shared_out(4, 4)
