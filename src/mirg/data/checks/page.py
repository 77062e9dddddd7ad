"""A report of the checks as the data of its page."""

from __future__ import annotations

from pathlib import Path

from mirg.data.checks.findings import Finding
from mirg.data.checks.histograms import Shape
from mirg.data.checks.leakage import SharedImage
from mirg.data.checks.lengths import LengthSummary
from mirg.data.checks.run import Report
from mirg.report.data import Fact
from mirg.report.pages import CheckData, LengthView, Line, Listing, ShapeView, SharedLine, write_check
from mirg.samples import Rejection

LINES = 300  # findings of each list on the page
TASKS = 60  # tasks that have separate charts


def write_check_page(path: Path, report: Report, *, failed: bool) -> Path:
    """Write the page of ``report`` and return its path; ``failed`` is how the command ends."""
    return write_check(path, check_data(report, failed=failed))


def check_data(report: Report, *, failed: bool) -> CheckData:
    """Everything on the page, cut to what a page can hold."""
    name = Path(report.dataset).name
    rejections = [_rejection(rejection) for rejection in report.rejections.kept[:LINES]]
    warnings = [_finding(finding) for finding in report.warnings.kept[:LINES]]
    return CheckData(
        title=f"Check of {name}",
        subtitle=f"{report.rows:,} rows: {report.accepted:,} accepted, {report.rejected:,} rejected.",
        failed=failed,
        verdict=_verdict(report),
        facts=_facts(report),
        rejections=Listing(report.rejected, _by_count(report.rejections.counts), rejections),
        warnings=Listing(report.warnings.total, _by_count(report.warnings.counts), warnings),
        against=_against(report),
        shared=[_shared(shared) for shared in report.shared[:LINES]],
        shared_total=len(report.shared),
        length_note=_length_note(report),
        lengths=[_length(summary) for summary in report.lengths],
        shapes=_shapes(report),
    )


def _verdict(report: Report) -> str:
    parts = []
    if report.rejected:
        parts.append(f"{report.rejected:,} rows cannot be used")
    if report.shared:
        parts.append(f"{len(report.shared):,} images are shared with a benchmark")
    if report.warnings.total:
        parts.append(f"{report.warnings.total:,} warnings")
    return "; ".join(parts) + "." if parts else "Nothing was found."


def _facts(report: Report) -> list[Fact]:
    looked = {
        "none": "image files were not opened",
        "header": "the header of every image was read",
        "hash": "every image file was read and compared with its sha256",
        "decode": "every image was decoded, and its file compared with its sha256",
    }
    tasks = ", ".join(f"{task} {count:,}" for task, count in report.histograms.counts.items())
    return [("images", looked[report.look]), ("tasks", tasks or "none")]


def _against(report: Report) -> str:
    if not report.against:
        return ""
    looks = sum(shared.bits is not None for shared in report.shared)
    names = ", ".join(report.against)
    alike = f"{looks:,} pairs look alike" if report.compared_by_look else "looks were not compared (--look decode does)"
    unread = f" {report.against_rejected:,} rows there cannot be used." if report.against_rejected else ""
    return f"Compared with {names}: {len(report.shared) - looks:,} images are the same file, {alike}.{unread}"


def _length_note(report: Report) -> str:
    if not report.lengths:
        return ""
    return (
        "Prompt, images and, where there is a trajectory, the completion. "
        f"Text is {report.lengths[0].text}, image tokens follow the arithmetic of each processor."
    )


def _rejection(rejection: Rejection) -> Line:
    return Line(rejection.row, rejection.id or "", rejection.field, rejection.reason, rejection.hint)


def _finding(finding: Finding) -> Line:
    return Line(finding.row, finding.id or "", finding.field, finding.reason, finding.hint, finding.kind)


def _shared(shared: SharedImage) -> SharedLine:
    how = "the same file" if shared.bits is None else f"looks alike, {shared.bits} of 64 bits differ"
    return SharedLine(
        shared.train.sample_id,
        shared.train.image,
        shared.train.path,
        shared.benchmark.sample_id,
        shared.benchmark.image,
        shared.benchmark.path,
        shared.dataset,
        how,
    )


def _length(summary: LengthSummary) -> LengthView:
    return LengthView(
        family=summary.family,
        p50=summary.p50,
        p95=summary.p95,
        most=summary.most,
        images=summary.image_share,
        too_long=summary.too_long,
        left_out=summary.unmeasured + summary.refused,
        longest=summary.longest,
        bars=[(f"{edge:,.0f}", count) for edge, count in zip(summary.edges, summary.counts, strict=False)],
    )


def _shapes(report: Report) -> list[ShapeView]:
    if not report.accepted:
        return []
    tasks = sorted(report.histograms.tasks.items(), key=lambda item: (-item[1].samples, item[0]))
    named = [("all tasks", report.histograms.all), *tasks[:TASKS]]
    return [_shape(name, shape) for name, shape in named]


def _shape(name: str, shape: Shape) -> ShapeView:
    side = 3
    bins = len(shape.sizes)
    return ShapeView(
        name=name,
        samples=shape.samples,
        hidden=shape.hidden,
        images=_range(shape.images),
        targets=_range(shape.targets),
        target_image=_range(shape.target_image),
        sizes=[(f"{100 * k // bins}", count) for k, count in enumerate(shape.sizes)],
        cells=[shape.cells[side * k : side * (k + 1)] for k in range(side)],
    )


def _range(counts: dict[int, int]) -> list[tuple[str, int]]:
    """Every number from the least to the largest, so that gaps show; at most 40, the rest together."""
    if not counts:
        return []
    low, high = min(counts), max(counts)
    last = min(high, low + 39)
    bars = [(str(number), counts.get(number, 0)) for number in range(low, last + 1)]
    beyond = sum(count for number, count in counts.items() if number > last)
    return [*bars, (f">{last}", beyond)] if beyond else bars


def _by_count(counts: dict[str, int]) -> dict[str, int]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name.replace("_", " "): count for name, count in ordered}
