"""``mirg data scenes``, ``photos`` and ``compose``: datasets of procedural scenes, photographs and annotated images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from mirg.cli import output as shared
from mirg.cli.output import counted, json_out, listed, progress, say_listed, settings
from mirg.console import one_line, say
from mirg.errors import ConfigError

if TYPE_CHECKING:
    from mirg.data.compose.build import ComposeReport

_REASONS = 5  # listed on the screen; composed.json has all


def photos(
    folder: Annotated[Path, Argument(help="Photographs, also in folders below.")],
    out: shared.Out,
    n: Annotated[int, Option("--n", min=1, help="Samples to make.")] = 300,
    seed: Annotated[int, Option(help="The same seed and photographs give the same dataset.")] = 0,
    split: Annotated[
        Literal["train", "test"], Option(help="A photograph is in one split only, by its pixels.")
    ] = "train",
    test_share: Annotated[float, Option(help="Share of the photographs kept for testing.")] = 0.2,
    tasks: Annotated[str, Option(help="Tasks, separated by commas; all that are possible by default.")] = "",
    cutouts: Annotated[
        Path | None, Option(help="Folder of PNG cut-outs with names, which are pasted and asked for by name.")
    ] = None,
    boxes: Annotated[Path | None, Option(help="COCO file with boxes of things in the photographs.")] = None,
    side: Annotated[int, Option(help="Long edge of the stored photographs, pixels.")] = 448,
    square: Annotated[bool, Option("--square", help="Resize everything to side x side, without borders.")] = False,
    max_images: Annotated[int, Option(help="Most images of a sample.")] = 4,
    max_photos: Annotated[int, Option(help="Most photographs to use.")] = 2000,
    max_megapixels: Annotated[float, Option(help="Larger photographs are rejected.")] = 32.0,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Make multi-image samples of eight tasks from photographs without labels, of three more from things with a name.

    Files that cannot be read are rejected with their name and the reason, counted, and listed in OUT/rejected.jsonl.
    """
    options = locals()
    from mirg.data.compose.photos.build import write_photo_samples
    from mirg.data.compose.photos.pool import NAMED_TASKS, PHOTO_TASKS, PhotoConfig, other_words

    possible = [*PHOTO_TASKS, *(NAMED_TASKS if cutouts or boxes else ())]
    named = {"cutouts": str(cutouts or ""), "boxes": str(boxes or "")}
    config = settings(PhotoConfig, options | named | {"tasks": listed(tasks) or possible})
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
            "readable": found.n_readable,
            "used": len(found.photos),
        }
        made = {"out": str(out), "split": split, "samples": report.n_samples, "tasks": report.tasks}
        rejected = {"rejected": len(rows), "rejections": rows}
        return json_out(made | {"not_made": report.n_not_made, "photographs": counts} | rejected)
    say(
        f"{found.n_files} image files: {found.n_readable} photographs, {found.n_copies} copies, "
        f"{len(report.rejected)} rejected" + (f", {found.n_unused} not used" if found.n_unused else "")
    )
    if found.other.total():
        say(f"{found.other.total():,} other files are not read: {one_line(other_words(found.other), limit=200)}")
    refused = [f"{row.file}: {one_line(row.reason)}" for row in report.rejected]
    say_listed(refused, "  rejected ", f"in {out / 'rejected.jsonl'}")
    made = f"{report.n_samples} samples ({counted(report.tasks)})"
    say(f"{made} from {len(found.photos)} photographs of the {split} split: {out}")
    if report.n_not_made:
        say(f"{report.n_not_made} samples were not made: no distinguishable place was found in the photographs tried")


def scenes(
    out: shared.Out,
    n: Annotated[int, Option("--n", min=1, help="Samples to make.")] = 600,
    split: Annotated[str, Option(help="train, test, rl, perception or validation; splits share no sample.")] = "train",
    seed: Annotated[int, Option(help="The same seed gives the same dataset.")] = 0,
    difficulty: Annotated[str | None, Option(help="easy, medium or hard; medium by default.")] = None,
    world: Annotated[
        str | None, Option(help="The world of a recipe, by name or YAML file: tiny/world is the one of the demo.")
    ] = None,
    tasks: Annotated[str, Option(help="Tasks, separated by commas; all by default.")] = "",
    overwrite: shared.Overwrite = False,
) -> None:
    """Make samples of the procedural world."""
    from mirg.data.scenes import generate
    from mirg.data.scenes.world import load_world

    if world is not None and difficulty is not None:
        raise ConfigError("--difficulty and --world both say what the scenes are like", hint="give one of them")
    config = load_world(world) if world is not None else generate.difficulty(difficulty or "medium")
    wanted = listed(tasks) or None
    made = generate.write_scenes(out, n, split=split, seed=seed, tasks=wanted, config=config, overwrite=overwrite)
    say(f"{made.card.n_samples} samples ({counted(made.card.tasks)}), {made.card.n_images} images: {out}")


def compose(
    recipe: Annotated[str, Argument(help="A recipe file, or compose/objects, which ships with mirg.")],
    out: shared.Out,
    overrides: Annotated[
        list[str] | None,
        Option("--set", "-s", help="Override a key: -s source=data/coco -s n=500 -s weights.none=0"),
    ] = None,
    copy: Annotated[bool, Option("--copy", help="Copy unchanged images instead of referring to them.")] = False,
    executor: shared.Executor = "local",
    workers: shared.Workers = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    overwrite: shared.Overwrite = False,
    json: shared.Json = False,
) -> None:
    """Make multi-image samples of thirteen tasks out of a dataset whose images have object notes."""
    from mirg.config import dump_recipe, load_recipe
    from mirg.data.compose.build import compose as build
    from mirg.data.compose.recipe import ComposeRecipe
    from mirg.executors import executor as open_executor

    plan = load_recipe(ComposeRecipe, recipe, overrides or ())
    if dry_run:
        sys.stdout.write(dump_recipe(plan))
        return
    with open_executor(executor, workers) as pool, progress(quiet=json) as tell:
        report = build(plan, out, copy=copy, overwrite=overwrite, executor=pool, on_progress=tell)
    if json:
        json_out({"out": str(out), **report.as_dict()})
    else:
        _say(report, out)


def _say(report: ComposeReport, out: Path) -> None:
    found = report.as_dict()
    made = f"{report.n_samples} samples ({counted(found['tasks'])})"
    say(f"{made} from {len(report.uses)} of {len(report.pool)} images: {out}")
    images = counted(found["positions"]["image"], "Image-{} {}")
    rows = " / ".join(" ".join(str(count) for count in row) for row in found["positions"]["cell"])
    say(f"answers lie in {images}; by 3 x 3 cell, rows from the top: {rows}")
    reasons = sum(report.drops.values(), start=type(report.tasks)())
    for reason, count in reasons.most_common(_REASONS):
        say(f"  {count} drafts dropped: {one_line(reason, 200)}")
    for task, count in sorted(report.short.items()):
        say(f"  {task}: {count} samples fewer than asked for")
    for task, reason in report.left_out.items():
        say(f"  {task}: left out, {reason}")
    if report.pool.incomplete:  # images that a missing annotation could make wrong, by the reason to think so
        never = {reason.replace("_", " "): count for reason, count in sorted(report.pool.incomplete.items())}
        partly, text = never.pop("some categories", 0), f"{never.pop('images')} of {len(report.pool)} images"
        text += " are not completely annotated"
        text += f"; never used where absence or number matters: {counted(never)}" if never else ""
        say(f"  {text}" + (f"; annotated for some categories, and used for these only: {partly}" if partly else ""))
    if report.unreadable:
        say(f"  {len(report.unreadable)} images cannot be opened, for example: {one_line(min(report.unreadable), 200)}")
    if report.pool.rejected:
        say(f"  {len(report.pool.rejected)} broken rows of the source (mirg data check lists them)")
