"""``mirg data split``, ``mix`` and ``filter``: commands that write a dataset from other datasets."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirg.cli.data.options import ImageLook, listed, say_listed
from mirg.cli.output import Tell, json_out, progress
from mirg.console import say, warn
from mirg.errors import ConfigError

if TYPE_CHECKING:
    from mirg.data.checks.leakage import Leakage
    from mirg.data.filter import Criteria
    from mirg.samples import DatasetFolder


class Ungrouped(StrEnum):
    """What happens to a sample whose group cannot be found."""

    refuse = "refuse"
    keep = "keep"


Dataset = Annotated[Path, typer.Argument(help="A dataset folder.")]
Out = Annotated[Path, typer.Argument(help="The dataset folder to write.")]
Copy = Annotated[
    bool, typer.Option("--copy", help="Copy the images; without it the new rows refer to the original files.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def split(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="The folder to write; each part is a dataset folder in it.")],
    parts: Annotated[str, typer.Option(help="Names and shares, with commas.")] = "train=0.8,val=0.1,test=0.1",
    seed: Annotated[int, typer.Option(help="The same seed gives the same parts.")] = 0,
    group_by: Annotated[
        str, typer.Option(help="Never divide what shares this: a field (meta.scene) or a folder pattern (scenes/*/).")
    ] = "",
    ungrouped: Annotated[
        Ungrouped, typer.Option(help="Samples without a group: refuse them, or keep them grouped by what is known.")
    ] = Ungrouped.refuse,
    copy: Copy = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Split a dataset so that no image, no image set and no group of --group-by is in two parts.

    Rows added later leave the others in their parts, unless they join groups by images that both use.
    """
    from mirg.data.split import parse_parts, write_split
    from mirg.samples import DatasetFolder
    from mirg.samples.grouping import parse_group_by

    shares = parse_parts(parts)
    by = parse_group_by(group_by) if group_by else None
    keep = ungrouped is Ungrouped.keep
    if keep and by is None:
        raise ConfigError("--ungrouped keep needs --group-by", hint="without it every sample is grouped by its images")
    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        report = write_split(
            source, out, shares, seed=seed, by=by, keep_ungrouped=keep, copy=copy, overwrite=overwrite, on_progress=tell
        )
    if json:
        json_out({"out": str(out), "seed": seed} | report.as_dict())
        return
    say_listed(report.rejections)
    for name, share in report.shares.items():
        count = report.kept[name]
        reached = f"{100 * count / max(1, report.n_kept):.1f} % ({100 * share:.1f} % asked)"
        say(f"{out / name}: {count} samples in {report.groups[name]} groups, {reached}")
    if report.ungrouped:
        warn(f"{report.ungrouped} samples have no {group_by}: they are grouped by what is known of their images")
    for warning in report.warnings:
        warn(warning)


def mix(
    parts: Annotated[list[str], typer.Argument(metavar="DATASET=WEIGHT…", help="Dataset folders with weights.")],
    out: Out,
    n: Annotated[
        int | None, typer.Option("--n", help="Samples to write; by default as many as the datasets have rows.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same order.")] = 0,
    epoch: Annotated[int, typer.Option(min=0, help="Another epoch, another order.")] = 0,
    copy: Copy = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Mix datasets by weight, in an order that depends only on seed, epoch and position.

    Every beginning of the mixture has the shares of the weights, and every row of a dataset comes once before any
    comes twice.
    """
    from mirg.data.mix import write_mix

    with progress(quiet=json) as tell:
        report = write_mix(
            _weighted(parts),
            out,
            n,
            seed=seed,
            epoch=epoch,
            copy=copy,
            overwrite=overwrite,
            on_progress=lambda done, total: tell("writing", done, total),
        )
    if json:
        json_out({"out": str(out), "seed": seed, "epoch": epoch} | report.as_dict())
        return
    say_listed(report.rejections)
    for name, rows in report.sizes.items():
        say(f"{name}: {report.kept[name]} samples of {rows} rows")
    again = f", {report.n_again} of them rows that came before" if report.n_again else ""
    say(f"{report.n_kept} samples{again}: {out}")


def filter(
    dataset: Dataset,
    out: Out,
    task: Annotated[str, typer.Option(help="Tasks to keep, with commas.")] = "",
    not_task: Annotated[str, typer.Option(help="Tasks to drop, with commas.")] = "",
    where_source: Annotated[str, typer.Option(help="Sources to keep, with commas; * matches anything.")] = "",
    min_images: Annotated[int, typer.Option(help="Fewest images of a sample.")] = 1,
    max_images: Annotated[int | None, typer.Option(help="Most images of a sample.")] = None,
    min_size: Annotated[float, typer.Option(help="Least area of every target, as a share of its image.")] = 0.0,
    max_size: Annotated[float, typer.Option(help="Largest area of every target, as a share of its image.")] = 1.0,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens, completion included; needs --family.")] = None,
    family: Annotated[
        str | None, typer.Option(help="The model family whose tokens are counted, and whose images must fit.")
    ] = None,
    min_pixels: Annotated[int | None, typer.Option(help="Fewest pixels of a resized image.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Most pixels of a resized image.")] = None,
    hidden_only: Annotated[bool, typer.Option("--hidden-only", help="Only where the image must be found.")] = False,
    has_trajectory: Annotated[bool, typer.Option("--has-trajectory", help="Only samples with a trajectory.")] = False,
    pass_rate: Annotated[str | None, typer.Option(help='LOW,HIGH: bounds of meta["pass_rate"], inclusive.')] = None,
    reward_std: Annotated[str | None, typer.Option(help='LOW,HIGH: bounds of meta["reward_std"], inclusive.')] = None,
    keep_unrated: Annotated[bool, typer.Option("--keep-unrated", help="Keep rows that lack them.")] = False,
    without_leakage: Annotated[
        list[Path] | None, typer.Option(help="Drop what shares an image with this benchmark; may be repeated.")
    ] = None,
    near: Annotated[
        int, typer.Option(min=-1, max=8, help="For --without-leakage: bits as in check; -1: compare files only.")
    ] = 4,
    group_by: Annotated[
        str, typer.Option(help="For --without-leakage: also drop the rest of the group; as in split.")
    ] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="For --without-leakage: processes that look at images; one if not given.")
    ] = None,
    look: Annotated[ImageLook, typer.Option(help="Look at images; header and decode fill in sizes.")] = ImageLook.none,
    limit: Annotated[int | None, typer.Option(help="Keep this many of those that pass, chosen by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses the samples of --limit.")] = 0,
    copy: Copy = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Keep the samples that meet every criterion; the others are counted by reason."""
    from mirg.data.filter import write_filtered
    from mirg.samples import DatasetFolder

    criteria = _criteria(
        tasks=listed(task),
        not_tasks=listed(not_task),
        sources=listed(where_source),
        min_images=min_images,
        max_images=max_images,
        min_size=min_size,
        max_size=max_size,
        max_tokens=max_tokens,
        family=family,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        hidden_only=hidden_only,
        has_trajectory=has_trajectory,
        pass_rate=None if pass_rate is None else listed(pass_rate),
        reward_std=None if reward_std is None else listed(reward_std),
        keep_unrated=keep_unrated,
    )
    source = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell:
        leakage = _leakage(source, without_leakage or [], near, group_by, workers, tell)
        report = write_filtered(
            source,
            out,
            criteria,
            leakage=leakage,
            look=look.value,
            limit=limit,
            seed=seed,
            copy=copy,
            overwrite=overwrite,
            on_progress=lambda done: tell("filtering", done, len(source)),
        )
    if json:
        json_out({"out": str(out)} | report.as_dict())
        return
    say_listed(report.rejections)
    say_listed(report.leaks, "left out")
    for reason, count in report.dropped.most_common():
        say(f"dropped {count}: {reason}")
    kept = ", ".join(f"{name} {count}" for name, count in sorted(report.tasks.items()))
    say(f"{report.n_rows} rows: {report.n_kept} kept ({kept}), {report.n_rejected} rejected: {out}")


def _leakage(
    source: DatasetFolder, paths: list[Path], near: int, group_by: str, workers: int | None, tell: Tell
) -> Leakage | None:
    """What the benchmarks at ``paths`` hold of ``source``; None without any. ConfigError for an option without use."""
    if not paths:
        given = {"--near": near != 4, "--group-by": bool(group_by), "--workers": workers is not None}
        for option in (name for name, set_ in given.items() if set_):
            raise ConfigError(f"{option} needs --without-leakage", hint="it says how benchmarks are compared")
        return None
    from mirg.data.checks.leakage import Holdout, Leakage
    from mirg.executors import executor
    from mirg.samples import DatasetFolder
    from mirg.samples.grouping import parse_group_by

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


def _criteria(**values: Any) -> Criteria:
    """The criteria, or a ConfigError that names the option."""
    from pydantic import ValidationError

    from mirg.data.filter import Criteria
    from mirg.errors import first_problem

    try:
        return Criteria.model_validate(values)
    except ValidationError as error:
        field, reason = first_problem(error)
        name = field.partition(".")[0]
        options = {"row": "", "tasks": "--task: ", "not_tasks": "--not-task: ", "sources": "--where-source: "}
        option = options.get(name, f"--{name.replace('_', '-')}: ")
        raise ConfigError(f"{option}{reason}") from error


def _weighted(parts: Sequence[str]) -> dict[str, tuple[DatasetFolder, str]]:
    """``FOLDER=WEIGHT`` opened, by the name of the folder; a weight that is left out is 1."""
    from mirg.samples import DatasetFolder

    found: dict[str, tuple[DatasetFolder, str]] = {}
    for part in parts:
        path, equals, weight = part.rpartition("=")
        folder = DatasetFolder.open(path if equals else part)
        name = plain = folder.root.resolve().name
        k = 1
        while name in found:
            k += 1
            name = f"{plain}-{k}"
        found[name] = (folder, weight if equals else "1")
    return found
