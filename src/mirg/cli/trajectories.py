"""``mirg trajectories``: write reasoning for a dataset by rules or by a teacher, and verify it, now and later."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from mirg.cli import measured as shared
from mirg.cli.output import json_out, progress, say_listed
from mirg.console import say, table, warn
from mirg.errors import ConfigError, MirgError

if TYPE_CHECKING:
    from mirg.executors import ExecutorName
    from mirg.samples import DatasetFolder
    from mirg.trajectories.build import Report
    from mirg.trajectories.teacher.recipe import TeacherRecipe
    from mirg.trajectories.teacher.run import Shard
    from mirg.trajectories.teacher.status import Status

app = typer.Typer(no_args_is_help=True, help="Write and verify reasoning trajectories.")

Checks = Annotated[
    list[str] | None, typer.Option("--check", help="Also apply your own check, FILE.py:NAME. May be repeated.")
]


@app.command("filter")
def filter_chains(
    dataset: shared.Dataset,
    out: shared.Out,
    student: Annotated[str, typer.Option("--student", help="A run folder, a model folder, or a model name.")],
    gain_right: Annotated[float, typer.Option(help="Required gain in points of IoU if the answer was right.")] = 0.10,
    gain_wrong: Annotated[float, typer.Option(help="Required gain in points of IoU if it was and stays wrong.")] = 0.20,
    temperature: Annotated[float, typer.Option(help="0 is greedy decoding.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of sampling, if temperature is not 0.")] = 0,
    batch_size: shared.BatchSize = None,
    max_new_tokens: shared.MaxNewTokens = 512,
    instructions: shared.AnswerInstructions = None,
    family: shared.Family = None,
    device: shared.Device = None,
    dtype: shared.Dtype = None,
    engine: shared.EngineName = "local",
    vllm: shared.VllmArguments = None,
    thinking: shared.Thinking = None,
    endpoint: shared.Endpoint = None,
    key_env: shared.KeyEnv = None,
    concurrency: shared.Concurrency = 16,
    max_pixels: shared.MaxPixels = None,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Keep a sample if its chain, put before the student's answer, turns wrong into right or raises the IoU.

    The others go to OUT/rejected.jsonl with the reason. The same command continues after an interruption.
    """
    options = dict(locals())
    from mirg.engines.base import Generation
    from mirg.evaluation.blind import gains, write_helpful
    from mirg.evaluation.measure import MeasurePlan, refuse_output
    from mirg.samples import DatasetFolder

    wanted = gains(gain_right, gain_wrong)
    generation = Generation(max_new_tokens, temperature, seed, shared.prompts_at_once(batch_size, engine))
    plan = MeasurePlan(generation, instructions, copy=copy, overwrite=overwrite)
    # Report errors that do not need the model before it is loaded.
    source = DatasetFolder.open(dataset)
    refuse_output(out, source, plan)
    asked = shared.load_engine(student, options, source.read(lambda rejection: None, images="header"))
    with progress(quiet=json) as tell:
        report = write_helpful(asked, source, out, wanted, plan, lambda done, total: tell("answers", done, total))
    shared.print_report(report, out, as_json=json)


@app.command()
def status(
    ledger: Annotated[Path, typer.Argument(help="A ledger file, or the dataset folder beside it.")],
    page: Annotated[Path | None, typer.Option(help="Also write a page with accepted and rejected chains.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="page: the dataset of the run, if it was moved.")] = None,
    json: shared.Json = False,
) -> None:
    """Show how far a teacher's run is, also while it runs: accepted, rejected by reason, pace, cost, time left."""
    from mirg.trajectories.teacher.ledger import ledger_at
    from mirg.trajectories.teacher.status import status_of

    found = status_of(ledger_at(ledger))
    if page is not None:
        _write_page(found, page, dataset)
    if json:
        json_out(asdict(found))
    else:
        _say_status(found, page)


@app.command()
def merge(
    into: Annotated[Path, typer.Argument(help="The ledger to write; created if it does not exist.")],
    sources: Annotated[list[Path], typer.Argument(help="Ledgers of the shards.")],
    json: Annotated[bool, typer.Option("--json", help="Print the status of the merged ledger as JSON.")] = False,
) -> None:
    """Merge ledgers of several machines; `build` with --ledger INTO --offline then writes the whole dataset."""
    from mirg.trajectories.teacher.ledger import ledger_at
    from mirg.trajectories.teacher.shards import merge as merge_ledgers
    from mirg.trajectories.teacher.status import status_of

    count = merge_ledgers(into, [ledger_at(source) for source in sources])
    if json:
        json_out(asdict(status_of(into)))
    else:
        say(f"{count} ledgers merged into {into}")
        _say_status(status_of(into), None)


@dataclass(frozen=True)
class TeacherOptions:
    """The options of ``build`` that are about a teacher."""

    recipe: str | None
    overrides: list[str]
    ledger: Path | None
    shard: str | None
    executor: str
    workers: int | None
    offline: bool
    dry_run: bool
    checks: list[str]
    overwrite: bool
    json: bool


@app.command()
def build(
    dataset: shared.Dataset,
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    writer: Annotated[
        str, typer.Option(help="The writer: rules (from the annotation, no model), or teacher (a model, by --recipe).")
    ] = "rules",
    voice: Annotated[
        Literal["plain", "terse"] | None,
        typer.Option(help="rules: plain sentences (the default), or terse forms for mirg-tiny."),
    ] = None,
    seed: Annotated[int, typer.Option(help="rules: seed of the wording of plain sentences.")] = 0,
    looks: Annotated[int, typer.Option(min=0, max=16, help="rules: looks at small targets in a chain; 0: none.")] = 0,
    recipe: Annotated[
        str | None, typer.Option(help="teacher: a recipe file, or one that ships, such as teacher/openai.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", "-s", help="teacher: override a key: -s draws=4 -s budget.money=20")
    ] = None,
    ledger: Annotated[Path | None, typer.Option(help="teacher: the ledger file; OUT.ledger.db by default.")] = None,
    shard: Annotated[str | None, typer.Option(help="teacher: i/n, the part of this machine.")] = None,
    executor_name: Annotated[
        str, typer.Option("--executor", help="teacher: local, or processes or ray with --workers.")
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="teacher: the number of processes.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="teacher: send no request, write from the ledger.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="teacher: print the recipe and the estimated cost, and stop.")
    ] = False,
    checks: Checks = None,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Give every sample a trajectory and keep the verified ones; the others go to OUT/rejected.jsonl with a reason."""
    from mirg.samples import DatasetFolder

    source = DatasetFolder.open(dataset)
    if writer == "teacher":
        if looks:
            raise ConfigError("--looks is for the writer rules", hint="for a teacher: -s look.max_looks=2")
        if voice is not None:
            raise ConfigError("a teacher has its own voice", hint="leave out --voice, or choose --writer rules")
        told = TeacherOptions(
            recipe,
            overrides or [],
            ledger,
            shard,
            executor_name,
            workers,
            offline,
            dry_run,
            checks or [],
            overwrite,
            json,
        )
        report = _build_by_teacher(source, out, told)
        if report is None:
            return
    else:
        from mirg.trajectories.build import build_dataset
        from mirg.trajectories.checks import VerifyConfig

        with progress(quiet=json) as tell:
            report = build_dataset(
                source,
                out,
                writer=writer,
                voice=voice,
                seed=seed,
                looks=looks,
                overwrite=overwrite,
                config=VerifyConfig(checks=tuple(checks or ())),
                on_progress=lambda done: tell("trajectories", done, len(source)),
            )
    _print(report, json, f"verified trajectories: {out}")


@app.command()
def check(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder with trajectories.")],
    checks: Checks = None,
    json: shared.Json = False,
) -> None:
    """Verify the stored trajectories again, from their text. Exit 1 if one fails."""
    from mirg.samples import DatasetFolder
    from mirg.trajectories.build import check_dataset
    from mirg.trajectories.checks import VerifyConfig

    source = DatasetFolder.open(dataset)
    config = VerifyConfig(checks=tuple(checks or ()))
    with progress(quiet=json) as tell:
        report = check_dataset(source, config=config, on_progress=lambda done: tell("checking", done, len(source)))
    _print(report, json, f"trajectories pass, {report.n_without} samples have none")
    raise typer.Exit(1 if report.n_rejected else 0)


def _print(report: Report, as_json: bool, words: str) -> None:
    if as_json:
        json_out(report.as_dict())
        return
    say_listed(report.rejections, total=report.n_rejected)
    reasons = ", ".join(f"{check} {count}" for check, count in report.reasons.items())
    say(f"{report.n_rows} rows: {report.n_kept} {words}")
    say(f"{report.n_rejected} rejected" + (f" ({reasons})" if reasons else ""))


def _build_by_teacher(source: DatasetFolder, out: Path, told: TeacherOptions) -> Report | None:
    """``build --writer teacher``; None after a dry run."""
    from mirg.config import dump_recipe, load_recipe
    from mirg.storage import refuse_existing
    from mirg.trajectories.checks import checks_of
    from mirg.trajectories.teacher.ledger import Ledger, default_ledger
    from mirg.trajectories.teacher.output import write_output
    from mirg.trajectories.teacher.recipe import TeacherRecipe
    from mirg.trajectories.teacher.run import Shard

    if told.recipe is None and not told.overrides:
        raise ConfigError("--writer teacher needs a --recipe", hint="teacher/openai and teacher/local ship with mirg")
    recipe = load_recipe(TeacherRecipe, told.recipe, told.overrides)
    verify = recipe.verify.model_copy(update={"checks": (*recipe.verify.checks, *told.checks)})
    checks_of(verify)  # a plug-in that cannot be loaded is reported before any cost arises
    recipe = recipe.model_copy(update={"verify": verify})
    shard = Shard.parse(told.shard) if told.shard else Shard()
    recipe = recipe.shared_out(shard.index, shard.count)
    path = told.ledger or default_ledger(out)
    if told.dry_run:
        if not told.json:
            sys.stdout.write(dump_recipe(recipe) + "\n")
        _say_estimate(source, recipe, path, shard, told.json)
        return None
    refuse_existing(out, overwrite=told.overwrite)  # before any cost arises
    if not told.offline:
        recipe.key()  # raises an error now if it is missing
        _ask(source, recipe, path, shard, told)
    elif not path.is_file():
        raise ConfigError(f"there is no ledger {path}", hint="name it with --ledger; --offline sends no request")
    with Ledger(path) as ledger, progress(quiet=told.json) as tell:
        return write_output(
            source, out, recipe, ledger, shard=shard, overwrite=told.overwrite,
            on_progress=lambda done: tell("writing", done, shard.size(len(source))),
        )  # fmt: skip


def _ask(source: DatasetFolder, recipe: TeacherRecipe, path: Path, shard: Shard, told: TeacherOptions) -> None:
    from mirg.executors import executor
    from mirg.trajectories.teacher.ledger import Ledger
    from mirg.trajectories.teacher.run import ask_teacher
    from mirg.trajectories.teacher.shards import ask_in_shards

    if not told.json:
        _say_estimate(source, recipe, path, shard, as_json=False)
    if told.executor == "local":
        with Ledger(path) as ledger, progress(quiet=told.json) as tell:
            found = ask_teacher(
                source, recipe, ledger, shard=shard, on_progress=lambda now: tell("teacher", now.done, now.total)
            )
        if found.missing and not told.json:
            warn(f"{found.missing} samples have no reply yet; the same command with --overwrite asks for them again")
        return
    if told.shard:
        raise ConfigError("--shard and --executor divide the same work", hint="give one of them")
    count = told.workers or os.cpu_count() or 1
    with executor(cast("ExecutorName", told.executor), count) as chosen, progress(quiet=told.json) as tell:
        ask_in_shards(source, recipe, path, chosen, count, lambda done: tell("workers done", done, count))


def _say_estimate(source: DatasetFolder, recipe: TeacherRecipe, path: Path, shard: Shard, as_json: bool) -> None:
    from mirg.trajectories.teacher.ledger import Ledger
    from mirg.trajectories.teacher.status import estimate

    with Ledger(path) if path.is_file() else contextlib.nullcontext() as ledger:
        found = estimate(source, recipe, ledger, shard)
    if as_json:
        json_out({"estimate": asdict(found), "recipe": recipe.model_dump(mode="json")})
        return
    done = f", {found.finished:,} finished" if found.finished else ""
    say(f"{found.samples:,} samples to ask about{done}: {found.requests_least:,} to {found.requests_most:,} requests")
    say(
        f"about {found.input_tokens:,} tokens in and {found.output_tokens:,} out; at most {found.tokens_most:,} tokens "
        "(with every repair, replies of full length and room for error), repeated attempts not counted"
    )
    if recipe.price.input or recipe.price.output:
        say(f"about {found.money:.2f} in money, at most {found.money_most:.2f}")
    if found.minutes is not None:
        say(f"at least {found.minutes:.0f} minutes by the rates of the recipe")
    needs = {
        "requests": found.spent.requests + found.requests_least,
        "tokens": found.spent.tokens + found.input_tokens + found.output_tokens,
        "money": found.spent.money + found.money,
    }
    limits = recipe.budget.model_dump(exclude_none=True)
    short = [f"{name} {limit:,} of about {needs[name]:,.2f}" for name, limit in limits.items() if needs[name] > limit]
    if short:
        warn(f"the budget will not be enough: {'; '.join(short)}")
    for problem in found.problems:
        warn(problem)


def _write_page(found: Status, page: Path, dataset: Path | None) -> None:
    from mirg.samples import DatasetFolder
    from mirg.trajectories.teacher.ledger import reading
    from mirg.trajectories.teacher.output import write_page
    from mirg.trajectories.teacher.recipe import TeacherRecipe

    with reading(found.ledger) as connection:
        text = connection.execute("SELECT recipe FROM plans WHERE plan = ?", (found.plan,)).fetchone()[0]
    recipe = TeacherRecipe.model_validate_json(text)
    if recipe.verify.checks:  # code is loaded only if the user names it, not because a ledger does
        warn(
            f"the page is written without {', '.join(recipe.verify.checks)}; the page of the dataset folder applies it"
        )
        recipe = recipe.model_copy(update={"verify": recipe.verify.model_copy(update={"checks": ()})})
    source = dataset or Path(found.dataset)
    if not source.is_dir():
        raise MirgError(f"the dataset {source} does not exist", hint="name it with --dataset")
    write_page(DatasetFolder.open(source), recipe, found, page)


def _say_status(found: Status, page: Path | None) -> None:
    from mirg.trajectories.teacher.output import facts

    table("", ["", ""], [[name, value] for name, value in facts(found).items()])
    say(f"accepted {found.accepted:,}, rejected {found.rejected:,}, open {found.open:,}")
    if found.reasons:
        table("rejected by", ["check", "samples"], [[check, f"{count:,}"] for check, count in found.reasons.items()])
    if found.per_minute:
        left = "" if found.eta_seconds is None else f", about {found.eta_seconds / 60:.0f} minutes left"
        say(f"{found.per_minute:.0f} samples a minute{left}")
    if page is not None:
        say(f"page: {page}")
