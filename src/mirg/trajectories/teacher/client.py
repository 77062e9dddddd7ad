"""One attempt at one request to an OpenAI-compatible endpoint, and what went wrong in words that hold no key.

Bodies are read here rather than by the client library's models: an endpoint may send half a JSON, a web page, a list of
no choices or an error with status 200, and each of these has its own consequence. Whatever comes back has the key
taken out before anything else sees it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from dataclasses import dataclass
from typing import Any, Literal

from mirg.console import one_line
from mirg.errors import ConfigError
from mirg.trajectories.teacher.limits import Clock, SystemClock, retry_after
from mirg.trajectories.teacher.recipe import TeacherRecipe

# httpx looks at every connection of a pool for every request, so many small pools cost less than a large one.
_POOL, _POOLS = 8, 16
_REASONING = ("reasoning_content", "reasoning")  # fields in which servers put what they take for reasoning
_RETRIED = frozenset({408, 409, 425, 429})
_NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})

Kind = Literal["status", "connection", "timeout", "body"]


class Fault(Exception):
    """An attempt without a usable reply. ``status`` is the HTTP status, 0 where none came.

    ``after`` is the pause that the server asks for, in seconds; ``billed`` says whether the attempt may cost something.
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
        """Whether the same request may succeed later: 408, 409, 425, 429, 5xx, and whatever came with no status."""
        return self.kind != "status" or self.status in _RETRIED or self.status >= 500

    @property
    def outcome(self) -> str:
        """In one word, for the ledger."""
        return f"http {self.status}" if self.kind == "status" else self.kind


@dataclass(frozen=True)
class Reply:
    """What the teacher wrote, or why it wrote nothing (``problem``). Tokens are None where the endpoint did not say."""

    text: str | None
    finish: str | None
    problem: str | None
    input_tokens: int | None
    output_tokens: int | None


class Endpoint:
    """The teacher's address.

    ConfigError if the ``teacher`` extra is missing, or the environment holds no key, or a proxy that cannot be used.
    """

    def __init__(self, recipe: TeacherRecipe, clock: Clock | None = None) -> None:
        try:
            import openai
        except ImportError as error:
            raise ConfigError(
                "--writer teacher needs the package 'openai'", hint="pip install 'mirg[teacher]'"
            ) from error
        self._openai: Any = openai
        self._clock = clock or SystemClock()
        self._timeout = recipe.limits.timeout
        self._key = recipe.key()
        pools = min(-(-recipe.limits.concurrency // _POOL), _POOLS)
        try:
            self._clients = [self._client(recipe) for _ in range(pools)]
        except (ImportError, ValueError) as error:  # its address may hold a password, so it is not repeated
            raise ConfigError(
                "the proxy of the environment cannot be used", hint="see HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            ) from error
        self._turn = itertools.cycle(self._clients)

    def _client(self, recipe: TeacherRecipe) -> Any:
        more = {}
        if recipe.url.startswith("http://"):
            # Reading the system's certificates takes longer than a hundred requests; an empty context trusts nobody.
            more["http_client"] = self._openai.DefaultAsyncHttpxClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        client = self._openai.AsyncOpenAI(
            base_url=recipe.url, api_key=self._key or "none", max_retries=0, timeout=recipe.limits.timeout, **more
        )
        if not recipe.url.startswith("https://api.openai.com/"):
            # Taken from the environment for OpenAI itself; they are none of another endpoint's business.
            client.organization = client.project = None
        return client

    async def ask(self, body: dict[str, Any]) -> Reply:
        """Send ``body`` once and read the reply. Raises Fault."""
        client = next(self._turn)
        try:
            # The timeout of the library is one between two bytes: a reply that drips never meets it.
            async with asyncio.timeout(self._timeout):
                text = await client.post("/chat/completions", cast_to=str, body=body)
        except (self._openai.OpenAIError, TimeoutError, ValueError) as error:
            fault = self._fault(error)
        else:
            found = read_body(self.without_key(text))
            if isinstance(found, Reply):
                return found
            fault = found
        # Outside of the except clause: a traceback would hold the original, in which a server may quote the key.
        raise fault

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()

    def without_key(self, text: str) -> str:
        """``text`` with the key taken out."""
        return text.replace(self._key, "[key]") if self._key else text

    def __repr__(self) -> str:
        return f"Endpoint({len(self._clients)} pools)"

    def _fault(self, error: Any) -> Fault:
        lib = self._openai
        if isinstance(error, (TimeoutError, lib.APITimeoutError)):
            sent = _cause(error) not in _NEVER_SENT
            return Fault("timeout", f"no whole reply in {self._timeout:g} s", billed=sent)
        if isinstance(error, lib.APIStatusError):
            headers = {name.lower(): value for name, value in error.response.headers.items()}
            return Fault(
                "status", one_line(self.without_key(_message(error.body, error.status_code)), 300),
                status=error.status_code, after=retry_after(headers, self._clock.now()),
            )  # fmt: skip
        if isinstance(error, lib.APIConnectionError):
            why = self.without_key(str(error.__cause__ or error))
            return Fault(
                "connection", one_line(f"no connection: {why or _cause(error)}", 300),
                billed=_cause(error) not in _NEVER_SENT,
            )  # fmt: skip
        return Fault("body", one_line(self.without_key(f"the reply cannot be read: {error}"), 300), billed=True)


def read_body(text: str) -> Reply | Fault:
    """The reply in a body that came with status 200, or what is wrong with it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        what = "is a web page" if text.lstrip()[:1] == "<" else "is no JSON"
        return Fault("body", f"the reply {what}: {one_line(text, 80)!r}", billed=True)
    if not isinstance(value, dict):
        return Fault("body", "the reply is no JSON object", billed=True)
    if value.get("error") and not value.get("choices"):
        return _error_in_body(value)
    inside, out = _usage(value.get("usage"))
    choices = value.get("choices")
    if not isinstance(choices, list):
        return Fault("body", "the reply holds no choices", billed=True)
    choice = choices[0] if choices and isinstance(choices[0], dict) else None
    if choice is None:
        return Reply(None, None, "empty choices", inside, out)
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    finish = choice.get("finish_reason") if isinstance(choice.get("finish_reason"), str) else None
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return Reply(None, finish, f"refused: {one_line(refusal, 200)}", inside, out)
    if finish == "content_filter":
        return Reply(None, finish, "stopped by the endpoint's content filter", inside, out)
    if not text.strip():
        why = "an empty reply" + (", cut off" if finish == "length" else "") + _reasoned(message)
        return Reply(None, finish, why, inside, out)
    # A lone surrogate, which JSON can spell, has no place in a database or a page.
    return Reply(text.encode("utf-8", "replace").decode("utf-8"), finish, None, inside, out)


def _reasoned(message: dict[str, Any]) -> str:
    """What to add about an empty reply if the server put all of its text into the field for reasoning."""
    name = next((name for name in _REASONING if _text(message.get(name)).strip()), "")
    if not name:
        return ""
    length = len(_text(message.get(name)))
    return f": all {length:,} characters are in {name}; start the server without its reasoning parser"


def _error_in_body(value: dict[str, Any]) -> Fault:
    """Some gateways send their errors with status 200."""
    error = value["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return Fault("status", one_line(_message(value, status), 300), status=status)


def _text(content: object) -> str:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _usage(usage: object) -> tuple[int | None, int | None]:
    def count(name: str) -> int | None:
        value = usage.get(name) if isinstance(usage, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40 else None

    return count("prompt_tokens"), count("completion_tokens")


def _message(body: object, status: int) -> str:
    """The words of an error body."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or json.dumps(error)
    text = str(error or "").strip()
    return f"HTTP {status}" + (f": {text[:2000]}" if text else "")


def _cause(error: BaseException) -> str:
    """The class of what the client library met; its module differs between versions."""
    return type(error.__cause__).__name__ if error.__cause__ is not None else ""
