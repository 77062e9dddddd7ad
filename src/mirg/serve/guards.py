"""Checks before the application: who may send requests, how large they may be, and how long they may take.

A web page in a browser on this machine could also send requests here. It cannot set the content type of JSON without a
preflight request, which is refused, and its Origin header names it. If the name of its host was redirected to this
machine, the Host header names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mirg.serve.limits import Refused, ServeLimits

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HERE = frozenset({"127.0.0.1", "localhost", "[::1]"})
_BUSY_SECONDS = 2


class Guard:
    """ASGI middleware: passes whole request bodies within ``limits`` to ``app`` and refuses all other requests."""

    def __init__(self, app: App, limits: ServeLimits) -> None:
        self.app = app
        self.limits = limits
        self.held = 0  # bytes of bodies that are being read or answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection event of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mine = [0]
        try:
            try:
                headers = _headers(scope)
                _check_host(headers.get(b"host", b""))
                _check_origin(headers.get(b"origin"))
                body = await self._body(scope, headers, receive, mine)
            except Refused as refused:
                await answer(send, refused)
                return
            await self.app(scope, _replay(body, receive), send)
        finally:
            self.held -= mine[0]

    async def _body(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, mine: list[int]) -> bytes:
        if scope["method"] not in {"POST", "PUT", "PATCH"}:
            return b""
        _check_type(headers.get(b"content-type", b""))
        told = headers.get(b"content-length")
        if told is not None and (not told.isdigit() or int(told[:20]) > self.limits.body_bytes):
            raise self._too_large()
        try:
            async with asyncio.timeout(self.limits.read_seconds):
                return await self._read(receive, mine)
        except TimeoutError as error:
            raise Refused(408, f"the request did not arrive within {self.limits.read_seconds:g} s") from error

    async def _read(self, receive: Receive, mine: list[int]) -> bytes:
        parts: list[bytes] = []
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise Refused(400, "the connection ended within the request")
            part = event.get("body", b"")
            parts.append(part)
            mine[0] += len(part)
            self.held += len(part)
            if mine[0] > self.limits.body_bytes:
                raise self._too_large()
            if self.held > self.limits.held_bytes:
                raise Refused(429, "too much is being answered", code="server_busy", retry=_BUSY_SECONDS)
            if not event.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.limits.body_bytes:,} bytes", code="body_too_large")


async def answer(send: Send, refused: Refused) -> None:
    """Send a refusal as an ASGI response."""
    body = refused.body
    headers = [(name.encode(), value.encode()) for name, value in refused.headers.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(scope: Scope) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in {b"host", b"origin", b"content-length", b"content-type"}:
            raise Refused(400, f"the header {name.decode('ascii', 'replace')} is there twice")
        found[name] = value
    return found


def _check_host(host: bytes) -> None:
    if not _is_here(host):
        raise Refused(400, "this server answers to 127.0.0.1 and localhost only", param="Host", code="invalid_host")


def _check_origin(origin: bytes | None) -> None:
    """Refuse requests of other web pages. Browsers send the header, other clients need not."""
    if origin is not None and not _is_here(origin.removeprefix(b"http://").removeprefix(b"https://")):
        words = "this server answers to pages of 127.0.0.1 and localhost only"
        raise Refused(403, words, param="Origin", code="invalid_origin")


def _is_here(host: bytes) -> bool:
    name, _, port = host.decode("latin-1").rpartition(":")
    if host.endswith(b"]") or not name:  # no port
        name, port = host.decode("latin-1"), ""
    return name.lower() in HERE and (not port or port.isdigit())


def _check_type(kind: bytes) -> None:
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "the content type must be application/json", param="Content-Type")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns ``body`` first and then the following events."""
    left = [body]

    async def again() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again
