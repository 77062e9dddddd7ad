"""A dataset measured with a model, sample by sample, and written again with what was found.

While it works, ``OUT.journal/`` holds what is measured and one row for each sample asked; the dataset at ``OUT``
appears at the end, whole, and the journal goes. Killed anywhere and started again, whole batches of rows are used
again and the result is the same to the byte. Memory is one batch and the keys of the rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from mirg.answers.prompts import Instructions
from mirg.data import derive
from mirg.engines.base import Engine, Generation, Request, Streaming
from mirg.errors import DataError, EngineError, EvaluationError, MirgError
from mirg.evaluation.batches import Batch, batches, run_settings
from mirg.evaluation.records import RECORDS_FILE, read_rows
from mirg.evaluation.store import REPLIES_FILE, claim
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder, Rejection, Sample, Tally
from mirg.storage import BadLine, refuse_existing

KEPT_REJECTIONS = 100  # held for the report; all of them are in rejected.jsonl

Progress = Callable[[int, int], None]  # samples measured, rows of the dataset


class Row(BaseModel):
    """What was found about one sample, and the ``tokens`` generated for it. ``problem``: why it could not be asked.

    ``cut_off`` counts completions that ended at the token limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    key: str = ""
    problem: str = ""
    tokens: int = 0
    cut_off: int = 0


R = TypeVar("R", bound=Row)


class Asked(NamedTuple):
    """A sample and the request that asks it."""

    sample: Sample
    request: Request


class Outcome(NamedTuple):
    """What becomes of a sample: the one to write, or None; ``word`` is what is counted, ``detail`` says why."""

    sample: Sample | None
    word: str
    detail: str = ""


@dataclass(frozen=True)
class Measurement(Generic[R]):
    """What is measured.

    ``command`` and ``words``, one sentence, go into the card of the new dataset. ``row`` is the class of the rows.
    ``measure`` gives a row for each of the samples asked, in order, with a problem if it cannot be asked. ``outcome``
    says what becomes of a sample that could be asked. ``settings`` is whatever a row depends on beside model,
    generation and sample, as plain data.
    """

    command: str
    words: str
    row: type[R]
    measure: Callable[[Sequence[Asked], Generation], list[R]]
    outcome: Callable[[Sample, R], Outcome]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasurePlan:
    """How to ask and where to write. ``instructions`` None takes those that the model was trained with."""

    generation: Generation = field(default_factory=Generation)
    instructions: Instructions | None = None
    rewards: RewardConfig = field(default_factory=RewardConfig)
    copy: bool = False
    overwrite: bool = False


@dataclass
class MeasureReport(Tally[Rejection]):
    """The :class:`Tally` of a measurement, which counts kept samples by what was found about them.

    ``resumed`` counts the rows that an earlier run measured; ``tokens`` were generated for all rows, also in earlier
    runs, and ``cut_off`` completions ended at the token limit.
    """

    most: int | None = KEPT_REJECTIONS
    resumed: int = 0
    tokens: int = 0
    cut_off: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        rejected = self.rejected_dict()
        return {
            "rows": self.n_rows,
            "kept": self.n_kept,
            "reasons_kept": dict(self.kept.most_common()),
            "dropped": dict(self.dropped.most_common()),
            "rejected": rejected["rejected"],
            "tasks": dict(sorted(self.tasks.items())),
            "resumed": self.resumed,
            "tokens": self.tokens,
            "cut_off": self.cut_off,
            "rejections": rejected["rejections"],
        }


def write_measured(
    engine: Engine,
    dataset: DatasetFolder,
    out: str | Path,
    what: Measurement[R],
    plan: MeasurePlan,
    on_progress: Progress | None = None,
) -> MeasureReport:
    """Measure every sample of ``dataset`` and write those that are kept to ``out``, in their order.

    Raises StorageError if ``out`` exists, :class:`EvaluationError` if a journal of other settings lies beside it
    (unless ``plan.overwrite``), DataError if nothing is kept, EngineError as the engine.
    """
    out = Path(out)
    refuse_output(out, dataset, plan)
    journal = journal_of(out)
    resumed = _fill(engine, dataset, what, plan, journal, on_progress or (lambda done, total: None))
    report = MeasureReport(resumed=resumed)
    _write(dataset, out, what, plan, journal, report)
    shutil.rmtree(journal, ignore_errors=True)
    return report


def refuse_output(out: str | Path, dataset: DatasetFolder, plan: MeasurePlan) -> None:
    """StorageError if ``out`` exists, ConfigError if writing it would remove what is read."""
    refuse_existing(Path(out), overwrite=plan.overwrite)
    derive.refuse_overwriting_inputs(Path(out), [dataset], copy=plan.copy)


def journal_of(out: Path) -> Path:
    """The folder in which rows are kept until the dataset at ``out`` is complete."""
    return out.with_name(f"{out.name}.journal")


def _fill(
    engine: Engine, dataset: DatasetFolder, what: Measurement[R], plan: MeasurePlan, journal: Path, tell: Progress
) -> int:
    """Make the rows that are missing in the journal; returns how many were there.

    Rows of the same settings are used again, also where the output is to be overwritten.
    """
    settings = run_settings(engine, dataset, plan.generation, plan.instructions, plan.rewards)
    settings |= {"measurement": what.command, **what.settings}
    try:
        store = claim(journal, settings, dataset.card.n_samples, overwrite=False)
    except EvaluationError as error:
        if not plan.overwrite:
            raise EvaluationError(error.message, hint=f"remove {journal} to measure again") from error
        store = claim(journal, settings, dataset.card.n_samples, overwrite=True)
    done, total = 0, len(dataset)
    samples = dataset.read(lambda rejection: None, images="header")
    independent = isinstance(engine, Streaming)
    with engine.remembering(journal / REPLIES_FILE) if isinstance(engine, Streaming) else nullcontext():
        for batch in batches(engine, dataset, samples, plan.generation, settings):
            if not store.reuse(list(batch.keys.items())):
                rows = _measured(what, batch, independent=independent)
                ordered = (rows[sample.id] for sample in batch.samples)
                store.append([row.model_copy(update={"key": batch.keys[row.id]}) for row in ordered])
            done += len(batch.samples)
            tell(done, total)
    store.cut()
    return store.used


def _measured(what: Measurement[R], batch: Batch, *, independent: bool) -> dict[str, R]:
    """A row for each sample of ``batch``, by its id.

    ``independent``: completions do not depend on which requests are asked together. If one of them is refused, each is
    then asked separately, so that only the refused one has no answer. An endpoint remembers those that it answered.
    """
    rows: dict[str, R] = {}
    asked: list[Asked] = []
    for sample in batch.samples:
        request = batch.open(sample)
        if isinstance(request, MirgError):
            rows[sample.id] = what.row(id=sample.id, problem=str(request))
        else:
            asked.append(Asked(sample, request))
    try:
        made = what.measure(asked, batch.generation) if asked else []
    except EngineError:
        if not independent:
            raise
        made = [_by_itself(what, one, batch.generation) for one in asked]
    rows |= {row.id: row for row in made}
    return rows


def _by_itself(what: Measurement[R], asked: Asked, generation: Generation) -> R:
    try:
        return what.measure([asked], generation)[0]
    except EngineError as error:
        return what.row(id=asked.sample.id, problem=str(error))


def _rows(journal: Path, kind: type[R]) -> Iterator[R]:
    for number, row in read_rows(journal / RECORDS_FILE, kind):
        if isinstance(row, BadLine):
            raise EvaluationError(
                f"{journal / RECORDS_FILE}:{number}: {row.reason}", hint=f"remove {journal} to measure again"
            )
        yield row


def _write(
    dataset: DatasetFolder, out: Path, what: Measurement[R], plan: MeasurePlan, journal: Path, report: MeasureReport
) -> None:
    rows = _rows(journal, what.row)

    def judge(number: int, sample: Sample) -> derive.Outcome:
        row = next(rows, None)
        if row is None or row.id != sample.id:
            raise DataError(f"{dataset.root} changed while it was measured", hint="start again")
        report.tokens += row.tokens
        report.cut_off += row.cut_off
        if row.problem:
            return derive.Outcome(None, "", dataset.rejection(number, sample, "sample", row.problem))
        found = what.outcome(sample, row)
        if found.sample is not None:
            return derive.Outcome(found.sample, found.word)
        return derive.Outcome(None, found.word, dataset.rejection(number, sample, "trajectory", found.detail))

    seed = plan.generation.seed
    with derive.writer_like(dataset.card, out, what.command, what.words, seed=seed, overwrite=plan.overwrite) as writer:
        derive.Derived(writer, report, "all" if plan.copy else "none").write(dataset, judge, images="header")
        if not report.kept:
            counts = ", ".join(f"{word} {count}" for word, count in report.dropped.most_common())
            found = f"({counts or 'none could be asked'}{report.first()})"
            raise DataError(
                f"no sample of {dataset.root} is kept, {report.n_rows} rows read {found}",
                hint="what was measured is kept beside the output",
            )
