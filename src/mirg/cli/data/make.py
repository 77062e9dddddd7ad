"""``mirg data scenes`` and ``mirg data photos``: datasets of procedural scenes and of photographs without labels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.data.options import SHOWN, listed
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say

if TYPE_CHECKING:
    from mirg.data.compose.photos.pool import PhotoConfig
    from mirg.data.scenes.world import WorldConfig


class PhotoSplit(StrEnum):
    """The two halves of a folder of photographs."""

    train = "train"
    test = "test"


def photos(
    folder: Annotated[Path, typer.Argument(help="Photographs, also in folders below.")],
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Samples to make.")] = 300,
    seed: Annotated[int, typer.Option(help="The same seed and photographs give the same dataset.")] = 0,
    split: Annotated[
        PhotoSplit, typer.Option(help="A photograph is in one split only, by its pixels.")
    ] = PhotoSplit.train,
    test_share: Annotated[float, typer.Option(help="Share of the photographs kept for testing.")] = 0.2,
    tasks: Annotated[
        str, typer.Option(help="Any of region, difference, refer, with commas.")
    ] = "region,difference,refer",
    side: Annotated[int, typer.Option(help="Long edge of the stored photographs, pixels.")] = 448,
    square: Annotated[
        bool, typer.Option("--square", help="Resize everything to side x side, without borders.")
    ] = False,
    max_images: Annotated[int, typer.Option(help="Most images of a sample.")] = 4,
    max_photos: Annotated[int, typer.Option(help="Most photographs to use.")] = 2000,
    max_megapixels: Annotated[float, typer.Option(help="Larger photographs are rejected.")] = 32.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make region, difference and refer samples from photographs without labels.

    Files that cannot be read are rejected with their name and the reason, counted, and listed in OUT/rejected.jsonl.
    """
    from mirg.data.compose.photos.build import write_photo_samples
    from mirg.data.compose.photos.pool import other_words

    config = _photo_config(
        n=n,
        seed=seed,
        split=split.value,
        test_share=test_share,
        tasks=listed(tasks),
        side=side,
        square=square,
        max_images=max_images,
        max_photos=max_photos,
        max_megapixels=max_megapixels,
    )
    with progress(quiet=json) as tell:
        report = write_photo_samples(folder, out, config, overwrite=overwrite, on_progress=tell)
    found = report.found
    if json:
        rows = [rejection.model_dump() for rejection in report.rejected]
        counts = {
            "files": found.n_files,
            "other_files": found.other.total(),
            "other_kinds": dict(found.other.most_common()),
            "unused": found.n_unused,
            "copies": found.n_copies,
        }
        counts |= {"readable": found.n_readable, "used": len(found.photos)}
        json_out(
            {"out": str(out), "split": split.value, "samples": report.n_samples, "tasks": report.tasks}
            | {"not_made": report.n_not_made, "photographs": counts, "rejected": len(rows), "rejections": rows}
        )
        return
    say(
        f"{found.n_files} image files: {found.n_readable} photographs, {found.n_copies} copies, "
        f"{len(report.rejected)} rejected" + (f", {found.n_unused} not used" if found.n_unused else "")
    )
    if found.other.total():
        say(f"{found.other.total():,} other files are not read: {one_line(other_words(found.other), limit=200)}")
    for rejection in report.rejected[:SHOWN]:
        say(f"  rejected {rejection.file}: {one_line(rejection.reason)}")
    if len(report.rejected) > SHOWN:
        say(f"  … and {len(report.rejected) - SHOWN} more in {out / 'rejected.jsonl'}")
    made = ", ".join(f"{task} {count}" for task, count in report.tasks.items())
    say(f"{report.n_samples} samples ({made}) from {len(found.photos)} photographs of the {split.value} split: {out}")
    if report.n_not_made:
        say(f"{report.n_not_made} samples were not made: no place in the photographs tried can be told from the rest")


def scenes(
    out: Annotated[Path, typer.Argument(help="The dataset folder to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Samples to make.")] = 600,
    split: Annotated[
        str, typer.Option(help="train, test, rl, perception or validation; splits share no sample.")
    ] = "train",
    seed: Annotated[int, typer.Option(help="The same seed gives the same dataset.")] = 0,
    difficulty: Annotated[str | None, typer.Option(help="easy, medium or hard; medium by default.")] = None,
    world: Annotated[
        str | None,
        typer.Option(help="The world of a recipe, by name or YAML file: tiny/world is the one of the demo."),
    ] = None,
    tasks: Annotated[str, typer.Option(help="Tasks, separated by commas; all by default.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Make samples of the procedural world."""
    from mirg.data.scenes import generate

    dataset = generate.write_scenes(
        out,
        n,
        split=split,
        seed=seed,
        tasks=listed(tasks) or None,
        config=_world_config(difficulty, world),
        overwrite=overwrite,
    )
    made = ", ".join(f"{task} {count}" for task, count in dataset.card.tasks.items())
    say(f"{dataset.card.n_samples} samples ({made}), {dataset.card.n_images} images: {out}")


def _world_config(difficulty: str | None, world: str | None) -> WorldConfig:
    """The preset or the recipe's world; ConfigError if both are named."""
    from mirg.data.scenes import generate
    from mirg.errors import ConfigError

    if world is None:
        return generate.difficulty(difficulty or "medium")
    if difficulty is not None:
        raise ConfigError("--difficulty and --world both say what the scenes are like", hint="give one of them")
    from mirg.data.scenes.world import load_world

    return load_world(world)


def _photo_config(**values: object) -> PhotoConfig:
    """The settings, or a ConfigError that names the option."""
    from pydantic import ValidationError

    from mirg.data.compose.photos.pool import PhotoConfig
    from mirg.errors import ConfigError, first_problem

    try:
        return PhotoConfig.model_validate(values)
    except ValidationError as error:
        field, reason = first_problem(error)
        option = field.partition(".")[0]
        said = f"--{option.replace('_', '-')} {values[option]}: " if option in values else ""
        raise ConfigError(f"{said}{reason}") from error
