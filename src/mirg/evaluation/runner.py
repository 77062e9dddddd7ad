"""Running an engine over a dataset, batch by batch, so that nothing is lost and nothing is done twice.

``DIR/evaluation.json`` says what is evaluated, ``records.jsonl`` grows by one batch at a time, ``rejected.jsonl`` holds
the samples that could not be asked, ``summary.json`` is written at the end. With several answers to each sample
(``draws``), a sample has one row for each of them, and its majority answer is in the metrics of the summary.

Killed anywhere and started again, the folder ends byte-identical to that of an uninterrupted run: batches are cut from
the whole selection, whole batches with the right keys are kept, the first other one and all after it are made (again).
Keys come from the files' bytes: pixels are decoded only for samples that are asked, and for those without a row, to
report the reason again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from mirg.answers.looks import LOOKS_VERSION, LookBudget
from mirg.answers.prompts import Instructions, messages
from mirg.engines.base import Completion, Engine, Generation, Request, Streaming, several
from mirg.engines.looking import LookEnvironment, looked
from mirg.errors import ConfigError, EngineError, EvaluationError, MirgError
from mirg.evaluation.batches import Batch, PromptForm, batches, run_settings
from mirg.evaluation.chance import chance
from mirg.evaluation.diagnostics import diagnostics
from mirg.evaluation.draws import draw_rows, draws_summary
from mirg.evaluation.failures import failures
from mirg.evaluation.looks import looks_cost, looks_table
from mirg.evaluation.mc_bench import mc_bench_table
from mirg.evaluation.metrics import PluginMetrics, plugin_metrics, plugin_table, table
from mirg.evaluation.pass_rates import check_k
from mirg.evaluation.records import (
    RECORDS_FILE,
    Identified,
    Record,
    by_sample,
    load_rows,
    make_record,
    representative,
    thinking_counts,
)
from mirg.evaluation.store import DRAWS_FILE, REPLIES_FILE, SUMMARY_FILE, VALUES_FILE, RowKey, Store, claim
from mirg.executors import chunks
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
    ``scoring`` None: the boxes of the answer. ``draws`` answers are sampled to each sample; ConfigError if there are
    several at temperature 0, or with a ``scoring``. ``variant`` says how the samples of the dataset were changed
    (:mod:`mirg.evaluation.variants`), which are then taken as they come; it is part of the key of every row. ``look``
    says how often the model may look at a part of an image (:mod:`mirg.engines.looking`).
    """

    generation: Generation = field(default_factory=Generation)
    instructions: Instructions | None = None
    rewards: RewardConfig = field(default_factory=RewardConfig)
    limit: int | None = None
    tasks: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    prompt: PromptForm | None = None
    draws: int = 1
    scoring: Scoring | None = None
    overwrite: bool = False
    variant: Mapping[str, Any] | None = None
    look: LookBudget = field(default_factory=LookBudget)

    def __post_init__(self) -> None:
        """Refuse several answers that would all be the same, and looks if the answer is not a box."""
        check_k(self.draws, self.generation)
        if self.look.max_looks and (self.scoring or self.prompt):
            raise ConfigError("looks are for answers that are boxes, in mirg's own prompt", hint="leave --looks out")
        if self.scoring and self.draws > 1:
            raise ConfigError("several answers are only compared if they are boxes", hint="leave --draws out")


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
    rows = dataset.read(bad_rows.append)
    samples = select(rows, plan) if plan.variant is None else list(rows)
    if not samples:
        raise EvaluationError(f"{dataset.root}: no sample to evaluate", hint=f"{len(bad_rows)} rows are broken")
    looks = plan.look.max_looks > 0
    if isinstance(engine, Streaming) and not looks:
        plan = replace(plan, generation=replace(plan.generation, batch_size=1))
    settings = run_settings(engine, dataset, plan.generation, plan.instructions, plan.rewards)
    settings |= {"tasks": sorted(plan.tasks)} | ({"metrics": list(plan.metrics)} if plan.metrics else {})
    settings |= {"prompt": plan.prompt.name} if plan.prompt else {}
    settings |= {"draws": plan.draws} if plan.draws > 1 else {}
    settings |= {} if plan.variant is None else {"variant": dict(plan.variant)}
    settings |= {"scoring": plan.scoring.name} if plan.scoring else {}
    settings |= {"look": plan.look.model_dump() | {"version": LOOKS_VERSION}} if looks else {}
    metrics = plugin_metrics(plan.metrics)
    numbers: _Numbers = {}
    by_id = {sample.id: sample for sample in samples}
    with sole_writer(out):
        store = claim(out, settings, len(samples) * plan.draws, overwrite=plan.overwrite)
        rejected = [_rejected(r.id or "", "", f"{r.file}:{r.row}: {r.field}: {r.reason}") for r in refused_items]
        rejected += [_rejected(r.id or "", "", f"row {r.row}: {r.field}: {r.reason}") for r in bad_rows]
        done = 0
        form = PromptForm("looks", partial(messages, max_looks=plan.look.max_looks)) if looks else plan.prompt
        parts = batches(engine, dataset, samples, plan.generation, settings, form)
        fill = _fill_looking if looks else _stream if isinstance(engine, Streaming) else _fill
        for count, made, refused in fill(engine, plan, parts, store):
            numbers |= _numbers(made, by_id, metrics)  # at once, so that an error in a plug-in is seen early
            rejected += refused
            done += count
            if progress:
                progress(done, len(samples), store.used)
        store.cut()
        write_jsonl_atomic(out / REJECTED_FILE, rejected)
        made_rows: Sequence[Any] = load_rows(out, plan.scoring.row if plan.scoring else Record)
        answers = by_sample(made_rows)
        records = [representative(found) for found in answers]
        summary = summarise(records, settings, rejected, limit=plan.limit, scoring=plan.scoring)
        if mc_bench := None if plan.scoring else mc_bench_table(records, by_id):
            summary["metrics"]["mc_bench"] = mc_bench
        if plan.draws > 1:
            write_jsonl_atomic(out / DRAWS_FILE, draw_rows(answers))
            summary |= draws_summary(answers)
        if metrics:
            numbers |= _numbers([record for record in records if record.place not in numbers], by_id, metrics)
            found = {record.id: numbers[record.place] for record in records}
            write_jsonl_atomic(out / VALUES_FILE, ({"id": name, **value} for name, value in found.items()))
            summary["metrics"]["plugins"] = plugin_table(records, found)
        summary["records_digest"] = digest_file(out / RECORDS_FILE)
        write_json_atomic(out / SUMMARY_FILE, summary)
        if not store.unanswered:
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
    """Everything but the records as plain data, without times, so that runs can be compared."""
    if not records:
        first = f"; first: {rejected[0]['reason']}" if rejected else ""
        hint = f"{REJECTED_FILE} lists every reason; the same command asks again"
        if first.endswith("does not exist"):
            hint = "put the images where samples.jsonl says, or import the dataset again with its images"
        raise EvaluationError(f"no sample could be evaluated, {len(rejected)} were rejected{first}", hint=hint)
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
    failed = failures(records)
    by_looks = looks_table(records)
    return {
        "thinking": thinking_counts(records),
        **({"looks": looks_cost(records)} if by_looks else {}),
        "metrics": table(records) | ({"looks": by_looks} if by_looks else {}),
        "chance": chance(records),
        "failures": failed,
        "diagnostics": diagnostics(records, failed),
    }


_Numbers = dict[tuple[str, int | None], dict[str, float]]  # by sample id and draw


def _numbers(records: Sequence[Any], samples: dict[str, Sample], metrics: PluginMetrics) -> _Numbers:
    """The values of the plug-in metrics."""
    return {
        record.place: {label: metric(record, samples[record.id]) for label, metric in metrics.items()}
        for record in records
    }


_Filled = Iterator[tuple[int, list[Any], list[dict[str, str]]]]  # samples that are done, new records, rejections


def _fill(engine: Engine, plan: Plan, parts: Iterable[Batch], store: Store) -> _Filled:
    """Use the stored rows of each batch, or compute them."""
    for batch in parts:
        made: list[Any] = []
        rows = _rows(batch, plan.draws)
        stored = store.ahead(rows)
        opened = {sample.id: batch.open(sample) for sample in batch.samples if sample.id not in stored}
        refused = {sample_id for sample_id, found in opened.items() if isinstance(found, MirgError)}
        if not store.reuse([row for row in rows if row[0] not in refused]):
            opened |= {sample.id: batch.open(sample) for sample in batch.samples if sample.id in stored}
            pairs = [(s, request) for s in batch.samples if isinstance(request := opened[s.id], Request)]
            asked = [request for _, request in pairs]
            groups = _answers(engine, plan, asked, batch.generation) if asked else []
            for (sample, _), group in zip(pairs, groups, strict=True):
                if isinstance(group, EngineError):
                    opened[sample.id], store.unanswered = group, True
                else:
                    made += _records(engine, plan, sample, group, batch)
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


def _fill_looking(engine: Engine, plan: Plan, parts: Iterable[Batch], store: Store) -> _Filled:
    """:func:`_fill` with looks; the replies of an endpoint are kept as in :func:`_stream`."""
    kept = engine.remembering(store.folder / REPLIES_FILE) if isinstance(engine, Streaming) else nullcontext()
    with kept:
        yield from _fill(engine, plan, parts, store)


def _answers(
    engine: Engine, plan: Plan, asked: Sequence[Request], generation: Generation
) -> list[list[Completion] | EngineError]:
    """The answers to each request; if an endpoint refuses one of several, each is asked separately."""
    if not plan.look.max_looks:
        return [*several(engine, asked, generation, plan.draws)]
    environments = [LookEnvironment(one.images, engine.family, plan.look, engine.limits) for one in asked]
    try:
        groups = looked(engine, asked, environments, generation, plan.draws)
    except EngineError as error:
        if not isinstance(engine, Streaming):
            raise
        return (
            [error]
            if len(asked) == 1
            else [part for one in asked for part in _answers(engine, plan, [one], generation)]
        )
    return [[one.completion for one in group] for group in groups]


def _stream(engine: Engine, plan: Plan, parts: Iterable[Batch], store: Store) -> _Filled:
    """Use the stored rows up to the first that is missing, and ask for the others, many at once.

    ``parts`` are batches of one sample. What arrived is kept in a file of the folder, so that a killed run asks for
    nothing twice. A sample needs all of its answers: if the endpoint refuses one, the sample is rejected, and the same
    command asks for that one again.
    """
    assert isinstance(engine, Streaming)
    done: deque[tuple[Batch, MirgError | None]] = deque()  # asked for, or refused here, in order
    kept = 0

    def requests() -> Iterator[Request]:
        nonlocal kept
        reusable = True
        for batch in parts:
            if reusable and store.reuse(_rows(batch, plan.draws)):
                kept += 1
                continue
            found = batch.open(batch.samples[0])
            reusable = reusable and isinstance(found, MirgError)
            done.append((batch, found if isinstance(found, MirgError) else None))
            if isinstance(found, Request):
                yield from (replace(found, draw=draw) for draw in range(plan.draws))

    def refused() -> list[dict[str, str]]:
        rows = []
        while done and done[0][1] is not None:
            batch, error = done.popleft()
            rows.append(_rejected(batch.samples[0].id, batch.samples[0].task, str(error)))
        return rows

    with engine.remembering(store.folder / REPLIES_FILE):
        for group in chunks(engine.stream(requests(), plan.generation), plan.draws):
            rows, made = refused(), []
            batch, _ = done.popleft()
            sample = batch.samples[0]
            said = [completion for completion in group if isinstance(completion, Completion)]
            if problem := next((one for one in group if isinstance(one, EngineError)), None):
                rows.append(_rejected(sample.id, sample.task, str(problem)))
                store.unanswered = True
            else:
                made = _records(engine, plan, sample, said, batch)
                store.append(made)
            yield len(rows) + bool(made) + kept, made, rows
            kept = 0
        rows = refused()
        if rows or kept:
            yield len(rows) + kept, [], rows


def _rows(batch: Batch, draws: int) -> list[RowKey]:
    """The rows of a batch: one for each sample, or one for each of the answers to it."""
    if draws == 1:
        return list(batch.keys.items())
    return [(sample_id, f"{key}-{draw}") for sample_id, key in batch.keys.items() for draw in range(draws)]


def _records(engine: Engine, plan: Plan, sample: Sample, said: Sequence[Completion], batch: Batch) -> list[Any]:
    key = batch.keys[sample.id]
    if plan.scoring:
        return [plan.scoring.record(sample, completion, key) for completion in said]
    return [
        make_record(
            sample,
            completion.text,
            family=engine.family,
            limits=engine.limits,
            rewards=plan.rewards,
            tokens=completion.tokens,
            finish=completion.finish,
            key=key if plan.draws == 1 else f"{key}-{draw}",
            opened_by=completion.opened_by,
            draw=None if plan.draws == 1 else draw,
            look=plan.look,
        )
        for draw, completion in enumerate(said)
    ]


def _rejected(sample_id: str, task: str, reason: str) -> dict[str, str]:
    """A row of ``rejected.jsonl``, also in the summary: lone surrogates, which JSON cannot contain, become ``?``."""
    row = {"id": sample_id, "task": task, "reason": reason}
    return {name: text.encode("utf-8", "replace").decode("utf-8") for name, text in row.items()}
