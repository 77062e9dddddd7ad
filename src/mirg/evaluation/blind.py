"""The blind pass over trajectories: a chain is kept if it helps the student that is to learn from it.

The student answers twice, greedily: on its own, and with its turn begun as ``<think>chain</think>``, so that it only
writes the answer. A chain stays where a wrong answer becomes right, or where the IoU goes up by at least 0.10 (it was
right) or 0.20 (it was wrong); it never stays where a right answer becomes wrong. The idea is MG-Thinker's filter; its
percentages are taken here as points of IoU, since a share of an IoU of 0 means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mirg.answers.blocks import ANSWER_OPEN
from mirg.answers.markup import cited
from mirg.answers.prompts import write_completion
from mirg.engines.base import Engine, Generation, Request
from mirg.errors import AnswerError, ConfigError, MirgError, first_problem
from mirg.evaluation.batches import complete
from mirg.evaluation.measure import (
    Asked,
    Measurement,
    MeasurePlan,
    MeasureReport,
    Outcome,
    Progress,
    Row,
    write_measured,
)
from mirg.evaluation.records import make_record
from mirg.samples import DatasetFolder, Sample

_ROUNDING = 1e-9


class Answered(BaseModel):
    """How good an answer was: ``right`` is an evaluation's ``joint``, ``iou`` the object reward (inside each image)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: bool = False
    iou: float = 0.0


class BlindRow(Row):
    """The student's answers without and with the chain, and the tokens that it generated for both."""

    alone: Answered = Answered()
    with_chain: Answered = Answered()


class Gains(BaseModel):
    """By how many points of IoU (0 to 1) an answer must get better that was right, or was and stays wrong."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    was_right: float = Field(default=0.10, gt=0, le=1)
    was_wrong: float = Field(default=0.20, gt=0, le=1)


def gains(was_right: float, was_wrong: float) -> Gains:
    """The thresholds; :class:`ConfigError` if one is no gain."""
    try:
        return Gains(was_right=was_right, was_wrong=was_wrong)
    except ValidationError as error:
        where, reason = first_problem(error)
        raise ConfigError(f"the gain where the answer {where.replace('_', ' ')}: {reason}") from error


class Verdict(NamedTuple):
    """Whether a chain helps, and in which words that many share."""

    helps: bool
    word: str


def judge(alone: Answered, with_chain: Answered, least: Gains | None = None) -> Verdict:
    """Whether a chain helps.

    >>> judge(Answered(right=False, iou=0.3), Answered(right=True, iou=0.5))
    Verdict(helps=True, word='wrong to right')
    """
    least = least or Gains()
    if alone.right != with_chain.right:
        return Verdict(False, "right to wrong") if alone.right else Verdict(True, "wrong to right")
    gain = with_chain.iou - alone.iou
    if gain >= (least.was_right if alone.right else least.was_wrong) - _ROUNDING:
        return Verdict(True, "higher IoU")
    if gain < -_ROUNDING:
        return Verdict(False, "lower IoU")
    return Verdict(False, "right without it" if alone.right else "wrong with it")


def written_chain(sample: Sample, engine: Engine) -> str:
    """``<think>chain</think>`` as the student would write it, boxes in its own frame.

    Raises :class:`AnswerError` if there is no trajectory, or if its text cannot be written.
    """
    if sample.trajectory is None:
        raise AnswerError("the sample has no trajectory", hint="run `mirg trajectories build` first")
    if cited(sample.trajectory.thinking, "look"):
        hint = "filter a dataset whose trajectories were built without --looks"
        raise AnswerError("the chain looks at parts of images, which it cannot be continued after", hint=hint)
    whole = write_completion(sample.trajectory.thinking, (), sample.sizes, engine.family, limits=engine.limits)
    return whole[: whole.index(ANSWER_OPEN)]  # the thinking holds no tag: that was refused


def write_helpful(
    student: Engine,
    dataset: DatasetFolder,
    out: str | Path,
    least: Gains | None = None,
    plan: MeasurePlan | None = None,
    on_progress: Progress | None = None,
) -> MeasureReport:
    """Write the samples of ``dataset`` whose chain helps ``student`` to ``out``; the others go to ``rejected.jsonl``.

    Both answers are in ``trajectory.meta["student"]``. The default plan is greedy decoding. The thresholds are part of
    no key: others need no new answers. Errors as :func:`mirg.evaluation.measure.write_measured`.
    """

    def answered(sample: Sample, text: str) -> Answered:
        record = make_record(sample, text, family=student.family, limits=student.limits)
        return Answered(right=record.joint, iou=round(record.object_reward, 6))

    def measure(asked: Sequence[Asked], generation: Generation) -> list[BlindRow]:
        rows: dict[str, BlindRow] = {}
        chained: list[tuple[Sample, Request, Request]] = []
        for sample, request in asked:
            try:
                chained.append((sample, request, replace(request, prefix=written_chain(sample, student))))
            except MirgError as error:
                rows[sample.id] = BlindRow(id=sample.id, problem=str(error))
        alone = complete(student, [request for _, request, _ in chained], generation)
        after = complete(student, [told for _, _, told in chained], generation)
        for (sample, _, told), before, said in zip(chained, alone, after, strict=True):
            rows[sample.id] = BlindRow(
                id=sample.id,
                alone=answered(sample, before.text),
                with_chain=answered(sample, told.prefix + said.text),
                tokens=before.tokens + said.tokens,
            )
        return [rows[sample.id] for sample, _ in asked]

    def outcome(sample: Sample, row: BlindRow) -> Outcome:
        helps, word = judge(row.alone, row.with_chain, least)
        numbers = f"IoU {row.alone.iou:.2f} without the chain, {row.with_chain.iou:.2f} with it"
        if not helps or sample.trajectory is None:
            return Outcome(None, word, f"{word}: {numbers}")
        told = {"alone": row.alone.model_dump(), "with_chain": row.with_chain.model_dump()}
        kept = sample.trajectory.model_copy(update={"meta": {**sample.trajectory.meta, "student": told}})
        return Outcome(sample.model_copy(update={"trajectory": kept}), word)

    words = f"Chains that help {Path(student.name).name}."
    what = Measurement("mirg trajectories filter", words, BlindRow, measure, outcome)
    return write_measured(student, dataset, out, what, plan or MeasurePlan(), on_progress)
