"""Running an engine over a dataset, batch by batch, so that nothing is lost and nothing is done twice.

``DIR/evaluation.json`` says what is evaluated, ``records.jsonl`` grows by one batch at a time, ``rejected.jsonl`` holds
the samples that could not be asked, ``summary.json`` is written at the end. Killed anywhere and started again, the
folder ends byte-identical to that of an uninterrupted run: batches are cut from the whole selection, whole batches
with the right keys are kept, the first other one and all after it are made (again). Keys come from the files' bytes:
pixels are decoded only for samples that are asked, and for those without a row, to report the reason again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from mirg.answers.prompts import Instructions
from mirg.engines.base import Completion, Engine, Generation, Request, Streaming
from mirg.errors import ConfigError, EngineError, EvaluationError, MirgError
from mirg.evaluation.batches import Batch, PromptForm, batches, complete, run_settings
from mirg.evaluation.chance import chance
from mirg.evaluation.failures import failures
from mirg.evaluation.metrics import PluginMetrics, plugin_metrics, plugin_table, table
from mirg.evaluation.records import RECORDS_FILE, Identified, Record, load_rows, make_record
from mirg.evaluation.store import REPLIES_FILE, SUMMARY_FILE, VALUES_FILE, Store, claim
from mirg.rewards import RewardConfig
from mirg.samples import REJECTED_FILE, DatasetFolder, Rejection, Sample
from mirg.storage import digest_file, sole_writer, write_json_atomic, write_jsonl_atomic

Progress = Callable[[int, int, int], None]  # samples done, samples in all, of the done ones taken from the folder


class Scoring(Protocol):
    """How completions are scored if the answer is not a box.

    A row has at least the fields ``id``, ``task``, ``image_set``, ``completion_tokens``, ``finish`` and ``key`` of a
    :class:`mirg.evaluation.records.Record`.
    """

    @property
    def name(self) -> str:
        """The name in the settings of an evaluation; another one makes another evaluation."""
        ...

    @property
    def row(self) -> type[Identified]:
        """The class of the rows."""
        ...

    def record(self, sample: Sample, completion: Completion, key: str) -> Any:
        """The row of one completion; total on any text."""
        ...

    def summarise(self, rows: Sequence[Any]) -> dict[str, Any]:
        """The entries of the summary that depend on the scores: ``metrics`` and others; there is at least one row."""
        ...


@dataclass(frozen=True)
class Plan:
    """What to evaluate and how. ``limit`` and ``tasks`` select samples; tasks take turns, so a limit meets them all.

    ``instructions`` None takes those that the model was trained with. ``metrics`` are plug-ins, ``FILE.py:NAME``
    (:func:`mirg.evaluation.metrics.plugin_metrics`). ``prompt`` None: :func:`mirg.answers.prompts.messages`.
    ``scoring`` None: the boxes of the answer.
    """

    generation: Generation = field(default_factory=Generation)
    instructions: Instructions | None = None
    rewards: RewardConfig = field(default_factory=RewardConfig)
    limit: int | None = None
    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    prompt: PromptForm | None = None
    scoring: Scoring | None = None
    overwrite: bool = False


def evaluate(
    engine: Engine,
    dataset: DatasetFolder,
    out: str | Path,
    plan: Plan | None = None,
    progress: Progress | None = None,
    refused_items: Sequence[Rejection] = (),
) -> dict[str, Any]:
    """Evaluate ``engine`` on ``dataset`` into the folder ``out`` and return the summary.

    Broken rows and images are counted rejections, and so are ``refused_items``, which never became samples. Raises
    :class:`EvaluationError` where ``out`` holds another evaluation or no sample can be asked, ``StorageError`` if it
    cannot be written, ``EngineError`` from the engine.
    """
    out, plan = Path(out), plan or Plan()
    bad_rows: list[Rejection] = []
    samples = select(dataset.read(bad_rows.append), plan)
    if not samples:
        raise EvaluationError(f"{dataset.root}: no sample to evaluate", hint=f"{len(bad_rows)} rows are broken")
    if isinstance(engine, Streaming):
        plan = replace(plan, generation=replace(plan.generation, batch_size=1))
    settings = run_settings(engine, dataset, plan.generation, plan.instructions, plan.rewards)
    settings |= {"tasks": sorted(plan.tasks)} | ({"metrics": list(plan.metrics)} if plan.metrics else {})
    settings |= {"prompt": plan.prompt.name} if plan.prompt else {}
    settings |= {"scoring": plan.scoring.name} if plan.scoring else {}
    metrics = plugin_metrics(plan.metrics)
    numbers: dict[str, dict[str, float]] = {}
    by_id = {sample.id: sample for sample in samples}
    with sole_writer(out):
        store = claim(out, settings, len(samples), overwrite=plan.overwrite)
        rejected = [_rejected(r.id or "", "", f"{r.file}:{r.row}: {r.field}: {r.reason}") for r in refused_items]
        rejected += [_rejected(r.id or "", "", f"row {r.row}: {r.field}: {r.reason}") for r in bad_rows]
        done = 0
        parts = batches(engine, dataset, samples, plan.generation, settings, plan.prompt)
        fill = _stream if isinstance(engine, Streaming) else _fill
        for count, made, refused in fill(engine, plan, parts, store):
            numbers |= _numbers(made, by_id, metrics)  # at once, so that an error in a plug-in is seen early
            rejected += refused
            done += count
            if progress:
                progress(done, len(samples), store.used)
        store.cut()
        write_jsonl_atomic(out / REJECTED_FILE, rejected)
        records: Sequence[Any] = load_rows(out, plan.scoring.row if plan.scoring else Record)
        summary = summarise(records, settings, rejected, limit=plan.limit, scoring=plan.scoring)
        if metrics:
            numbers |= _numbers([record for record in records if record.id not in numbers], by_id, metrics)
            write_jsonl_atomic(out / VALUES_FILE, ({"id": record.id, **numbers[record.id]} for record in records))
            summary["metrics"]["plugins"] = plugin_table(records, numbers)
        summary["records_digest"] = digest_file(out / RECORDS_FILE)
        write_json_atomic(out / SUMMARY_FILE, summary)
        (out / REPLIES_FILE).unlink(missing_ok=True)
    return summary


def select(samples: Iterator[Sample] | Sequence[Sample], plan: Plan) -> list[Sample]:
    """The samples to evaluate, tasks taking turns in alphabetical order; :class:`ConfigError` on an unknown task."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.task, []).append(sample)
    unknown = sorted(set(plan.tasks) - set(groups))
    if unknown:
        raise ConfigError(f"no sample of task {', '.join(unknown)}", hint=f"tasks here: {', '.join(sorted(groups))}")
    if plan.limit is not None and plan.limit < 1:
        raise ConfigError(f"limit is {plan.limit}", hint="it must be at least 1")
    chosen = [groups[task] for task in sorted(groups) if not plan.tasks or task in plan.tasks]
    return [sample for turn in zip_longest(*chosen) for sample in turn if sample is not None][: plan.limit]


def summarise(
    records: Sequence[Any],
    settings: dict[str, Any],
    rejected: Sequence[dict[str, str]],
    *,
    limit: int | None = None,
    scoring: Scoring | None = None,
) -> dict[str, Any]:
    """Settings, counts, metrics, chance levels and failures as plain data; no times, so runs can be compared."""
    if not records:
        first = f"; first: {rejected[0]['reason']}" if rejected else ""
        raise EvaluationError(f"no sample could be evaluated, {len(rejected)} were rejected{first}")
    return {
        "settings": settings | {"limit": limit},
        "n": len(records),
        "rejected": len(rejected),
        "rejections": list(rejected[:100]),
        "tokens": sum(record.completion_tokens for record in records),
        "cut_off": sum(1 for record in records if record.finish == "length"),
        **(scoring.summarise(records) if scoring else _box_tables(records)),
    }


def _box_tables(records: Sequence[Record]) -> dict[str, Any]:
    return {"metrics": table(records), "chance": chance(records), "failures": failures(records)}


def _numbers(records: Sequence[Any], samples: dict[str, Sample], metrics: PluginMetrics) -> dict[str, dict[str, float]]:
    """The values of the plug-in metrics by sample id."""
    return {
        record.id: {label: metric(record, samples[record.id]) for label, metric in metrics.items()}
        for record in records
    }


_Filled = Iterator[tuple[int, list[Any], list[dict[str, str]]]]  # samples that are done, new records, rejections


def _fill(engine: Engine, plan: Plan, parts: Iterable[Batch], store: Store) -> _Filled:
    """Use the stored rows of each batch, or compute them."""
    for batch in parts:
        made: list[Any] = []
        stored = store.ahead(batch.keys.items())
        opened = {sample.id: batch.open(sample) for sample in batch.samples if sample.id not in stored}
        refused = {sample_id for sample_id, found in opened.items() if isinstance(found, MirgError)}
        if not store.reuse([row for row in batch.keys.items() if row[0] not in refused]):
            opened |= {sample.id: batch.open(sample) for sample in batch.samples if sample.id in stored}
            pairs = [(s, request) for s in batch.samples if isinstance(request := opened[s.id], Request)]
            completions = complete(engine, [request for _, request in pairs], batch.generation) if pairs else ()
            made = [
                _record(engine, plan, sample, completion, batch)
                for (sample, _), completion in zip(pairs, completions, strict=True)
            ]
            store.append(made)
        yield (
            len(batch.samples),
            made,
            [
                _rejected(sample.id, sample.task, str(found))
                for sample in batch.samples
                if isinstance(found := opened.get(sample.id), MirgError)
            ],
        )


def _stream(engine: Engine, plan: Plan, parts: Iterable[Batch], store: Store) -> _Filled:
    """Use the stored rows up to the first that is missing, and ask for the others, many at once.

    ``parts`` are batches of one sample. What arrived is kept in a file of the folder, so that a killed run asks for
    nothing twice.
    """
    assert isinstance(engine, Streaming)
    done: deque[tuple[Batch, MirgError | None]] = deque()  # asked for, or refused here, in order
    kept = 0

    def requests() -> Iterator[Request]:
        nonlocal kept
        reusable = True
        for batch in parts:
            if reusable and store.reuse(list(batch.keys.items())):
                kept += 1
                continue
            found = batch.open(batch.samples[0])
            reusable = reusable and isinstance(found, MirgError)
            done.append((batch, found if isinstance(found, MirgError) else None))
            if isinstance(found, Request):
                yield found

    def refused() -> list[dict[str, str]]:
        rows = []
        while done and done[0][1] is not None:
            batch, error = done.popleft()
            rows.append(_rejected(batch.samples[0].id, batch.samples[0].task, str(error)))
        return rows

    with engine.remembering(store.folder / REPLIES_FILE):
        for completion in engine.stream(requests(), plan.generation):
            rows, made = refused(), []
            batch, _ = done.popleft()
            sample = batch.samples[0]
            if isinstance(completion, EngineError):
                rows.append(_rejected(sample.id, sample.task, str(completion)))
            else:
                made = [_record(engine, plan, sample, completion, batch)]
                store.append(made)
            yield len(rows) + len(made) + kept, made, rows
            kept = 0
        rows = refused()
        yield len(rows) + kept, [], rows


def _record(engine: Engine, plan: Plan, sample: Sample, completion: Completion, batch: Batch) -> Any:
    if plan.scoring:
        return plan.scoring.record(sample, completion, batch.keys[sample.id])
    return make_record(
        sample,
        completion.text,
        family=engine.family,
        limits=engine.limits,
        rewards=plan.rewards,
        tokens=completion.tokens,
        finish=completion.finish,
        key=batch.keys[sample.id],
    )


def _rejected(sample_id: str, task: str, reason: str) -> dict[str, str]:
    """A row of ``rejected.jsonl``, also in the summary: lone surrogates, which JSON cannot contain, become ``?``."""
    row = {"id": sample_id, "task": task, "reason": reason}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in row.items()}
