"""One HTTP client for OpenAI-compatible endpoints: an address, its key, attempts, and when an attempt is repeated.

The bodies of replies are read here rather than by the client library's models: an endpoint may send half a JSON value,
a web page, an empty list of choices or an error with status 200, and each of these has its own consequence. The key is
removed from every text that comes back before any other code sees it. Importing this module needs no torch.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator

from mirg.console import one_line
from mirg.engines.limits import Clock, Limits, retry_after
from mirg.errors import ConfigError

# httpx examines every connection of a pool for every request, so many small pools cost less than a large one.
_POOL, _POOLS = 8, 16
_REASONING = ("reasoning_content", "reasoning")  # fields in which servers return the text that they parse as reasoning
_BUSY = 429  # HTTP status
_RETRIED = frozenset({408, 409, 425, _BUSY})
_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})
_FIRST_CONTACT = 3  # tries of a request before the endpoint has answered any: a wrong address must fail soon
_FIRST_PAUSE = 0.5  # seconds, doubled with every attempt
# What servers say if their model, or their program, reads no images; some say it with status 500.
_BLIND = re.compile(
    r"at most 0 image|not a multimodal|(not|endpoints)\b.{0,40}\bsupport\b.{0,20}\b(image|vision)"
    r"|(images?|vision|image input)\b.{0,9}\bnot supported|must be a string|valid string|unknown variant .image_url",
    re.IGNORECASE,
)
_PAGE = "the reply is a web page"
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

T = TypeVar("T")
Kind = Literal["status", "connection", "timeout", "body"]


def _checked_name(name: str | None) -> str | None:
    # pydantic does not catch a ConfigError. Its own error would print the value, which may be the key itself.
    if name is not None and not _ENV_NAME.fullmatch(name):
        raise ConfigError(
            "recipe: key_env is not the name of an environment variable",
            hint="it names the variable that holds the key, such as OPENAI_API_KEY; never write the key itself",
        )
    return name


def checked_url(url: str) -> str:
    """``url`` without a slash at its end. ConfigError if it is no http(s) address, or contains secrets."""
    try:
        parts = urlsplit(url)
        host, _, secrets = parts.hostname, parts.port, parts.username or parts.password or parts.query
    except ValueError:
        host, secrets = None, ""
    if secrets:
        hint = "name the key in key_env instead"
        raise ConfigError("the url of the endpoint contains a user, a password or a query", hint=hint)
    if not host or not url.startswith(("http://", "https://")):
        hint = "for example http://127.0.0.1:8000/v1"
        raise ConfigError("the url of the endpoint is not an http(s) address", hint=hint)
    return url.rstrip("/")


EndpointUrl = Annotated[str, AfterValidator(checked_url)]
KeyVariable = Annotated[str | None, AfterValidator(_checked_name)]


def key_from_environment(variable: str | None, url: str) -> str | None:
    """The key in an environment variable, None if ``variable`` is. ConfigError if it is not set or cannot be a key."""
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"the environment variable {variable} is not set, and {url} needs a key",
            hint=f"export {variable}=…, or name no variable if the server needs no key",
        )
    if not value.isascii() or not value.isprintable() or " " in value:
        # The message of the client library would contain the key in another spelling.
        raise ConfigError(
            f"the environment variable {variable} holds characters that cannot be part of a key",
            hint="a key is one line of ASCII without spaces; check whether other text was copied with it",
        )
    return value


class Fault(Exception):
    """An attempt without a usable reply. ``status`` is the HTTP status, 0 if the server sent none.

    ``after`` is the pause in seconds that the server asks for; ``billed`` says whether the attempt may cost money.
    """

    def __init__(
        self, kind: Kind, message: str, *, status: int = 0, after: float | None = None, billed: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.after = after
        self.billed = billed

    @property
    def retried(self) -> bool:
        """Whether the same request may succeed later: 408, 409, 425, 429, 5xx, and every fault without a status."""
        return self.kind != "status" or self.status in _RETRIED or (self.status >= 500 and not self.blind)

    @property
    def blind(self) -> bool:
        """Whether the server says that its model reads no images."""
        return self.kind == "status" and _BLIND.search(self.message) is not None

    @property
    def is_page(self) -> bool:
        """Whether the reply is a web page, as if the address were not that of the API."""
        return self.message.startswith(_PAGE)

    @property
    def outcome(self) -> str:
        """The fault as a short key, for the ledger."""
        return f"http {self.status}" if self.kind == "status" else self.kind


@dataclass(frozen=True)
class Reply:
    """The text of a model, or the ``problem`` that prevented it.

    Token counts are None if the endpoint did not report them. ``reasoning`` is what the server put into a field of its
    own instead of the text.
    """

    text: str | None
    finish: str | None
    problem: str | None
    input_tokens: int | None
    output_tokens: int | None
    reasoning: str = ""


class Endpoint:
    """A client for one address.

    ConfigError if the ``teacher`` extra is not installed or the proxy settings of the environment cannot be used.
    """

    def __init__(self, url: str, key: str | None, limits: Limits, clock: Clock | None = None) -> None:
        """``url`` is the base address, most often with ``/v1`` at its end; ``key`` is None if the server needs none."""
        try:
            import openai
        except ImportError as error:
            raise ConfigError(
                "a model endpoint needs the package 'openai'", hint="pip install 'mirg[teacher]'"
            ) from error
        self._openai: Any = openai
        client = next(base for base in openai.DefaultAsyncHttpxClient.__mro__ if base.__name__ == "AsyncClient")
        # The error of the HTTP library below, which openai does not convert if a stream breaks.
        self._broken: Any = importlib.import_module(client.__module__.partition(".")[0]).HTTPError
        self._clock = clock or Clock()
        self._timeout = limits.timeout
        self._key = key
        pools = min(-(-limits.concurrency // _POOL), _POOLS)
        try:
            self._clients = [self._client(url) for _ in range(pools)]
        except (ImportError, ValueError) as error:  # its address may hold a password, so it is not repeated
            raise ConfigError(
                "the proxy of the environment cannot be used", hint="see HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            ) from error
        self._turn = itertools.cycle(self._clients)

    def _client(self, url: str) -> Any:
        more = {}
        if url.startswith("http://"):
            # Reading the system's certificates takes longer than a hundred requests, and http needs none.
            more["http_client"] = self._openai.DefaultAsyncHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        client = self._openai.AsyncOpenAI(
            base_url=url, api_key=self._key or "none", max_retries=0, timeout=self._timeout, **more
        )
        if not url.startswith("https://api.openai.com/"):
            # The library reads them from the environment for OpenAI; another endpoint must not see them.
            client.organization = client.project = None
        return client

    async def ask(self, body: dict[str, Any], tell: Callable[[Reply], None] | None = None) -> Reply:
        """Send ``body`` once and read the reply. Raises Fault.

        With ``tell`` the endpoint is asked to stream, and ``tell`` is given the reply so far after each event.
        """
        client = next(self._turn)
        try:
            # The timeout of the library is the time between two bytes, which a slow stream of bytes never exceeds.
            async with asyncio.timeout(self._timeout):
                if tell is None:
                    text = await client.post("/chat/completions", cast_to=str, body=body)
                else:
                    text = await self._streamed(client, body, tell)
        except self._broken as error:
            fault = Fault("connection", one_line(self.without_key(f"the stream broke: {error}"), 300), billed=True)
        except (self._openai.OpenAIError, TimeoutError, ValueError) as error:
            fault = self._fault(error)
        else:
            found = read_body(self.without_key(text))
            if isinstance(found, Reply):
                return found
            fault = found
        # Outside the except clause: a traceback would contain the original, in which a server may quote the key.
        raise fault

    async def _streamed(self, client: Any, body: dict[str, Any], tell: Callable[[Reply], None]) -> str:
        """The events of a streamed reply as the body of one that is not streamed."""
        more = {name: value for name, value in body.items() if name not in {"model", "messages"}}
        more |= {"stream": True, "stream_options": {"include_usage": True}}
        create = client.chat.completions.with_streaming_response.create
        stream = Stream()
        async with create(model=body["model"], messages=body["messages"], extra_body=more) as response:
            async for line in response.iter_lines():
                if stream.add(line):
                    tell(stream.reply(self.without_key))
        return stream.body()

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    def without_key(self, text: str) -> str:
        """``text`` with the key removed."""
        return text.replace(self._key, "[key]") if self._key else text

    def __repr__(self) -> str:
        return f"Endpoint({len(self._clients)} pools)"

    def _fault(self, error: Any) -> Fault:
        lib, cause = self._openai, error.__cause__
        # The class name of the cause, since its module differs between versions of the library.
        why = type(cause).__name__ if cause is not None else ""
        if isinstance(error, (TimeoutError, lib.APITimeoutError)):
            return Fault("timeout", f"no whole reply in {self._timeout:g} s", billed=why not in _NEVER_SENT)
        if isinstance(error, lib.APIStatusError):
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            message, status = self.without_key(_message(error.body, error.status_code)), error.status_code
            return Fault("status", one_line(message, 300), status=status, after=retry_after(headers, self._clock.now()))
        if isinstance(error, lib.APIConnectionError):
            message = f"no connection: {self.without_key(str(cause or error)) or why}"
            return Fault("connection", one_line(message, 300), billed=why not in _NEVER_SENT)
        return Fault("body", one_line(self.without_key(f"the reply cannot be read: {error}"), 300), billed=True)


class Retries:
    """Decides for all requests of one run when an attempt is repeated and how long to wait before it.

    ``answers`` counts the replies so far, and the owner of the run increases it.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.answers = 0
        self._limits = limits
        self._clock = clock

    async def call(self, attempt: Callable[[], Awaitable[T]], digest: str) -> T:
        """The result of ``attempt``, repeated after a :class:`Fault` that may pass; raises the last Fault.

        ``digest`` (hexadecimal) of the request spreads the pauses of requests that failed at the same time.
        """
        limits, used, answers = self._limits, 0, self.answers
        pause = (0.5 + int(digest[:8], 16) / 2**32) * _FIRST_PAUSE
        while True:
            try:
                return await attempt()
            except Fault as error:
                fault = error
            # A server that is busy with other requests of this run is no reason to give this request up.
            used += not (fault.status == _BUSY and self.answers > answers)
            answers = self.answers
            patient = self.answers or not (fault.kind == "connection" or fault.is_page)
            tries = limits.tries if patient else min(_FIRST_CONTACT, limits.tries)
            too_long = fault.after is not None and fault.after > limits.max_wait
            if not fault.retried or used >= tries or too_long:
                raise fault
            await self._clock.sleep(min(pause, limits.max_wait) if fault.after is None else max(fault.after, 0.0))
            pause = min(2 * pause, limits.max_wait)


def read_body(text: str) -> Reply | Fault:
    """The reply in a body that came with status 200, or what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        what = _PAGE if text.lstrip()[:1] == "<" else "the reply is not JSON"
        return Fault("body", f"{what}: {one_line(text, 80)!r}", billed=True)
    if not isinstance(value, dict):
        return Fault("body", "the reply is not a JSON object", billed=True)
    error, choices = value.get("error"), value.get("choices")
    if error and not choices:  # some gateways send their errors with status 200
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else 502
        return Fault("status", one_line(_message(value, status), 300), status=status)
    if not isinstance(choices, list):
        return Fault("body", "the reply contains no list of choices", billed=True)
    counts = (_count(value.get("usage"), "prompt_tokens"), _count(value.get("usage"), "completion_tokens"))
    choice = choices[0] if choices else None
    if not isinstance(choice, dict):
        return Reply(None, None, "empty choices", *counts)
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    finish = choice.get("finish_reason") if isinstance(choice.get("finish_reason"), str) else None
    text, refusal = _text(message.get("content")), message.get("refusal")
    name, reasoning = _reasoned(message)
    problem = None
    if isinstance(refusal, str) and refusal:
        problem = f"refused: {one_line(refusal, 200)}"
    elif finish == "content_filter":
        problem = "stopped by the endpoint's content filter"
    elif not text.strip():
        problem = "an empty reply" + (", cut off" if finish == "length" else "")
        if name:
            problem += (
                f": all {len(reasoning):,} characters are in {name}; start the server without its reasoning parser"
            )
    # JSON can spell a lone surrogate, but neither a database nor a page can store it.
    written = text.encode("utf-8", "replace").decode("utf-8") if problem is None else None
    return Reply(written, finish, problem, *counts, reasoning=reasoning)


class Stream:
    """The lines of a streamed reply (server-sent events); also those of a server that does not stream."""

    def __init__(self) -> None:
        self._plain: list[str] = []
        self._message: dict[str, str] = dict.fromkeys(("content", *_REASONING), "")
        self._whole: dict[str, Any] = {}
        self._finish: str | None = None

    def add(self, line: str) -> bool:
        """Read one line; whether the message has grown."""
        kind, _, data = line.partition(":")
        if kind != "data":
            self._plain += [line] if line and not line.startswith((":", "event:", "id:", "retry:")) else []
            return False
        try:
            event = json.loads(data) if data.strip() != "[DONE]" else {}
        except (ValueError, RecursionError):
            event = {"error": {"message": f"an event of the stream is not JSON: {one_line(data, 80)!r}"}}
        if not isinstance(event, dict):
            return False
        self._whole |= {name: event[name] for name in ("usage", "error") if event.get(name)}
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta")
        grown = {name: _text(delta.get(name)) for name in self._message} if isinstance(delta, dict) else {}
        for name, text in grown.items():
            self._message[name] += text
        return any(grown.values())

    def reply(self, without_key: Callable[[str], str]) -> Reply:
        """The message so far."""
        reasoning = next((self._message[name] for name in _REASONING if self._message[name]), "")
        return Reply(without_key(self._message["content"]), None, None, None, None, without_key(reasoning))

    def body(self) -> str:
        """The whole reply as the body of a reply that is not streamed."""
        if self._plain:
            return "\n".join(self._plain)
        if "error" in self._whole:
            return json.dumps({"error": self._whole["error"]})
        return json.dumps(
            {"choices": [{"message": self._message, "finish_reason": self._finish}], "usage": self._whole.get("usage")}
        )


def _reasoned(message: dict[str, Any]) -> tuple[str, str]:
    """(field, text) of the reasoning that the server returned beside the text, ("", "") if it returned no reasoning."""
    texts = ((name, _text(message.get(name))) for name in _REASONING)
    name, text = next(((name, text) for name, text in texts if text.strip()), ("", ""))
    return name, text.encode("utf-8", "replace").decode("utf-8")


def _text(content: object) -> str:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None


def _message(body: object, status: int) -> str:
    """The message of an error body."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or json.dumps(error)
    text = str(error or "").strip()
    return f"HTTP {status}" + (f": {text[:2000]}" if text else "")
