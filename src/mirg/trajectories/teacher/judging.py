"""What a reply is worth, and which reply of a sample is kept: pure functions of the stored texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mirg.frames import Family
from mirg.geometry import match
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.teacher.ledger import Answer
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.replies import read_reply
from mirg.trajectories.verify import VerifyConfig, failures, verify

# Checks of our own beside those of mirg.trajectories.verify.
NO_REPLY, UNREAD = "reply", "read"


@dataclass(frozen=True)
class Judged:
    """One reply. ``problems`` are (check, reason) and empty exactly where ``trajectory`` may be kept.

    ``score`` is the mean IoU of the answer with the truth, in [0, 1]; 1 where there is nothing to find.
    """

    answer: Answer
    trajectory: Trajectory | None
    problems: tuple[tuple[str, str], ...]
    score: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether it passed all checks."""
        return not self.problems


def judge(answer: Answer, sample: Sample, shown: Sample, family: Family, config: VerifyConfig) -> Judged:
    """Read and verify a reply to ``sample``; ``shown`` has the image sizes that were sent, the reply's frame."""
    if answer.state == "failed" or answer.text is None:
        return Judged(answer, None, ((NO_REPLY, answer.problem or "no reply"),))
    trajectory = read_reply(answer.text, shown, family)
    if isinstance(trajectory, str):
        cut = "the reply was cut off at sampling.max_tokens: " if answer.finish == "length" else ""
        return Judged(answer, None, ((UNREAD, f"{cut}{trajectory}"),))
    verdicts = verify(sample, trajectory, family=family, config=config)
    problems = tuple((verdict.check, verdict.reason or "") for verdict in failures(verdicts))
    passed = tuple(verdict.check for verdict in verdicts if verdict.ok)
    return Judged(answer, trajectory.model_copy(update={"checks": passed}), problems, mean_iou(trajectory, sample))


def mean_iou(trajectory: Trajectory, sample: Sample) -> float:
    """Sum of the IoUs of matched boxes inside each image / the larger number of boxes; 1 where both have none."""
    said, true = trajectory.answer, sample.targets
    if not said and not true:
        return 1.0
    total = 0.0
    for image in sorted({target.image for target in said} & sample.target_images):
        boxes = [[t.box for t in targets if t.image == image] for targets in (said, true)]
        total += sum(value for _, _, value in match(boxes[0], boxes[1]))
    return total / max(len(said), len(true))


def best(judged: Sequence[Judged]) -> Judged | None:
    """The accepted reply with the highest score, the lowest draw among equals; None where none is accepted.

    Scores are compared to two decimals: below that they tell how the frame rounded, not how good a chain is.
    """
    accepted = [one for one in judged if one.accepted]
    return min(accepted, key=lambda one: (-round(one.score, 2), _place(one)), default=None)


def nearest(judged: Sequence[Judged]) -> Judged | None:
    """The refused reply that lacks least, which is worth repairing; None where nothing was written."""
    written = [one for one in judged if one.answer.text is not None]
    return min(written, key=lambda one: (one.trajectory is None, len(one.problems), _place(one)), default=None)


def provenance(judged: Judged, recipe: TeacherRecipe) -> Trajectory | None:
    """The trajectory with who wrote it and how it was come by."""
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
