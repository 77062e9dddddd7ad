"""The thread of the model: one engine, a bounded queue, and batches of waiting requests.

Greedy completions do not depend on the rest of their batch, so requests with equal length limits share forward passes.
Sampled completions are a function of seed and request, so each request is computed separately.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from mirg.answers.looks import LookBudget
from mirg.engines.base import Completion, Engine, Generation, Request, complete_watched, several
from mirg.engines.looking import LookEnvironment, looked
from mirg.errors import MirgError
from mirg.serve.limits import Refused, ServeLimits

logger = logging.getLogger("mirg.serve")
_RETRY_SECONDS = 5


@dataclass(frozen=True)
class Job:
    """One request with its settings; ``answer`` receives ``n`` completions or an error.

    If it is ``streamed``, ``text`` is the completion so far, and setting ``gone`` ends it.
    """

    request: Request
    new_tokens: int
    temperature: float
    seed: int
    n: int = 1
    streamed: bool = False
    texts: list[str] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    answer: Future[list[Completion]] = field(default_factory=Future)

    @property
    def pixels(self) -> int:
        """The number of pixels of all its images."""
        return sum(image.width * image.height for image in self.request.images)

    @property
    def batch(self) -> object:
        """Equal for jobs that may be computed in one call without changing any of them."""
        return (self.new_tokens, self.n) if self.temperature == 0 and not self.streamed else id(self)

    @property
    def text(self) -> str:
        """What is written so far of a streamed completion."""
        return self.texts[-1] if self.texts else ""

    def watch(self, text: str) -> None:
        """Keep the text so far; raises Refused if nobody waits for it any more."""
        self.texts[:] = [text]
        if self.gone.is_set():
            raise Refused(400, "the client has gone", code="client_gone")


class Worker:
    """Answers jobs in a separate thread, from :meth:`start` to :meth:`stop`."""

    def __init__(self, engine: Engine, limits: ServeLimits, look: LookBudget | None = None) -> None:
        self.engine = engine
        self.limits = limits
        self.look = look or LookBudget()
        self._jobs: deque[Job] = deque()
        self._pixels = 0
        self._change = threading.Condition()
        self.closed = False
        self._thread = threading.Thread(target=self._run, name="mirg-model", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Refuse waiting and new jobs; jobs that are being computed are finished."""
        with self._change:
            self.closed = True
            waiting, self._jobs = list(self._jobs), deque()
            self._change.notify_all()
        for job in waiting:
            _fail(job, going_down())

    def stop(self, seconds: float = 5.0) -> None:
        """:meth:`close`, and wait up to ``seconds`` for the jobs that are being computed."""
        self.close()
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def waiting(self) -> int:
        """The number of requests that wait for the model."""
        return len(self._jobs)

    def check_room(self, pixels: int = 0) -> None:
        """Raise :class:`Refused` (429) if the queue has no room for a job of ``pixels``."""
        with self._change:
            if self.closed:
                raise going_down()
            full = len(self._jobs) >= self.limits.queue
            if full or (self._jobs and self._pixels + pixels > self.limits.queue_pixels):
                raise Refused(429, f"{len(self._jobs)} requests are waiting", code="server_busy", retry=_RETRY_SECONDS)

    def submit(self, job: Job) -> None:
        """Put ``job`` at the end of the queue; :class:`Refused` (429) if it is full."""
        with self._change:
            self.check_room(job.pixels)
            self._jobs.append(job)
            self._pixels += job.pixels
            self._change.notify_all()

    def _run(self) -> None:
        while (jobs := self._take()) is not None:
            self._answer([job for job in jobs if job.answer.set_running_or_notify_cancel()])

    def _take(self) -> list[Job] | None:
        """The next job and those that can be computed with it, in their order; None when the worker stops."""
        with self._change:
            while not self._jobs and not self.closed:
                self._change.wait()
            if self.closed:
                return None
            first = self._jobs.popleft()
            chosen, rest = [first], deque[Job]()
            for job in self._jobs:
                fits = len(chosen) < self.limits.batch and first.batch == job.batch
                (chosen if fits else rest).append(job)
            self._jobs = rest
            self._pixels -= sum(job.pixels for job in chosen)
            return chosen

    def _complete(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        """Completions of each request; with looks, the turns of the model are joined to one."""
        if not self.look.max_looks:
            return several(self.engine, requests, settings, n)
        family, limits = self.engine.family, self.engine.limits
        environments = [LookEnvironment(request.images, family, self.look, limits) for request in requests]
        groups = looked(self.engine, requests, environments, settings, n)
        return [[one.completion for one in group] for group in groups]

    def _answer(self, jobs: Sequence[Job]) -> None:
        """Compute ``jobs``; if one of several is refused, compute each separately, so that the others are answered."""
        if not jobs:
            return
        first = jobs[0]
        settings = Generation(first.new_tokens, first.temperature, first.seed, len(jobs))
        try:
            if first.streamed and not self.look.max_looks:
                groups = [[complete_watched(self.engine, first.request, settings, first.watch)]]
            else:
                groups = self._complete([job.request for job in jobs], settings, first.n)
        except MirgError as error:
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
            else:
                _fail(first, Refused(400, f"the prompt cannot be used: {error}"))
        except Exception as error:  # for example out of memory: the server must continue
            logger.exception("the model failed")
            words = f"the model failed ({type(error).__name__})"
            for job in jobs:
                _fail(job, Refused(500, words))
        else:
            for job, group in zip(jobs, groups, strict=True):
                job.answer.set_result(group)


def going_down() -> Refused:
    """The error for every request that a closed worker does not answer."""
    return Refused(503, "the server is going down", code="server_stopping")


def _fail(job: Job, problem: Refused) -> None:
    if job.answer.running() or job.answer.set_running_or_notify_cancel():
        job.answer.set_exception(problem)
