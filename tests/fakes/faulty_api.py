"""An OpenAI-compatible endpoint over real sockets that misbehaves on purpose, and keeps count of what it was asked.

Which fault a request meets follows from the seed, its body and how often it came, so a run can be repeated. What it
answers is looked up by the case numbers that questions carry (``case-17``). As a program it prints its port and, on
SIGTERM, its counts as JSON: ``python -m fakes.faulty_api SETTINGS.json``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

FAULTS = (
    "429", "429 seconds", "429 date", "500", "503", "reset", "drip", "half JSON", "cut body", "HTML", "no choices list",
)  # fmt: skip
_CASE = re.compile(r"case-(\d+)")


@dataclass
class Settings:
    """``share`` of the attempts meet one of ``faults``; ``latency`` in seconds; ``replies`` by case number.

    ``always`` answers every request alike: a status, or the name of a fault. ``echo_key`` quotes the key in errors.
    """

    share: float = 0.0
    faults: tuple[str, ...] = FAULTS
    latency: float = 0.0
    seed: int = 0
    replies: dict[str, str] = field(default_factory=dict)
    default: str = "no idea"
    input_tokens: int = 700
    output_tokens: int = 50
    always: str | None = None
    message: str = "something is wrong"
    echo_key: bool = False
    drip_seconds: float = 30.0
    repaired: dict[str, str] = field(default_factory=dict)  # replies to a second message


@dataclass
class Counts:
    """What the server saw. ``answered`` counts whole, usable replies by request; ``tokens`` what they would cost."""

    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    busy_seconds: float = 0.0  # integral of the number of concurrent requests
    first: float = 0.0
    last: float = 0.0
    authorization: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)

    def moved(self, by: int) -> None:
        now = time.monotonic()
        self.busy_seconds += self.in_flight * (now - (self.last or now))
        self.first, self.last = self.first or now, now
        self.in_flight += by
        self.most_in_flight = max(self.most_in_flight, self.in_flight)


class FaultyApi:
    """The server; :func:`serving` runs it in a thread. ``reply`` may make replies out of bodies instead."""

    def __init__(self, settings: Settings | None = None, reply: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.settings = settings or Settings()
        self.counts = Counts()
        self.bodies: list[dict[str, Any]] = []
        self.keep_bodies = False
        self.reply = reply
        self.message: dict[str, Any] = {}  # fields that replace those of every message
        self.refused: Callable[[dict[str, Any]], str | None] = lambda body: None  # the message of a refusal, status 400
        self.finish = "stop"
        self.streams = True  # if it is asked to
        self.pause = 0.0  # seconds between two events
        self.cut_after: int | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**26)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # the client went away, or was killed
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (entry.partition(":") for entry in lines)}
        data = await reader.readexactly(int(headers.get("content-length", "0")))
        if line.startswith("GET "):  # what is served there, which most servers do not tell
            return await _send(writer, "404 Not Found", _error("no such page"))
        self.counts.requests += 1
        self.counts.times.append(time.time())
        self.counts.authorization[headers.get("authorization", "")] += 1
        self.counts.moved(1)
        try:
            return await self._answer(line, headers, data, writer)
        finally:
            self.counts.moved(-1)

    async def _answer(self, line: str, headers: dict[str, str], data: bytes, writer: asyncio.StreamWriter) -> bool:
        settings = self.settings
        digest = hashlib.sha256(data).hexdigest()
        self.counts.seen[digest] += 1
        if not line.startswith("POST /v1/chat/completions "):
            return await _send(writer, "404 Not Found", _error("no such page"))
        if settings.latency:
            await asyncio.sleep(settings.latency)
        fault = settings.always or self._fault(digest)
        if fault is not None:
            self.counts.faults[fault] += 1
            secret = headers.get("authorization", "") if settings.echo_key else ""
            return await self._misbehave(fault, f"{settings.message} {secret}".strip(), writer)
        body = json.loads(data)
        if self.keep_bodies:
            self.bodies.append(body)
        if message := self.refused(body):
            return await _send(writer, "400 Bad Request", _error(message))
        payload = self._completion(self._text(body))
        self.counts.answered[digest] += 1
        self.counts.tokens += settings.input_tokens + settings.output_tokens
        if body.get("stream") and self.streams:
            return await self._stream(json.loads(payload), writer)
        return await _send(writer, "200 OK", payload)

    async def _stream(self, whole: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """The reply as server-sent events, a few characters in each; cut off after ``cut_after`` of them."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        (choice,) = whole["choices"]
        deltas = [
            {field: text[start : start + 5]}
            for field, text in choice["message"].items()
            if field != "role" and text
            for start in range(0, len(text), 5)
        ]
        events = [{"choices": [{"delta": delta, "finish_reason": None}]} for delta in deltas]
        events += [{"choices": [{"delta": {}, "finish_reason": choice["finish_reason"]}]}]
        events += [{"choices": [], "usage": whole["usage"]}]
        for number, line in enumerate([": a comment", *map(json.dumps, events), "[DONE]"]):
            if number == self.cut_after:
                writer.transport.abort()
                return False
            data = f"{line}\n\n" if line.startswith(":") else f"data: {line}\n\n"
            writer.write(f"{len(data.encode()):x}\r\n".encode() + data.encode() + b"\r\n")
            await writer.drain()
            await asyncio.sleep(self.pause)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _fault(self, digest: str) -> str | None:
        draw = hashlib.sha256(f"{self.settings.seed}:{digest}:{self.counts.seen[digest]}".encode()).digest()
        if int.from_bytes(draw[:4], "big") / 2**32 >= self.settings.share:
            return None
        return self.settings.faults[draw[4] % len(self.settings.faults)]

    def _text(self, body: dict[str, Any]) -> str:
        if self.reply is not None:
            return self.reply(body)
        said = json.dumps(
            [part for message in body["messages"] for part in message["content"] if "image_url" not in part]
        )
        case = _CASE.search(said)
        key = case.group(1) if case else ""
        if len(body["messages"]) > 2 and key in self.settings.repaired:
            return self.settings.repaired[key]
        return self.settings.replies.get(key, self.settings.default)

    def _completion(self, text: str, **message: Any) -> bytes:
        settings = self.settings
        message = {"role": "assistant", "content": text, **message, **self.message}
        choice = {"index": 0, "finish_reason": self.finish, "message": message}
        usage = {"prompt_tokens": settings.input_tokens, "completion_tokens": settings.output_tokens}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()

    async def _misbehave(self, fault: str, message: str, writer: asyncio.StreamWriter) -> bool:
        whole = self._completion("<think>a</think><answer>none</answer>")
        if fault.startswith("429"):
            asked = {"seconds": "0.05", "date": formatdate(time.time() + 1, usegmt=True)}.get(fault[4:])
            return await _send(
                writer, "429 Too Many Requests", _error(message), {"Retry-After": asked} if asked else {}
            )
        if fault.isdigit():
            return await _send(writer, f"{fault} Status", _error(message))
        if fault == "reset":
            writer.transport.abort()
            return False
        if fault == "drip":
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(whole)
            )
            until = time.monotonic() + self.settings.drip_seconds
            for k in range(len(whole)):
                if time.monotonic() > until:
                    break
                writer.write(whole[k : k + 1])
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.transport.abort()
            return False
        if fault == "cut body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[: len(whole) // 2])
            await writer.drain()
            writer.close()
            return False
        bodies = {
            "half JSON": whole[: len(whole) // 2],
            "HTML": f"<!doctype html><html><body>{message}</body></html>".encode(),
            "no choices list": b'{"object": "chat.completion"}',
            "empty choices": b'{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0}}',
            "refusal": self._completion("", refusal=f"I will not. {message}"),
            "error in body": json.dumps({"error": {"code": 503, "message": message}}).encode(),
        }
        return await _send(writer, "200 OK", bodies[fault])


async def _send(writer: asyncio.StreamWriter, status: str, body: bytes, headers: dict[str, str] | None = None) -> bool:
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    kind = "text/html" if body.startswith(b"<") else "application/json"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error"}}).encode()


@contextlib.contextmanager
def serving(api: FaultyApi) -> Iterator[FaultyApi]:
    """``api`` in a thread of this process, until the block is left."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    servers: list[asyncio.Server] = []

    async def start() -> None:
        servers.append(await api.start())
        ready.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield api
    finally:

        async def end() -> None:
            servers[0].close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.05)
            loop.stop()

        loop.call_soon_threadsafe(lambda: loop.create_task(end()))
        thread.join(10)
        loop.close()


async def _main(settings: Settings) -> None:
    api = FaultyApi(settings)
    server = await api.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sys.stdout.write(f"{api.port}\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    sys.stdout.write(json.dumps(vars(api.counts)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    asyncio.run(_main(Settings(**told | {"faults": tuple(told.get("faults", FAULTS))})))
