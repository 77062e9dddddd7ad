"""One attempt over real sockets: what a reply is, what a fault is, and what may have been billed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.faulty_api import FaultyApi
from mirg.engines.endpoint import Endpoint, Fault, Reply, read_body
from mirg.engines.limits import Limits

BODY = {"model": "m", "messages": [{"role": "user", "content": "case-1"}]}


def ask(url: str, **limits: Any) -> Reply:
    async def go() -> Reply:
        endpoint = Endpoint(url, None, Limits(**limits))
        try:
            return await endpoint.ask(dict(BODY))
        finally:
            await endpoint.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("always", "outcome", "retried", "billed"),
    [
        ("429", "http 429", True, False),
        ("500", "http 500", True, False),
        ("503", "http 503", True, False),
        ("408", "http 408", True, False),
        ("409", "http 409", True, False),
        ("400", "http 400", False, False),
        ("401", "http 401", False, False),
        ("404", "http 404", False, False),
        ("422", "http 422", False, False),
        ("error in body", "http 503", True, False),
        ("reset", "connection", True, True),
        ("cut body", "connection", True, True),
        ("drip", "timeout", True, True),
        ("half JSON", "body", True, True),
        ("HTML", "body", True, True),
        ("no choices list", "body", True, True),
    ],
)
def test_faults(api: FaultyApi, always: str, outcome: str, retried: bool, billed: bool) -> None:
    api.settings.always = always
    with pytest.raises(Fault) as caught:
        ask(api.url, timeout=0.6)
    fault = caught.value
    assert (fault.outcome, fault.retried, fault.billed) == (outcome, retried, billed)
    assert fault.message and "\n" not in fault.message and len(fault.message) <= 300


def test_nobody_there_costs_nothing() -> None:
    with pytest.raises(Fault, match="no connection") as caught:
        ask("http://127.0.0.1:9/v1")
    assert caught.value.retried and not caught.value.billed


def test_a_pause_is_asked_for_in_seconds_or_by_date(api: FaultyApi) -> None:
    for always, least, most in (("429 seconds", 0.05, 0.05), ("429 date", 0.0, 1.1)):
        api.settings.always = always
        with pytest.raises(Fault) as caught:
            ask(api.url)
        assert caught.value.after is not None and least <= caught.value.after <= most


def test_a_reply(api: FaultyApi) -> None:
    assert ask(api.url) == Reply("no idea", "stop", None, 700, 50)


@pytest.mark.parametrize(("url", "told"), [("https://api.openai.com/v1", "org-1"), ("http://127.0.0.1:9/v1", None)])
def test_an_organization_of_openai_is_told_to_nobody_else(
    url: str, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OPENAI_ORG_ID", "org-1"), ("OPENAI_PROJECT_ID", "org-1")):
        monkeypatch.setenv(name, value)
    client = Endpoint(url, "k", Limits())._clients[0]
    assert (client.organization, client.project) == (told, told)


def test_a_reply_with_a_warning_is_a_reply() -> None:
    choices = [{"message": {"content": "a"}, "finish_reason": "stop"}]
    body = {"error": {"message": "slow today"}, "choices": choices}
    assert read_body(json.dumps(body)) == Reply("a", "stop", None, None, None)


@pytest.mark.parametrize(
    ("why", "choice", "reply"),
    [
        ("parts instead of a string", {"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}, "ab"),
        ("a refusal", {"message": {"content": None, "refusal": "no\nway"}}, "refused: no way"),
        ("a filter", {"message": {"content": "x"}, "finish_reason": "content_filter"}, "content filter"),
        ("nothing", {"message": {"content": " "}}, "an empty reply"),
        ("nothing, cut off", {"message": {"content": None}, "finish_reason": "length"}, "empty reply, cut off"),
        ("no message", {}, "an empty reply"),
        (
            "all is reasoning",
            {"message": {"content": None, "reasoning_content": "abc"}},
            "all 3 characters are in reasoning_c",
        ),
        ("the newer name", {"message": {"content": "", "reasoning": "ab"}}, "all 2 characters are in reasoning;"),
        (
            "reasoning that took all tokens",
            {"message": {"content": "\n", "reasoning_content": "abc"}, "finish_reason": "length"},
            "an empty reply, cut off: all 3 characters",
        ),
        ("both", {"message": {"content": "ab", "reasoning_content": "abc"}}, "ab"),
        ("half a character", {"message": {"content": "a\ud800b"}}, "a?b"),
    ],
)
def test_bodies(why: str, choice: dict[str, Any], reply: str) -> None:
    found = read_body(json.dumps({"choices": [choice]}))
    assert isinstance(found, Reply) and reply in (found.text or found.problem or ""), why
    assert (found.input_tokens, found.output_tokens) == (None, None)


def test_empty_choices_are_a_failed_draw_not_a_fault() -> None:
    assert read_body('{"choices": []}') == Reply(None, None, "empty choices", None, None)


NAMES = st.sampled_from(["choices", "message", "content", "usage", "error", "code", "prompt_tokens"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)


@given(st.text(max_size=200) | VALUES.map(json.dumps))
def test_any_body_is_a_reply_or_a_fault(text: str) -> None:
    found = read_body(text)
    assert isinstance(found, Fault) or (found.text is None) == (found.problem is not None)


def test_deep_nesting_is_no_crash() -> None:
    assert isinstance(read_body("[" * 100_000), Fault)
