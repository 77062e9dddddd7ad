"""From a request to its final answer: limits, budget, ledger, attempts; and when a whole run has to stop.

Steps of one attempt: wait for a free slot, the rate and the budget; write a line to the ledger; send; write a second
line. The ledger lists everything that may have been billed, even if the process is killed at any moment.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable
from typing import Protocol

from mirg.engines.endpoint import Fault, Reply, Retries
from mirg.engines.limits import WINDOW, BudgetGuard, Clock, Cost, Rates
from mirg.errors import EndpointError, MirgError
from mirg.trajectories.teacher.ledger import Answer, Ledger, Op, answered, begun, ended, reopened
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import ImageCache, Request

_SILENT = 3  # requests given up in a row, after which the endpoint counts as unreachable
_REFUSING = 8  # requests refused in a row, after which the cause is not the sample
_LET_OTHERS_SEND = 0.01  # seconds


class Stopped(Exception):
    """The run is ending: no further request is sent."""


class Asks(Protocol):
    """The part of :class:`mirg.engines.endpoint.Endpoint` that is used here."""

    async def ask(self, body: dict[str, object]) -> Reply:
        """One attempt; raises Fault."""
        ...


class Asker:
    """Sends requests, each until it is answered or given up. ``failure`` is the error that ends the run, else None.

    ``run`` identifies this process in the ledger.
    """

    def __init__(self, recipe: TeacherRecipe, ledger: Ledger, endpoint: Asks, images: ImageCache, clock: Clock) -> None:
        self.recipe = recipe
        self.ledger = ledger
        self.run = secrets.token_hex(8)
        self.failure: MirgError | None = None
        self._endpoint = endpoint
        self._images = images
        self._clock = clock
        self._places = asyncio.Semaphore(recipe.limits.concurrency)
        self._encoding = asyncio.Semaphore(2)
        limits = recipe.limits
        sent = ledger.recent(clock.now() - WINDOW)
        self._rates = Rates(limits.requests_per_minute, limits.tokens_per_minute, clock, sent)
        self._budget = BudgetGuard(recipe.budget, ledger.spent())
        self._numbers = itertools.count()
        self._asking: dict[str, asyncio.Future[Answer | None]] = {}
        self._calibration = 1.0
        self._retries = Retries(limits, clock)
        self._silent = 0
        self._refused: list[str] = []
        self._refusal = EndpointError("")

    async def answer(self, request: Request) -> Answer | None:
        """The final answer to ``request``, from the ledger if it has one; None if the request was given up for now.

        Equal requests are sent once. Raises Stopped if the run ends first.
        """
        known = self.ledger.find(request.hash)
        if known is not None:
            return known
        running = self._asking.get(request.hash)
        if running is None:
            running = asyncio.ensure_future(self._ask(request))
            self._asking[request.hash] = running
            running.add_done_callback(lambda _: self._asking.pop(request.hash, None))
        return await running

    def stop(self, failure: MirgError) -> None:
        """End the run with ``failure``: no further request is sent, pending replies are awaited."""
        self.failure = self.failure or failure

    async def finish(self) -> None:
        """To be called at the end of a run: if all requests were refused, none of the refusals is final."""
        if self._refused and not self._retries.answers:
            self.stop(self._refusal)
            await self.ledger.write(*(op for digest in self._refused for op in reopened(digest)))

    async def _ask(self, request: Request) -> Answer | None:
        try:
            reply, settled = await self._retries.call(lambda: self._attempt(request), request.hash)
        except Fault as fault:
            return await self._without_reply(request, fault)
        self._silent = 0
        if reply.text is not None:
            self._retries.answers += 1
            self._refused.clear()
        answer = await self._final(request, reply, settled)
        # Requests that are ready to be sent go first; this reply can be verified after them.
        await asyncio.sleep(_LET_OTHERS_SEND)
        return answer

    async def _attempt(self, request: Request) -> tuple[Reply, Op]:
        """A reply, and the line about this attempt that is written to the ledger together with it."""
        async with self._places:
            uris = self._images.ready(request.sample)
            if uris is None:
                async with self._encoding:
                    uris = await asyncio.to_thread(self._images.uris, request.sample)
            if request.looks:
                async with self._encoding:
                    uris = [*uris, *await asyncio.to_thread(self._images.crops, request)]
            need = request.most(self._calibration)
            self._check_running()
            await self._limited(self._rates.take(need.tokens))
            await self._limited(self._budget.reserve(need))
            try:
                self._check_running()
                number = next(self._numbers)
                await self._limited(self._begin(number, request, need))
            except BaseException:
                await self._budget.settle(need, Cost())
                raise
            try:
                reply = await self._endpoint.ask(request.body(uris))
            except Fault as fault:
                # The reservation of an attempt that may have been billed is never released.
                cost = None if fault.billed else Cost(requests=1)
                op = await self._settled(number, need, cost, fault.outcome, fault.message)
                self.ledger.write(op).add_done_callback(self.noticed)
                raise
        return reply, await self._settled(number, need, self._cost(reply, need), "reply", reply.problem or "")

    async def _begin(self, number: int, request: Request, need: Cost) -> None:
        self.ledger.check_room()
        await self.ledger.write(begun(self.run, number, request.hash, self._clock.now(), need))

    async def _settled(self, number: int, need: Cost, cost: Cost | None, outcome: str, detail: str) -> Op:
        await self._budget.settle(need, cost or need)
        return ended(self.run, number, self._clock.now(), outcome, detail, cost)

    def noticed(self, done: asyncio.Future[None]) -> None:
        """A callback for writes that are not awaited: a failed one ends the run."""
        error = None if done.cancelled() else done.exception()
        if isinstance(error, MirgError):
            self.stop(error)

    def _cost(self, reply: Reply, need: Cost) -> Cost | None:
        """The cost of a reply; None if the endpoint does not report it."""
        if reply.input_tokens is None or reply.output_tokens is None:
            return None
        inside = need.tokens - self.recipe.sampling.max_tokens
        if reply.input_tokens > inside:
            self._calibration *= reply.input_tokens / max(inside, 1)
        money = self.recipe.price.of(reply.input_tokens, reply.output_tokens)
        return Cost(1, reply.input_tokens + reply.output_tokens, money)

    async def _limited(self, waiting: Awaitable[None]) -> None:
        """Await ``waiting``; an error in it ends the run."""
        try:
            await waiting
        except MirgError as error:
            self.stop(error)
            raise Stopped from error

    def _check_running(self) -> None:
        if self.failure is not None:
            raise Stopped

    async def _final(self, request: Request, reply: Reply, *more: Op) -> Answer:
        known = reply.input_tokens is not None and reply.output_tokens is not None
        cost = self.recipe.price.of(reply.input_tokens or 0, reply.output_tokens or 0) if known else None
        answer = Answer(
            hash=request.hash, sample=request.sample.id, task=request.sample.task, draw=request.draw, step=request.step,
            model=self.recipe.model, prompt=request.prompt.digest, finish=reply.finish, cost=cost,
            state="failed" if reply.text is None else "answered", text=request.whole(reply.text), problem=reply.problem,
            input_tokens=reply.input_tokens, output_tokens=reply.output_tokens,
            attempts=self.ledger.attempts_of(request.hash), finished=self._clock.now(),
        )  # fmt: skip
        await self._limited(self.ledger.write(*more, answered(answer)))
        return answer

    async def _without_reply(self, request: Request, fault: Fault) -> Answer | None:
        """Handle a request without a reply. A refusal is final; the next run repeats one that was given up."""
        if fault.status == 401 or (fault.status in (403, 404) and not self._retries.answers):
            self.stop(_refusal(fault, self.recipe))
            raise Stopped
        if fault.retried:
            self._silent += 1
            if self._silent >= _SILENT:
                self.stop(_silence(fault, self.recipe))
            return None
        answer = await self._final(request, Reply(None, None, f"the endpoint refused: {fault.message}", 0, 0))
        self._refused.append(request.hash)
        self._refusal = _refusal(fault, self.recipe)
        if len(self._refused) >= _REFUSING:
            refused, self._refused = self._refused, []
            self.stop(self._refusal)  # before the write, so that no outcome is derived from them
            await self._limited(self.ledger.write(*(op for digest in refused for op in reopened(digest))))
            raise Stopped
        return answer


def _refusal(fault: Fault, recipe: TeacherRecipe) -> EndpointError:
    """The error of an endpoint that refuses every request, with a hint for its cause."""
    name = recipe.key_env or "key_env"
    hints = {
        401: f"check that the key in {name} is valid for this address",
        403: f"check that the key in {name} may use the model {recipe.model!r}",
        404: f"check that the endpoint has a model {recipe.model!r}, and that the address ends with /v1",
        413: "smaller images.max_side or images.max_total_bytes",
    }
    hint = hints.get(fault.status, "the message is that of the endpoint")
    words = fault.message.casefold()
    if fault.status in (400, 415, 422) and any(word in words for word in ("image", "vision", "multimodal")):
        hint = f"check that {recipe.model!r} accepts images: a model without vision cannot be a teacher"
    return EndpointError(f"{recipe.url} refuses: {fault.message}", hint=hint)


def _silence(fault: Fault, recipe: TeacherRecipe) -> EndpointError:
    hint = "check the server and the address; the same command continues this run"
    if "web page" in fault.message:
        hint = "this may be the address of a web page: that of the API most often ends with /v1"
    return EndpointError(f"{recipe.url} does not answer: {fault.message}", hint=hint)
