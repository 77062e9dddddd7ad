"""One evaluated sample as one row of ``records.jsonl``: the truth, the completion, what was read, every score."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from mirg.answers.blocks import THINK_CLOSE, THINK_OPEN, split
from mirg.answers.looks import LookBudget, replay
from mirg.engines.base import OpenedBy
from mirg.errors import EvaluationError, first_problem
from mirg.evaluation.agreement import NOTHING, agree
from mirg.evaluation.majority import Answer, majority
from mirg.families import Family, PixelLimits
from mirg.geometry import Box
from mirg.rewards import RewardConfig, score
from mirg.rewards.looks import look_parts
from mirg.rewards.total import DEFAULT
from mirg.samples.schema import Sample, Target
from mirg.samples.tokens import image_tokens
from mirg.storage import BadLine, read_jsonl

RECORDS_FILE = "records.jsonl"
MASK = "[...]"
_QUOTED = re.compile(r'"[^"\n]*"|“[^”\n]*”')

M = TypeVar("M", bound=BaseModel)
Outcome = Literal["right", "wrong_image", "wrong_box", "unreadable"]


class PredictedBox(BaseModel):
    """A box of the answer: ``image`` as written (0: none named), ``box`` in fractions, ``problem`` or None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: int
    box: Box
    problem: str | None = None


class SeenLook(BaseModel):
    """A look of a completion: ``name`` is that of the crop, ``tokens`` its visual tokens; or the ``refusal`` in words.

    ``box`` is in fractions of the image; both are None if the look named no place.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: int | None = None
    box: Box | None = None
    name: str = ""
    tokens: int = 0
    refusal: str | None = None


class Identified(BaseModel):
    """A row of a records file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str

    @property
    def place(self) -> tuple[str, int | None]:
        """The sample, and which of several answers to it the row is; None if it is the only one."""
        return self.id, None


RowT = TypeVar("RowT", bound=Identified)


class Record(Identified):
    """One row. Boxes are fractions of the original images; rewards and IoUs lie in [0, 1].

    ``correct_30/50/70`` ignore the image (the published meaning), ``joint`` does not; ``key`` says under which model,
    prompt, images, settings and reader the row was made (:mod:`mirg.evaluation.batches`). ``form`` is the question
    without what it asks for (:func:`question_form`); rows of releases that did not write it have "". ``opened_by`` says
    who wrote the tag at the beginning of the thinking (:class:`mirg.engines.base.Completion`). ``draw`` counts several
    answers to one sample from 0; it is None, and not written, if each sample has one answer. ``looks``, in order, and
    their rewards are None, and not written, if looks are off.
    """

    task: str
    image_set: str
    n_images: int
    target_images: list[int]
    image_hidden: bool
    completion: str
    completion_tokens: int
    finish: Literal["stop", "length"]
    thinking: str
    predicted: list[PredictedBox]
    targets: list[Target]
    failure: str | None
    format: float
    image_reward: float
    object_reward: float
    total: float
    reasons: dict[str, str]
    image_correct: bool
    iou: float
    correct_30: bool
    correct_50: bool
    correct_70: bool
    joint: bool
    outcome: Outcome
    key: str = ""
    form: str = ""
    opened_by: OpenedBy = "model"
    draw: int | None = None
    looks: list[SeenLook] | None = None
    look_rewards: dict[str, float] | None = None

    @property
    def place(self) -> tuple[str, int | None]:
        """The sample, and which of several answers to it the row is; None if it is the only one."""
        return self.id, self.draw

    @model_serializer(mode="wrap")
    def _row(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        row: dict[str, Any] = write(self)
        for name in ("draw", "looks", "look_rewards"):
            if getattr(self, name) is None:
                row.pop(name, None)
        return row


def make_record(
    sample: Sample,
    completion: str,
    *,
    family: Family,
    limits: PixelLimits | None = None,
    rewards: RewardConfig | None = None,
    tokens: int = 0,
    finish: Literal["stop", "length"] = "stop",
    key: str = "",
    opened_by: OpenedBy = "model",
    draw: int | None = None,
    look: LookBudget | None = None,
) -> Record:
    """Read and score one completion. Total on any text; lone surrogates, which no file can hold, become ``?``.

    With a ``look`` budget, its looks are recorded with their rewards; the completion then has all turns of the model.
    """
    if not completion.isascii():
        completion = completion.encode("utf-8", "replace").decode("utf-8")
    looks, looked = None, {}
    if look is not None and look.max_looks:
        looks = _looks(completion, sample, family, look, limits)
        looked = look_parts(completion, sample, family, look, limits)
    scored = score(completion, sample, family, rewards or DEFAULT, limits, looks=looks is not None)
    reading = scored.reading
    agreement = NOTHING
    outcome: Outcome = "unreadable"
    if reading.failure is None:
        agreement = agree([(b.image, b.box) for b in reading.boxes], [(t.image, t.box) for t in sample.targets])
        outcome = "right" if agreement.joint else "wrong_box" if agreement.images else "wrong_image"
    return Record(
        id=sample.id,
        task=sample.task,
        image_set=sample.image_set,
        n_images=len(sample.images),
        target_images=sorted(sample.target_images),
        image_hidden=sample.image_hidden,
        completion=completion,
        completion_tokens=tokens,
        finish=finish,
        thinking=reading.thinking,
        predicted=[PredictedBox(image=b.image, box=b.box, problem=b.problem) for b in reading.boxes],
        targets=list(sample.targets),
        failure=reading.failure,
        format=scored.format.value,
        image_reward=scored.image.value,
        object_reward=scored.object.value,
        total=scored.total,
        reasons=scored.reasons | {name: part.reason for name, part in looked.items() if part.reason},
        image_correct=agreement.images,
        iou=agreement.iou,
        correct_30=agreement.at(0.3),
        correct_50=agreement.at(0.5),
        correct_70=agreement.at(0.7),
        joint=agreement.joint,
        outcome=outcome,
        key=key,
        form=question_form(sample),
        opened_by=opened_by,
        draw=draw,
        looks=looks,
        look_rewards={name: part.value for name, part in looked.items()} or None,
    )


def _looks(
    completion: str, sample: Sample, family: Family, budget: LookBudget, limits: PixelLimits | None
) -> list[SeenLook]:
    return [
        SeenLook(
            image=step.look.image if step.look else None,
            box=step.look.box if step.look else None,
            name=step.name,
            tokens=image_tokens(step.shown, family, limits) if step.shown else 0,
            refusal=step.refusal,
        )
        for step in replay(completion, sample.sizes, family, budget, limits)
    ]


def thinking_counts(records: Sequence[Record]) -> dict[str, int]:
    """How many completions never end their thinking, answer without answer tags, or have a thinking opened elsewhere.

    ``untagged`` counts answers that could be read. ``opened_by_template`` completions begin inside the thinking;
    ``parsed_by_server`` had theirs in a separate field of an endpoint's reply.
    """
    texts = [record.completion for record in records]
    return {
        "unfinished": sum(THINK_CLOSE not in text.partition(THINK_OPEN)[2] for text in texts if THINK_OPEN in text),
        "untagged": sum(record.failure is None and not split(record.completion).tagged for record in records),
        "opened_by_template": sum(record.opened_by == "template" for record in records),
        "parsed_by_server": sum(record.opened_by == "server" for record in records),
    }


def question_form(sample: Sample) -> str:
    """The question with the object masked: the sample's subject, or else the text in double quotes.

    ``meta["mark"]``, the object by which a question identifies its image, is masked too.

    >>> question_form(sample)  # its question: "Find the red ring.", its meta: {"subject": "red ring"}
    'Find the [...].'
    """
    subject, mark = sample.meta.get("subject"), sample.meta.get("mark")
    if isinstance(subject, str) and subject:
        form = sample.question.replace(subject, MASK)
        return form.replace(mark, MASK) if isinstance(mark, str) and mark else form
    return _QUOTED.sub(MASK, sample.question)


def answer_of(record: Record) -> Answer:
    """The boxes of an answer, None if it could not be read."""
    return None if record.failure is not None else tuple((box.image, box.box) for box in record.predicted)


def representative(answers: Sequence[Record]) -> Record:
    """The majority answer of several answers to a sample; the answer if there is one."""
    return answers[majority([answer_of(record) for record in answers]) if len(answers) > 1 else 0]


def load_records(path: str | Path) -> list[Record]:
    """One row for each sample of an evaluation folder or of a records file; of several answers the majority answer.

    Errors as :func:`load_rows`.
    """
    return [representative(answers) for answers in load_answers(path)]


def load_answers(path: str | Path) -> list[list[Record]]:
    """The rows of each sample of an evaluation folder, or of a records file, in order of draws."""
    return by_sample(load_rows(path, Record))


def by_sample(records: Sequence[Record]) -> list[list[Record]]:
    """The answers to each sample, samples in order of their first answer."""
    samples: dict[str, list[Record]] = {}
    for record in records:
        samples.setdefault(record.id, []).append(record)
    return list(samples.values())


def load_rows(path: str | Path, kind: type[RowT]) -> list[RowT]:
    """The rows of an evaluation folder, or of a records file, each a ``kind``.

    Raises :class:`EvaluationError` with the row if one is broken, ``StorageError`` if the file cannot be read.
    """
    file = Path(path)
    file = file / RECORDS_FILE if file.is_dir() else file
    records: dict[tuple[str, int | None], RowT] = {}
    for row, record in read_rows(file, kind):
        if isinstance(record, BadLine):
            hint = "remove this row and those after it, and run the evaluation again: it resumes there"
            raise EvaluationError(f"{file}:{row}: {record.reason}", hint=hint)
        if record.place in records:
            raise EvaluationError(f"{file}:{row}: sample {record.id} has two rows", hint="each id counts once")
        records[record.place] = record
    return list(records.values())


def read_rows(file: Path, kind: type[M]) -> Iterator[tuple[int, M | BadLine]]:
    """The number of each line of a JSON-lines file, from 1, with its row, or with the reason why it is not a ``kind``.

    Raises ``StorageError`` if the file cannot be read.
    """
    for number, value in read_jsonl(file):
        if isinstance(value, BadLine):
            yield number, value
            continue
        try:
            yield number, kind.model_validate(value)
        except ValidationError as error:
            yield number, BadLine(": ".join(first_problem(error)), "")


def by_task(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each task, tasks in alphabetical order."""
    tasks = sorted({record.task for record in records})
    return {task: [record for record in records if record.task == task] for task in tasks}
