"""An engine over HTTP against servers on real sockets: order, faults, what is asked once, and what is sent."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes import faulty_api
from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi, Settings
from fakes.serving import serving
from mirg.engines.base import Completion, Generation, Request, Sampler, several
from mirg.engines.endpoint import Fault, Stream, read_body
from mirg.engines.limits import Limits
from mirg.engines.load import Remote, load_engine
from mirg.engines.remote import EndpointEngine, served_facts
from mirg.errors import ConfigError, EndpointError, EngineError
from mirg.families import FAMILIES, PixelLimits
from mirg.frames import input_size

GREEDY = Generation(max_new_tokens=20)


def request(k: int, *sizes: tuple[int, int], prefix: str = "") -> Request:
    images = [Image.new("RGB", size, (k, 20 * n, 7)) for n, size in enumerate(sizes)]
    parts: list[dict[str, Any]] = []
    for n in range(len(images)):
        parts += [{"type": "text", "text": f"Image-{n + 1}: "}, {"type": "image", "text": None}]
    parts.append({"type": "text", "text": f"case-{k}"})
    return Request(f"s{k}", [{"role": "user", "content": parts}], images, prefix)


def engine(api: FaultyApi, **more: Any) -> EndpointEngine:
    limits = Limits(**({"concurrency": 8, "max_wait": 2.0, "timeout": 5.0} | more.pop("requests", {})))
    return EndpointEngine(api.url, "m", FAMILIES["qwen2.5-vl"], requests=limits, **more)


def pictures(body: dict[str, Any]) -> list[Image.Image]:
    uris = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris]


def test_completions_are_in_the_order_of_the_requests_whatever_the_server_does(api: FaultyApi) -> None:
    faults = tuple(fault for fault in faulty_api.FAULTS if fault not in ("drip", "429 date"))  # these take seconds
    replies = {str(k): f"answer {k}" for k in range(30)}
    api.settings = Settings(share=0.4, faults=faults, replies=replies, output_tokens=5, input_tokens=70, latency=0.02)
    said = engine(api, requests={"tries": 20, "max_wait": 0.1}).generate(
        [request(k, (30, 20)) for k in range(30)], GREEDY
    )
    assert said == [Completion(f"answer {k}", 5, "stop", 70) for k in range(30)]
    assert 1 < api.counts.most_in_flight <= 8 and sum(api.counts.faults.values()) > 5
    assert set(api.counts.answered.values()) == {1}


def test_what_is_sent(api: FaultyApi) -> None:
    """The text around the images, each image in its place, and no more pixels than the processor keeps."""
    api.settings, api.keep_bodies = Settings(default="x"), True
    limits = PixelLimits(56 * 56, 200 * 200)
    sampled = Generation(max_new_tokens=9, temperature=0.5, seed=7)
    remote = engine(api, limits=limits, key="secret-key")
    remote.generate([request(3, (300, 500), (40, 30), prefix="<think>First")], sampled)
    (body,) = api.bodies
    parts = body["messages"][0]["content"]
    texts = [part.get("text") for part in parts]
    assert texts == ["Image-1: ", None, "Image-2: ", None, "case-3"]
    large, small = pictures(body)
    assert large.size == input_size((300, 500), FAMILIES["qwen2.5-vl"], limits) != (300, 500)
    assert small.size == (40, 30), "an image within the budget is sent unchanged"
    assert (large.getpixel((5, 5)), small.getpixel((5, 5))) == ((3, 0, 7), (3, 20, 7))
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 9, 0.5)
    assert body["messages"][1] == {"role": "assistant", "content": "<think>First"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert set(api.counts.authorization) == {"Bearer secret-key"}


def test_every_draw_of_every_request_has_its_own_seed(api: FaultyApi) -> None:
    """A pure function of the seed, the request and the draw: other requests beside it change nothing."""
    api.reply = lambda body: f"{body['seed']}"
    remote = engine(api)
    assert isinstance(remote, Sampler)
    asked, hot = [request(0, (9, 9)), request(1, (9, 9)), request(1, (9, 8))], Generation(temperature=1.0, seed=5)
    seeds = [[completion.text for completion in group] for group in several(remote, asked, hot, 3)]
    assert len({seed for group in seeds for seed in group}) == 9
    assert all(0 <= int(seed) < 2**31 for group in seeds for seed in group)
    again = engine(api)
    assert [[c.text for c in group] for group in several(again, asked[::-1], hot, 3)] == seeds[::-1]
    assert [c.text for c in again.generate(asked, hot)] == [group[0] for group in seeds]
    assert again.generate(asked[:1], Generation(temperature=1.0, seed=6))[0].text not in seeds[0]


BAD_VALUES: list[dict[str, Any]] = [
    {"text": None}, {"text": 5}, {"tokens": "5"}, {"tokens": 5.5}, {"tokens": True}, {"finish": "abort"},
    {"finish": None}, {"prompt_tokens": [1]}, {"opened_by": "me"}, {"request": 7}, {"request": None},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_VALUES, ids=str)
def test_a_stored_reply_with_wrong_values_is_asked_again(api: FaultyApi, tmp_path: Path, bad: dict[str, Any]) -> None:
    api.settings = Settings(default="yes", output_tokens=5, input_tokens=70)
    file, asked = tmp_path / "replies.jsonl", [request(k, (9, 9)) for k in range(2)]
    first = engine(api, requests={"concurrency": 1})
    with first.remembering(file):
        said = first.generate(asked, GREEDY)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in (lines[0] | bad, lines[1], "text", [1], 5)))
    before, again = api.counts.requests, engine(api)
    with again.remembering(file):
        assert again.generate(asked, GREEDY) == said
    assert api.counts.requests == before + 1
    old = {name: value for name, value in lines[0].items() if name != "opened_by"}  # as earlier releases wrote it
    file.write_text(f"{json.dumps(old)}\n")
    with (third := engine(api)).remembering(file):
        assert third.generate(asked[:1], GREEDY) == said[:1] and api.counts.requests == before + 1


def test_what_was_answered_is_not_asked_again(api: FaultyApi, tmp_path: Path) -> None:
    """The run is cut off in the middle, its journal loses half a line, and the rest is asked once."""
    api.settings = Settings(default="yes")
    file = tmp_path / "replies.jsonl"
    requests = [request(k, (9, 9)) for k in range(30)]
    first = engine(api, requests={"concurrency": 1})
    with first.remembering(file):
        running = first.stream(requests, GREEDY)
        assert [next(running).text for _ in range(4)] == ["yes"] * 4  # type: ignore[union-attr]
        running.close()
    known = len(file.read_text().splitlines())
    assert 4 <= known < 30
    file.write_bytes(file.read_bytes()[:-9])
    again = engine(api)
    with again.remembering(file):
        assert len(again.generate(requests, GREEDY)) == 30
    assert sum(api.counts.answered.values()) <= 30 + 1 + 1, "the damaged line, and at most one pending"
    before = api.counts.requests
    third = engine(api)
    with third.remembering(file):
        third.generate(requests, GREEDY)
        other = third.generate(requests[:1], Generation(max_new_tokens=21))
    assert api.counts.requests == before + 1 and other[0].text == "yes", "other settings are another request"


def test_a_refused_request_does_not_end_the_others(api: FaultyApi) -> None:
    """The server answers 400 while the second of four requests is sent."""
    api.settings = Settings(default="fine", message="too many images")

    def one_after_another() -> Iterator[Request]:
        for k in range(4):
            while sum(api.counts.seen.values()) < k:
                time.sleep(0.01)
            api.settings.always = "400" if k == 1 else None
            yield request(k, (9, 9))

    found = list(engine(api, requests={"concurrency": 1}).stream(one_after_another(), GREEDY))
    assert [type(one) for one in found] == [Completion, EngineError, Completion, Completion]
    assert "s1" in str(found[1]) and "too many images" in str(found[1]) and "accepts 1 images" in str(found[1])
    api.settings.always = "400"
    with pytest.raises(EngineError, match="too many images"):
        engine(api).generate([request(9, (8, 8))], GREEDY)


@pytest.mark.parametrize(
    ("always", "says"),
    [("401", "--key-env"), ("404", "has a model 'm'"), ("403", "may use the model"), ("HTML", "ends with /v1"),
     ("503", "the same command continues")],
)  # fmt: skip
def test_an_endpoint_that_answers_nobody_ends_the_run(api: FaultyApi, always: str, says: str) -> None:
    api.settings.always = always
    with pytest.raises(EndpointError) as caught:
        engine(api, requests={"tries": 2, "max_wait": 0.1}).generate([request(k, (9, 9)) for k in range(20)], GREEDY)
    assert says in str(caught.value.hint) and api.url in caught.value.message


@pytest.mark.parametrize("url", ["http://user:hunter2@host/v1", "http://host/v1?token=hunter2"])
def test_a_secret_in_the_address_is_in_no_message(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigError, match="contains a user, a password or a query") as caught:
        load_engine("m", family="qwen3-vl", remote=Remote(url, "NOT_SET"))
    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_nobody_listens() -> None:
    remote = EndpointEngine("http://127.0.0.1:9/v1", "m", FAMILIES["qwen3-vl"], requests=Limits(max_wait=0.1))
    with pytest.raises(EndpointError, match="does not answer: no connection"):
        remote.generate([request(0, (9, 9))], GREEDY)


def test_the_endpoint_of_mirg_serve_gives_what_its_engine_gives() -> None:
    rng = random.Random(3)

    def script(asked: Request, settings: Generation) -> str:
        colours = [image.getpixel((0, 0)) for image in asked.images]
        return json.dumps([colours, [image.size for image in asked.images], settings.max_new_tokens])

    local = ScriptedEngine(script)
    requests = [request(k, *((rng.randint(40, 90), rng.randint(40, 90)) for _ in range(1 + k % 3))) for k in range(12)]
    with serving(local, name="local") as url:
        remote = EndpointEngine(f"{url}/v1", "local", local.family)
        found = remote.generate(requests, GREEDY)
    assert [one.text for one in found] == [one.text for one in local.generate(requests, GREEDY)]


def test_a_key_is_not_sent_on_to_where_a_server_redirects() -> None:
    seen: list[tuple[str, str | None]] = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(302 if self.path == "/v1/models" else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert served_facts(f"http://127.0.0.1:{server.server_port}/v1", "m", "secret") == {}
        server.shutdown()
    assert seen == [("/v1/models", "Bearer secret"), ("/elsewhere", None)]


class Stopped(Exception):
    """What a watch raises."""


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"content": "<think>é ☃ so</think><answer>none</answer>"},
            "<think>é ☃ so</think><answer>none</answer>",
        ),
        ({"content": "<answer>none</answer>", "reasoning_content": "well"}, "<think>well</think><answer>none</answer>"),
        ({"content": "so</think><answer>none</answer>"}, "<think>so</think><answer>none</answer>"),
    ],
    ids=["text", "reasoning in its field", "opened by the template"],
)
@pytest.mark.parametrize("streams", [True, False], ids=["streams", "does not stream"])
def test_a_watched_completion_is_that_of_generate(
    api: FaultyApi, message: dict[str, Any], expected: str, streams: bool
) -> None:
    api.message, api.streams, api.pause = message, streams, 0.03
    seen: list[str] = []
    watched = engine(api).complete_watched(request(1, (30, 20)), GREEDY, seen.append)
    (whole,) = engine(api).generate([request(1, (30, 20))], GREEDY)
    assert watched == whole
    assert watched.text == expected
    grown = sorted(set(seen) - {""}, key=len)
    assert all(expected.startswith(text) or text in expected for text in grown)
    assert bool(grown) == streams


def test_a_watch_ends_the_request_at_any_time(api: FaultyApi) -> None:
    """Also while the endpoint has not sent anything."""
    api.settings = Settings(latency=30)

    def stop(text: str) -> None:
        raise Stopped

    begun = time.monotonic()
    with pytest.raises(Stopped):
        engine(api, requests={"timeout": 60}).complete_watched(request(1, (30, 20)), GREEDY, stop)
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("fault", "words"), [("404", "refuses"), ("HTML", "does not answer"), ("cut", "the stream broke")]
)
def test_the_faults_of_a_stream_are_those_of_a_reply(api: FaultyApi, fault: str, words: str) -> None:
    if fault == "cut":
        api.cut_after = 2
    else:
        api.settings = Settings(always=fault)
    with pytest.raises((EndpointError, EngineError), match=words):
        engine(api, requests={"tries": 1}).complete_watched(request(1, (30, 20)), GREEDY, lambda text: None)


def test_an_error_inside_a_stream_is_a_fault() -> None:
    stream = Stream()
    assert not stream.add('data: {"error": {"message": "no memory", "code": 503}}')
    found = read_body(stream.body())
    assert isinstance(found, Fault)
    assert (found.status, found.message) == (503, "HTTP 503: no memory")
    broken = Stream()
    broken.add("data: {half")
    assert isinstance(read_body(broken.body()), Fault)
