"""``mirg data split``, ``mix``, ``filter`` and ``difficulty``: commands that write a dataset from other datasets."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from mirg.cli import measured
from mirg.cli import output as shared
from mirg.cli.output import counted, json_out, listed, progress, say_listed, settings
from mirg.console import say, warn
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder
from mirg.samples.grouping import parse_group_by

if TYPE_CHECKING:
    from mirg.data.checks.leakage import Leakage

MORE = "in rejected.jsonl"


def split(
    dataset: shared.Dataset,
    out: Annotated[Path, Argument(help="The folder to write; each part is a dataset folder in it.")],
    parts: Annotated[str, Option(help="Names and shares, with commas.")] = "train=0.8,val=0.1,test=0.1",
    seed: Annotated[int, Option(help="The same seed gives the same parts.")] = 0,
    group_by: Annotated[
        str, Option(help="Never divide what shares this: a field (meta.scene) or a folder pattern (scenes/*/).")
    ] = "",
    ungrouped: Annotated[
        Literal["refuse", "keep"],
        Option(help="Samples without a group: refuse them, or keep them grouped by what is known."),
    ] = "refuse",
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Split a dataset so that no image, no image set and no group of --group-by is in two parts.

    Rows added later leave the others in their parts, unless they join groups by images that both use.
    """
    from mirg.data.split import parse_parts, write_split

    shares = parse_parts(parts)
    by = parse_group_by(group_by) if group_by else None
    keep = ungrouped == "keep"
    if keep and by is None:
        raise ConfigError("--ungrouped keep needs --group-by", hint="without it every sample is grouped by its images")
    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        report = write_split(
            source, out, shares, seed=seed, by=by, keep_ungrouped=keep, copy=copy, overwrite=overwrite, on_progress=tell
        )
    if json:
        return json_out({"out": str(out), "seed": seed} | report.as_dict())
    say_listed(report.rejections, "rejected ", MORE)
    for name, share in report.shares.items():
        count = report.kept[name]
        reached = f"{100 * count / max(1, report.n_kept):.1f} % ({100 * share:.1f} % asked)"
        say(f"{out / name}: {count} samples in {report.groups[name]} groups, {reached}")
    if report.ungrouped:
        warn(f"{report.ungrouped} samples have no {group_by}: they are grouped by what is known of their images")
    for warning in report.warnings:
        warn(warning)


def mix(
    parts: Annotated[list[str], Argument(metavar="DATASET=WEIGHT…", help="Dataset folders with weights.")],
    out: shared.Out,
    n: Annotated[
        int | None, Option("--n", help="Samples to write; by default as many as the datasets have rows.")
    ] = None,
    seed: Annotated[int, Option(help="The same seed gives the same order.")] = 0,
    epoch: Annotated[int, Option(min=0, help="Another epoch, another order.")] = 0,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Mix datasets by weight, in an order that depends only on seed, epoch and position.

    Every beginning of the mixture has the shares of the weights, and every row of a dataset comes once before any
    comes twice.
    """
    from mirg.data.mix import write_mix

    weighted: dict[str, tuple[DatasetFolder, str]] = {}  # by the name of the folder
    for part in parts:
        path, equals, weight = part.rpartition("=")
        folder = DatasetFolder.open(path if equals else part)
        plain = folder.root.resolve().name
        names = (plain, *(f"{plain}-{k}" for k in range(2, len(parts) + 1)))
        weighted[next(name for name in names if name not in weighted)] = (folder, weight if equals else "1")
    with progress(quiet=json) as tell:
        told = partial(tell, "writing")
        report = write_mix(weighted, out, n, seed=seed, epoch=epoch, copy=copy, overwrite=overwrite, on_progress=told)
    if json:
        return json_out({"out": str(out), "seed": seed, "epoch": epoch} | report.as_dict())
    say_listed(report.rejections, "rejected ", MORE)
    for name, rows in report.sizes.items():
        say(f"{name}: {report.kept[name]} samples of {rows} rows")
    again = f", {report.n_again} of them rows that came before" if report.n_again else ""
    say(f"{report.n_kept} samples{again}: {out}")


def filter(
    dataset: shared.Dataset,
    out: shared.Out,
    task: Annotated[str, Option(help="Tasks to keep, with commas.")] = "",
    not_task: Annotated[str, Option(help="Tasks to drop, with commas.")] = "",
    where_source: Annotated[str, Option(help="Sources to keep, with commas; * matches anything.")] = "",
    min_images: Annotated[int, Option(help="Fewest images of a sample.")] = 1,
    max_images: Annotated[int | None, Option(help="Most images of a sample.")] = None,
    min_size: Annotated[float, Option(help="Least area of every target, as a share of its image.")] = 0.0,
    max_size: Annotated[float, Option(help="Largest area of every target, as a share of its image.")] = 1.0,
    max_tokens: Annotated[int | None, Option(help="Most tokens, completion included; needs --family.")] = None,
    family: Annotated[
        str | None, Option(help="The model family whose tokens are counted, and whose images must fit.")
    ] = None,
    min_pixels: Annotated[int | None, Option(help="Fewest pixels of a resized image.")] = None,
    max_pixels: Annotated[int | None, Option(help="Most pixels of a resized image.")] = None,
    hidden_only: Annotated[bool, Option("--hidden-only", help="Only where the image must be found.")] = False,
    has_trajectory: Annotated[bool, Option("--has-trajectory", help="Only samples with a trajectory.")] = False,
    pass_rate: Annotated[str | None, Option(help='LOW,HIGH: bounds of meta["pass_rate"], inclusive.')] = None,
    reward_std: Annotated[str | None, Option(help='LOW,HIGH: bounds of meta["reward_std"], inclusive.')] = None,
    keep_unrated: Annotated[bool, Option("--keep-unrated", help="Keep rows that lack them.")] = False,
    without_leakage: Annotated[
        list[Path] | None, Option(help="Drop what shares an image with this benchmark; may be repeated.")
    ] = None,
    near: Annotated[
        int, Option(min=-1, max=8, help="For --without-leakage: bits as in check; -1: compare files only.")
    ] = 4,
    group_by: Annotated[str, Option(help="For --without-leakage: also drop the rest of the group; as in split.")] = "",
    workers: Annotated[
        int | None, Option(min=1, help="For --without-leakage: processes that look at images; one if not given.")
    ] = None,
    look: Annotated[shared.ImageLook, Option(help="Look at images; header and decode fill in sizes.")] = "none",
    limit: Annotated[int | None, Option(help="Keep this many of those that pass, chosen by --seed.")] = None,
    seed: Annotated[int, Option(help="Chooses the samples of --limit.")] = 0,
    copy: shared.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Keep the samples that meet every criterion; the others are counted by reason."""
    options: dict[str, Any] = dict(locals())
    options |= {"tasks": listed(task), "not_tasks": listed(not_task), "sources": listed(where_source)}
    from mirg.data.filter import Criteria, write_filtered

    for name in ("pass_rate", "reward_std"):
        options[name] = None if options[name] is None else listed(options[name])
    criteria = settings(Criteria, options, tasks="task", not_tasks="not_task", sources="where_source")
    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        leakage = _leakage(source, without_leakage or [], near, group_by, workers, tell)
        report = write_filtered(
            source, out, criteria, leakage=leakage, look=look, limit=limit, seed=seed, copy=copy, overwrite=overwrite,
            on_progress=lambda done: tell("filtering", done, len(source)),
        )  # fmt: skip
    if json:
        return json_out({"out": str(out)} | report.as_dict())
    say_listed(report.rejections, "rejected ", MORE)
    say_listed(report.leaks, "left out ", MORE)
    for reason, count in report.dropped.most_common():
        say(f"dropped {count}: {reason}")
    kept = counted(dict(sorted(report.tasks.items())))
    say(f"{report.n_rows} rows: {report.n_kept} kept ({kept}), {report.n_rejected} rejected: {out}")


def _leakage(
    source: DatasetFolder, paths: list[Path], near: int, group_by: str, workers: int | None, tell: shared.Tell
) -> Leakage | None:
    """What the benchmarks at ``paths`` hold of ``source``; None without any. ConfigError for an option without use."""
    if not paths:
        given = {"--near": near != 4, "--group-by": bool(group_by), "--workers": workers is not None}
        for option in (name for name, set_ in given.items() if set_):
            raise ConfigError(f"{option} needs --without-leakage", hint="it says how benchmarks are compared")
        return None
    from mirg.data.checks.leakage import Holdout, Leakage
    from mirg.executors import executor

    by = parse_group_by(group_by) if group_by else None
    benchmarks = []
    for path in paths:
        tell(f"reading {path.name}", 0, 1)
        folder = DatasetFolder.open(path)
        benchmarks.append(Holdout(folder, name=folder.card.name, by=by))
    tell("comparing images", 0, 1)
    with executor("processes" if workers else "local", workers) as run:
        leakage = Leakage(source, benchmarks, near=near if near >= 0 else None, by=by, run=run)
    for benchmark in benchmarks:
        if benchmark.rejected:
            warn(f"{benchmark.rejected} rows of {benchmark.folder.root} cannot be used, so they were not compared")
    for name, count in ((source.root, leakage.ungrouped), *((b.folder.root, b.ungrouped) for b in benchmarks)):
        if count:
            warn(f"{count} samples of {name} have no {group_by}: only their images are compared")
    return leakage


def difficulty(
    dataset: measured.Dataset,
    out: measured.Out,
    model: Annotated[str, Option("--model", help="A run folder, a model folder, or a model name.")],
    k: Annotated[int, Option("-k", min=1, help="Answers to each prompt.")] = 8,
    temperature: Annotated[float, Option(help="Of sampling.")] = 1.0,
    seed: Annotated[int, Option(help="The same seed and batch size give the same answers.")] = 0,
    batch_size: measured.BatchSize = None,
    max_new_tokens: measured.MaxNewTokens = 512,
    instructions: measured.AnswerInstructions = None,
    family: measured.Family = None,
    device: measured.Device = None,
    dtype: measured.Dtype = None,
    engine: measured.EngineName = "local",
    vllm: measured.VllmArguments = None,
    thinking: measured.Thinking = None,
    endpoint: measured.Endpoint = None,
    key_env: measured.KeyEnv = None,
    concurrency: measured.Concurrency = 16,
    max_pixels: measured.MaxPixels = None,
    copy: measured.Copy = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Answer every prompt k times and store the share of right answers as meta.pass_rate, with meta.mean_reward.

    RL learns from what is solved sometimes: train on it with -s pass_rate.above=0 -s pass_rate.below=1. Or where some
    answers earn more than others, right or wrong (meta.reward_std): -s reward_std.above=0.1. Stopped and started again,
    the command continues.
    """
    options = dict(locals())
    from mirg.engines.base import Generation
    from mirg.evaluation.measure import MeasurePlan, refuse_output
    from mirg.evaluation.pass_rates import check_k, write_difficulty

    generation = Generation(max_new_tokens, temperature, seed, measured.prompts_at_once(batch_size, engine, local=8))
    plan = MeasurePlan(generation, instructions, copy=copy, overwrite=overwrite)
    # Errors that do not depend on the model are reported before it is loaded.
    check_k(k, generation)
    source = DatasetFolder.open(dataset)
    refuse_output(out, source, plan)
    asked = measured.load_engine(model, options, source.read(lambda rejection: None, images="header"))
    with progress(quiet=json) as tell:
        report = write_difficulty(asked, source, out, k, plan, partial(tell, f"{k} answers each"))
    measured.print_report(report, out, as_json=json, kept="samples by how often they were solved: {count} {word}")
