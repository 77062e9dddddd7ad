"""``mirg data check``: every row accepted, or rejected with a reason; what looks wrong; what a benchmark holds too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mirg.cli.data.options import SHOWN, Look, Where, listed
from mirg.cli.output import json_out, progress
from mirg.console import one_line, say, table

if TYPE_CHECKING:
    from mirg.data.checks.run import CheckConfig, Report


def check(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    against: Annotated[
        list[Path] | None, typer.Option(help="A benchmark that must share no image with DATASET; may be repeated.")
    ] = None,
    look: Annotated[
        Look, typer.Option(help="Image files: none, header (size), hash (sha256), decode (every pixel).")
    ] = Look.decode,
    family: Annotated[str, typer.Option(help="Count tokens for these model families, with commas.")] = "",
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Pixels of a resized image, as in a recipe.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="A tokenizer.json: counts the text exactly instead of estimating.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Warn of longer samples.")] = None,
    near: Annotated[
        int, typer.Option(min=-1, max=8, help="Bits in which images that look alike differ; -1: do not compare looks.")
    ] = 4,
    allow_leakage: Annotated[bool, typer.Option("--allow-leakage", help="List shared images without failing.")] = False,
    min_side: Annotated[float, typer.Option(help="Warn of boxes of a smaller side, as a fraction.")] = 0.01,
    min_box_pixels: Annotated[float, typer.Option(help="Warn of boxes of a smaller side, in pixels.")] = 4.0,
    max_area: Annotated[float, typer.Option(help="Warn of boxes over more of the image, as a fraction.")] = 0.98,
    max_ratio: Annotated[float, typer.Option(help="Warn of boxes that are this many times as long as wide.")] = 20.0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 also if there is a warning.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write the result as an HTML page.")] = None,
    executor: Annotated[Where, typer.Option(help="Where rows are worked on; the result is the same.")] = Where.local,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one per core unless given.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read every row and image; count what can be used and say what cannot, and why. Exit 1 if anything is rejected.

    With --against also exit 1 where an image is in the dataset and in the benchmark, by content or by look.
    """
    from mirg.data.checks.problems import BoxLimits
    from mirg.data.checks.run import CheckConfig, check_dataset
    from mirg.executors import executor as open_executor
    from mirg.frames import family as family_named
    from mirg.samples import DatasetFolder

    config = CheckConfig(
        look=look.value,
        families=tuple(family_named(name) for name in dict.fromkeys(listed(family))),
        max_pixels=max_pixels,
        max_tokens=max_tokens,
        tokenizer=tokenizer,
        boxes=BoxLimits(min_side, min_box_pixels, max_area, max_ratio),
        against=tuple(against or ()),
        near=near if near >= 0 else None,
    )
    _refuse_unused(config)
    folder = DatasetFolder.open(dataset)
    with progress(quiet=json) as tell, open_executor(executor.value, workers) as pool:
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
    raise typer.Exit(1 if failed else 0)


def _refuse_unused(config: CheckConfig) -> None:
    """ConfigError for an option that would do nothing."""
    from mirg.errors import ConfigError

    if not config.families:
        given = {"--max-pixels": config.max_pixels, "--tokenizer": config.tokenizer, "--max-tokens": config.max_tokens}
        for option, value in given.items():
            if value is not None:
                raise ConfigError(f"{option} needs a model family", hint="for example --family qwen2.5-vl")


def _print(report: Report) -> None:
    for rejection in report.rejections.kept[:SHOWN]:
        say(one_line(str(rejection), limit=400))
    _more(report.rejected)
    for finding in report.warnings.kept[:SHOWN]:
        say(f"warning: {one_line(str(finding), limit=400)}")
    _more(report.warnings.total)
    for shared in report.shared[:SHOWN]:
        say(f"shared: {one_line(str(shared), limit=400)}")
    _more(len(report.shared))
    if report.lengths:
        _print_lengths(report)
    if report.warnings.total:
        kinds = ", ".join(f"{kind} {count}" for kind, count in report.warnings.counts.most_common())
        say(f"{report.warnings.total} warnings: {kinds}")
    if report.against:
        _print_against(report)
    say(f"{report.rows} rows: {report.accepted} accepted, {report.rejected} rejected")


def _print_against(report: Report) -> None:
    looks = sum(shared.bits is not None for shared in report.shared)
    how = f", {looks} pairs look alike" if report.compared_by_look else "; looks were not compared"
    unread = f"; {report.against_rejected} rows of it cannot be used" if report.against_rejected else ""
    say(f"against {', '.join(report.against)}: {len(report.shared) - looks} images shared{how}{unread}")
    if report.shared:
        say("mirg data filter DATASET OUT --without-leakage BENCHMARK leaves these samples out")


def _print_lengths(report: Report) -> None:
    rows = []
    for found in report.lengths:
        longest = found.longest[0][1] if found.longest else "–"
        missing = found.unmeasured + found.refused
        share = f"{found.image_share * 100:.0f} %"
        rows.append((found.family, found.p50, found.p95, found.most, share, missing, one_line(longest, 60)))
    how = report.lengths[0].text
    table(f"Tokens per sample, text {how}", ("family", "p50", "p95", "max", "images", "not counted", "longest"), rows)


def _more(count: int) -> None:
    if count > SHOWN:
        say(f"… and {count - SHOWN} more (--json lists more, --page shows them)")
