"""A report of the checks as the data of its page."""

from __future__ import annotations

from pathlib import Path

from mirg.data.checks.histograms import SIZE_BINS, Shape
from mirg.data.checks.problems import Finding, Log
from mirg.data.checks.run import Report
from mirg.report.pages import CheckData, LengthView, Line, Listing, ShapeView, SharedLine, write_check
from mirg.samples import Rejection

LINES = 300  # findings of each list on the page
TASKS = 60  # tasks that have separate charts
LOOKED = {
    "none": "image files were not opened",
    "header": "the header of every image was read",
    "hash": "every image file was read and compared with its sha256",
    "decode": "every image was decoded, and its file compared with its sha256",
}


def write_check_page(path: Path, report: Report, *, failed: bool) -> Path:
    """Write the page of ``report``, cut to what a page can hold; ``failed`` is how the command ends. Its path."""
    verdict = [
        f"{count:,} {words}"
        for count, words in (
            (report.rejected, "rows cannot be used"),
            (len(report.shared), "images are shared with a benchmark"),
            (report.warnings.total, "warnings"),
        )
        if count
    ]
    tasks = ", ".join(f"{task} {count:,}" for task, count in report.histograms.counts.items())
    shapes = sorted(report.histograms.tasks.items(), key=lambda item: (-item[1].samples, item[0]))[:TASKS]
    data = CheckData(
        title=f"Check of {Path(report.dataset).name}",
        subtitle=f"{report.rows:,} rows: {report.accepted:,} accepted, {report.rejected:,} rejected.",
        failed=failed,
        verdict="; ".join(verdict) + "." if verdict else "Nothing was found.",
        facts=(("images", LOOKED[report.look]), ("tasks", tasks or "none")),
        rejections=_listing(report.rejections),
        warnings=_listing(report.warnings),
        against=_against(report),
        shared=[
            SharedLine(
                *shared.train,
                *shared.benchmark,
                shared.dataset,
                "the same file" if shared.bits is None else f"looks alike, {shared.bits} of 64 bits differ",
            )
            for shared in report.shared[:LINES]
        ],
        shared_total=len(report.shared),
        length_note=(
            "Prompt, images and, if there is a trajectory, the completion. "
            f"Text is {report.lengths[0]['text']}, image tokens follow the arithmetic of each processor."
        )
        if report.lengths
        else "",
        lengths=[
            LengthView(
                **{name: found[name] for name in ("family", "p50", "p95", "too_long")},
                most=found["max"],
                images=found["image_share"],
                left_out=found["unmeasured"] + found["refused"],
                longest=[(one["tokens"], one["id"]) for one in found["longest"]],
                bars=[(f"{edge:,.0f}", count) for edge, count in zip(*found["histogram"].values(), strict=False)],
            )
            for found in report.lengths
        ],
        shapes=[_shape(*item) for item in (("all tasks", report.histograms.all), *shapes)] if report.accepted else [],
    )
    return write_check(path, data)


def _listing(found: Log[Rejection] | Log[Finding]) -> Listing:
    ordered = sorted(found.counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [Line(one.row, one.id or "", one.field, one.reason, one.hint) for one in found.kept[:LINES]]
    return Listing(found.total, {name.replace("_", " "): count for name, count in ordered}, lines)


def _against(report: Report) -> str:
    if not report.against:
        return ""
    looks = sum(shared.bits is not None for shared in report.shared)
    names = ", ".join(report.against)
    alike = f"{looks:,} pairs look alike" if report.compared_by_look else "looks were not compared (--look decode does)"
    unread = f" {report.against_rejected:,} rows there cannot be used." if report.against_rejected else ""
    return f"Compared with {names}: {len(report.shared) - looks:,} images are the same file, {alike}.{unread}"


def _shape(name: str, shape: Shape) -> ShapeView:
    sizes = [(f"{100 * k // SIZE_BINS}", shape.sizes[k]) for k in range(SIZE_BINS)]
    images, targets, target_image = _range(shape.images), _range(shape.targets), _range(shape.target_image)
    return ShapeView(name, shape.samples, shape.hidden, images, targets, target_image, sizes, shape.grid)


def _range(counts: dict[int, int]) -> list[tuple[str, int]]:
    """Every number from the least to the largest, so that gaps show; at most 40, the rest together."""
    if not counts:
        return []
    last = min(max(counts), min(counts) + 39)
    bars = [(str(number), counts.get(number, 0)) for number in range(min(counts), last + 1)]
    beyond = sum(count for number, count in counts.items() if number > last)
    return [*bars, (f">{last}", beyond)] if beyond else bars
