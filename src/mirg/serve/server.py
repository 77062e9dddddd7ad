"""The application (``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``) on a socket of 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from mirg.answers.looks import LookBudget
from mirg.engines.base import Completion, Engine, instructions_of
from mirg.engines.base import Request as Prompt
from mirg.errors import ConfigError
from mirg.images import decode_image
from mirg.serve.limits import Guard, Refused, ServeLimits
from mirg.serve.openai_format import Chat, Events, completion_body, parse_chat
from mirg.serve.prompts import accepted_images
from mirg.serve.worker import Job, Worker, going_down

HOST = "127.0.0.1"
_HEADER_BYTES = 16_384
_GOODBYE_SECONDS = 5
DEFAULT_TOKENS = 512  # of a completion, if the request gives no limit
_DECODERS = 2  # requests whose images are decoded at a time
_GROW_SECONDS = 0.05  # between two looks at a streamed completion
_LOOK_SECONDS = 0.5  # between two checks whether the client is still connected


def served_name(engine: Engine) -> str:
    """The default name of a model: the last part of its path, or the name of the run folder if that is "model"."""
    path = Path(engine.name)
    return (path.parent.name if path.name == "model" else path.name) or engine.name


def create_app(
    engine: Engine, *, name: str | None = None, limits: ServeLimits | None = None, look: LookBudget | None = None
) -> FastAPI:
    """The application that answers with ``engine``, with its checks. It starts and stops the thread of the model.

    With a ``look`` budget, the model may look at parts of the images of a request; its turns are joined to one answer.
    """
    limits = limits or ServeLimits()
    served = Served(engine, name or served_name(engine), limits, look)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        served.worker.start()
        try:
            yield
        finally:
            await asyncio.to_thread(served.worker.stop)

    # Without the pages of documentation, which load scripts from other servers.
    app = FastAPI(
        title="mirg", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.worker = served.worker
    app.add_middleware(partial(Guard, limits=limits))  # type: ignore[arg-type]
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_api_route("/v1/chat/completions", served.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/models", served.models, methods=["GET"], response_model=None)
    app.add_api_route("/health", served.health, methods=["GET"], response_model=None)
    return app


class Served:
    """A served model: its name, its limits, its thread."""

    def __init__(self, engine: Engine, name: str, limits: ServeLimits, look: LookBudget | None = None) -> None:
        self.engine = engine
        self.name = name
        self.limits = limits
        self.worker = Worker(engine, limits, look)
        self.created = int(time.time())
        self._decoding = asyncio.Semaphore(_DECODERS)

    async def health(self) -> JSONResponse:
        """Whether requests are accepted, and how many wait."""
        return JSONResponse({"status": "ok", "model": self.name, "waiting": self.worker.waiting})

    async def models(self) -> JSONResponse:
        """The list of models, which has one entry; ``mirg`` says how its prompts are written."""
        facts = {"family": self.engine.family.name, "instructions": instructions_of(self.engine)}
        model = {"id": self.name, "object": "model", "created": self.created, "owned_by": "mirg", "mirg": facts}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        """One chat completion, or several of one prompt."""
        end = time.monotonic() + self.limits.answer_seconds
        self.worker.check_room()
        body = await request.body()
        async with self._decoding:
            chat, job = await asyncio.to_thread(self._prepare, body)
        self.worker.submit(job)
        head = self.name, self.engine.fingerprint, int(time.time())
        events = partial(Events, *head, with_usage=chat.asked.stream_options.include_usage)
        if job.streamed:
            progress = self._progress(request, job, end)
            first = await anext(progress)  # until here an error has its own status
            return _stream(events().of(first, progress))
        said = await self._answer(request, job, end)
        if chat.asked.stream:
            return _stream(events().whole(said))
        return Response(completion_body(*head, said), media_type="application/json")

    def _prepare(self, body: bytes) -> tuple[Chat, Job]:
        """Check a request, the cheapest checks first, and make the job."""
        chat = parse_chat(body, self.limits, DEFAULT_TOKENS)
        if chat.asked.model != self.name:
            words = f"there is no model {chat.asked.model[:200]!r}; this server has {self.name!r}"
            raise Refused(404, words, param="model", code="model_not_found")
        opened = (decode_image(data, f"number {k}", limits=self.limits.image) for k, data in enumerate(chat.images, 1))
        images = accepted_images(opened, chat.texts, self.engine, self.limits)
        seed = secrets.randbits(31) if chat.asked.seed is None else chat.asked.seed % 2**31
        prompt = Prompt("request", chat.messages, images, chat.prefix, chat.asked.chat_template_kwargs.enable_thinking)
        streamed = chat.asked.stream and chat.asked.n == 1
        return chat, Job(prompt, chat.new_tokens, chat.asked.temperature, seed, chat.asked.n, streamed)

    async def _answer(self, request: Request, job: Job, end: float) -> list[Completion]:
        """Wait for the completions until the client disconnects or the time is up."""
        async with contextlib.aclosing(self._progress(request, job, end)) as progress:
            said = await anext(progress)
        assert not isinstance(said, str)  # which only a streamed job gives
        return said

    async def _progress(self, request: Request, job: Job, end: float) -> AsyncGenerator[str | list[Completion], None]:
        """The text of a streamed job whenever it has grown, then the completions; errors as :meth:`_answer`."""
        waiting = asyncio.wrap_future(job.answer)
        seen = ""
        look = _GROW_SECONDS if job.streamed else _LOOK_SECONDS
        try:
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    raise Refused(504, f"no answer within {self.limits.answer_seconds:g} s", code="timeout")
                done, _ = await asyncio.wait({waiting}, timeout=min(left, look))
                if done:
                    yield waiting.result()
                    return
                if await request.is_disconnected():
                    raise Refused(400, "the client has gone", code="client_gone")
                if job.text != seen:
                    seen = job.text
                    yield seen
        except asyncio.CancelledError:
            if self.worker.closed:  # the server is stopping and its time for pending jobs is up
                raise going_down() from None
            raise
        finally:
            job.gone.set()
            job.answer.cancel()  # before the client is answered; ``waiting`` would pass it on only afterwards
            waiting.cancel()


def _stream(events: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _http(request: Request, error: Exception) -> Response:
    """Answer unknown paths and methods in the same form as every other error."""
    assert isinstance(error, HTTPException)
    words = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method[:20]} is not answered here"}
    refused = Refused(error.status_code, words.get(error.status_code, str(error.detail)[:200]))
    return refused.response(**dict(error.headers or {}))


# The socket.


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
    """A server for an app of :func:`~mirg.serve.server.create_app`, or another whose ``state.worker`` can be closed.

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
    server = _Server(config)
    server.worker = app.state.worker
    return server


class _Server(uvicorn.Server):
    """On shutdown it refuses waiting requests at once and gives those that are being computed some seconds."""

    worker: Worker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.worker.close()
        await super().shutdown(sockets)


def protocol(seconds: float, most: int) -> type[H11Protocol]:
    """HTTP by h11 in which no client can block the others; uvicorn itself waits for clients without a limit.

    A connection is closed if the headers of a request have not arrived after ``seconds``, or if the client reads
    nothing for ``seconds``, also while it is being closed. With ``most`` connections, a new one replaces the oldest
    idle one.
    """
    held: dict[Timed, None] = {}  # every connection, in the order of the last answer on it

    class Timed(H11Protocol):
        _late: asyncio.TimerHandle | None = None
        _stuck: asyncio.TimerHandle | None = None
        _closing: asyncio.TimerHandle | None = None

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
            self._cancel("_stuck")
            super().resume_writing()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._abort_unless_read()

        def _abort_unless_read(self, left: int = -1) -> None:
            """A closed transport waits for its client to read the last answers; abort it if ``left`` bytes stay so."""
            waiting = self.transport.get_write_buffer_size()
            if waiting == left:
                self.transport.abort()
            elif waiting:
                self._closing = self.loop.call_later(seconds, self._abort_unless_read, waiting)

        def connection_lost(self, exc: Exception | None) -> None:
            held.pop(self, None)
            self._cancel("_late", "_stuck", "_closing")
            super().connection_lost(exc)

        def _cancel(self, *timers: str) -> None:
            for name in timers:
                if (timer := getattr(self, name)) is not None:
                    timer.cancel()
                setattr(self, name, None)

        def _watch(self) -> None:
            if self.conn.their_state is not h11.IDLE:
                self._cancel("_late")
            elif self._late is None:
                self._late = self.loop.call_later(seconds, self._give_up)

        def _give_up(self) -> None:
            self._late = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self.transport.close()
                self._abort_unless_read()

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
