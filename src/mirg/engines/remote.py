"""Text generation by a model behind an OpenAI-compatible endpoint, many requests at once; importing it needs no torch.

The family decides the frame and the form of answers, since the endpoint does not tell it. An image that has more pixels
than the family's processor keeps is resized here, to the size that the processor would give it, so that boxes in pixels
of the resized image have one meaning. Vision tokens cannot be forbidden at a distance: the reader refuses them.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import io
import json
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from mirg.answers.blocks import THINK_CLOSE, THINK_OPEN
from mirg.engines.base import Completion, Generation, OpenedBy, Request, Watch, draw_seed
from mirg.engines.endpoint import Endpoint, Fault, Reply, Retries
from mirg.engines.limits import Clock, Limits
from mirg.engines.refusals import meaning
from mirg.errors import EndpointError, EngineError
from mirg.frames import input_size
from mirg.storage import BadLine, Journal, read_jsonl

if TYPE_CHECKING:
    from PIL.Image import Image

    from mirg.answers.prompts import Instructions
    from mirg.families import Family, PixelLimits

_LOOK_SECONDS = 0.1  # between two looks at a completion that grows
_AHEAD = 4  # requests prepared for each that may be sent at once, so that a slow one does not hold up the others


class EndpointEngine:
    """An :class:`mirg.engines.base.Engine` that asks an endpoint; completions come back in the order of the requests.

    The requests of one call are independent of each other: which of them are asked together changes no completion.
    """

    def __init__(
        self,
        url: str,
        model: str,
        family: Family,
        *,
        key: str | None = None,
        limits: PixelLimits | None = None,
        requests: Limits | None = None,
        instructions: Instructions | None = None,
        thinking: bool | None = None,
    ) -> None:
        """``url`` most often ends in ``/v1``; ``requests`` limits how many are sent at once and how long to wait."""
        self.name = model
        self.family = family
        self.limits = limits
        self.instructions = instructions
        self.thinking = thinking
        self.fingerprint = f"endpoint {_digest(model)[:32]}"  # not the address: a server may move
        self._url, self._key = url, key
        self._requests = requests or Limits()
        self._replies: dict[str, Completion] = {}
        self._journal: Journal | None = None

    @contextmanager
    def remembering(self, file: Path) -> Iterator[None]:
        """Write every reply to ``file`` (JSON lines) as it arrives, and use those that it holds instead of asking.

        A line that is cut off or damaged is ignored, so its request is sent again.
        """
        if file.exists():
            for _, row in read_jsonl(file):
                if not isinstance(row, BadLine) and isinstance(row, dict):
                    digest, completion = row.pop("request", None), _stored(row)
                    if isinstance(digest, str) and completion is not None:
                        self._replies[digest] = completion
        with Journal(file) as self._journal:
            try:
                yield
            finally:
                self._journal = None

    def generate(self, requests: Sequence[Request], settings: Generation) -> list[Completion]:
        """One completion per request, in order. EngineError for a request that the endpoint refuses."""
        found = []
        for completion in self.stream(requests, settings):
            if isinstance(completion, EngineError):
                raise completion
            found.append(completion)
        return found

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """``n`` completions of every request; the draws of one request differ in their seed."""
        pairs = [(request, draw) for request in requests for draw in range(n)]
        flat = list(self._in_order(pairs, settings))
        for completion in flat:
            if isinstance(completion, EngineError):
                raise completion
        good = [completion for completion in flat if isinstance(completion, Completion)]
        return [good[start : start + n] for start in range(0, len(good), n)]

    def stream(self, requests: Iterable[Request], settings: Generation) -> Iterator[Completion | EngineError]:
        """Completions in the order of the requests, which are taken on demand.

        A request that the endpoint refuses gives an EngineError in its place, and the others continue.

        Raises:
            EndpointError: The endpoint cannot be reached, refuses the key, or does not have the model.
        """
        return self._in_order(((request, request.draw) for request in requests), settings)

    def complete_watched(self, request: Request, settings: Generation, watch: Watch) -> Completion:
        """The completion of :meth:`generate`, which the endpoint is asked to stream.

        ``watch`` is also called while nothing arrives, so that it can end the request at any time.
        """
        texts = [""]

        def tell(reply: Reply) -> None:
            texts[0] = _completion(reply, continued=bool(request.prefix)).text

        with _Loop(self._url, self._key, self._requests) as loop:
            waiting = loop.submit(self._complete(loop, request, settings, request.draw, tell))
            while not wait([waiting], _LOOK_SECONDS).done:
                watch(texts[0])
            completion = waiting.result()
        if isinstance(completion, EngineError):
            raise completion
        return completion

    def _in_order(
        self, requests: Iterable[tuple[Request, int]], settings: Generation
    ) -> Iterator[Completion | EngineError]:
        waiting: deque[Future[Completion | EngineError]] = deque()
        ahead = _AHEAD * self._requests.concurrency
        with _Loop(self._url, self._key, self._requests) as loop:
            for request, draw in requests:
                waiting.append(loop.submit(self._complete(loop, request, settings, draw)))
                while len(waiting) >= ahead or (waiting and waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    async def _complete(
        self,
        loop: _Loop,
        request: Request,
        settings: Generation,
        draw: int,
        tell: Callable[[Reply], None] | None = None,
    ) -> Completion | EngineError:
        async with loop.places:
            body, digest = await asyncio.to_thread(self._body, request, settings, draw)
            if digest in self._replies:
                return self._replies[digest]
            try:
                reply = await loop.retries.call(lambda: loop.endpoint.ask(body, tell), digest)
            except Fault as fault:
                return self._refused(fault, request, answered=bool(loop.retries.answers))
            loop.retries.answers += 1
            completion = _completion(reply, continued=bool(request.prefix))
            self._replies[digest] = completion
            if self._journal is not None:
                self._journal.append({"request": digest, **vars(completion)})
            return completion

    def _body(self, request: Request, settings: Generation, draw: int) -> tuple[dict[str, Any], str]:
        """The body of a request and its digest. The seed depends on the request, so that no two share their luck."""
        images = iter(request.images)
        messages = [
            {"role": message["role"], "content": [self._part(part, images) for part in message["content"]]}
            for message in request.messages
        ]
        body: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            "max_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
        }
        if request.prefix:  # vLLM and SGLang continue the last message then
            messages.append({"role": "assistant", "content": request.prefix})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        thinking = self.thinking if request.thinking is None else request.thinking
        if thinking is not None:  # vLLM and SGLang give it to the chat template
            body["chat_template_kwargs"] = {"enable_thinking": thinking}
        digest = _digest(json.dumps(body, sort_keys=True))
        if settings.temperature:
            body["seed"] = draw_seed(settings.seed, digest, draw)
            digest = _digest(f"{digest} {body['seed']}")
        return body, digest

    def _part(self, part: dict[str, Any], images: Iterator[Image]) -> dict[str, Any]:
        if part["type"] != "image":
            return {"type": "text", "text": part["text"]}
        image = next(images)
        limits = self.limits or self.family.limits
        if image.width * image.height > limits.max_pixels:
            image = image.resize(input_size(image.size, self.family, self.limits))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        return {
            "type": "image_url",
            "image_url": {"url": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"},
        }

    def _refused(self, fault: Fault, request: Request, *, answered: bool) -> EngineError:
        """The error of one request; EndpointError if no other request can succeed either."""
        if fault.retried:
            hint = "check the server and the address; the same command continues"
            if fault.is_page:
                hint = "this may be the address of a web page: that of the API most often ends with /v1"
            raise EndpointError(f"{self._url} does not answer: {fault.message}", hint=hint)
        meant = meaning(fault, self.name, len(request.images), has_key=self._key is not None)
        if fault.status == 401 or (meant.all_requests and not answered):
            raise EndpointError(f"{self._url} refuses: {fault.message}", hint=meant.hint)
        return EngineError(f"sample {request.sample_id}: the endpoint refuses: {fault.message}", hint=meant.hint)


class _Loop:
    """An event loop in a thread with the connections of one run, for the time of a ``with`` block."""

    def __init__(self, url: str, key: str | None, limits: Limits) -> None:
        self.endpoint = Endpoint(url, key, limits)
        self.retries = Retries(limits, Clock())
        self.places = asyncio.Semaphore(limits.concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)

    def submit(self, work: Any) -> Future[Any]:
        """Start a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def __enter__(self) -> _Loop:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.submit(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.endpoint.close()


def served_facts(url: str, model: str, key: str | None, *, seconds: float = 5.0) -> dict[str, str]:
    """What ``mirg serve`` says of its model: ``family`` and ``instructions``. Empty for any other server."""
    facts = served_models(url, key, seconds=seconds).get(model)
    return {name: value for name, value in facts.items() if isinstance(value, str)} if isinstance(facts, dict) else {}


def served_models(url: str, key: str | None, *, seconds: float = 5.0) -> dict[str, Any]:
    """The names of the models that a server lists, with what ``mirg serve`` says of its own (None for any other)."""
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}/models")
        if key:
            request.add_unredirected_header("Authorization", f"Bearer {key}")  # no other server may see it
        with urllib.request.urlopen(request, timeout=seconds) as response:
            listed = json.load(response)["data"]
        return {str(entry["id"]): entry.get("mirg") for entry in listed}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, http.client.HTTPException):
        return {}  # the first request says what is wrong


_STORED = TypeAdapter(Completion)


def _stored(row: dict[str, Any]) -> Completion | None:
    """The completion of a stored reply; None if a value is missing or has another type."""
    try:
        return _STORED.validate_json(json.dumps(row), strict=True)
    except ValidationError:
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _completion(reply: Reply, *, continued: bool) -> Completion:
    """A reply as a completion with its thinking in tags; without any text it is empty.

    A server without a reasoning parser returns the text after the chat template's ``<think>``. Therefore, unless the
    reply has ``continued`` a beginning, a thinking that ends without having begun is that of the template.
    """
    text = reply.text or ""
    opened_by: OpenedBy = "model"
    begun, ended, _ = text.partition(THINK_CLOSE)
    if reply.reasoning:
        text = f"{THINK_OPEN}{reply.reasoning}" + (f"{THINK_CLOSE}{text}" if text else "")
        opened_by = "server"
    elif not continued and ended and begun.strip() and THINK_OPEN not in begun:
        text, opened_by = THINK_OPEN + text, "template"
    finish = "length" if reply.finish == "length" else "stop"
    return Completion(text, reply.output_tokens or 0, finish, reply.input_tokens or 0, opened_by)
