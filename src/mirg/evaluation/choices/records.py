"""One answered item of a multiple-choice benchmark: a row of ``records.jsonl``, and its score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mirg.answers.choice import ChoiceReading, read_choice, read_number
from mirg.evaluation.choices.items import Key, Side, key_of
from mirg.evaluation.records import Identified
from mirg.samples import Sample

Outcome = Literal["right", "wrong_option", "unreadable"]

_LONGEST = 4  # images of the longest sequence: L_max of VLM2-Bench
_AMPLIFIED = 10  # its penalty factor


class ChoiceRecord(Identified):
    """One row.

    ``said`` is the letter or number that was read, None with the reason in ``failure``. ``score`` is in [0, 1]: 1 or 0,
    or :func:`count_score` for a number. ``key`` says under which model, prompt, images, settings and reader the row was
    made (:mod:`mirg.evaluation.batches`).
    """

    task: str
    image_set: str
    n_images: int
    completion: str
    completion_tokens: int
    finish: Literal["stop", "length"]
    thinking: str
    truth: Key
    said: str | None
    failure: str | None
    correct: bool
    score: float
    key: str = ""

    @property
    def outcome(self) -> Outcome:
        """What became of the item."""
        return "unreadable" if self.failure else "right" if self.correct else "wrong_option"

    @property
    def pair(self) -> str:
        """The question of which this item is one version, or ""."""
        return self.truth.pair

    @property
    def side(self) -> Side:
        """Which version it is."""
        return self.truth.side


def make_record(
    sample: Sample, completion: str, *, tokens: int = 0, finish: Literal["stop", "length"] = "stop", key: str = ""
) -> ChoiceRecord:
    """Read and score one completion. Total on any text; lone surrogates, which no file can hold, become ``?``."""
    completion = completion.encode("utf-8", "replace").decode("utf-8")
    truth = key_of(sample)
    read = read_number(completion) if truth.kind == "number" else read_choice(completion, truth.options)
    return ChoiceRecord(
        id=sample.id,
        task=sample.task,
        image_set=sample.image_set,
        n_images=len(sample.images),
        completion=completion,
        completion_tokens=tokens,
        finish=finish,
        thinking=read.thinking,
        truth=truth,
        said=read.said,
        failure=read.failure,
        correct=read.said == truth.answer,
        score=_score(read, truth, len(sample.images)),
        key=key,
    )


def _score(read: ChoiceReading, truth: Key, n_images: int) -> float:
    if truth.kind != "number":
        return float(read.said == truth.answer)
    return count_score(int(truth.answer), read.said, n_images)


def count_score(truth: int, said: str | None, n_images: int) -> float:
    """The score of a count of things in a sequence of images, in [0, 1]: 1 if it is right.

    Source: acc_with_cnt_score.py of VLM2-Bench. A count that is wrong gets ``1 - w e^(1/10)``, at least 0, with the
    error ``e`` relative to the largest one possible and ``w = 4 / n_images``; an answer that is no whole number from 1
    to ``n_images`` gets 0. The published mean leaves such answers out; here they count.
    """
    if said is None or not said.isdigit():
        return 0.0
    count = int(said)
    if count == truth:
        return 1.0
    if not 1 <= count <= n_images:
        return 0.0
    largest = max(truth - 1, n_images - truth, 1)
    penalty = _LONGEST / n_images * (abs(count - truth) / largest) ** (1 / _AMPLIFIED)
    return max(0.0, 1.0 - penalty)


def chance_of(record: ChoiceRecord) -> Mapping[str, float]:
    """What a random answer reaches at one item: ``accuracy`` and ``score``.

    An option of those listed, or a count from 1 to the number of images. Empty if the options are not known.
    """
    if record.truth.kind == "number":
        counts = range(1, record.n_images + 1)
        scores = [count_score(int(record.truth.answer), str(count), record.n_images) for count in counts]
        right = float(int(record.truth.answer) in counts)
        return {"accuracy": right / len(scores), "score": sum(scores) / len(scores)}
    level = 1 / len(record.truth.options)
    return {"accuracy": level, "score": level}
