"""Running an engine over a dataset, batch by batch, so that nothing is lost and nothing is done twice.

``DIR/evaluation.json`` says what is evaluated, ``records.jsonl`` grows by one batch at a time, ``rejected.jsonl`` holds
the samples that could not be asked, ``summary.json`` is written at the end. Killed anywhere and started again, the
folder ends byte-identical to that of an uninterrupted run: batches are cut from the whole selection, whole batches
with the right keys are kept, the first other one and all after it are made (again). Keys come from the files' bytes:
pixels are decoded only for samples that are asked, and for those without a row, to report the reason again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mirg.answers.prompts import Instructions, messages
from mirg.engines.base import Engine, Generation, Request, instructions_of
from mirg.errors import AnswerError, ConfigError, EngineError, EvaluationError, ImageError, MirgError
from mirg.evaluation.chance import chance
from mirg.evaluation.failures import failures
from mirg.evaluation.keys import ImageDigests, batch_seed, row_keys, run_settings, sample_key
from mirg.evaluation.metrics import table
from mirg.evaluation.records import RECORDS_FILE, Record, load_records, make_record
from mirg.evaluation.store import SUMMARY_FILE, Store, claim, write_rejected
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder, Rejection, Sample, refuse_for_family
from mirg.storage import digest_file, sole_writer, write_json_atomic

Progress = Callable[[int, int, int], None]  # samples done, samples in all, of the done ones taken from the folder


@dataclass(frozen=True)
class Plan:
    """What to evaluate and how. ``limit`` and ``tasks`` select samples; tasks take turns, so a limit meets them all.

    ``instructions`` None takes those that the model was trained with.
    """

    generation: Generation = field(default_factory=Generation)
    instructions: Instructions | None = None
    rewards: RewardConfig = field(default_factory=RewardConfig)
    limit: int | None = None
    tasks: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class _Batch:
    number: int
    samples: tuple[Sample, ...]
    prompts: dict[str, list[dict[str, Any]] | MirgError]  # by sample id, or the error that prevents it
    keys: dict[str, str]


def evaluate(
    engine: Engine, dataset: DatasetFolder, out: str | Path, plan: Plan | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate ``engine`` on ``dataset`` into the folder ``out`` and return the summary.

    Broken rows and images are counted rejections. Raises :class:`EvaluationError` where ``out`` holds another
    evaluation or no sample can be asked, ``StorageError`` if it cannot be written, ``EngineError`` from the engine.
    """
    out, plan = Path(out), plan or Plan()
    told = instructions_of(engine, plan.instructions)
    bad_rows: list[Rejection] = []
    samples = select(dataset.read(bad_rows.append), plan)
    if not samples:
        raise EvaluationError(f"{dataset.root}: no sample to evaluate", hint=f"{len(bad_rows)} rows are broken")
    settings = run_settings(engine, plan.generation, told, plan.rewards)
    settings |= {"dataset": dataset.card.name, "dataset_digest": dataset.card.digest, "tasks": sorted(plan.tasks)}
    with sole_writer(out):
        store = claim(out, settings, len(samples), overwrite=plan.overwrite)
        rejected = _row_rejections(bad_rows)
        rejected += _run(engine, dataset, plan, settings, samples, store, progress or (lambda done, total, kept: None))
        write_rejected(out, rejected)
        summary = summarise(load_records(out), settings, rejected, limit=plan.limit)
        summary["records_digest"] = digest_file(out / RECORDS_FILE)
        write_json_atomic(out / SUMMARY_FILE, summary)
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
    turns = max((len(group) for group in chosen), default=0)
    order = [group[turn] for turn in range(turns) for group in chosen if turn < len(group)]
    return order if plan.limit is None else order[: plan.limit]


def summarise(
    records: Sequence[Record], settings: dict[str, Any], rejected: Sequence[dict[str, str]], *, limit: int | None = None
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
        "metrics": table(records),
        "chance": chance(records),
        "failures": failures(records),
    }


def _run(
    engine: Engine,
    dataset: DatasetFolder,
    plan: Plan,
    settings: dict[str, Any],
    samples: Sequence[Sample],
    store: Store,
    progress: Progress,
) -> list[dict[str, str]]:
    """Fill the store batch by batch; returns the samples that could not be asked."""
    rejected: list[dict[str, str]] = []
    done = 0
    for batch in _batches(engine, dataset, plan, settings, samples):
        rejected += _fill(engine, dataset, plan, batch, store)
        done += len(batch.samples)
        progress(done, len(samples), store.used)
    store.cut()
    return rejected


def _batches(
    engine: Engine, dataset: DatasetFolder, plan: Plan, settings: dict[str, Any], samples: Sequence[Sample]
) -> Iterator[_Batch]:
    size = plan.generation.batch_size
    images = ImageDigests(dataset)
    for number, start in enumerate(range(0, len(samples), size)):
        members = tuple(samples[start : start + size])
        prompts: dict[str, list[dict[str, Any]] | MirgError] = {}
        keys: list[str] = []
        for sample in members:
            try:
                refuse_for_family(sample, engine.family, engine.limits)
                prompt = messages(sample, engine.family, engine.limits, instructions_of(engine, plan.instructions))
                prompts[sample.id] = prompt
            except (AnswerError, ImageError) as error:
                prompt, prompts[sample.id] = None, error
            keys.append(sample_key(sample, prompt, images))
        yield _Batch(number, members, prompts, row_keys(settings, list(prompts), keys))


def _fill(engine: Engine, dataset: DatasetFolder, plan: Plan, batch: _Batch, store: Store) -> list[dict[str, str]]:
    """Use the stored rows of one batch, or compute them; returns the samples that cannot be asked."""
    stored = store.ahead(batch.keys.items())
    opened = {sample.id: _open(dataset, sample, batch) for sample in batch.samples if sample.id not in stored}
    refused = {sample_id: found for sample_id, found in opened.items() if isinstance(found, MirgError)}
    if not store.reuse([row for row in batch.keys.items() if row[0] not in refused]):
        for sample in batch.samples:
            if sample.id in stored:
                opened[sample.id] = _open(dataset, sample, batch)
        requests = [opened[sample.id] for sample in batch.samples]
        store.append(_ask(engine, plan, batch, [request for request in requests if isinstance(request, Request)]))
    return [
        _rejected(sample.id, sample.task, str(found))
        for sample in batch.samples
        if isinstance(found := opened.get(sample.id), MirgError)
    ]


def _open(dataset: DatasetFolder, sample: Sample, batch: _Batch) -> Request | MirgError:
    """The request about ``sample`` with decoded images, or the error that prevents it."""
    prompt = batch.prompts[sample.id]
    if isinstance(prompt, MirgError):
        return prompt
    try:
        images = [dataset.open_image(ref, sample.id) for ref in sample.images]
    except ImageError as error:
        return error
    return Request(sample_id=sample.id, messages=prompt, images=images)


def _ask(engine: Engine, plan: Plan, batch: _Batch, requests: Sequence[Request]) -> list[Record]:
    """Generate, read and score the answers of one batch."""
    if not requests:
        return []
    settings = replace(plan.generation, seed=batch_seed(plan.generation.seed, batch.number))
    completions = engine.generate(requests, settings)
    if len(completions) != len(requests):
        raise EngineError(f"{engine.name} gave {len(completions)} completions for {len(requests)} requests")
    samples = {sample.id: sample for sample in batch.samples}
    return [
        make_record(
            samples[request.sample_id],
            completion.text,
            family=engine.family,
            limits=engine.limits,
            rewards=plan.rewards,
            tokens=completion.tokens,
            finish=completion.finish,
            key=batch.keys[request.sample_id],
        )
        for request, completion in zip(requests, completions, strict=True)
    ]


def _row_rejections(rejections: Sequence[Rejection]) -> list[dict[str, str]]:
    return [_rejected(r.id or "", "", f"row {r.row}: {r.field}: {r.reason}") for r in rejections]


def _rejected(sample_id: str, task: str, reason: str) -> dict[str, str]:
    """A row of ``rejected.jsonl``, also in the summary: lone surrogates, which JSON cannot contain, become ``?``."""
    row = {"id": sample_id, "task": task, "reason": reason}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in row.items()}
