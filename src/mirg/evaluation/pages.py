"""The report page of a run folder: a demo run, one training run, or one evaluation.

A demo run contains ``data/test``, the training runs ``sft/`` and ``grpo/``, and evaluations in ``eval/base``,
``eval/sft`` and ``eval/rl``. Missing parts are left out of the page; broken files are listed at its head.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mirg.errors import DataError, MirgError
from mirg.evaluation.benches import page_tables
from mirg.evaluation.choices.bench import bench_in
from mirg.evaluation.choices.page import ChoiceEvaluation, choice_report, choice_tables, read_choices
from mirg.evaluation.compare import Evaluation
from mirg.evaluation.page_answers import Gallery, worked_examples
from mirg.evaluation.page_draws import draws_section
from mirg.evaluation.page_failures import failure_section
from mirg.evaluation.page_photos import photo_answers
from mirg.evaluation.page_rollouts import rollouts_section
from mirg.evaluation.page_tables import plugin_tables, read_evaluation, result_table, robustness_table, task_tables
from mirg.evaluation.records import RECORDS_FILE
from mirg.evaluation.store import SETTINGS_FILE
from mirg.report.cards import PER_OUTCOME
from mirg.report.data import ReportData, Section, Stage
from mirg.report.pages import IMAGE_BUDGET, write_report
from mirg.report.sheet import BUDGET
from mirg.report.training_curves import stages_from_rows
from mirg.storage import BadLine, read_json, read_jsonl
from mirg.text_files import parse_yaml

METRICS_FILE = "metrics.jsonl"
ALARMS_FILE = "alarms.jsonl"
TRAINING_ORDER = ("perception", "sft", "grpo", "rl")
EVALUATION_ORDER = ("base", "perception", "sft", "grpo", "rl")
TITLES = {"perception": "Perception", "sft": "SFT", "grpo": "GRPO", "rl": "RL", "base": "base", "eval": "evaluation"}


def report_from_run(
    run: str | Path,
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    samples: int | None = None,
    megabytes: float | None = None,
    reload: int = 0,
) -> Path:
    """Write the page about ``run`` (to ``run/report.html`` unless ``out`` says where) and return its path.

    ``data`` is the dataset folder that was evaluated; if it is None, the folders around the run are searched. A browser
    loads the page again after ``reload`` seconds; 0: never. The gallery shows up to ``samples`` answers of each model
    and outcome, with ``megabytes`` of images; None: 24 answers, and what fits into 5.5 MB (25 MB for more answers).
    Raises :class:`DataError` if the folder contains neither metrics nor records.
    """
    run = Path(run)
    per_outcome = PER_OUTCOME if samples is None else samples
    report = collect(run, data=None if data is None else Path(data), per_outcome=per_outcome)._replace(reload=reload)
    many = BUDGET if per_outcome > PER_OUTCOME else IMAGE_BUDGET
    budget = many if megabytes is None else int(megabytes * 1e6)
    out = run / "report.html" if out is None else Path(out)
    return write_report(out, report, per_outcome=per_outcome, image_budget=budget)


def collect(run: Path, *, data: Path | None = None, per_outcome: int = PER_OUTCOME) -> ReportData:
    """Everything that the page about ``run`` shows. Raises :class:`DataError` as :func:`report_from_run`."""
    if not run.is_dir():
        raise DataError(f"{run} is not a folder", hint="pass the folder of a demo run, a training run or an evaluation")
    notes: list[str] = []
    training = _folders(run, ("", "*"), METRICS_FILE, TRAINING_ORDER)
    folders = _folders(run, ("", "*", "eval/*"), RECORDS_FILE, EVALUATION_ORDER)
    chosen = read_choices({name: folders.pop(name) for name in [*folders] if bench_in(folders[name])}, notes)
    evaluated = [found for name, folder in folders.items() if (found := read_evaluation(name, folder, notes)).records]
    if chosen and not training and not evaluated:
        return choice_report(run, chosen, data, notes, per_outcome)._replace(sections=_sections(run, training, chosen))
    if not training and not evaluated:
        raise DataError(
            "; ".join(notes) or f"{run} holds no {METRICS_FILE} and no {RECORDS_FILE}",
            hint="pass the folder of a demo run, a training run or an evaluation",
        )
    for name, folder in training.items():
        notes += _alarms(name, folder / ALARMS_FILE)
    gallery = Gallery.find(run, evaluated, data, notes)
    subtitle = [f"trained: {', '.join(training)}"] if training else []
    if evaluated:
        records = max((e.records for e in evaluated), key=len)
        tasks = len({record.task for record in records})
        subtitle.append(f"evaluated: {', '.join(e.name for e in evaluated)} on {len(records)} items of {tasks} tasks")
    rollouts = [rollouts_section(name, folder, run, data, notes) for name, folder in training.items()]
    return ReportData(
        title=f"Report: {run.resolve().name}",
        subtitle="; ".join(subtitle),
        examples=worked_examples(evaluated, gallery),
        answers=photo_answers(run, evaluated, gallery, notes),
        sections=_sections(run, training, evaluated),
        table=result_table(evaluated, notes) if evaluated else None,
        task_tables=(*page_tables(evaluated), *task_tables(evaluated), *choice_tables(chosen)),
        plugin_tables=plugin_tables(evaluated),
        outcomes={e.name: Counter(record.outcome for record in e.records) for e in evaluated},
        draws=draws_section(evaluated),
        failures=failure_section(evaluated),
        robustness=robustness_table(evaluated, notes),
        stages=tuple(stage for name, folder in training.items() for stage in _stages(name, folder, notes)),
        rollouts=tuple(filter(None, rollouts)),
        gallery=gallery.items(per_outcome),
        n_answers=gallery.n_answers,
        notes=tuple(notes),
    )


def _folders(run: Path, patterns: Iterable[str], file: str, order: tuple[str, ...]) -> dict[str, Path]:
    """Title to folder, of every folder matched by the patterns (relative to ``run``) that holds ``file``."""
    found: list[Path] = []
    for pattern in patterns:
        matches = [run] if not pattern else sorted(run.glob(pattern))
        found += [folder for folder in matches if (folder / file).is_file() and folder not in found]
    found.sort(key=lambda folder: (order.index(folder.name) if folder.name in order else len(order), folder.name))
    titles: dict[str, Path] = {}
    for folder in found:
        name = TITLES.get(folder.resolve().name, folder.resolve().name)
        titles[name if name not in titles else f"{folder.parent.name}/{name}"] = folder
    return titles


def _stages(name: str, folder: Path, notes: list[str]) -> tuple[Stage, ...]:
    rows: list[Mapping[str, object]] = []
    broken = 0
    try:
        for _, value in read_jsonl(folder / METRICS_FILE):
            if isinstance(value, dict):
                rows.append(value)
            # The last line of an unfinished run may be torn.
            elif not (isinstance(value, BadLine) and value.torn):
                broken += 1
        if broken:
            notes.append(f"{name}: {broken} broken lines in {folder / METRICS_FILE} were skipped")
        elif not rows:
            notes.append(f"{name}: {folder / METRICS_FILE} holds no whole row")
    except MirgError as error:
        notes.append(str(error))
    return stages_from_rows(name, rows)


def _alarms(name: str, file: Path) -> list[str]:
    """What a training run warned of: the last row of each kind of alarm."""
    rows = [row for _, row in read_jsonl(file) if isinstance(row, dict)] if file.is_file() else []
    last = {str(row.get("alarm")): row for row in rows}
    return [f"{name}, step {row.get('step')}: {row.get('text')}" for row in last.values()]


def _sections(
    run: Path, training: Mapping[str, Path], evaluated: Iterable[Evaluation | ChoiceEvaluation]
) -> tuple[Section, ...]:
    """One section for each known file of the folders. If a file cannot be read, its section says so."""
    folders = {"the whole run": run, **training, **{f"evaluation of {e.name}": e.folder for e in evaluated}}
    names: dict[Path, str] = {}
    for name, folder in folders.items():
        names.setdefault(folder, name)
    return tuple(
        Section(f"{name}: {title}", _facts(folder / file))
        for folder, name in names.items()
        for file, title in FILES.items()
        if (folder / file).is_file()
    )


FILES = {
    "config.yaml": "configuration",
    "environment.json": "versions and machine",
    "demo.json": "stages and times",
    SETTINGS_FILE: "settings",
}
MAX_FACTS = 250
MAX_VALUE = 500  # characters
# Run folders are written without secrets. This is a second check, because pages are passed on to other people.
SECRET_NAME = re.compile(r"(?:api_?key|secret|passw|credential|token$|access_?key)", re.IGNORECASE)


def _facts(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        value = read_json(path) if path.suffix == ".json" else parse_yaml(path.read_text(encoding="utf-8"))
    except (MirgError, OSError, ValueError) as error:
        return ((path.name, f"cannot be read: {error.message if isinstance(error, MirgError) else error}"),)
    facts = []
    for name, text in _flat(value, ""):
        if len(facts) == MAX_FACTS:
            facts.append(("…", f"more than {MAX_FACTS} values; see {path.name}"))
            break
        facts.append((name, "(not shown)" if SECRET_NAME.search(name) and text not in ("", "null") else text))
    return tuple(facts)


def _flat(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Leaves of nested mappings as ``a.b.c`` and text; short lists stay on one line."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
        return
    if isinstance(value, list | tuple):
        text = ", ".join(map(str, value))
    else:
        text = json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    yield name or "value", text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + " …"
