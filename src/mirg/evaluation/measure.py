"""A dataset measured with a model, sample by sample, and written again with what was found.

While it works, ``OUT.journal/`` holds what is measured and one row for each sample asked; the dataset at ``OUT``
appears at the end, whole, and the journal goes. Killed anywhere and started again, whole batches of rows are used
again and the result is the same to the byte. Memory is one batch and the keys of the rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.answers.prompts import Instructions, messages
from mirg.data import derive
from mirg.engines.base import Engine, Generation, Request, instructions_of
from mirg.errors import DataError, EvaluationError, MirgError, first_problem
from mirg.evaluation.keys import ImageDigests, batch_seed, row_keys, run_settings, sample_key
from mirg.evaluation.records import RECORDS_FILE
from mirg.evaluation.store import Store, claim
from mirg.executors import chunks
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, refuse_for_family
from mirg.storage import BadLine, read_jsonl, refuse_existing

KEPT_REJECTIONS = 100  # held for the report; all of them are in rejected.jsonl

Progress = Callable[[int, int], None]  # samples measured, rows of the dataset


class Row(BaseModel):
    """What was found about one sample, and the ``tokens`` generated for it. ``problem``: why it could not be asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    key: str = ""
    problem: str = ""
    tokens: int = 0


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Asked:
    """A sample and the request that asks it."""

    sample: Sample
    request: Request


class Outcome(NamedTuple):
    """What becomes of a sample: the one to write, or None; ``word`` is what is counted, ``detail`` says why."""

    sample: Sample | None
    word: str
    detail: str = ""


class Measurement(Protocol[R]):
    """What is measured."""

    @property
    def command(self) -> str:
        """Goes into the card of the new dataset."""
        ...

    @property
    def row(self) -> type[R]:
        """The class of its rows."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """Whatever a row depends on beside model, generation and sample, as plain data."""
        ...

    def words(self, engine: Engine) -> str:
        """One sentence for the card."""
        ...

    def measure(self, engine: Engine, asked: Sequence[Asked], generation: Generation) -> list[R]:
        """A row for each of ``asked``, in order. What cannot be asked gets a row with a problem."""
        ...

    def outcome(self, sample: Sample, row: R) -> Outcome:
        """What becomes of a sample that could be asked."""
        ...


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
    runs.
    """

    most: int | None = KEPT_REJECTIONS
    resumed: int = 0
    tokens: int = 0

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
    report = MeasureReport()
    report.resumed = _Run(engine, dataset, what, plan, journal).fill(on_progress or (lambda done, total: None))
    _write(dataset, out, what, plan, engine, _rows(journal, what.row), report)
    shutil.rmtree(journal, ignore_errors=True)
    return report


def refuse_output(out: str | Path, dataset: DatasetFolder, plan: MeasurePlan) -> None:
    """StorageError if ``out`` exists, ConfigError if writing it would remove what is read."""
    refuse_existing(Path(out), overwrite=plan.overwrite)
    derive.refuse_overwriting_inputs(Path(out), [dataset], copy=plan.copy)


def journal_of(out: Path) -> Path:
    """The folder in which rows are kept until the dataset at ``out`` is complete."""
    return out.with_name(f"{out.name}.journal")


class _Run(Generic[R]):
    """The journal of one measurement, filled batch by batch."""

    def __init__(
        self, engine: Engine, dataset: DatasetFolder, what: Measurement[R], plan: MeasurePlan, journal: Path
    ) -> None:
        self.engine, self.dataset, self.what, self.plan = engine, dataset, what, plan
        self.told: Instructions = instructions_of(engine, plan.instructions)
        self.settings = run_settings(engine, plan.generation, self.told, plan.rewards) | {
            "measurement": what.command,
            **what.settings,
            "dataset": dataset.card.name,
            "dataset_digest": dataset.card.digest,
        }
        self.store = self._claimed(journal)

    def _claimed(self, journal: Path) -> Store:
        """Rows of the same settings are used again, also where the output is to be overwritten."""
        try:
            return claim(journal, self.settings, self.dataset.card.n_samples, overwrite=False)
        except EvaluationError as error:
            if not self.plan.overwrite:
                raise EvaluationError(error.message, hint=f"remove {journal} to measure again") from error
            return claim(journal, self.settings, self.dataset.card.n_samples, overwrite=True)

    def fill(self, tell: Progress) -> int:
        """Make the rows that are missing; returns how many were there."""
        images = ImageDigests(self.dataset)
        done, total = 0, len(self.dataset)
        samples = self.dataset.read(lambda rejection: None, images="header")
        for number, batch in enumerate(chunks(samples, self.plan.generation.batch_size)):
            prompts = [self._prompt(sample) for sample in batch]
            digests = [
                sample_key(sample, prompt if isinstance(prompt, list) else str(prompt), images)
                for sample, prompt in zip(batch, prompts, strict=True)
            ]
            keys = row_keys(self.settings, [sample.id for sample in batch], digests)
            if not self.store.reuse(list(keys.items())):
                rows = self._ask(batch, prompts, batch_seed(self.plan.generation.seed, number))
                self.store.append([row.model_copy(update={"key": keys[row.id]}) for row in rows])
            done += len(batch)
            tell(done, total)
        self.store.cut()
        return self.store.used

    def _ask(self, batch: Sequence[Sample], prompts: Sequence[list[dict[str, Any]] | MirgError], seed: int) -> list[R]:
        rows: dict[str, R] = {}
        asked: list[Asked] = []
        for sample, prompt in zip(batch, prompts, strict=True):
            try:
                if isinstance(prompt, MirgError):
                    raise prompt
                images = [self.dataset.open_image(ref, sample.id) for ref in sample.images]
                asked.append(Asked(sample, Request(sample.id, prompt, images)))
            except MirgError as error:
                rows[sample.id] = self.what.row(id=sample.id, problem=str(error))
        if asked:
            found = self.what.measure(self.engine, asked, replace(self.plan.generation, seed=seed))
            rows |= {row.id: row for row in found}
        return [rows[sample.id] for sample in batch]

    def _prompt(self, sample: Sample) -> list[dict[str, Any]] | MirgError:
        try:
            refuse_for_family(sample, self.engine.family, self.engine.limits)
            return messages(sample, self.engine.family, self.engine.limits, self.told)
        except MirgError as error:
            return error


def _rows(journal: Path, kind: type[R]) -> Iterator[R]:
    file = journal / RECORDS_FILE
    for number, value in read_jsonl(file):
        if isinstance(value, BadLine):
            raise EvaluationError(f"{file}:{number}: {value.reason}", hint="start again: it resumes there")
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            where, reason = first_problem(error)
            raise EvaluationError(f"{file}:{number}: {where}: {reason}", hint=f"remove {journal}") from error


def _write(
    dataset: DatasetFolder,
    out: Path,
    what: Measurement[R],
    plan: MeasurePlan,
    engine: Engine,
    rows: Iterator[R],
    report: MeasureReport,
) -> None:
    def judge(number: int, sample: Sample) -> derive.Outcome:
        row = next(rows, None)
        if row is None or row.id != sample.id:
            raise DataError(f"{dataset.root} changed while it was measured", hint="start again")
        report.tokens += row.tokens
        if row.problem:
            return derive.Outcome(None, "", dataset.rejection(number, sample, "sample", row.problem))
        found = what.outcome(sample, row)
        if found.sample is not None:
            return derive.Outcome(found.sample, found.word)
        return derive.Outcome(None, found.word, dataset.rejection(number, sample, "trajectory", found.detail))

    seed, words = plan.generation.seed, what.words(engine)
    with derive.writer_like(dataset.card, out, what.command, words, seed=seed, overwrite=plan.overwrite) as writer:
        derive.Derived(writer, report, "all" if plan.copy else "none").write(dataset, judge, images="header")
        if not report.kept:
            raise DataError(_nothing(dataset, report), hint="what was measured is kept beside the output")


def _nothing(dataset: DatasetFolder, report: MeasureReport) -> str:
    counts = ", ".join(f"{word} {count}" for word, count in report.dropped.most_common())
    counts = counts or "none could be asked"
    return f"no sample of {dataset.root} is kept, {report.n_rows} rows read ({counts}{report.first()})"
