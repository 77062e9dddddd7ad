"""Models that think: templates that open the thinking, the switch, and what servers do with the thinking."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes import offline
from fakes.faulty_api import FaultyApi
from fakes.serving import serving
from fakes.tiny import read_data, write_thinking
from mirg.answers.prompts import messages
from mirg.answers.read import read
from mirg.engines.base import Completion, Engine, Generation, Offline, OpenedBy, Request
from mirg.engines.limits import Limits
from mirg.engines.load import load_engine
from mirg.engines.remote import EndpointEngine
from mirg.errors import ConfigError, EngineError
from mirg.evaluation.batches import run_settings
from mirg.evaluation.runner import evaluate
from mirg.families import FAMILIES
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder

SHORT = Generation(max_new_tokens=8, batch_size=4)
ANSWER = "<answer>Image-1: (100,100),(500,500)</answer>"
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def model(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_thinking(tmp_path_factory.mktemp("thinking") / "model", folders["qwen3_vl"]))


@pytest.fixture(scope="module")
def local(model: str) -> Engine:
    return load_engine(model)


@pytest.fixture(scope="module")
def requests(local: Engine, data: Path) -> list[Request]:
    read = read_data(data)[:2]
    return [Request(s.id, messages(s, local.family, local.limits, "none"), images) for s, images in read]


Make = Callable[..., Engine]


@pytest.fixture(params=["local", "vllm"])
def make(request: pytest.FixtureRequest, model: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    if request.param == "local":
        return lambda **more: load_engine(model, **more)
    offline.install(monkeypatch)
    return lambda **more: load_engine(model, offline=Offline(), **more)


def test_a_completion_has_what_the_template_opened(make: Make, model: str, requests: list[Request]) -> None:
    """The reader sees the whole turn: without the tag, the words inside the thinking would be the answer's."""
    said = make().generate(requests, SHORT)
    assert all(one.text.startswith("<think>\n") and one.opened_by == "template" for one in said)
    switched = make(thinking=False)
    off = switched.generate(requests, SHORT)
    assert all(one.text.startswith(EMPTY) and one.opened_by == "template" for one in off)
    assert [one.prompt_tokens < two.prompt_tokens for one, two in zip(said, off, strict=True)] == [True] * 2
    mixed = [replace(requests[0], thinking=True), requests[1]]
    assert switched.generate(mixed, SHORT) == [said[0], off[1]]


def test_a_beginning_replaces_what_the_template_opened(
    make: Make, model: str, requests: list[Request], folders: dict[str, Path]
) -> None:
    """As if the template opened nothing: the chain is not put inside a second thinking."""
    begun = [replace(request, prefix="<think>red ring</think>") for request in requests]
    usual = load_engine(str(folders["qwen3_vl"])).generate(begun, SHORT)
    assert make(thinking=False).generate(begun, SHORT) == usual
    assert {one.opened_by for one in usual} == {"model"}


def test_a_template_without_the_switch_is_said(folders: dict[str, Path], requests: list[Request]) -> None:
    with pytest.raises(ConfigError, match="no switch for thinking .*leave --thinking out"):
        load_engine(str(folders["qwen3_vl"]), thinking=False)
    with pytest.raises(EngineError, match="no switch for thinking"):  # as `mirg serve` is asked
        load_engine(str(folders["qwen3_vl"])).generate([replace(requests[0], thinking=True)], SHORT)


def test_through_mirg_serve(local: Engine, requests: list[Request]) -> None:
    found = {}
    with serving(local, name="t") as url:
        for thinking in (None, True, False):
            remote = EndpointEngine(f"{url}/v1", "t", local.family, thinking=thinking)
            found[thinking] = [one.text for one in remote.generate(requests, SHORT)]
    for thinking, texts in found.items():
        asked = [replace(request, thinking=thinking) for request in requests]
        assert texts == [one.text for one in local.generate(asked, SHORT)]
    assert found[None] == found[True] != found[False]


def asked(prefix: str = "") -> Request:
    content = [{"type": "image", "text": None}, {"type": "text", "text": "Where?"}]
    return Request("s", [{"role": "user", "content": content}], [Image.new("RGB", (50, 30))], prefix)


@pytest.mark.parametrize(
    ("message", "finish", "text", "opened_by"),
    [
        ({"content": f"hm</think>\n{ANSWER}"}, "stop", f"<think>hm</think>\n{ANSWER}", "template"),
        ({"content": f"</think><think>hm</think>{ANSWER}"}, "stop", f"</think><think>hm</think>{ANSWER}", "model"),
        ({"content": f"<think>hm</think>{ANSWER}"}, "stop", f"<think>hm</think>{ANSWER}", "model"),
        ({"content": ANSWER, "reasoning_content": "hm"}, "stop", f"<think>hm</think>{ANSWER}", "server"),
        ({"content": ANSWER, "reasoning": "hm"}, "stop", f"<think>hm</think>{ANSWER}", "server"),
        ({"content": None, "reasoning": "hm"}, "length", "<think>hm", "server"),
        # A reasoning parser takes everything for thinking if the model did not think.
        ({"content": None, "reasoning_content": f"x {ANSWER}"}, "stop", f"<think>x {ANSWER}", "server"),
        ({"content": ANSWER}, "stop", ANSWER, "model"),
    ],
)
def test_what_servers_do_with_the_thinking(
    api: FaultyApi, message: dict[str, Any], finish: str, text: str, opened_by: str
) -> None:
    api.message, api.finish = message, finish
    remote = EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=Limits(max_wait=0.1))
    (said,) = remote.generate([asked()], SHORT)
    assert (said.text, said.opened_by, said.finish) == (text, opened_by, finish)
    reading = read(said.text, [(50, 30)], FAMILIES["qwen3-vl"])
    assert (reading.failure is None) == ("<answer>" in text)
    assert reading.thinking == ("" if text == ANSWER else "x" if "x <" in text else "hm")


def test_a_continued_thinking_ends_without_having_begun(api: FaultyApi) -> None:
    api.reply = lambda body: f"and so</think>{ANSWER}"
    remote = EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"])
    assert remote.generate([asked("<think>First")], SHORT)[0].text == f"and so</think>{ANSWER}"


@pytest.mark.parametrize("thinking", [None, True, False])
def test_the_switch_is_sent_and_is_part_of_the_evaluation(api: FaultyApi, data: Path, thinking: bool | None) -> None:
    api.reply, api.keep_bodies = (lambda body: ANSWER), True
    remote = EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], thinking=thinking)
    remote.generate([asked()], SHORT)
    sent = {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
    assert {k: v for k, v in api.bodies[0].items() if k == "chat_template_kwargs"} == sent
    settings = run_settings(remote, DatasetFolder.open(data), SHORT, "full", RewardConfig())
    assert settings.get("thinking", "not there") == ("not there" if thinking is None else thinking)


TEXTS: list[tuple[str, OpenedBy]] = [
    ("<think>hm</think>\n\nImage-1: (100,100),(500,500)", "template"),
    ('<think>hm</think>\n```json\n[{"image": 1, "bbox_2d": [10, 22, 38, 40]}]\n```', "model"),
    ("<think>and so on", "server"),
    (f"<think>hm</think>{ANSWER}", "server"),
    (f"{EMPTY}{ANSWER}", "template"),
    ("none", "model"),
    ("I cannot say.", "model"),
]


def test_the_summary_counts_what_was_read_without_tags_or_never_ended(data: Path, tmp_path: Path) -> None:
    folder = DatasetFolder.open(data)
    said = {sample.id: TEXTS[k % len(TEXTS)] for k, sample in enumerate(folder.read())}

    class Said:
        name, fingerprint, family, limits = "said", "said-1", FAMILIES["qwen3-vl"], None

        def generate(self, requests: list[Request], settings: Generation) -> list[Completion]:
            return [Completion(said[r.sample_id][0], 5, "stop", 9, said[r.sample_id][1]) for r in requests]

    picked = list(said.values())
    assert set(picked) == set(TEXTS)
    found = evaluate(Said(), folder, tmp_path / "e")["thinking"]
    assert found == {
        "unfinished": sum(text == "<think>and so on" for text, _ in picked),
        "untagged": sum("<answer>" not in t and t not in ("I cannot say.", "<think>and so on") for t, _ in picked),
        "opened_by_template": sum(by == "template" for _, by in picked),
        "parsed_by_server": sum(by == "server" for _, by in picked),
    }
    rows = [json.loads(line) for line in (tmp_path / "e" / "records.jsonl").read_text().splitlines()]
    assert {(row["completion"], row["opened_by"]) for row in rows} == set(TEXTS)
