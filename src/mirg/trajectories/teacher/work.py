"""One sample from its first draw to its outcome: n draws, the best verified one, else one repair of the nearest.

Verifying replies and choosing the one that is kept are pure functions of the stored texts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mirg.answers.blocks import LOOK_CLOSE
from mirg.answers.looks import replay
from mirg.errors import ConfigError, MirgError, PluginError
from mirg.families import family
from mirg.geometry import match
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.teacher.ledger import Answer, Op, Outcome, decided, judged
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.render import TeacherPrompt, first_prompt, further_prompt, repair_prompt
from mirg.trajectories.teacher.replies import read_reply
from mirg.trajectories.teacher.requests import Digests, Request, as_sent, fixed_part
from mirg.trajectories.teacher.sending import Asker

# What refuses a sample in addition to mirg.trajectories.checks: a reply that is missing or cannot be read, a sample
# about which no request can be made, and one whose replies are not there yet.
NO_REPLY, UNREAD, UNASKABLE, UNANSWERED = "reply", "read", "sample", "teacher"


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

    @property
    def place(self) -> tuple[int, bool]:
        """Its place in the order of the replies to a sample."""
        return (self.answer.draw, self.answer.step == "repair")


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
    return min(accepted, key=lambda one: (-round(one.score, 2), one.place), default=None)


def nearest(judged: Sequence[Judged]) -> Judged | None:
    """The refused reply with the fewest problems, which is repaired; None if no reply has text."""
    written = [one for one in judged if one.answer.text is not None]
    return min(written, key=lambda one: (one.trajectory is None, len(one.problems), one.place), default=None)


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


class RequestBuilder:
    """Makes requests out of samples and judges the replies, by the recipe, its family and its templates."""

    def __init__(self, recipe: TeacherRecipe, digests: Digests) -> None:
        self.recipe = recipe
        self._digests = digests
        self._family = family(recipe.family)
        self._templates = Path(recipe.templates) if recipe.templates else None
        self._fixed = fixed_part(recipe)

    def first(self, sample: Sample) -> list[Request]:
        """The draws of ``sample``. DataError if it cannot be written as a prompt, ConfigError for a bad template."""
        shown = as_sent(sample, self.recipe.images)
        looks = self.recipe.look.max_looks
        prompt = first_prompt(shown, self._family, self._templates, self.recipe.language, looks)
        return [self._request(shown, prompt, draw, "first") for draw in range(self.recipe.draws)]

    def repair(self, request: Request, failed: Judged) -> Request:
        """The request that tells the teacher what was wrong with its reply to ``request``."""
        problems = [f"{check}: {reason}" for check, reason in failed.problems]
        prompt = repair_prompt(request.prompt, failed.answer.text or "", problems, self._templates)
        return self._request(request.sample, prompt, request.draw, "repair")

    def further(self, request: Request, answer: Answer) -> Request | None:
        """The request that answers the look at the end of a reply; None if the reply is complete."""
        budget, text = self.recipe.look, answer.text
        if text is None or not text.endswith(LOOK_CLOSE) or request.turns >= budget.turns:
            return None
        step = replay(text, request.sample.sizes, self._family, budget)[-1]
        seen = step.look if step.refusal is None else None
        looks = (*request.looks, seen) if seen else request.looks
        image = len(request.sample.images) + len(looks) if seen else None
        words = step.refusal or f"{step.name}: "
        prompt = further_prompt(request.prompt, text[len(request.before) :], words, image)
        return replace(request, prompt=prompt, before=text, turns=request.turns + 1, looks=looks)

    def judge(self, answer: Answer, sample: Sample) -> Judged:
        """A reply to ``sample``, read in the frame of the images that were sent, with the results of the checks."""
        if answer.state == "failed" or answer.text is None:
            return Judged(answer, None, ((NO_REPLY, answer.problem or "no reply"),))
        trajectory = read_reply(answer.text, as_sent(sample, self.recipe.images), self._family, self.recipe.look)
        if isinstance(trajectory, str):
            cut = "the reply was cut off at sampling.max_tokens: " if answer.finish == "length" else ""
            return Judged(answer, None, ((UNREAD, f"{cut}{trajectory}"),))
        results = verify(sample, trajectory, family=self._family, config=self.recipe.verify)
        passed = tuple(name for name, reason in results.items() if reason is None)
        checked = trajectory.model_copy(update={"checks": passed})
        return Judged(answer, checked, tuple(failures(results).items()), mean_iou(trajectory, sample))

    def _request(self, shown: Sample, prompt: TeacherPrompt, draw: int, step: str) -> Request:
        return Request(shown, prompt, draw, step, self._digests.of(shown), self.recipe, self._fixed)


async def reply_to(request: Request, builder: RequestBuilder, asker: Asker) -> Answer | None:
    """The final answer to ``request``, after the teacher has looked as often as it wants; None as ``Asker.answer``."""
    answer = await asker.answer(request)
    while answer is not None and (further := builder.further(request, answer)) is not None:
        request = further
        answer = await asker.answer(request)
    return answer


async def work_on(
    sample: Sample, builder: RequestBuilder, asker: Asker, plan: str, now: Callable[[], float]
) -> tuple[Outcome, list[Op]] | None:
    """The outcome of ``sample`` and its lines for the ledger; None if a reply is still missing.

    It is a pure function of the replies and does not depend on their order. Raises Stopped if the run ends, and
    ConfigError if no request can be made for any sample, PluginError if a check of the user's raises an exception.
    """
    seen: list[Judged] = []
    try:
        requests = builder.first(sample)
        # With stop_early, one draw after the other.
        together = [[request] for request in requests] if builder.recipe.stop_early else [requests]
        for some in together:
            for answer in await asyncio.gather(*(reply_to(request, builder, asker) for request in some)):
                if answer is None:
                    return None
                seen.append(builder.judge(answer, sample))
            if best(seen) is not None:
                break
        failed = nearest(seen)
        if builder.recipe.repair and best(seen) is None and failed is not None:
            answer = await reply_to(builder.repair(requests[failed.answer.draw], failed), builder, asker)
            if answer is None:
                return None
            seen.append(builder.judge(answer, sample))
    except (ConfigError, PluginError):
        raise
    except MirgError as error:
        seen = []
        outcome = Outcome(plan, sample.id, sample.task, False, UNASKABLE, error.message, "", 0, now())
    else:
        kept = best(seen)
        # The last reply may be a repair that made it worse and would hide what was wrong.
        chosen = kept or nearest(seen) or seen[0]
        check, reason = ("", "") if kept else chosen.problems[0]
        attempts = sum(one.answer.attempts for one in seen)
        outcome = Outcome(
            plan, sample.id, sample.task, bool(kept), check, reason, chosen.answer.hash, attempts, now()
        )  # fmt: skip
    verdicts = [judged(one.answer.hash, json.dumps({"problems": one.problems})) for one in seen if one.problems]
    return outcome, [*verdicts, decided(outcome)]
