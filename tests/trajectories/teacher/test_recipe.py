"""The recipe of a teacher: closed, divisible, and no place for a key."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from fakes.uneven import write_uneven
from mirg.errors import ConfigError
from mirg.trajectories.teacher.asking import Asker
from mirg.trajectories.teacher.client import Endpoint
from mirg.trajectories.teacher.images import sent_size
from mirg.trajectories.teacher.limits import Cost
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import OVERHEAD, Digests
from mirg.trajectories.teacher.work import Desk

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


ASKING: dict[str, Any] = {
    "draws": 2,
    "family": "qwen2.5-vl",
    "language": "de",
    "extra": {"stop": ["x"]},
    "sampling": {
        "temperature": 0.3, "top_p": 0.8, "max_tokens": 99, "max_tokens_key": "max_completion_tokens", "seed": 7
    },
    "images": {"detail": "low", "max_side": 100, "max_pixels": 5000, "pixels_per_token": 50},
    "price": {"input": 3, "output": 5},
    "limits": {"concurrency": 5, "requests_per_minute": 6, "tokens_per_minute": 7000, "timeout": 8},
    "budget": {"requests": 9, "tokens": 10, "money": 11},
}  # fmt: skip


def test_what_is_asked_follows_the_recipe(tmp_path: Path) -> None:
    data, given = write_uneven(tmp_path / "data"), recipe(**ASKING)
    (sample,) = data
    first, second = Desk(given, Digests(data)).first(sample)
    # 500 x 300 has too many pixels at a side of 100, too; the second image is high, the third is wide.
    assert list(second.sample.sizes) == [sent_size(size, given.images) for size in sample.sizes]
    assert list(second.sample.sizes) == [(91, 54), (33, 100), (100, 40)]
    body = second.body(["u1", "u2", "u3"])
    messages = json.dumps(body.pop("messages"))
    assert body == {
        "model": "m", "temperature": 0.3, "top_p": 0.8, "max_completion_tokens": 99, "seed": 7 + 1, "stop": ["x"]
    }  # fmt: skip
    assert messages.count('"detail": "low"') == 3 and [messages.count(f'"u{k}"') for k in (1, 2, 3)] == [1, 1, 1]
    assert "Deutsch" in messages or "German" in messages
    shown = 99 + 4 + 66 + 4 + 80 + 4
    text = first.expected_input() - shown - OVERHEAD
    assert 0 < text < len(messages)
    need = first.most()
    assert need.money == pytest.approx((3 * (need.tokens - 99) + 5 * 99) / 1e6)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"}, {"extra": {}}, {"family": "qwen3-vl"}, {"language": "en"},
        *({"sampling": ASKING["sampling"] | one} for one in ({"temperature": 0.4}, {"top_p": 0.9}, {"max_tokens": 98})),
        *({"images": ASKING["images"] | one} for one in ({"detail": "high"}, {"max_side": 90}, {"max_pixels": 4000})),
    ],
    ids=str,
)  # fmt: skip
def test_another_question_is_another_request(change: dict[str, Any], tmp_path: Path) -> None:
    """A reply that the ledger holds answers only what was asked in the same way."""
    data = write_uneven(tmp_path / "data")
    (sample,) = data
    one, other = (
        {request.hash for request in Desk(TeacherRecipe(**given), Digests(data)).first(sample)}
        for given in ({"model": "m", **ASKING}, {"model": "m", **ASKING, **change})
    )
    assert len(one) == len(other) == 2 and not one & other


def test_how_fast_and_how_much_follows_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.setenv("MY_KEY", SECRET)
    given = recipe(**ASKING, url="http://127.0.0.1:9/v1", key_env="MY_KEY")
    ledger: Any = SimpleNamespace(recent=lambda since: [], spent=Cost)
    asker = Asker(given, ledger, None, None, SimpleNamespace(now=lambda: 0.0))  # type: ignore[arg-type]
    assert (asker._rates.requests, asker._rates.tokens, asker._places._value) == (6, 7000, 5)
    assert asker._purse.budget == given.budget
    endpoint = Endpoint(given)
    client = endpoint._clients[0]
    assert (endpoint._timeout, client.timeout, client.api_key) == (8, 8, SECRET)
    assert str(client.base_url) == "http://127.0.0.1:9/v1/" and client.max_retries == 0


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


@pytest.mark.parametrize("value", ["sk-c4n4ry\nX: y", "sk-c4n4ry\u00e9", "sk-c4n4ry and more", "sk-c4n4ry\x7f"])
def test_a_key_that_no_header_can_hold_is_not_repeated(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="MY_KEY holds characters") as caught:
        recipe(key_env="MY_KEY").key()
    assert "c4n4ry" not in str(caught.value)


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "nonsense://u:c4n4ry@127.0.0.1:1")
    monkeypatch.setenv("MY_KEY", "k")
    with pytest.raises(ConfigError, match="proxy") as caught:
        Endpoint(recipe(key_env="MY_KEY", url="http://example.invalid/v1"))
    assert "c4n4ry" not in str(caught.value)
