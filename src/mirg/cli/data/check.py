"""``mirg data check`` and ``show``: what is wrong with a dataset, and what it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Exit, Option

from mirg.cli import output as shared
from mirg.cli.output import counted, json_out, listed, progress, say_listed, settings
from mirg.console import one_line, say, table
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder

if TYPE_CHECKING:
    from mirg.data.checks.run import Report


def check(
    dataset: shared.Dataset,
    against: Annotated[
        list[Path] | None, Option(help="A benchmark that must share no image with DATASET; may be repeated.")
    ] = None,
    look: Annotated[
        Literal["none", "header", "hash", "decode"],
        Option(help="Image files: none, header (size), hash (sha256), decode (every pixel)."),
    ] = "decode",
    family: Annotated[str, Option(help="Count tokens for these model families, with commas.")] = "",
    max_pixels: Annotated[int | None, Option(min=1, help="Pixels of a resized image, as in a recipe.")] = None,
    tokenizer: Annotated[
        Path | None, Option(help="A tokenizer.json: counts the text exactly instead of estimating.")
    ] = None,
    max_tokens: Annotated[int | None, Option(min=1, help="Warn of longer samples.")] = None,
    near: Annotated[
        int, Option(min=-1, max=8, help="Bits in which images that look alike differ; -1: do not compare looks.")
    ] = 4,
    allow_leakage: Annotated[bool, Option("--allow-leakage", help="List shared images without failing.")] = False,
    min_side: Annotated[float, Option(help="Warn of boxes of a smaller side, as a fraction.")] = 0.01,
    min_box_pixels: Annotated[float, Option(help="Warn of boxes of a smaller side, in pixels.")] = 4.0,
    max_area: Annotated[float, Option(help="Warn of boxes over more of the image, as a fraction.")] = 0.98,
    max_ratio: Annotated[float, Option(help="Warn of boxes that are this many times as long as wide.")] = 20.0,
    strict: Annotated[bool, Option("--strict", help="Exit 1 also if there is a warning.")] = False,
    page: Annotated[Path | None, Option(help="Write the result as an HTML page.")] = None,
    executor: shared.Executor = "local",
    workers: shared.Workers = None,
    json: shared.Json = False,
) -> None:
    """Read every row and image; count what can be used and say what cannot, and why. Exit 1 if anything is rejected.

    With --against also exit 1 where an image is in the dataset and in the benchmark, by content or by look.
    """
    options = locals()
    from mirg.data.checks.problems import BoxLimits
    from mirg.data.checks.run import CheckConfig, check_dataset
    from mirg.executors import executor as open_executor
    from mirg.families import family as family_named

    options |= {"families": [family_named(name) for name in dict.fromkeys(listed(family))]}
    options |= {"boxes": BoxLimits(min_side, min_box_pixels, max_area, max_ratio)}
    config = settings(CheckConfig, options | {"against": against or (), "near": near if near >= 0 else None})
    for option, value in {"max-pixels": max_pixels, "tokenizer": tokenizer, "max-tokens": max_tokens}.items():
        if value is not None and not config.families:
            raise ConfigError(f"--{option} needs a model family", hint="for example --family qwen2.5-vl")
    folder = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell, open_executor(executor, workers) as pool:
        report = check_dataset(folder, config, tell, executor=pool)
    failed = bool(report.rejected or (report.shared and not allow_leakage) or (strict and report.warnings.total))
    if page is not None:
        from mirg.data.checks.page import write_check_page

        write_check_page(page, report, failed=failed)
    if json:
        json_out(report.as_dict())
    else:
        _print(report)
        if page is not None:
            say(f"page: {page}")
    raise Exit(1 if failed else 0)


def _print(report: Report) -> None:
    more = "(--json lists more, --page shows them)"
    say_listed(report.rejections.kept, more=more, total=report.rejected)
    say_listed(report.warnings.kept, "warning: ", more, report.warnings.total)
    say_listed(report.shared, "shared: ", more)
    if report.lengths:
        rows = []
        for found in report.lengths:
            longest = one_line(found["longest"][0]["id"], 60) if found["longest"] else "–"
            missing, share = found["unmeasured"] + found["refused"], f"{found['image_share'] * 100:.0f} %"
            rows.append((*(found[name] for name in ("family", "p50", "p95", "max")), share, missing, longest))
        columns = ("family", "p50", "p95", "max", "images", "not counted", "longest")
        table(f"Tokens per sample, text {report.lengths[0]['text']}", columns, rows)
    if report.warnings.total:
        say(f"{report.warnings.total} warnings: {counted(dict(report.warnings.counts.most_common()))}")
    if report.against:
        looks = sum(found.bits is not None for found in report.shared)
        how = f", {looks} pairs look alike" if report.compared_by_look else "; looks were not compared"
        unread = f"; {report.against_rejected} rows of it cannot be used" if report.against_rejected else ""
        say(f"against {', '.join(report.against)}: {len(report.shared) - looks} images shared{how}{unread}")
    if report.shared:
        say("mirg data filter DATASET OUT --without-leakage BENCHMARK leaves these samples out")
    say(f"{report.rows} rows: {report.accepted} accepted, {report.rejected} rejected")


def show(
    dataset: shared.Dataset,
    out: Annotated[Path | None, Option(help="The page to write; DATASET/sheet.html by default.")] = None,
    n: Annotated[int, Option("--n", min=1, help="Most samples to show, alternating between tasks.")] = 1000,
    task: Annotated[str | None, Option(help="Only samples of this task.")] = None,
    seed: Annotated[int, Option(help="Another number shows other samples.")] = 0,
    megabytes: Annotated[float, Option(min=0.1, help="Size of the page; what does not fit is left out.")] = 25.0,
) -> None:
    """Write a page with every sample: images, boxes, question, truth and reasoning. It opens without a network."""
    from mirg.data.checks.sheet import ROTATED_NOTE
    from mirg.data.checks.sheet import show as write_page

    folder, path, budget = DatasetFolder.open(dataset), out or dataset / "sheet.html", int(megabytes * 1e6)
    with progress() as tell:
        sheet, chosen = write_page(
            folder, path, n=n, task=task, seed=seed, budget=budget, tell=lambda row: tell("reading", row, len(folder))
        )
    for note in sheet.notes:
        if note.endswith(ROTATED_NOTE):
            say(f"warning: {note}")
    left = f", {sheet.left_out} left out to keep the file small" if sheet.left_out else ""
    bad = f"; {chosen.rejected} rows cannot be read" if chosen.rejected else ""
    say(f"{sheet.shown} of {chosen.candidates} samples{left}{bad}: {path}")
