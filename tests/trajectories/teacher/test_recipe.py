"""The recipe of a teacher: closed, divisible, and no place for a key."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fakes.clocks import FakeClock
from fakes.recipes import leaves, nested
from fakes.teacher import Scripted, reply
from fakes.uneven import write_uneven
from mirg.engines.endpoint import Endpoint, Fault, Reply
from mirg.engines.limits import Cost
from mirg.errors import ConfigError, MirgError
from mirg.trajectories.teacher.ledger import Answer, Ledger
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import OVERHEAD, Digests, ImageCache, sent_size
from mirg.trajectories.teacher.run import ask_teacher
from mirg.trajectories.teacher.sending import Asker
from mirg.trajectories.teacher.work import RequestBuilder

SECRET = "sk-c4n4ry-9f2e7b"


def recipe(**more: Any) -> TeacherRecipe:
    return TeacherRecipe(model="m", **more)


@pytest.mark.parametrize(
    ("why", "more"),
    [
        ("the key instead of its name", {"key_env": SECRET}),
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
        ("no address", {"url": "localhost:8000"}, "not an http"),
        ("an invalid port", {"url": "http://host:99999999/v1"}, "not an http"),
        ("what has its own key", {"extra": {"temperature": 1}}, "extra.temperature"),
        ("money without a price", {"budget": {"money": 3}}, "price"),
        ("an unknown family", {"family": "qwen9"}, "qwen9"),
        ("a family that writes y first", {"family": "gemma-4"}, "gemma-4 writes y first"),
    ],
)
def test_what_makes_no_sense_is_refused(why: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        recipe(**more)


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
}  # fmt: skip


def test_what_is_asked_follows_the_recipe(tmp_path: Path) -> None:
    data, given = write_uneven(tmp_path / "data"), recipe(**ASKING)
    (sample,) = data
    first, second = RequestBuilder(given, Digests(data)).first(sample)
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
        {request.hash for request in RequestBuilder(TeacherRecipe(**given), Digests(data)).first(sample)}
        for given in ({"model": "m", **ASKING}, {"model": "m", **ASKING, **change})
    )
    assert len(one) == len(other) == 2 and not one & other


THOUGHT = "Image-1 shows one plain colour, and so does Image-2. So Image-3 is examined. The ring is on the right."
FOUND = "Image-3 ring (520,250),(1000,750)."  # IoU 0.96 with the truth
SAID = '[{"image": 3, "bbox_2d": [500, 250, 980, 750], "label": "ring"}]'  # also 0.96
GOOD = f"<think>{THOUGHT} {FOUND}</think><answer>{SAID}</answer>"
LOOK = '<think>A part is small. <look>{"image": 3, "bbox_2d": [250, 250, 750, 750]}</look>'
AGAIN = GOOD.replace("The ring", "So Image-3 is examined. The ring")
ABRUPT = f"<think>The shape asked for is round. {FOUND} So the ring of Image-3 it is.</think><answer>{SAID}</answer>"
DOWN = Fault("status", "down", status=503)


def asked(case: Any, *replies: Fault | str) -> Any:
    """The bodies that a run sends, its pauses, and what came of it; the last of ``replies`` is given again."""
    left, clock = list(replies), FakeClock()

    def write(body: dict[str, Any]) -> Reply:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Fault):
            raise said
        return reply(said)

    endpoint = Scripted(write)
    with Ledger(case.path / "ledger.db") as ledger:
        done = ask_teacher(case.data, case.recipe, ledger, endpoint=endpoint, clock=clock)
    return SimpleNamespace(bodies=endpoint.bodies, slept=clock.slept, accepted=done.accepted)


def body(name: str) -> Callable[[Any], object]:
    return lambda case: asked(case, GOOD).bodies[0].get(name)


def crop_of(body: dict[str, Any]) -> tuple[int, int]:
    """The size of the last image of a request."""
    data = body["messages"][-1]["content"][-1]["image_url"]["url"].partition(",")[2]
    return Image.open(io.BytesIO(base64.b64decode(data))).size


def asker(case: Any) -> Asker:
    ledger: Any = SimpleNamespace(recent=lambda since: [], spent=Cost)
    return Asker(case.recipe, ledger, None, None, FakeClock())  # type: ignore[arg-type]


def endpoint(recipe: TeacherRecipe) -> Any:
    return Endpoint(recipe.url, recipe.key(), recipe.limits)


def client(case: Any) -> Any:
    pytest.importorskip("openai")
    return endpoint(case.recipe)._clients[0]


def problems(text: str) -> Callable[[Any], object]:
    """The checks that a reply does not pass."""
    sent = Answer("h", "uneven", "refer", 0, "first", "m", "p", "answered", text, None, "stop", 1, 1, None, 1, 0.0)
    return lambda case: {
        check for check, _ in RequestBuilder(case.recipe, Digests(case.data)).judge(sent, case.sample).problems
    }


def refused(look: Callable[[Any], object], case: Any) -> str:
    """The words with which ``look`` refuses."""
    try:
        look(case)
    except MirgError as error:
        return error.message
    return ""


def half(case: Any) -> object:
    return asked(case, Fault("body", "half", billed=True))


def shown(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def uris(case: Any) -> list[str]:
    return ImageCache(case.data, case.recipe.images).uris(case.sample)


def need(case: Any) -> Cost:
    return RequestBuilder(case.recipe, Digests(case.data)).first(case.sample)[0].most()


# Key, value, what is found, what is expected there (else the value). ``HERE`` is the folder of the test.
KEYS: list[tuple[Any, ...]] = [
    ("model", "other", body("model")),
    ("url", "http://127.0.0.1:9/v1", lambda case: str(client(case).base_url), "http://127.0.0.1:9/v1/"),
    ("key_env", "MY_KEY", lambda case: client(case).api_key, SECRET),
    ("family", "qwen2.5-vl", lambda case: "(250,250),(750,500)" in json.dumps(body("messages")(case)), False),
    ("family", "qwen2.5-vl", problems(GOOD), {"read"}),
    ("language", "de", lambda case: "German" in json.dumps(body("messages")(case)), True),
    ("templates", "HERE", lambda case: body("messages")(case)[0]["content"], "My own words."),
    ("templates", "HERE", lambda case: asked(case, "no").bodies[-1]["messages"][-1]["content"], "My own repair."),
    ("draws", 3, lambda case: len(asked(case, GOOD).bodies)),
    ("look.max_looks", 2, lambda case: "at most 2 times" in json.dumps(body("messages")(case)), True),
    ("look.crop_pixels", 100_000, lambda case: crop_of(asked(case, LOOK, GOOD).bodies[1]), (512, 192)),
    ("stop_early", True, lambda case: len(asked(case, GOOD).bodies), 1),
    ("repair", False, lambda case: len(asked(case, "no").bodies), 1),
    ("extra", {"stop": ["x"]}, body("stop"), ["x"]),
    *((f"sampling.{key}", value, body(key)) for key, value in
      {"temperature": 0.3, "top_p": 0.8, "max_tokens": 99, "seed": 7}.items()),
    ("sampling.max_tokens_key", "max_completion_tokens", body("max_completion_tokens"), 2048),
    ("sampling.max_tokens", 99, lambda case: need(case).tokens < 4000, True),
    ("limits.concurrency", 5, lambda case: asker(case)._places._value),
    ("limits.requests_per_minute", 6, lambda case: asker(case)._rates.requests),
    ("limits.tokens_per_minute", 7000, lambda case: asker(case)._rates.tokens),
    ("limits.timeout", 8.0, lambda case: client(case).timeout),
    ("limits.timeout", 8.0, lambda case: client(case) and endpoint(case.recipe)._timeout),
    ("limits.tries", 3, lambda case: len(asked(case, DOWN).bodies)),
    ("limits.max_wait", 0.25, lambda case: max(asked(case, DOWN).slept)),
    ("limits.max_wait", 0.25, lambda case: len(asked(case, Fault("status", "", status=429, after=1.0)).bodies), 1),
    *((f"budget.{key}", value, lambda case, key=key: getattr(asker(case)._budget.budget, key)) for key, value in
      {"requests": 9, "tokens": 10, "money": 11.0}.items()),
    ("budget.tokens", 12_000, lambda case: "of 12,000 tokens are spent" in refused(half, case), True),
    ("price.input", 3.0, lambda case: need(case).money, pytest.approx(3 * 3000 / 1e6, rel=0.5)),
    ("price.output", 5.0, lambda case: need(case).money, pytest.approx(5 * 2048 / 1e6)),
    ("images.max_side", 100, lambda case: [shown(uri).size for uri in uris(case)], [(100, 60), (33, 100), (100, 40)]),
    ("images.max_pixels", 5000, lambda case: [shown(uri).size for uri in uris(case)], [(91, 54), (40, 122), (111, 44)]),
    ("images.max_bytes", 1000, lambda case: "images.max_bytes is 1,000" in refused(uris, case), True),
    ("images.max_total_bytes", 1000, lambda case: "images.max_total_bytes is 1,000" in refused(uris, case), True),
    ("images.detail", "low", lambda case: json.dumps(body("messages")(case)).count('"detail": "low"'), 3),
    ("images.pixels_per_token", 50, lambda case: need(case).tokens > 13_000, True),
    ("verify.min_iou", 0.97, problems(GOOD), {"iou"}),
    ("verify.citation_iou", 0.97, problems(GOOD), {"citations", "levels"}),
    ("verify.min_words", 100, problems(GOOD), {"length"}),
    ("verify.max_words", 9, problems(GOOD), {"length"}),
    ("verify.max_chars", 60, problems(GOOD), {"length"}),
    ("verify.max_same_sentence", 1, problems(AGAIN), {"repetition"}),
    ("verify.max_same_word", 1, problems(GOOD.replace("plain", "plain plain")), {"repetition"}),
    ("verify.phrase_words", 3, problems(AGAIN), {"repetition"}),
    ("verify.max_same_phrase", 1, problems(AGAIN), {"repetition"}),
    ("verify.image_level", False, problems(ABRUPT), set()),
    ("verify.language", "de", problems(GOOD), {"language"}),
    ("verify.checks", "PLUGIN", problems(GOOD), {"never"}),
]  # fmt: skip
# Without which a key has no effect.
BESIDE: dict[str, dict[str, object]] = {
    "stop_early": {"draws": 2},
    "look.crop_pixels": {"look.max_looks": 1},
    "budget.money": {"price.input": 1.0},
    "verify.phrase_words": {"verify.max_same_phrase": 1},
    "verify.max_same_phrase": {"verify.phrase_words": 3},
}


@pytest.mark.parametrize("row", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_arrives(row: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another value something else is done than with the default."""
    key, value, found, *expected = row
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.setenv("MY_KEY", SECRET)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "system.j2").write_text("My own words.")
    (tmp_path / "own" / "repair.j2").write_text("My own repair.")
    (tmp_path / "own" / "own.py").write_text("def never(sample, trajectory):\n    return 'no'\n")
    value = {"HERE": str(tmp_path / "own"), "PLUGIN": (f"{tmp_path}/own/own.py:never",)}.get(str(value), value)
    data = write_uneven(tmp_path / "data")
    results = []
    for name, more in (("default", {}), ("changed", {key: value})):
        (tmp_path / name).mkdir()
        given = (
            recipe(**nested({**BESIDE.get(key, {}), **more}))
            if key != "model"
            else TeacherRecipe(**{"model": "m", **more})
        )
        results.append(found(SimpleNamespace(recipe=given, data=data, sample=next(iter(data)), path=tmp_path / name)))
    wanted = expected[0] if expected else value
    assert results[1] == wanted != results[0], results


def test_an_estimate_that_was_too_small_is_raised_for_all_that_follow() -> None:
    """An input of 150 tokens where 100 were set aside, then of 300 where 150 were; one that is smaller says nothing."""
    found = asker(SimpleNamespace(recipe=recipe(sampling={"max_tokens": 10})))
    for aside, said, calibration in ((100, 150, 1.5), (150, 300, 3.0), (300, 200, 3.0)):
        found._cost(Reply("x", "stop", None, said, 1), Cost(1, aside + 10))
        assert found._calibration == pytest.approx(calibration)


def test_every_key_has_a_row() -> None:
    assert dict(leaves(TeacherRecipe)).keys() == {row[0] for row in KEYS}


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
        endpoint(recipe(key_env="MY_KEY", url="http://example.invalid/v1"))
    assert "c4n4ry" not in str(caught.value)
