"""One sample from its first draw to its outcome: n draws, the best verified one, else one repair of the nearest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mirg.errors import ConfigError, MirgError
from mirg.frames import Family, family
from mirg.samples import Sample
from mirg.trajectories.teacher.asking import Asker
from mirg.trajectories.teacher.images import as_sent
from mirg.trajectories.teacher.judging import Judged, best, judge, nearest
from mirg.trajectories.teacher.ledger import Answer, Op, Outcome, decided, judged
from mirg.trajectories.teacher.prompts import TeacherPrompt, first_prompt, repair_prompt
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import Digests, Request, fixed_part

# Why a sample has no trajectory, where no check of a chain is to blame.
UNASKABLE, UNANSWERED = "sample", "teacher"


@dataclass(frozen=True)
class RequestBuilder:
    """What makes requests out of samples: the recipe, its family and templates, the digests of images."""

    recipe: TeacherRecipe
    digests: Digests

    @cached_property
    def family(self) -> Family:
        """The frame that the teacher works in."""
        return family(self.recipe.family)

    @cached_property
    def fixed(self) -> str:
        """What all requests have in common."""
        return fixed_part(self.recipe)

    @property
    def templates(self) -> Path | None:
        """The user's own templates."""
        return Path(self.recipe.templates) if self.recipe.templates else None

    def first(self, sample: Sample) -> list[Request]:
        """The draws of ``sample``. DataError where it cannot be asked about, ConfigError for a bad template."""
        shown = as_sent(sample, self.recipe.images)
        prompt = first_prompt(shown, self.family, self.templates, self.recipe.language)
        return [self._request(shown, prompt, draw, "first") for draw in range(self.recipe.draws)]

    def repair(self, request: Request, failed: Judged) -> Request:
        """The request that tells the teacher what was wrong with its reply to ``request``."""
        problems = [f"{check}: {reason}" for check, reason in failed.problems]
        prompt = repair_prompt(request.prompt, failed.answer.text or "", problems, self.templates)
        return self._request(request.sample, prompt, request.draw, "repair")

    def judge(self, answer: Answer, sample: Sample) -> Judged:
        """A reply under the checks of the recipe."""
        return judge(answer, sample, as_sent(sample, self.recipe.images), self.family, self.recipe.verify)

    def _request(self, shown: Sample, prompt: TeacherPrompt, draw: int, step: str) -> Request:
        return Request(shown, prompt, draw, step, self.digests.of(shown), self.recipe, self.fixed)


async def work_on(
    sample: Sample, builder: RequestBuilder, asker: Asker, plan: str, now: Callable[[], float]
) -> tuple[Outcome, list[Op]] | None:
    """What becomes of ``sample``, and the ledger's lines about it; None where a reply is still missing.

    A pure function of the replies: the order in which they came plays no part. Raises Stopped where the run ends, and
    ConfigError where no sample can be asked about.
    """
    try:
        requests = builder.first(sample)
        seen = await _draws(requests, sample, builder, asker)
        if seen is None:
            return None
        failed = nearest(seen)
        if builder.recipe.repair and best(seen) is None and failed is not None:
            answer = await asker.answer(builder.repair(requests[failed.answer.draw], failed))
            if answer is None:
                return None
            seen = [*seen, builder.judge(answer, sample)]
    except ConfigError:
        raise
    except MirgError as error:
        return _decided(Outcome(plan, sample.id, sample.task, False, UNASKABLE, error.message, "", 0, now()), ())
    return _decided(outcome_of(seen, plan, sample, now()), seen)


def outcome_of(seen: Sequence[Judged], plan: str, sample: Sample, at: float) -> Outcome:
    """The outcome of a sample all of whose replies were judged; at least one."""
    attempts = sum(one.answer.attempts for one in seen)
    kept = best(seen)
    if kept is not None:
        return Outcome(plan, sample.id, sample.task, True, "", "", kept.answer.hash, attempts, at)
    # A repair that made it worse would hide what was wrong.
    closest = nearest(seen) or seen[0]
    check, reason = closest.problems[0]
    return Outcome(plan, sample.id, sample.task, False, check, reason, closest.answer.hash, attempts, at)


async def _draws(requests: list[Request], sample: Sample, builder: RequestBuilder, asker: Asker) -> list[Judged] | None:
    if not builder.recipe.stop_early:
        answers = await asyncio.gather(*(asker.answer(request) for request in requests))
        seen = [builder.judge(answer, sample) for answer in answers if answer is not None]
        return seen if len(seen) == len(requests) else None
    seen = []
    for request in requests:
        answer = await asker.answer(request)
        if answer is None:
            return None
        seen.append(builder.judge(answer, sample))
        if seen[-1].accepted:
            break
    return seen


def _decided(outcome: Outcome, seen: Sequence[Judged]) -> tuple[Outcome, list[Op]]:
    verdicts = [judged(one.answer.hash, json.dumps({"problems": one.problems})) for one in seen if one.problems]
    return outcome, [*verdicts, decided(outcome)]
