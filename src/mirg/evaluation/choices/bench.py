"""A multiple-choice benchmark that ``mirg evaluate --bench`` runs: load, ask, score, compare, print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from mirg.answers.choice import CHOICE_READER
from mirg.console import say, table, warn
from mirg.engines.base import Completion, Engine
from mirg.errors import ConfigError, EvaluationError, MirgError
from mirg.evaluation.batches import PromptForm
from mirg.evaluation.bench import Bench, BenchOptions, write_tables
from mirg.evaluation.choices import load
from mirg.evaluation.choices.items import PROMPTS
from mirg.evaluation.choices.records import ChoiceRecord, make_record
from mirg.evaluation.choices.sets import SETS, ChoiceSet
from mirg.evaluation.choices.summary import difference, summarise, verdict
from mirg.evaluation.compare import finished_settings, refuse_changed
from mirg.evaluation.records import load_rows
from mirg.evaluation.runner import Plan, Progress, evaluate, select
from mirg.evaluation.store import SETTINGS_FILE
from mirg.families import PixelLimits
from mirg.samples import Sample
from mirg.storage import read_json

DATA_FOLDER = "data"  # in the folder of the evaluation
SCORING = "choices"  # how the name of a scoring begins: "choices/blink mirg.choice/1"


@dataclass(frozen=True)
class ChoiceScoring:
    """The :class:`mirg.evaluation.runner.Scoring` of one benchmark."""

    choice_set: ChoiceSet
    name: str
    row: type[ChoiceRecord] = ChoiceRecord

    @classmethod
    def of(cls, bench: str) -> ChoiceScoring:
        """That of the benchmark called ``bench``."""
        return cls(SETS[bench], f"{SCORING}/{bench} {CHOICE_READER}")

    def record(self, sample: Sample, completion: Completion, key: str) -> ChoiceRecord:
        """The row of one completion."""
        return make_record(sample, completion.text, tokens=completion.tokens, finish=completion.finish, key=key)

    def summarise(self, rows: Sequence[ChoiceRecord]) -> dict[str, Any]:
        """The tables (:func:`mirg.evaluation.choices.summary.summarise`) under ``metrics``."""
        return {"metrics": summarise(rows, self.choice_set)}


def bench_of(settings: Mapping[str, Any]) -> str:
    """The benchmark of an evaluation by its settings; "" if its answers are no choices."""
    kind, _, name = str(settings.get("scoring", "")).partition(" ")[0].partition("/")
    return name if kind == SCORING and name in SETS else ""


def bench_in(folder: Path) -> str:
    """:func:`bench_of` the evaluation in ``folder``; "" if it has no settings."""
    settings: object = None
    with suppress(MirgError):
        settings = read_json(folder / SETTINGS_FILE)
    return bench_of(settings) if isinstance(settings, dict) else ""


class OpenedChoices:
    """A benchmark whose files were found; they are read by :meth:`run`."""

    def __init__(self, source: load.Source, prompts: str, against: Mapping[str, Sequence[ChoiceRecord]]) -> None:
        """``against`` are the rows of other evaluations by their folders."""
        self.limits: Mapping[str, PixelLimits] = {}
        self.name, self.source, self.prompts, self.against = source.name, source, prompts, against

    def samples(self) -> Sequence[Sample]:
        """None are known before :meth:`run` has read the files."""
        return ()

    def run(self, engine: Engine, out: Path, plan: Plan, progress: Progress | None) -> dict[str, Any]:
        """Evaluate ``engine`` into ``out``; items are kept in ``out/data``, differences in ``out/bench.json``."""
        form = PromptForm(f"{self.name}/{self.prompts}", PROMPTS[self.prompts])
        plan = replace(plan, prompt=form, scoring=ChoiceScoring.of(self.name), instructions="none")
        data = load.prepared(self.source, out / DATA_FOLDER, overwrite=plan.overwrite)
        select(data.read(lambda rejection: None), plan)
        summary = evaluate(engine, data, out, plan, progress, load.rejections(data))
        rows = load_rows(out, ChoiceRecord)
        tables = {
            "prompts": self.prompts,
            "published": [row._asdict() for row in SETS[self.name].published],
            "against": {folder: difference(other, rows) for folder, other in self.against.items()},
        }
        return summary | {"bench": write_tables(out, self.name, tables)}

    def show(self, summary: Mapping[str, Any]) -> None:
        """Print the tables of one evaluation, and the differences to others."""
        show_choices(SETS[self.name], summary)
        for name, found in summary["bench"]["against"].items():
            show_difference(SETS[self.name], name, found)


def open_choices(name: str, options: BenchOptions, plan: Plan) -> OpenedChoices:
    """Find the files of a benchmark, and read the evaluations to compare with.

    Raises:
        ConfigError: There is no such prompt form, or the root is neither a folder nor a name on the hub.
        DataError: The folder has no file of the benchmark.
        EvaluationError: An evaluation to compare with is not a finished one of this benchmark.
    """
    prompts = options.prompts or "published"
    if prompts not in PROMPTS:
        raise ConfigError(f"no prompts {prompts!r}", hint=f"--prompts, one of: {', '.join(PROMPTS)}")
    if plan.instructions:
        hint = "--prompts reasoned asks for reasoning and an answer in tags"
        raise ConfigError(f"--instructions has no effect with --bench {name}", hint=hint)
    against = {folder.as_posix(): load_choices(folder, name) for folder in options.against or ()}
    return OpenedChoices(load.find(name, options.root), prompts, against)


def bench(name: str) -> Bench:
    """The line of :data:`mirg.evaluation.benches.BENCHES` for one benchmark."""
    return Bench(
        needs=f"the files of {SETS[name].hub}",
        open=partial(open_choices, name),
        page=lambda contents: (),  # mirg.evaluation.choices.page: their records are not those of boxes
        uses=frozenset({"prompts", "against"}),
        hub=SETS[name].hub,
    )


def load_choices(folder: Path, bench: str) -> list[ChoiceRecord]:
    """The rows of a finished evaluation of ``bench``; EvaluationError if the folder holds none."""
    settings = finished_settings(folder)
    if (found := bench_of(settings)) != bench:
        what = f"an evaluation of {SETS[found].title}" if found else "not a multiple-choice evaluation"
        raise EvaluationError(f"{folder} is {what}", hint=f"--against takes evaluations of {SETS[bench].title}")
    rows = load_rows(folder, ChoiceRecord)
    refuse_changed(folder)
    return rows


def compare_choices(folders: Sequence[Path], bench: str) -> dict[str, Any]:
    """Finished evaluations of ``bench`` side by side: ``systems`` with their tables, and ``differences`` of each pair.

    A difference is the later minus the earlier one. EvaluationError if a folder holds no such evaluation.
    """
    rows = {folder.as_posix(): load_choices(folder, bench) for folder in folders}
    return {
        "bench": bench,
        "systems": [{"name": name, "n": len(found), **summarise(found, SETS[bench])} for name, found in rows.items()],
        "differences": [{"a": a, "b": b, **difference(rows[a], rows[b])} for a, b in combinations(rows, 2)],
    }


def show_comparison(result: Mapping[str, Any]) -> None:
    """Print what :func:`compare_choices` gives."""
    wanted, systems = SETS[result["bench"]], result["systems"]
    tasks = dict.fromkeys(task for system in systems for task in system["tasks"])
    lines = {task: [system["tasks"].get(task, {}).get("score") for system in systems] for task in tasks}
    lines["all items (accuracy)"] = [system["overall"]["accuracy"] for system in systems]
    lines["mean of tasks"] = [system["mean_of_tasks"].get("score") for system in systems]
    rows = [[name, *(_cell(cell) if cell else "" for cell in cells)] for name, cells in lines.items()]
    table(f"{wanted.title}: percent, 95 % interval", ["score", *(system["name"] for system in systems)], rows)
    for found in result["differences"]:
        show_difference(wanted, found["a"], found, found["b"])


def show_choices(choice_set: ChoiceSet, summary: Mapping[str, Any]) -> None:
    """Print accuracy and score of every task with intervals and chance levels, and published results."""
    metrics = summary["metrics"]
    scored = any(found.get("score") != found["accuracy"] for found in metrics["tasks"].values())
    rows = [_row(name, found, scored=scored) for part in ("tasks", "sides") for name, found in metrics[part].items()]
    empty = [""] * 2 if scored else []
    if pairs := metrics["pairs"]:
        level = _level(pairs["chance"])
        rows.append(["both of a pair", pairs["n"], *empty, _cell(pairs["both_right"]), level])
    rows.append(_row("all items", metrics["overall"], scored=scored))
    if mean := metrics["mean_of_tasks"]:
        level = _level(mean["chance"])
        rows.append([f"mean of {mean['n_tasks']} tasks", "", *empty, _cell(mean["score"]), level])
    columns = ["task", "items", "accuracy", "chance", *(["score", "chance"] if scored else [])]
    table(f"{choice_set.title}: percent, 95 % interval", columns, rows)
    headline = "the mean of the tasks" if choice_set.headline == "mean_of_tasks" else "the accuracy of all items"
    say(f"The authors of {choice_set.title} report {headline}.")
    for row in choice_set.published:
        score = "" if row.score is None else f"{row.score:.1f}"
        tasks = ", ".join(f"{task} {value:.1f}" for task, value in row.tasks.items())
        say(f"published: {row.model} {', '.join(filter(None, (score, tasks)))} ({row.source})")
    if choice_set.left_out:
        say(f"left out: {choice_set.left_out}")
    if pairs and pairs["incomplete"]:
        warn(f"{pairs['incomplete']} pairs are incomplete and are in no score of pairs")
    for reason, count in metrics["unreadable"].items():
        warn(f"{count} answers are unreadable and count as wrong: {reason}")


def show_difference(choice_set: ChoiceSet, name: str, found: Mapping[str, Any], this: str = "this model") -> None:
    """Print the paired difference of ``this`` to the evaluation ``name``, and what it says."""
    cells = {"all items (accuracy)": found["overall"], **found["tasks"]}
    if found["mean_of_tasks"]:
        cells["mean of tasks"] = found["mean_of_tasks"]
    rows = [[what, _signed(cell), f"{cell['p']:.3f}"] for what, cell in cells.items()]
    columns = ["task", "points, 95 % interval; * excludes 0", "p"]
    say(f"{this} minus {name}, on the {found['n']} items of both:")
    table(f"{choice_set.title}: paired differences", columns, rows)
    headline = found[choice_set.headline] or found["overall"]
    say(f"{this} compared with {name}: {verdict(headline)} (95 % interval, paired by image set).")
    if found["only_before"] or found["only_after"]:
        warn(f"only one of the two answered {found['only_before'] + found['only_after']} items, which are not compared")


def _row(name: str, found: Mapping[str, Any], *, scored: bool) -> list[object]:
    row: list[object] = [name, found["n"], _cell(found["accuracy"]), _level(found["chance"])]
    score = [_cell(found["score"]), _level(found["score_chance"])] if "score" in found else ["", ""]
    return [*row, *score] if scored else row


def _cell(cell: Mapping[str, float]) -> str:
    return f"{100 * cell['mean']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"


def _level(level: float) -> str:
    return f"{100 * level:.1f}"


def _signed(cell: Mapping[str, float]) -> str:
    mark = " *" if cell["low"] > 0 or cell["high"] < 0 else ""
    return f"{100 * cell['mean']:+.1f} [{100 * cell['low']:+.1f}, {100 * cell['high']:+.1f}]{mark}"
