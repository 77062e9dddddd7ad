"""The limits of the server, the refusal of a request, and the checks of a request before the application.

The checks ask who may send requests, how large they may be, and how long they may take to arrive. A web page in a
browser on this machine could also send requests here. It cannot set the content type of JSON without a preflight
request, which is refused, and its Origin header names it. If the name of its host was redirected to this machine, the
Host header names it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirg.errors import MirgError
from mirg.images import ImageLimits

HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})
_BUSY_SECONDS = 2
_KINDS = {
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class ServeLimits(BaseModel):
    """Bytes, images, pixels, tokens, waiting requests and seconds. Every bound is inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    body_bytes: int = Field(default=32 * 2**20, ge=1, description="Of one request.")
    held_bytes: int = Field(default=256 * 2**20, ge=1, description="Of all requests that are being answered.")
    values: int = Field(default=50_000, ge=1, description="Quotes, commas and brackets in a body.")
    messages: int = Field(default=64, ge=1)
    text: int = Field(default=100_000, ge=1, description="Characters of all texts of a request.")
    images: int = Field(default=32, ge=0, description="Of one request.")
    image_pixels: int = Field(default=25_000_000, ge=1, description="Of one image.")
    pixels: int = Field(default=50_000_000, ge=1, description="Of all images of a request.")
    prompt_tokens: int = Field(default=32_768, ge=1, description="Estimated: images exactly, text rather too many.")
    new_tokens: int = Field(default=2048, ge=1, description="Of one completion.")
    choices: int = Field(default=16, ge=1, description="Completions of one request.")
    queue: int = Field(default=128, ge=1, description="Requests that wait for the model.")
    queue_pixels: int = Field(default=200_000_000, ge=1, description="Of the images of waiting requests.")
    batch: int = Field(default=8, ge=1, description="Waiting requests that are answered in one forward pass.")
    connections: int = Field(default=256, ge=1)
    read_seconds: float = Field(default=30.0, gt=0, description="Until a request has arrived.")
    answer_seconds: float = Field(default=300.0, gt=0, description="Until it is answered, waiting included.")

    @property
    def image(self) -> ImageLimits:
        """The limits of one image."""
        return ImageLimits(max_bytes=self.body_bytes, max_pixels=self.image_pixels)


class Refused(MirgError):
    """``status`` is the HTTP status, ``param`` the wrong part of the request, ``code`` a key for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.status, self.param, self.code, self.retry = status, param, code, retry

    def response(self, **headers: str) -> Response:
        """The error with the body that OpenAI's clients expect, in ASCII.

        The headers say when to try again (seconds), and that a half-read request ends its connection.
        """
        found = {"content-type": "application/json"}
        if self.retry is not None:
            found["retry-after"] = str(self.retry)
        if self.status in {408, 413}:
            found["connection"] = "close"
        kind = _KINDS.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return Response(json.dumps({"error": error}).encode("ascii"), self.status, found | headers)


class Guard:
    """ASGI middleware: passes whole request bodies within ``limits`` to ``app`` and refuses all other requests.

    A body must be of one of ``types``.
    """

    def __init__(self, app: ASGIApp, limits: ServeLimits, types: Sequence[str] = ("application/json",)) -> None:
        self.app = app
        self.limits = limits
        self.types = types
        self.held = 0  # bytes of bodies that are being read or answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection event of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sizes: list[int] = []
        try:
            try:
                left = [await self._body(scope, receive, sizes)]
            except Refused as refused:
                await refused.response()(scope, receive, send)
                return

            async def again() -> Message:
                """The body first, then the events that follow it."""
                return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

            await self.app(scope, again, send)
        finally:
            self.held -= sum(sizes)

    async def _body(self, scope: Scope, receive: Receive, sizes: list[int]) -> bytes:
        """Check the headers, and read the body in parts of ``sizes`` bytes."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in headers and name in {b"host", b"origin", b"content-length", b"content-type"}:
                raise Refused(400, f"the header {name.decode('ascii', 'replace')} is there twice")
            headers[name] = value
        if not _is_here(headers.get(b"host", b"")):
            raise Refused(400, "this server answers to 127.0.0.1 and localhost only", param="Host", code="invalid_host")
        # Browsers send this header, other clients need not.
        origin = headers.get(b"origin")
        if origin is not None and not _is_here(origin.removeprefix(b"http://").removeprefix(b"https://")):
            words = "this server answers to pages of 127.0.0.1 and localhost only"
            raise Refused(403, words, param="Origin", code="invalid_origin")
        if scope["method"] not in {"POST", "PUT", "PATCH"}:
            return b""
        if headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower() not in self.types:
            raise Refused(415, f"the content type must be {' or '.join(self.types)}", param="Content-Type")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self.limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.read_seconds):
                return await self._read(receive, sizes)
        except TimeoutError as error:
            raise Refused(408, f"the request did not arrive within {self.limits.read_seconds:g} s") from error

    async def _read(self, receive: Receive, sizes: list[int]) -> bytes:
        parts: list[bytes] = []
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Refused(400, "the connection ended within the request")
            parts.append(event.get("body", b""))
            sizes.append(len(parts[-1]))
            self.held += sizes[-1]
            if sum(sizes) > self.limits.body_bytes:
                raise self._too_large()
            if self.held > self.limits.held_bytes:
                raise Refused(429, "too much is being answered", code="server_busy", retry=_BUSY_SECONDS)
            if not event.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.limits.body_bytes:,} bytes", code="body_too_large")


def _is_here(host: bytes) -> bool:
    name, _, port = host.decode("latin-1").rpartition(":")
    if host.endswith(b"]") or not name:  # no port
        name, port = host.decode("latin-1"), ""
    return name.lower() in HERE and (not port or port.isdigit())
