"""The application: ``POST /v1/chat/completions``, ``GET /v1/models``, ``GET /health``."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mirg.answers.blocks import forbid_vision
from mirg.engines.base import Completion, Engine
from mirg.engines.base import Request as Prompt
from mirg.errors import AnswerError, ImageError
from mirg.images import decode_image
from mirg.samples.tokens import image_tokens, text_tokens
from mirg.serve.guards import Guard
from mirg.serve.limits import Refused, ServeLimits
from mirg.serve.openai_format import Chat, completion_body, parse_chat, stream_body
from mirg.serve.worker import Job, Worker, going_down

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_TOKENS = 512  # of a completion, if the request gives no limit
_DECODERS = 2  # requests whose images are decoded at a time
_LOOK_SECONDS = 0.5  # between two checks whether the client is still connected


def served_name(engine: Engine) -> str:
    """The default name of a model: the last part of its path, or the name of the run folder if that is "model"."""
    path = Path(engine.name)
    return (path.parent.name if path.name == "model" else path.name) or engine.name


def create_app(engine: Engine, *, name: str | None = None, limits: ServeLimits | None = None) -> FastAPI:
    """The application that answers with ``engine``, with its checks. It starts and stops the thread of the model."""
    limits = limits or ServeLimits()
    served = Served(engine, name or served_name(engine), limits)

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

    def __init__(self, engine: Engine, name: str, limits: ServeLimits) -> None:
        self.engine = engine
        self.name = name
        self.limits = limits
        self.worker = Worker(engine, limits)
        self.created = int(time.time())
        self._decoding = asyncio.Semaphore(_DECODERS)

    async def health(self) -> JSONResponse:
        """Whether requests are accepted, and how many wait."""
        return JSONResponse({"status": "ok", "model": self.name, "waiting": self.worker.waiting})

    async def models(self) -> JSONResponse:
        """The list of models, which has one entry."""
        model = {"id": self.name, "object": "model", "created": self.created, "owned_by": "mirg"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        """One chat completion, or several of one prompt."""
        end = time.monotonic() + self.limits.answer_seconds
        self.worker.check_room()
        body = await request.body()
        async with self._decoding:
            chat, job = await asyncio.to_thread(self._prepare, body)
        self.worker.submit(job)
        said = await self._answer(request, job, end)
        created = int(time.time())
        if chat.stream:
            text = stream_body(self.name, self.engine.fingerprint, created, said, with_usage=chat.include_usage)
            return Response(text, media_type="text/event-stream", headers={"cache-control": "no-store"})
        return Response(
            completion_body(self.name, self.engine.fingerprint, created, said), media_type="application/json"
        )

    def _prepare(self, body: bytes) -> tuple[Chat, Job]:
        """Check a request, the cheapest checks first, and make the job."""
        chat = parse_chat(body, self.limits, DEFAULT_TOKENS)
        if chat.model != self.name:
            words = f"there is no model {chat.model[:200]!r}; this server has {self.name!r}"
            raise Refused(404, words, param="model", code="model_not_found")
        for text in chat.texts:
            _check_text(text, self.engine)
        images = self._images(chat)
        self._check_length(chat, images)
        seed = secrets.randbits(31) if chat.seed is None else chat.seed
        prompt = Prompt("request", chat.messages, images, chat.prefix)
        return chat, Job(prompt, chat.new_tokens, chat.temperature, seed, chat.n)

    def _images(self, chat: Chat) -> list[Image]:
        images: list[Image] = []
        pixels = 0
        for number, data in enumerate(chat.images, 1):
            try:
                image = decode_image(data, f"number {number}", limits=self.limits.image)
            except ImageError as error:
                raise Refused(400, error.message, param="messages", code="invalid_image") from error
            pixels += image.width * image.height
            if pixels > self.limits.pixels:
                words = f"the images have more than {self.limits.pixels:,} pixels together"
                raise Refused(400, words, param="messages", code="invalid_image")
            images.append(image)
        return images

    def _check_length(self, chat: Chat, images: list[Image]) -> None:
        try:
            shown = sum(image_tokens(image.size, self.engine.family, self.engine.limits) for image in images)
        except ImageError as error:
            raise Refused(400, error.message, param="messages", code="invalid_image") from error
        tokens = shown + sum(text_tokens(text) for text in chat.texts)
        if tokens > self.limits.prompt_tokens:
            words = f"the prompt is about {tokens:,} tokens, {self.limits.prompt_tokens:,} are allowed"
            raise Refused(400, words, param="messages", code="context_length_exceeded")

    async def _answer(self, request: Request, job: Job, end: float) -> list[Completion]:
        """Wait for the completions until the client disconnects or the time is up."""
        waiting = asyncio.wrap_future(job.answer)
        try:
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    raise Refused(504, f"no answer within {self.limits.answer_seconds:g} s", code="timeout")
                done, _ = await asyncio.wait({waiting}, timeout=min(left, _LOOK_SECONDS))
                if done:
                    return waiting.result()
                if await request.is_disconnected():
                    raise Refused(400, "the client has gone", code="client_gone")
        except asyncio.CancelledError:
            if self.worker.closed:  # the server is stopping and its time for pending jobs is up
                raise going_down() from None
            raise
        finally:
            waiting.cancel()


def _check_text(text: str, engine: Engine) -> None:
    try:
        forbid_vision(text, engine.family, "a message")
    except AnswerError as error:
        raise Refused(400, error.message, param="messages") from error


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(error.body, error.status, error.headers)


async def _http(request: Request, error: Exception) -> Response:
    """Answer unknown paths and methods in the same form as every other error."""
    assert isinstance(error, HTTPException)
    words = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method[:20]} is not answered here"}
    refused = Refused(error.status_code, words.get(error.status_code, str(error.detail)[:200]))
    return Response(refused.body, refused.status, {**refused.headers, **dict(error.headers or {})})
