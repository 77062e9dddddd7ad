"""From a request to its final answer: limits, budget, ledger, attempts; and when a whole run has to stop.

The order of one attempt: a place among those in flight, the rate, the budget, a line in the ledger, the network, a
line in the ledger. Whatever moment a process is killed at, the ledger knows of all that may have been billed.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable
from typing import Protocol

from mirg.errors import MirgError, TeacherError
from mirg.trajectories.teacher.client import Fault, Reply
from mirg.trajectories.teacher.images import ImageDesk
from mirg.trajectories.teacher.ledger import Answer, Ledger, Op, answered, begun, ended, reopened
from mirg.trajectories.teacher.limits import WINDOW, BudgetGuard, Clock, Cost, Rates
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Request

_BUSY = 429  # HTTP
_FIRST_CONTACT = 3  # tries of a request while nothing has ever been answered: a wrong address is not waited for
_SILENT = 3  # requests in a row that were given up: the endpoint is gone
_REFUSING = 8  # requests in a row that the endpoint refused: it is not about the sample
_LET_OTHERS_SEND = 0.01  # seconds
_FIRST_PAUSE = 0.5  # seconds, doubled with every attempt


class Stopped(Exception):
    """The run is ending: nothing more is sent."""


class Asks(Protocol):
    """What an endpoint is needed for (:class:`mirg.trajectories.teacher.client.Endpoint`, or a fake)."""

    async def ask(self, body: dict[str, object]) -> Reply:
        """One attempt; raises Fault."""
        ...


class Asker:
    """Asks for requests, each until it is answered or given up. ``failure`` is what ends the run, None until then.

    ``run`` names this process in the ledger.
    """

    def __init__(self, recipe: TeacherRecipe, ledger: Ledger, endpoint: Asks, builder: ImageDesk, clock: Clock) -> None:
        self.recipe = recipe
        self.ledger = ledger
        self.run = secrets.token_hex(8)
        self.failure: MirgError | None = None
        self.given_up: dict[str, str] = {}  # request: its last fault
        self.in_flight = 0
        self._endpoint = endpoint
        self._desk = builder
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
        self._answers = 0
        self._silent = 0
        self._refused: list[str] = []
        self._refusal = TeacherError("")

    async def answer(self, request: Request) -> Answer | None:
        """The final answer to ``request``, from the ledger where it is there; None where it was given up for now.

        Equal requests are sent once. Raises Stopped where the run ends first.
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
        """End the run with ``failure``: nothing more is sent, what is in flight comes home."""
        self.failure = self.failure or failure

    async def finish(self) -> None:
        """At the end of a run: where everything was refused and nothing answered, nothing of it is final."""
        if self._refused and not self._answers:
            self.stop(self._refusal)
            await self.ledger.write(*(op for digest in self._refused for op in reopened(digest)))

    async def _ask(self, request: Request) -> Answer | None:
        from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

        used, answers = 0, self._answers

        def enough(state: RetryCallState) -> bool:
            nonlocal used, answers
            fault = _fault_of(state)
            # A server that is busy with other requests of ours is no reason to give this one up.
            used += not (fault.status == _BUSY and self._answers > answers)
            answers = self._answers
            patient = self._answers or fault.kind != "connection"
            tries = self.recipe.limits.tries if patient else min(_FIRST_CONTACT, self.recipe.limits.tries)
            too_long = fault.after is not None and fault.after > self.recipe.limits.max_wait
            return used >= tries or too_long

        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=enough,
            wait=lambda state: self._pause(_fault_of(state), state.attempt_number, request.hash),
            retry=retry_if_exception(lambda error: isinstance(error, Fault) and error.retried),
            reraise=True,
        )
        try:
            reply, settled = await retrying(self._attempt, request)
        except Fault as fault:
            return await self._without_reply(request, fault)
        self._silent = 0
        if reply.text is not None:
            self._answers += 1
            self._refused.clear()
        answer = await self._final(request, reply, settled)
        # What is ready to be sent goes first; verifying this reply has time until then.
        await asyncio.sleep(_LET_OTHERS_SEND)
        return answer

    def _pause(self, fault: Fault, attempt: int, digest: str) -> float:
        """What the server asks for, else twice as long every time, spread by the request's own hash."""
        spread = 0.5 + int(digest[:8], 16) / 2**32
        pause = spread * _FIRST_PAUSE * 2 ** min(attempt - 1, 16)
        return max(fault.after, 0.0) if fault.after is not None else min(pause, self.recipe.limits.max_wait)

    async def _attempt(self, request: Request) -> tuple[Reply, Op]:
        """A reply, and the line about this attempt that goes into the ledger together with it."""
        async with self._places:
            uris = await self._images(request)
            need = request.most(self._calibration)
            self._go_on()
            await self._limited(self._rates.take(need.tokens))
            await self._limited(self._budget.reserve(need))
            try:
                self._go_on()
                number = next(self._numbers)
                await self._limited(self._begin(number, request, need))
            except BaseException:
                await self._budget.settle(need, Cost())
                raise
            self.in_flight += 1
            try:
                reply = await self._endpoint.ask(request.body(uris))
            except Fault as fault:
                # What may have been billed stays set aside for good.
                cost = None if fault.billed else Cost(requests=1)
                op = await self._settled(number, need, cost, fault.outcome, fault.message)
                self.ledger.write(op).add_done_callback(self.noticed)
                raise
            finally:
                self.in_flight -= 1
        cost = self._cost(reply, need)
        return reply, await self._settled(number, need, cost, "reply", reply.problem or "")

    async def _begin(self, number: int, request: Request, need: Cost) -> None:
        self.ledger.check_room()
        await self.ledger.write(begun(self.run, number, request.hash, self._clock.now(), need.tokens, need.money))

    async def _settled(self, number: int, need: Cost, cost: Cost | None, outcome: str, detail: str) -> Op:
        await self._budget.settle(need, need if cost is None else cost)
        tokens, money = (None, None) if cost is None else (cost.tokens, cost.money)
        return ended(self.run, number, self._clock.now(), outcome, detail, tokens, money)

    def noticed(self, done: asyncio.Future[None]) -> None:
        """For writes that nobody waits for: one that fails ends the run."""
        error = None if done.cancelled() else done.exception()
        if isinstance(error, MirgError):
            self.stop(error)

    def _cost(self, reply: Reply, need: Cost) -> Cost | None:
        """What a reply came to; None where the endpoint does not say."""
        if reply.input_tokens is None or reply.output_tokens is None:
            return None
        inside = need.tokens - self.recipe.sampling.max_tokens
        if reply.input_tokens > inside:
            self._calibration *= reply.input_tokens / max(inside, 1)
        money = self.recipe.price.of(reply.input_tokens, reply.output_tokens)
        return Cost(1, reply.input_tokens + reply.output_tokens, money)

    async def _images(self, request: Request) -> list[str]:
        ready = self._desk.ready(request.sample)
        if ready is not None:
            return ready
        async with self._encoding:
            return await asyncio.to_thread(self._desk.uris, request.sample)

    async def _limited(self, waiting: Awaitable[None]) -> None:
        """Await ``waiting``; what it raises ends the run."""
        try:
            await waiting
        except MirgError as error:
            self.stop(error)
            raise Stopped from error

    def _go_on(self) -> None:
        if self.failure is not None:
            raise Stopped

    async def _final(self, request: Request, reply: Reply, *more: Op) -> Answer:
        answer = self._answer(request, reply)
        await self._limited(self.ledger.write(*more, answered(answer)))
        return answer

    def _answer(self, request: Request, reply: Reply) -> Answer:
        known = reply.input_tokens is not None and reply.output_tokens is not None
        cost = self.recipe.price.of(reply.input_tokens or 0, reply.output_tokens or 0) if known else None
        return Answer(
            hash=request.hash, sample=request.sample.id, task=request.sample.task, draw=request.draw, step=request.step,
            model=self.recipe.model, prompt=request.prompt.digest, finish=reply.finish, cost=cost,
            state="failed" if reply.text is None else "answered", text=reply.text, problem=reply.problem,
            input_tokens=reply.input_tokens, output_tokens=reply.output_tokens,
            attempts=self.ledger.attempts_of(request.hash), finished=self._clock.now(),
        )  # fmt: skip

    async def _without_reply(self, request: Request, fault: Fault) -> Answer | None:
        """A refused request is final; one that was given up is asked again by the next run."""
        if fault.status == 401 or (fault.status in (403, 404) and not self._answers):
            self.stop(_refusal(fault, self.recipe))
            raise Stopped
        if fault.retried:
            self._silent += 1
            self.given_up[request.hash] = fault.message
            if self._silent >= _SILENT:
                self.stop(_silence(fault, self.recipe))
            return None
        answer = await self._final(request, Reply(None, None, f"the endpoint refused: {fault.message}", 0, 0))
        self._refused.append(request.hash)
        self._refusal = _refusal(fault, self.recipe)
        if len(self._refused) >= _REFUSING:
            refused, self._refused = self._refused, []
            self.stop(self._refusal)  # first of all: no outcome follows from them any more
            await self._limited(self.ledger.write(*(op for digest in refused for op in reopened(digest))))
            raise Stopped
        return answer


def _fault_of(state: object) -> Fault:
    """The fault of the attempt that tenacity speaks of."""
    outcome = getattr(state, "outcome", None)
    error = outcome.exception() if outcome is not None else None
    return error if isinstance(error, Fault) else Fault("body", "")


def _refusal(fault: Fault, recipe: TeacherRecipe) -> TeacherError:
    """The endpoint says no to everything, in words that lead on."""
    name = recipe.key_env or "key_env"
    hints = {
        401: f"is the key in {name} valid, and one for this address?",
        403: f"may the key in {name} use the model {recipe.model!r}?",
        404: f"is {recipe.model!r} a model of this endpoint, and does its address end with /v1?",
        413: "smaller images.max_side or images.max_total_bytes",
    }
    hint = hints.get(fault.status, "the endpoint's own words say what it does not take")
    words = fault.message.casefold()
    if fault.status in (400, 415, 422) and any(word in words for word in ("image", "vision", "multimodal")):
        hint = f"does {recipe.model!r} see images? A model without vision cannot be a teacher"
    return TeacherError(f"{recipe.url} refuses: {fault.message}", hint=hint)


def _silence(fault: Fault, recipe: TeacherRecipe) -> TeacherError:
    hint = "is the server running, and the address right? The same command goes on where this run ended"
    if "web page" in fault.message:
        hint = "the address of a web page? That of the API mostly ends with /v1"
    return TeacherError(f"{recipe.url} does not answer: {fault.message}", hint=hint)
