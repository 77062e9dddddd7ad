"""The teacher's part of ``mirg trajectories``: a run with its estimate, its status, and ledgers that are merged."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from mirg.cli.output import json_out, progress
from mirg.console import say, table, warn
from mirg.errors import ConfigError, MirgError

if TYPE_CHECKING:
    from mirg.executors import ExecutorName
    from mirg.samples import DatasetFolder
    from mirg.trajectories.build import Report
    from mirg.trajectories.teacher.recipe import TeacherRecipe
    from mirg.trajectories.teacher.run import Progress, Shard
    from mirg.trajectories.teacher.status import Estimate, Status


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
    overwrite: bool
    json: bool


def build_by_teacher(source: DatasetFolder, out: Path, told: TeacherOptions) -> Report | None:
    """``build --writer teacher``; None after a dry run."""
    from mirg.config import dump_recipe, load_recipe
    from mirg.storage import refuse_existing
    from mirg.trajectories.teacher.ledger import Ledger
    from mirg.trajectories.teacher.output import write_output
    from mirg.trajectories.teacher.recipe import TeacherRecipe
    from mirg.trajectories.teacher.run import Shard, default_ledger

    if told.recipe is None and not told.overrides:
        raise ConfigError("--writer teacher needs a --recipe", hint="teacher/openai and teacher/local ship with mirg")
    recipe = load_recipe(TeacherRecipe, told.recipe, told.overrides)
    shard = Shard.parse(told.shard) if told.shard else Shard()
    recipe = recipe.shared_out(shard.index, shard.count)
    path = told.ledger or default_ledger(out)
    if told.dry_run:
        if not told.json:
            sys.stdout.write(dump_recipe(recipe) + "\n")
        _say_estimate(_estimate(source, recipe, path, shard), recipe, told.json)
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
    from mirg.trajectories.teacher.ledger import Ledger
    from mirg.trajectories.teacher.run import ask_teacher

    if not told.json:
        _say_estimate(_estimate(source, recipe, path, shard), recipe, as_json=False)
    if told.executor != "local":
        _ask_in_workers(source, recipe, path, told)
        return
    with Ledger(path) as ledger, progress(quiet=told.json) as tell:

        def show(now: Progress) -> None:
            tell("teacher", now.done, now.total)

        found = ask_teacher(source, recipe, ledger, shard=shard, on_progress=show)
    if found.missing and not told.json:
        warn(f"{found.missing} samples have no reply yet; the same command with --overwrite asks for them again")


def _ask_in_workers(source: DatasetFolder, recipe: TeacherRecipe, path: Path, told: TeacherOptions) -> None:
    import os

    from mirg.executors import executor
    from mirg.trajectories.teacher.shards import ask_in_shards

    if told.shard:
        raise ConfigError("--shard and --executor divide the same work", hint="give one of them")
    count = told.workers or os.cpu_count() or 1
    with executor(cast("ExecutorName", told.executor), count) as chosen, progress(quiet=told.json) as tell:
        ask_in_shards(source, recipe, path, chosen, count, lambda done: tell("workers done", done, count))


def _estimate(source: DatasetFolder, recipe: TeacherRecipe, path: Path, shard: Shard) -> Estimate:
    from mirg.trajectories.teacher.ledger import Ledger
    from mirg.trajectories.teacher.status import estimate

    if not path.is_file():
        return estimate(source, recipe, None, shard)
    with Ledger(path) as ledger:
        return estimate(source, recipe, ledger, shard)


def _say_estimate(found: Estimate, recipe: TeacherRecipe, as_json: bool) -> None:
    if as_json:
        json_out({"estimate": found.as_dict(), "recipe": recipe.model_dump(mode="json")})
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
    budget = recipe.budget
    short = [
        f"{name} {limit:,} of about {need:,.2f}"
        for name, limit, need in (
            ("requests", budget.requests, found.spent.requests + found.requests_least),
            ("tokens", budget.tokens, found.spent.tokens + found.input_tokens + found.output_tokens),
            ("money", budget.money, found.spent.money + found.money),
        )
        if limit is not None and need > limit
    ]
    if short:
        warn(f"the budget will not be enough: {'; '.join(short)}")
    for problem in found.problems:
        warn(problem)


def status(
    ledger: Annotated[Path, typer.Argument(help="A ledger file, or the dataset folder beside it.")],
    page: Annotated[Path | None, typer.Option(help="Also write a page with accepted and rejected chains.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="page: the dataset of the run, if it was moved.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show how far a teacher's run is, also while it runs: accepted, rejected by reason, pace, cost, time left."""
    from mirg.trajectories.teacher.status import ledger_at, status_of

    path = ledger_at(ledger)
    found = status_of(path)
    if page is not None:
        _write_page(found, page, dataset)
    if json:
        json_out(found.as_dict())
    else:
        _say_status(found, page)


def merge(
    into: Annotated[Path, typer.Argument(help="The ledger to write; created if it does not exist.")],
    sources: Annotated[list[Path], typer.Argument(help="Ledgers of the shards.")],
    json: Annotated[bool, typer.Option("--json", help="Print the status of the merged ledger as JSON.")] = False,
) -> None:
    """Merge ledgers of several machines; `build` with --ledger INTO --offline then writes the whole dataset."""
    from mirg.trajectories.teacher.shards import merge as merge_ledgers
    from mirg.trajectories.teacher.status import ledger_at, status_of

    count = merge_ledgers(into, [ledger_at(source) for source in sources])
    if json:
        json_out(status_of(into).as_dict())
    else:
        say(f"{count} ledgers merged into {into}")
        _say_status(status_of(into), None)


def _write_page(found: Status, page: Path, dataset: Path | None) -> None:
    import json as parser

    from mirg.samples import DatasetFolder
    from mirg.trajectories.teacher.ledger import reading
    from mirg.trajectories.teacher.output import write_page
    from mirg.trajectories.teacher.recipe import TeacherRecipe

    with reading(found.ledger) as connection:
        text = connection.execute("SELECT recipe FROM plans WHERE plan = ?", (found.plan,)).fetchone()[0]
    recipe = TeacherRecipe.model_validate(parser.loads(text))
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
