"""The blind pass over trajectories: a chain is kept if it helps the student that is to learn from it.

The student answers twice, greedily: on its own, and with its turn begun as ``<think>chain</think>``, so that it only
writes the answer. A chain stays where a wrong answer becomes right, or where the IoU goes up by at least 0.10 (it was
right) or 0.20 (it was wrong); it never stays where a right answer becomes wrong. The idea is MG-Thinker's filter; its
percentages are taken here as points of IoU, since a share of an IoU of 0 means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mirg.answers.blocks import ANSWER_OPEN
from mirg.answers.prompts import write_completion
from mirg.engines.base import Completion, Engine, Generation, Request
from mirg.errors import AnswerError, ConfigError, EngineError, MirgError, first_problem
from mirg.evaluation.measure import Asked, MeasurePlan, MeasureReport, Outcome, Progress, Row, write_measured
from mirg.evaluation.records import make_record
from mirg.samples import DatasetFolder, Sample

_ROUNDING = 1e-9


class Answered(BaseModel):
    """How good an answer was: ``right`` is an evaluation's ``joint``, ``iou`` the object reward (inside each image)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    right: bool = False
    iou: float = 0.0


class BlindRow(Row):
    """The student's answer ``alone`` and ``with_chain``, with the tokens that it generated for both."""

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


@dataclass(frozen=True)
class Blind:
    """The measurement. The thresholds are part of no key: others need no new answers."""

    least: Gains
    command: str = "mirg trajectories filter"
    row: type[BlindRow] = BlindRow

    @property
    def settings(self) -> dict[str, Any]:
        """What a row depends on beside model, generation and sample."""
        return {}

    def words(self, engine: Engine) -> str:
        """One sentence for the card."""
        return f"Chains that help {Path(engine.name).name}."

    def measure(self, engine: Engine, asked: Sequence[Asked], generation: Generation) -> list[BlindRow]:
        """A row for each sample; a problem if it has no trajectory, or one that cannot be written."""
        rows: dict[str, BlindRow] = {}
        chained: list[tuple[Asked, Request]] = []
        for one in asked:
            try:
                prefix = written_chain(one.sample, engine)
                told = Request(one.request.sample_id, one.request.messages, one.request.images, prefix)
                chained.append((one, told))
            except MirgError as error:
                rows[one.sample.id] = BlindRow(id=one.sample.id, problem=str(error))
        alone = _ask(engine, [one.request for one, _ in chained], generation)
        after = _ask(engine, [told for _, told in chained], generation)
        for (one, told), before, said in zip(chained, alone, after, strict=True):
            rows[one.sample.id] = BlindRow(
                id=one.sample.id,
                alone=_answered(engine, one.sample, before.text),
                with_chain=_answered(engine, one.sample, told.prefix + said.text),
                tokens=before.tokens + said.tokens,
            )
        return [rows[one.sample.id] for one in asked]

    def outcome(self, sample: Sample, row: BlindRow) -> Outcome:
        """The sample with both answers in ``trajectory.meta["student"]``, or why its chain is left out."""
        verdict = judge(row.alone, row.with_chain, self.least)
        numbers = f"IoU {row.alone.iou:.2f} alone, {row.with_chain.iou:.2f} with the chain"
        if not verdict.helps or sample.trajectory is None:
            return Outcome(None, verdict.word, f"{verdict.word}: {numbers}")
        told = {"alone": row.alone.model_dump(), "with_chain": row.with_chain.model_dump()}
        kept = sample.trajectory.model_copy(update={"meta": {**sample.trajectory.meta, "student": told}})
        return Outcome(sample.model_copy(update={"trajectory": kept}), verdict.word)


def written_chain(sample: Sample, engine: Engine) -> str:
    """``<think>chain</think>`` as the student would write it, boxes in its own frame.

    Raises :class:`AnswerError` if there is no trajectory, or if its text cannot be written.
    """
    if sample.trajectory is None:
        raise AnswerError("the sample has no trajectory", hint="run `mirg trajectories build` first")
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

    The default plan is greedy decoding. Errors as :func:`mirg.evaluation.measure.write_measured`.
    """
    return write_measured(student, dataset, out, Blind(least or Gains()), plan or MeasurePlan(), on_progress)


def _ask(engine: Engine, requests: Sequence[Request], generation: Generation) -> list[Completion]:
    said = engine.generate(requests, generation)
    if len(said) != len(requests):
        raise EngineError(f"{engine.name} gave {len(said)} completions for {len(requests)} requests")
    return list(said)


def _answered(engine: Engine, sample: Sample, text: str) -> Answered:
    record = make_record(sample, text, family=engine.family, limits=engine.limits)
    return Answered(right=record.joint, iou=round(record.object_reward, 6))
