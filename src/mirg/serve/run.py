"""The application on a socket of 127.0.0.1."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mirg.errors import ConfigError
from mirg.serve.limits import ServeLimits
from mirg.serve.worker import Worker

HOST = "127.0.0.1"
_HEADER_BYTES = 16_384
_GOODBYE_SECONDS = 5


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 takes a free one. :class:`ConfigError` if the port is taken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        words = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot listen on {HOST}:{port}: {words}", hint="choose another --port, or 0") from error
    return made


def make_server(app: Any, limits: ServeLimits) -> uvicorn.Server:
    """A server for an app of :func:`~mirg.serve.server.create_app`.

    ``server.run(sockets=[listen(port)])`` blocks until a signal stops it.
    """
    config = uvicorn.Config(
        app,
        host=HOST,
        http=protocol(limits.read_seconds, limits.connections),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=2 * limits.connections,  # of connections with a request; protocol() handles those without
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    return _Server(config, app.state.worker)


class _Server(uvicorn.Server):
    """On shutdown it refuses waiting requests at once and gives those that are being computed some seconds."""

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._worker.close()
        await super().shutdown(sockets)


def protocol(seconds: float, most: int) -> type[H11Protocol]:
    """HTTP by h11 in which no client can block the others; uvicorn itself waits for clients without a limit.

    A connection is closed if the headers of a request have not arrived after ``seconds``, or if the client reads
    nothing for ``seconds``. With ``most`` connections, a new one replaces the oldest idle one.
    """
    held: dict[Timed, None] = {}  # every connection, in the order of the last answer on it

    class Timed(H11Protocol):
        _late: asyncio.TimerHandle | None = None
        _stuck: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) >= most:
                _make_room(held)
            held[self] = None
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            if self in held:
                del held[self]
                held[self] = None
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stuck = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._stuck = _cancelled(self._stuck)
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            held.pop(self, None)
            self._late, self._stuck = _cancelled(self._late), _cancelled(self._stuck)
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._late = _cancelled(self._late)
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            self._late = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.close()

    return Timed


def _make_room(held: dict[Any, None]) -> None:
    """Close the oldest connection that is idle, else one with half a request, else one whose answer is not read."""
    tests: tuple[Callable[[Any], bool], ...] = (
        lambda one: one.conn.their_state is h11.IDLE,
        lambda one: one.conn.their_state is h11.SEND_BODY,
        lambda one: one.flow.write_paused or one.transport.is_closing(),
    )
    for held_only in tests:
        for one in held:
            if held_only(one):
                del held[one]
                one.transport.abort()
                return


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
