"""One evaluated sample as one row of ``records.jsonl``: the truth, the completion, what was read, every score."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.errors import EvaluationError, first_problem
from mirg.evaluation.agreement import NOTHING, agree
from mirg.families import Family, PixelLimits
from mirg.geometry import Box
from mirg.rewards import RewardConfig, score
from mirg.rewards.total import DEFAULT
from mirg.samples.schema import Sample, Target
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


class Record(BaseModel):
    """One row. Boxes are fractions of the original images; rewards and IoUs lie in [0, 1].

    ``correct_30/50/70`` ignore the image (the published meaning), ``joint`` does not; ``key`` says under which model,
    prompt, images, settings and reader the row was made (:mod:`mirg.evaluation.batches`). ``form`` is the question
    without what it asks for (:func:`question_form`); rows of releases that did not write it have "".
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
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
) -> Record:
    """Read and score one completion. Total on any text; lone surrogates, which no file can hold, become ``?``."""
    if not completion.isascii():
        completion = completion.encode("utf-8", "replace").decode("utf-8")
    scored = score(completion, sample, family, rewards or DEFAULT, limits)
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
        reasons=scored.reasons,
        image_correct=agreement.images,
        iou=agreement.iou,
        correct_30=agreement.at(0.3),
        correct_50=agreement.at(0.5),
        correct_70=agreement.at(0.7),
        joint=agreement.joint,
        outcome=outcome,
        key=key,
        form=question_form(sample),
    )


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


def load_records(path: str | Path) -> list[Record]:
    """The rows of an evaluation folder, or of a records file.

    Raises :class:`EvaluationError` with the row if one is broken, ``StorageError`` if the file cannot be read.
    """
    file = Path(path)
    file = file / RECORDS_FILE if file.is_dir() else file
    records: dict[str, Record] = {}
    for row, record in read_rows(file, Record):
        if isinstance(record, BadLine):
            hint = "remove this row and those after it, and run the evaluation again: it resumes there"
            raise EvaluationError(f"{file}:{row}: {record.reason}", hint=hint)
        if record.id in records:
            raise EvaluationError(f"{file}:{row}: sample {record.id} has two rows", hint="each id counts once")
        records[record.id] = record
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
