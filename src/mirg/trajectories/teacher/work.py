"""One sample from its first draw to its outcome: n draws, the best verified one, else one repair of the nearest.

Verifying replies and choosing the one that is kept are pure functions of the stored texts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mirg.errors import ConfigError, MirgError
from mirg.frames import Family, family
from mirg.geometry import match
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.checks import VerifyConfig, failures, verify
from mirg.trajectories.teacher.asking import Asker
from mirg.trajectories.teacher.images import as_sent
from mirg.trajectories.teacher.ledger import Answer, Op, Outcome, decided, judged
from mirg.trajectories.teacher.prompts import TeacherPrompt, first_prompt, repair_prompt
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.replies import read_reply
from mirg.trajectories.teacher.requests import Digests, Request, fixed_part

# Checks of replies, in addition to those of mirg.trajectories.checks.
NO_REPLY, UNREAD = "reply", "read"


@dataclass(frozen=True)
class Judged:
    """One reply. ``problems`` are (check, reason), and are empty exactly if ``trajectory`` may be kept.

    ``score`` is the mean IoU of the answer with the truth, in [0, 1]; 1 if there is nothing to find.
    """

    answer: Answer
    trajectory: Trajectory | None
    problems: tuple[tuple[str, str], ...]
    score: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the reply passed all checks."""
        return not self.problems


def judge(answer: Answer, sample: Sample, shown: Sample, family: Family, config: VerifyConfig) -> Judged:
    """Read and verify a reply to ``sample``; ``shown`` has the image sizes that were sent, the reply's frame."""
    if answer.state == "failed" or answer.text is None:
        return Judged(answer, None, ((NO_REPLY, answer.problem or "no reply"),))
    trajectory = read_reply(answer.text, shown, family)
    if isinstance(trajectory, str):
        cut = "the reply was cut off at sampling.max_tokens: " if answer.finish == "length" else ""
        return Judged(answer, None, ((UNREAD, f"{cut}{trajectory}"),))
    results = verify(sample, trajectory, family=family, config=config)
    problems = tuple(failures(results).items())
    passed = tuple(name for name, reason in results.items() if reason is None)
    return Judged(answer, trajectory.model_copy(update={"checks": passed}), problems, mean_iou(trajectory, sample))


def mean_iou(trajectory: Trajectory, sample: Sample) -> float:
    """Sum of the IoUs of matched boxes in each image / the larger number of boxes; 1 if neither side has a box."""
    said, true = trajectory.answer, sample.targets
    if not said and not true:
        return 1.0
    total = 0.0
    for image in sorted({target.image for target in said} & sample.target_images):
        boxes = [[t.box for t in targets if t.image == image] for targets in (said, true)]
        total += sum(value for _, _, value in match(boxes[0], boxes[1]))
    return total / max(len(said), len(true))


def best(judged: Sequence[Judged]) -> Judged | None:
    """The accepted reply with the highest score, the lowest draw among equals; None if no reply is accepted.

    Scores are compared to two decimals: smaller differences come from the rounding of the frame.
    """
    accepted = [one for one in judged if one.accepted]
    return min(accepted, key=lambda one: (-round(one.score, 2), _place(one)), default=None)


def nearest(judged: Sequence[Judged]) -> Judged | None:
    """The refused reply with the fewest problems, which is repaired; None if no reply has text."""
    written = [one for one in judged if one.answer.text is not None]
    return min(written, key=lambda one: (one.trajectory is None, len(one.problems), _place(one)), default=None)


def provenance(judged: Judged, recipe: TeacherRecipe) -> Trajectory | None:
    """The trajectory with its writer and with meta data about its request."""
    if judged.trajectory is None:
        return None
    answer = judged.answer
    meta = {
        **judged.trajectory.meta,
        "teacher": answer.model, "prompt": answer.prompt, "request": answer.hash, "draw": answer.draw,
        "repaired": answer.step == "repair", "attempts": answer.attempts, "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens, "score": round(judged.score, 4),
    }  # fmt: skip
    return judged.trajectory.model_copy(update={"writer": f"teacher:{recipe.model}", "meta": meta})


def _place(judged: Judged) -> tuple[int, bool]:
    return (judged.answer.draw, judged.answer.step == "repair")


# Reasons for a missing trajectory that are not checks of a chain.
UNASKABLE, UNANSWERED = "sample", "teacher"


@dataclass(frozen=True)
class RequestBuilder:
    """Makes requests out of samples, from the recipe, its family and templates, and the digests of images."""

    recipe: TeacherRecipe
    digests: Digests

    @cached_property
    def family(self) -> Family:
        """The frame that the teacher works in."""
        return family(self.recipe.family)

    @cached_property
    def fixed(self) -> str:
        """The part that all requests have in common."""
        return fixed_part(self.recipe)

    @property
    def templates(self) -> Path | None:
        """The folder of the user's templates."""
        return Path(self.recipe.templates) if self.recipe.templates else None

    def first(self, sample: Sample) -> list[Request]:
        """The draws of ``sample``. DataError if it cannot be written as a prompt, ConfigError for a bad template."""
        shown = as_sent(sample, self.recipe.images)
        prompt = first_prompt(shown, self.family, self.templates, self.recipe.language)
        return [self._request(shown, prompt, draw, "first") for draw in range(self.recipe.draws)]

    def repair(self, request: Request, failed: Judged) -> Request:
        """The request that tells the teacher what was wrong with its reply to ``request``."""
        problems = [f"{check}: {reason}" for check, reason in failed.problems]
        prompt = repair_prompt(request.prompt, failed.answer.text or "", problems, self.templates)
        return self._request(request.sample, prompt, request.draw, "repair")

    def judge(self, answer: Answer, sample: Sample) -> Judged:
        """A reply with the results of the recipe's checks."""
        return judge(answer, sample, as_sent(sample, self.recipe.images), self.family, self.recipe.verify)

    def _request(self, shown: Sample, prompt: TeacherPrompt, draw: int, step: str) -> Request:
        return Request(shown, prompt, draw, step, self.digests.of(shown), self.recipe, self.fixed)


async def work_on(
    sample: Sample, builder: RequestBuilder, asker: Asker, plan: str, now: Callable[[], float]
) -> tuple[Outcome, list[Op]] | None:
    """The outcome of ``sample`` and its lines for the ledger; None if a reply is still missing.

    It is a pure function of the replies and does not depend on their order. Raises Stopped if the run ends, and
    ConfigError if no request can be made for any sample.
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
    """The outcome of a sample from all of its verified replies, of which there is at least one."""
    attempts = sum(one.answer.attempts for one in seen)
    kept = best(seen)
    if kept is not None:
        return Outcome(plan, sample.id, sample.task, True, "", "", kept.answer.hash, attempts, at)
    # The last reply may be a repair that made it worse and would hide what was wrong.
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
