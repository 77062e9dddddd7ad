"""Promise 29: the requests that are refused, the status of each, and that the server continues."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import random
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.hostile_images import exif_jpeg, gif_with, huge_header_png
from fakes.serving import data_uri, serving
from mirg.engines.base import Completion, Generation, Request
from mirg.errors import EngineError
from mirg.serve.limits import Refused, ServeLimits
from mirg.serve.server import create_app
from mirg.serve.worker import Job, Worker

URI = data_uri(Image.new("RGB", (32, 24), "red"))
SMALL = ServeLimits(
    body_bytes=100_000, values=2000, text=2000, images=3, image_pixels=40_000, pixels=70_000, prompt_tokens=600,
    new_tokens=64, choices=4, messages=6, queue=2, read_seconds=0.5, answer_seconds=1.0,
)  # fmt: skip


def body(*parts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A request about one image, with ``parts`` in the place of its content and ``changes`` to its keys."""
    content = list(parts) or [image(), {"type": "text", "text": "Where?"}]
    asked = {"model": "scripted", "messages": [{"role": "user", "content": content}], "temperature": 0}
    return {key: value for key, value in (asked | changes).items() if value is not ...}


def image(url: str = URI) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def deflated(width: int, height: int) -> str:
    """A PNG of one colour: many pixels in few bytes."""
    raw = zlib.compress(b"".join(b"\0" + b"\0" * width for _ in range(height)), 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", raw), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def raw_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


class Model(ScriptedEngine):
    """An engine that waits for ``gate``, and fails or refuses where a prompt says so."""

    def __init__(self) -> None:
        super().__init__(lambda request, settings: "yes")
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self.heard: list[str] = []

    def generate(self, requests: Any, settings: Generation) -> list[Completion]:
        self.begun += 1
        words = str([request.messages for request in requests])
        self.heard.append(words)
        assert self.gate.wait(60)
        if "REFUSE" in words:
            raise EngineError("the processor refused it")
        if "FAIL" in words:
            raise RuntimeError("out of memory: secret")
        return super().generate(requests, settings)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def address(model: Model) -> Iterator[str]:
    with serving(model, limits=SMALL) as found:
        yield found


def post(address: str, asked: Any, **headers: str) -> httpx.Response:
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    told = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return httpx.post(f"{address}/v1/chat/completions", content=content, headers=told, timeout=30)


def test_a_plain_request_is_answered(address: str) -> None:
    """So that what follows is refused for the reason given and no other."""
    vllm = {
        "top_k": -1,
        "min_p": 0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0,
        "length_penalty": 1,
        "best_of": 1,
    }
    vllm |= {"skip_special_tokens": True, "ignore_eos": False, "use_beam_search": False, "chat_template_kwargs": {}}
    head, data = URI.split(",")
    lines = "\r\n".join(data[k : k + 76] for k in range(0, len(data), 76))
    for asked in (
        body(),
        body(n=4, max_tokens=64, seed=2**40, user="me", top_p=1, stop=[], tools=[], stream=False),
        body(**vllm),
        body(top_k=0, top_p=1.0, min_p=None, stop_token_ids=[]),
        body(image(f"{head},\n{lines}\n")),
    ):
        found = post(address, asked)
        assert found.status_code == 200 and found.json()["choices"][0]["message"]["content"] == "yes", found.text


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[]", 400, "not a JSON object"),
        (b'{"model": NaN}', 400, "not a JSON number"),
        (b"[" * 1500 + b"]" * 1500, 400, "nested too deeply|not a JSON object"),
        (b"[" * 90_000, 400, "more than 2,000 quotes"),
        (b'{"n": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (b"x" * 100_001, 413, "larger than 100,000 bytes"),
        ({}, 400, "model"),
        (body(model=7), 400, "model"),
        (body(model="other"), 404, "there is no model 'other'; this server has 'scripted'"),
        (body(messages=...), 400, "messages"),
        (body(messages=[]), 400, "messages"),
        (body(messages="hello"), 400, "messages"),
        (body(messages=[{"role": "user"}]), 400, "content"),
        (body(messages=[{"role": "robot", "content": "x"}]), 400, "role"),
        (body(messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]), 400, "role|tool"),
        (body(messages=[{"role": "assistant", "content": "x"}]), 400, "no message of the user"),
        (body(messages=[{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]), 400, "first one"),
        (body(messages=[{"role": "system", "content": [image()]}]), 400, "image in a message of the system"),
        (body(messages=[{"role": "user", "content": "x"}] * 7), 400, "7 messages, 6 are allowed"),
        (body({"type": "video_url", "video_url": {"url": "x"}}), 400, "type|video_url"),
        (body({"type": "input_audio"}), 400, "input_audio"),
        (body({"type": "image_url", "image_url": URI}), 400, "image_url"),
        (body(image("https://example.org/a.png")), 400, "addresses are not fetched"),
        (body(image("file:///etc/passwd")), 400, "addresses are not fetched"),
        (body(image("data:text/html;base64,AAAA")), 400, "addresses are not fetched"),
        (body(image("data:image/png,AAAA")), 400, "addresses are not fetched"),
        (body(image("data:image/png;base64,A*A")), 400, "not base64"),
        (body(image("data:image/png;base64,é")), 400, "not base64"),
        (body(image("data:image/png;base64,")), 400, "is empty"),
        (body(image(raw_uri(b"<svg/>"))), 400, "not an image in a known format"),
        (body(image(raw_uri(base64.b64decode(URI.split(",")[1])[:60]))), 400, "is damaged"),
        (body(image(raw_uri(huge_header_png()))), 400, "is too large"),
        (body(image(raw_uri(gif_with(b"x", 10_000)))), 400, "metadata has more than 2,000 pieces"),
        (body(image(raw_uri(exif_jpeg(1_900, 20_000)))), 400, "the values of its tags have"),
        (body(image(deflated(300, 200))), 400, "is too large"),
        (body(*[image(deflated(180, 180))] * 3), 400, "more than 70,000 pixels together"),
        (body(*[image()] * 4), 400, "more than 3 images"),
        (body(image(data_uri(Image.new("L", (1600, 2))))), 400, "too long"),
        (body(text("x" * 2001)), 400, "2,000 characters"),
        (body(text("a b c d e f " * 160)), 400, "tokens, 600 are allowed"),
        (body(text("\ud800")), 400, "surrogate"),
        (body(text("<|image_pad|>")), 400, "holds '<|image_pad|>'"),
        (body(messages=[{"role": "user", "content": "<|vision_start|>"}]), 400, "holds"),
        (body(temperature=-1), 400, "temperature"),
        (body(temperature=3), 400, "temperature"),
        (body(temperature="hot"), 400, "temperature"),
        (body(max_tokens=0), 400, "max_tokens"),
        (body(max_tokens=65), 400, "max_tokens is 65, 64 is allowed"),
        (body(max_completion_tokens=10**30), 400, "max_completion_tokens is 1000"),
        (body(max_tokens=1.5), 400, "max_tokens"),
        (body(seed=2**70), 400, "seed"),
        (body(n=5), 400, "n is 5, 4 is allowed"),
        (body(n=True), 400, "n: "),
        (body(stream="yes"), 400, "stream"),
        (body(top_p=0.9), 400, "top_p is not supported"),
        (body(stop=["x"]), 400, "stop is not supported"),
        (body(logprobs=True), 400, "logprobs is not supported"),
        (body(response_format={"type": "json_object"}), 400, "response_format is not supported"),
        (body(tools=[{"type": "function"}]), 400, "tools is not supported"),
        (body(best_of=3), 400, "best_of"),
        (body(top_k=20), 400, "top_k is not supported"),
        (body(top_k=True), 400, "top_k is not supported"),
        (body(ignore_eos=0), 400, "ignore_eos is not supported"),
        (body(min_p=0.1), 400, "min_p is not supported"),
        (body(repetition_penalty=1.1), 400, "repetition_penalty is not supported"),
        (body(chat_template_kwargs={"enable_thinking": 1}), 400, "chat_template_kwargs.enable_thinking"),
        (body(chat_template_kwargs={"add_vision_id": True}), 400, "chat_template_kwargs.add_vision_id"),
        (body(continue_final_message=True), 400, "no last message of the assistant"),
        (body(add_generation_prompt=False), 400, "either a new message"),
        (body(text("REFUSE")), 400, "the prompt cannot be used: the processor refused it"),
        (body(text("FAIL")), 500, "the model failed .RuntimeError.$"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(address: str, asked: Any, status: int, words: str) -> None:
    found = post(address, asked)
    assert found.status_code == status, found.text
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert re.search(words, error["message"]), error
    assert len(found.content) < 2000, "what was sent is not sent back"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/plain"}, 415),  # what a form of a web page can send without asking
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": ""}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"host": "evil.example"}, 400),  # a name that was bent to this machine
        ({"host": "127.0.0.1.evil.example:80"}, 400),
        ({"host": "localhost"}, 200),
        ({"host": "LOCALHOST:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "127.0.0.1:x"}, 400),
        ({"origin": "https://evil.example"}, 403),  # a page in a browser on this machine
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://localhost:3000"}, 200),
    ],
)
def test_who_may_ask(address: str, headers: dict[str, str], status: int) -> None:
    assert post(address, body(), **headers).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/chat/completions", 405),  # a web page's question whether it may: never
    ],
)
def test_paths(address: str, method: str, path: str, status: int) -> None:
    found = httpx.request(method, address + path)
    assert found.status_code == status
    assert "access-control-allow-origin" not in found.headers and "server" not in found.headers
    if status >= 400:
        assert found.json()["error"]["message"]


def test_the_client_of_openai_understands(address: str) -> None:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    messages: Any = [{"role": "user", "content": "FAIL"}]
    with pytest.raises(openai.InternalServerError, match="the model failed") as caught:
        client.chat.completions.create(model="scripted", messages=messages)
    assert "secret" not in str(caught.value)
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="other", messages=messages)
    assert missing.value.code == "model_not_found" and missing.value.param == "model"


def test_a_full_queue_says_when_to_come_again(model: Model) -> None:
    """One is being answered, two wait, the rest is refused at once; when the model continues, so do those that wait."""
    with serving(model, limits=SMALL.model_copy(update={"answer_seconds": 60.0})) as address:
        model.gate.clear()
        with ThreadPoolExecutor(3) as pool:
            before = model.begun
            kept = [pool.submit(post, address, body(temperature=1))]
            wait_for(lambda: model.begun > before)
            kept += [pool.submit(post, address, body(temperature=1)) for _ in range(2)]
            wait_for(lambda: httpx.get(f"{address}/health").json()["waiting"] == 2)
            try:
                full = post(address, body())
            finally:
                model.gate.set()
            assert full.status_code == 429 and int(full.headers["retry-after"]) > 0
            assert full.json()["error"]["code"] == "server_busy"
            assert [found.result().status_code for found in kept] == [200] * 3


def test_images_that_wait_have_a_limit_together() -> None:
    """What is taken out of the queue makes room, with all that is answered together; other lengths wait."""

    def job(width: int, height: int, new_tokens: int = 8) -> Job:
        return Job(Request("x", [], [Image.new("RGB", (width, height))]), new_tokens, 0.0, 0)

    limits = SMALL.model_copy(update={"queue": 8, "queue_pixels": 1000})
    worker = Worker(ScriptedEngine(lambda request, settings: "yes"), limits)
    first, longer, third = job(30, 20), job(5, 4, new_tokens=9), job(10, 20)
    for one in (first, longer, third):
        worker.submit(one)
    with pytest.raises(Refused, match="3 requests are waiting"):
        worker.submit(job(9, 21))
    assert worker._take() == [first, third] and worker.waiting == 1
    worker.submit(job(49, 20))


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 45
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_that_takes_too_long_is_given_up(address: str, model: Model) -> None:
    """Also one that still waits; it is not computed later."""
    model.gate.clear()
    try:
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(post, address, body(text("TOO LATE"), temperature=1)) for _ in range(2)]
            assert [one.result().status_code for one in found] == [504, 504]
    finally:
        model.gate.set()
    wait_for(lambda: post(address, body()).status_code == 200)
    assert sum("TOO LATE" in words for words in model.heard) == 1, "the one that waited was dropped"


def test_a_request_for_which_nobody_waits_is_dropped(model: Model) -> None:
    with serving(model, limits=SMALL.model_copy(update={"answer_seconds": 20.0})) as address:
        model.gate.clear()
        try:
            for _ in range(2):
                with pytest.raises(httpx.ReadTimeout):
                    content = json.dumps(body(text("NOBODY WAITS"), temperature=1))
                    httpx.post(
                        f"{address}/v1/chat/completions", content=content, timeout=0.3,
                        headers={"content-type": "application/json"},
                    )  # fmt: skip
            wait_for(lambda: httpx.get(f"{address}/health").json()["waiting"] >= 1)
            time.sleep(1.2)  # two looks
        finally:
            model.gate.set()
        assert post(address, body()).status_code == 200
        assert sum("NOBODY WAITS" in words for words in model.heard) == 1


@pytest.mark.parametrize(("opens", "computed"), [(0.3, 200), (2.5, 503)], ids=["in time", "too late"])
def test_a_server_that_stops_tells_everybody(
    opens: float, computed: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is refused at once, what is being computed has some seconds, and no traceback is left behind."""
    monkeypatch.setattr("mirg.serve.server._GOODBYE_SECONDS", 1)
    model = Model()
    with ThreadPoolExecutor(2) as clients:
        with serving(model, limits=SMALL.model_copy(update={"answer_seconds": 30.0})) as address:
            model.gate.clear()
            first = clients.submit(post, address, body(temperature=1))
            wait_for(lambda: model.begun == 1)
            second = clients.submit(post, address, body(temperature=1))
            wait_for(lambda: httpx.get(f"{address}/health").json()["waiting"] == 1)
            threading.Timer(opens, model.gate.set).start()
        assert (first.result().status_code, second.result().status_code) == (computed, 503)
        assert second.result().json()["error"]["code"] == "server_stopping"
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio" or record.exc_info]


def talk(address: str, *parts: bytes, pause: float = 0.0, close: bool = False) -> bytes:
    """Send ``parts`` with a pause after each, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=15) as made:
        for part in parts:
            try:
                made.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        if close:
            made.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while piece := made.recv(65536):
                received += piece
        except ConnectionResetError:
            return received
    return received


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("parts", "pause", "status"),
    [
        ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), 0, (400, None)),  # TLS
        ((b"GET /health\r\n\r\n",), 0, (400,)),
        ((b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",), 0, (400,)),  # no host
        ((b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,), 0, (400, 431, None)),  # endless headers
        ((HEAD + b"Content-Length: -1\r\n\r\n",), 0, (400,)),
        ((HEAD + b"Content-Length: 99999999999999\r\n\r\n",), 0, (413,)),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",), 0, (400,)),
        ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"4000\r\n" + b"x" * 0x4000 + b"\r\n"] * 8), 0, (413,)),
        ((HEAD + b"Content-Length: 50\r\n\r\n", b"{"), 0, (408,)),  # the rest never comes
        ((HEAD + b"Content-Length: 50\r\n\r\n", *[b" "] * 10), 0.1, (408,)),  # it drips
        ((b"POST /v1",), 0, (None,)),  # nor do the headers
        ((b"G", b"E", b"T", b" ", b"/", b"h", b"e", b"a"), 0.1, (None,)),
    ],
)
def test_what_is_no_http_or_never_ends(
    address: str, parts: tuple[bytes, ...], pause: float, status: tuple[int | None, ...]
) -> None:
    """Every connection ends by itself, with a status of 4xx or without a word."""
    start = time.monotonic()
    received = talk(address, *parts, pause=pause)
    assert (int(received.split(b" ")[1]) if received else None) in status, received[:200]
    assert time.monotonic() - start < 10
    assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", HEAD + b"Content-Length: 50\r\n\r\n{"],
    ids=["nothing", "half a header", "a request, and then nothing", "half a body"],
)
def test_connections_that_are_only_held_open_do_not_keep_others_out(model: Model, sent: bytes) -> None:
    limits = SMALL.model_copy(update={"connections": 8, "read_seconds": 60.0, "answer_seconds": 60.0})
    with serving(model, limits=limits) as address, contextlib.ExitStack() as stack:
        model.gate.clear()
        with ThreadPoolExecutor(1) as pool:
            before = model.begun
            first = pool.submit(post, address, body())
            wait_for(lambda: model.begun > before)
            for _ in range(30):
                made = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=15)
                stack.enter_context(made)
                made.sendall(sent)
            model.gate.set()
            assert post(address, body()).status_code == 200
            assert first.result().status_code == 200, "the connection of a request in work is never closed"


def test_a_client_that_never_reads_is_let_go(model: Model) -> None:
    ask = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(model, limits=SMALL) as address:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=15) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with pytest.raises(ConnectionError):
                while True:
                    made.sendall(ask * 1000)
        assert httpx.get(f"{address}/health").status_code == 200


def malformed(draw: random.Random) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A request that no server should answer: a good one with something broken, or noise."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    kind = draw.randrange(8)
    asked = body()
    if kind == 0:
        return draw.randbytes(draw.randrange(400)), headers
    if kind == 1:
        whole = json.dumps(asked).encode()
        return whole[: draw.randrange(len(whole))], headers
    if kind == 2:
        odd = (b"text/plain", b"", b"application/jsonx", b"multipart/form-data", draw.randbytes(9))
        return json.dumps(asked).encode(), [headers[0], (b"content-type", draw.choice(odd))]
    if kind == 3:
        bad = (b"evil.example", b"", b"127.0.0.1:80:80", b"[::2]", draw.randbytes(6) + b"\xff")
        return json.dumps(asked).encode(), [(b"host", draw.choice(bad)), headers[1]]
    if kind == 4:
        values: list[Any] = [None, -1, 10**40, "x", [], [{}], {"a": [1]}, True, "\ud800", [[[[]]]], -0.5, {}]
        key = draw.choice(["messages", "model", "max_tokens", "temperature", "n", "stream", "seed", "stop", "new"])
        value = draw.choice(values)
        good = {"messages": 0, "model": 0}.get(key, 1)
        if good and (value is None or (key, value) in [("stream", True), ("stop", []), ("seed", -1)] or value == []):
            value = {"never": "right"}
        if key == "seed" and value == -1:
            value = "x"
        return json.dumps(asked | {key: value}).encode(), headers
    if kind == 5:
        data = bytearray(base64.b64decode(URI.split(",")[1]))
        return json.dumps(body(image(raw_uri(bytes(data[: draw.randrange(60)]))))).encode(), headers
    if kind == 6:
        depth = draw.randrange(1, 1500)
        return b'{"a":' * depth + b"1" + b"}" * depth, headers
    parts: Any = [draw.choice([None, 3, {}, {"type": "text"}, {"type": "image_url"}, {"type": draw.random()}])]
    return json.dumps(body() | {"messages": [{"role": "user", "content": parts}]}).encode(), headers


async def knock(app: Any, asked: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """The status that the application gives, without a socket between."""
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions", "query_string": b"", "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    parts = [{"type": "http.request", "body": asked, "more_body": False}]
    status: list[int] = []

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    await app(scope, receive, send)
    assert len(status) == 1
    return status[0]


def knocks(app: Callable[..., Awaitable[None]], seed: int, count: int) -> dict[int, int]:
    """How often each status was given to ``count`` malformed requests."""
    draw = random.Random(seed)

    async def all_of_them() -> dict[int, int]:
        seen: dict[int, int] = {}
        for _ in range(count):
            asked, headers = malformed(draw)
            status = await knock(app, asked, headers)
            assert 400 <= status < 500, (status, asked[:300], headers)
            seen[status] = seen.get(status, 0) + 1
        return seen

    return asyncio.run(all_of_them())


def test_ten_thousand_malformed_requests_give_only_4xx() -> None:
    """Promise 29, through guards, parser and decoder; none reaches the model."""
    engine = ScriptedEngine(lambda request, settings: "yes")
    seen = knocks(create_app(engine, limits=SMALL), seed=7, count=10_000)
    assert sum(seen.values()) == 10_000 and {400, 415} <= seen.keys() and not engine.asked


@pytest.mark.slow
def test_ten_thousand_malformed_requests_over_sockets() -> None:
    engine = ScriptedEngine(lambda request, settings: "yes")
    draw = random.Random(8)
    with serving(engine, limits=SMALL) as address, httpx.Client(timeout=30) as client:
        for _ in range(10_000):
            asked, headers = malformed(draw)
            try:
                found = client.post(f"{address}/v1/chat/completions", content=asked, headers=headers)
            except httpx.LocalProtocolError:  # the client itself refuses such a header
                continue
            assert 400 <= found.status_code < 500, (found.status_code, asked[:300])
        assert client.get(f"{address}/health").json()["status"] == "ok"
    assert not engine.asked


def test_one_refused_prompt_does_not_spoil_its_neighbours(model: Model) -> None:
    """Requests that wait together are answered together; if that fails, one by one."""
    with serving(model, limits=SMALL.model_copy(update={"queue": 8, "answer_seconds": 60.0})) as address:
        model.gate.clear()
        with ThreadPoolExecutor(4) as pool:
            before = model.begun
            found = [pool.submit(post, address, body(text("a")))]
            wait_for(lambda: model.begun > before)  # the first one is with the model, the others wait together
            found += [pool.submit(post, address, body(text(words))) for words in ("b", "REFUSE", "c")]
            wait_for(lambda: httpx.get(f"{address}/health").json()["waiting"] == 3)
            model.gate.set()
            assert sorted(one.result().status_code for one in found) == [200, 200, 200, 400]


def test_bodies_at_the_same_time_have_a_limit_together() -> None:
    engine = ScriptedEngine(lambda request, settings: "yes")
    limits = SMALL.model_copy(update={"held_bytes": 60_000, "read_seconds": 20.0})
    with serving(engine, limits=limits) as address:
        half = json.dumps(body(text("x"), user="u" * 45_000)).encode()
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=15) as slow:
            slow.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(half) + half[:-5])
            time.sleep(0.3)
            full = post(address, half)
            assert full.status_code == 429 and full.headers["retry-after"]
            slow.sendall(half[-5:])
            assert b"200 OK" in slow.recv(65536)
        assert post(address, half).status_code == 200, "what was held is let go"


def test_the_model_sees_plain_images(model: Model) -> None:
    """Decoded, upright and RGB, in their order, whatever they came as."""
    seen: list[Request] = []

    def looking(request: Request, settings: Generation) -> str:
        seen.append(request)
        return "yes"

    pictures = [Image.new("RGBA", (20, 30), (0, 0, 255, 0)), Image.new("P", (10, 12), 3), Image.new("CMYK", (8, 9))]
    kinds = ("PNG", "GIF", "JPEG")
    with serving(ScriptedEngine(looking), limits=SMALL) as address:
        uris = [image(data_uri(picture, kind)) for picture, kind in zip(pictures, kinds, strict=True)]
        assert post(address, body(*uris)).status_code == 200
    assert [(one.mode, one.size) for one in seen[0].images] == [("RGB", picture.size) for picture in pictures]
