"""A teacher's run over a dataset: a bounded number of pending requests, a regular end, and no request sent twice.

Samples are streamed. If a run ends early (a signal, a used-up budget, a refused key, a full disk), no further request
is sent, and pending replies are awaited and stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mirg.engines.endpoint import Endpoint
from mirg.engines.limits import Clock
from mirg.errors import ConfigError, EndpointError, MirgError
from mirg.samples import DatasetFolder, Rejection, Sample
from mirg.storage import digest_bytes, digest_file
from mirg.trajectories.teacher.ledger import Ledger, planned, started, stopped
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests, ImageCache
from mirg.trajectories.teacher.sending import Asker, Asks, Stopped
from mirg.trajectories.teacher.work import RequestBuilder, work_on

# The keys on which the requests and the kept replies depend; budgets, rates and the address are not among them.
_DECISIVE = {
    "model", "family", "language", "templates", "draws", "stop_early", "repair", "sampling", "extra", "images", "verify"
}  # fmt: skip
_AHEAD = 2  # samples in progress for each concurrent request, since some wait for their next try


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: row k of a dataset belongs to part ``k % count + 1``, k from 0."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(
                f"shard {self.index}/{self.count} does not exist", hint="1/4 to 4/4 are the parts of four"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"2/4"``; ConfigError for anything else."""
        found = re.fullmatch("([0-9]+)/([0-9]+)", text)
        if not found:
            raise ConfigError(f"--shard {text!r} is not i/n", hint="--shard 2/4 is the second of four parts")
        return cls(int(found[1]), int(found[2]))

    def holds(self, row: int) -> bool:
        """Whether row ``row`` (from 0) belongs to this part."""
        return row % self.count == self.index - 1

    def size(self, rows: int) -> int:
        """How many of ``rows`` rows belong to this part."""
        return len(range(self.index - 1, rows, self.count))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()


@dataclass
class Progress:
    """The progress of a run in samples. ``missing`` counts those with a request that was given up for now."""

    total: int
    accepted: int = 0
    rejected: int = 0
    missing: int = 0
    known: int = 0

    @property
    def done(self) -> int:
        """The number of samples that this run has finished."""
        return self.accepted + self.rejected + self.missing + self.known


def plan_of(src: DatasetFolder, recipe: TeacherRecipe) -> str:
    """A digest of the dataset and of what is asked, 16 hexadecimal digits; the same for all shards of one job.

    A check of the user's is part of it by its name and the contents of its file.
    """
    chosen = recipe.model_dump(mode="json", include=_DECISIVE)
    plugins = [name.rpartition(":") for name in chosen["verify"].pop("checks")]
    if plugins:
        chosen["verify"]["checks"] = [[name, digest_file(file)] for file, _, name in plugins]
    return digest_bytes(json.dumps([src.card.digest, chosen], sort_keys=True).encode())[:16]


def rows_of(
    src: DatasetFolder, shard: Shard, on_reject: Callable[[Rejection], object] = lambda _: None
) -> Iterator[tuple[int, Sample]]:
    """(row from 1, sample) of a shard, with image sizes; broken rows are given to ``on_reject`` and skipped."""

    def mine(rejection: Rejection) -> None:
        if shard.holds(rejection.row - 1):
            on_reject(rejection)

    for row, sample in src.numbered(mine, images="header"):
        if shard.holds(row - 1):
            yield row, sample


def ask_teacher(
    src: DatasetFolder,
    recipe: TeacherRecipe,
    ledger: Ledger,
    *,
    shard: Shard = WHOLE,
    endpoint: Asks | None = None,
    clock: Clock | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Send every request that has no answer in the ledger. The budgets and rates of ``recipe`` are for this process.

    Raises the error that ended the run early: EndpointError (the endpoint refuses or does not answer, a budget is used
    up, a signal arrived), ConfigError, StorageError. All answers are in the ledger, and the same call continues.
    """
    time = clock or Clock()

    async def work() -> Progress:
        chosen = endpoint or Endpoint(recipe.url, recipe.key(), recipe.limits, time)
        try:
            asker = Asker(recipe, ledger, chosen, ImageCache(src, recipe.images), time)
            return await _ask_all(src, asker, shard, time, on_progress)
        finally:
            if isinstance(chosen, Endpoint):
                await chosen.close()

    return asyncio.run(work())


async def _ask_all(
    src: DatasetFolder, asker: Asker, shard: Shard, clock: Clock, tell: Callable[[Progress], None]
) -> Progress:
    """Finish every sample of the shard, reading a bounded number of samples ahead of the requests."""
    recipe, ledger = asker.recipe, asker.ledger
    progress, plan = Progress(total=shard.size(len(src))), plan_of(src, recipe)
    builder, room = RequestBuilder(recipe, Digests(src)), asyncio.Semaphore(_AHEAD * recipe.limits.concurrency)
    broken: list[Exception] = []

    async def one(sample: Sample) -> None:
        try:
            found = await work_on(sample, builder, asker, plan, clock.now)
            if found is None:
                progress.missing += 1
            elif asker.failure is None:
                outcome, ops = found
                ledger.write(*ops).add_done_callback(asker.noticed)
                progress.accepted += outcome.accepted
                progress.rejected += not outcome.accepted
            tell(progress)
        except Stopped:
            return
        except MirgError as error:
            asker.stop(error)
        except Exception as error:  # a bug: await the pending replies before it is raised
            broken.append(error)
            asker.stop(EndpointError(f"sample {sample.id}: {type(error).__name__}"))
        finally:
            room.release()

    now, settings = clock.now(), json.dumps(recipe.model_dump(mode="json"))
    await ledger.write(
        planned(plan, str(src.root.resolve()), recipe.model, len(src), now, settings),
        started(asker.run, plan, str(shard), progress.total, now),
    )
    with _signals(asker):
        known = ledger.decided_samples(plan)
        tasks: set[asyncio.Task[None]] = set()
        for _, sample in rows_of(src, shard):
            if asker.failure is not None:
                break
            if sample.id in known:
                progress.known += 1
                continue
            await room.acquire()
            task = asyncio.create_task(one(sample))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    await asker.finish()
    await ledger.write(stopped(asker.run, clock.now()))
    for failure in (*broken, asker.failure):
        if failure is not None:
            raise failure
    return progress


@contextlib.contextmanager
def _signals(asker: Asker) -> Iterator[None]:
    """The first signal stops the sending of requests, a second one stops at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop(name: str) -> None:
        if asker.failure is not None and task is not None:
            task.cancel()
        asker.stop(
            EndpointError(f"stopped by {name}", hint="the same command continues; answered requests are not sent again")
        )

    with contextlib.ExitStack() as held:
        for sign in (signal.SIGINT, signal.SIGTERM):
            # In a thread and on Windows this is not possible, and the default handlers remain.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(sign, stop, sign.name)
                held.callback(loop.remove_signal_handler, sign)
        yield
