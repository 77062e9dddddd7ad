"""``mirg data export``: one pass over a dataset, one folder in the format of another project."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mirg.data.exporters.files import ImageFiles
from mirg.data.exporters.formats import format_of
from mirg.data.exporters.note import README_FILE, front_matter
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.render import rendered
from mirg.errors import ConfigError, DataError, MirgError
from mirg.frames import family
from mirg.samples import DatasetFolder, Rejection, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import ImageCheck
from mirg.storage import atomic_folder, write_atomic, write_jsonl_atomic

REJECTED_FILE = "rejected.jsonl"
DEFAULT_FAMILY = "qwen2.5-vl"


@dataclass
class ExportReport:
    """What was written: rows of each file, and what happened to the samples.

    Rows read = ``n_samples`` + the number of ``rejections``. ``n_without`` of the samples have no trajectory.
    """

    to: str
    family: str | None
    n_samples: int = 0
    n_without: int = 0
    files: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "to": self.to,
            "family": self.family,
            "rows": self.n_samples + len(self.rejections),
            "samples": self.n_samples,
            "without_trajectory": self.n_without,
            "files": self.files,
            "images": self.images,
            "settings": self.settings,
            "rejected": len(self.rejections),
            "rejections": [row.model_dump() for row in self.rejections],
        }


def export_dataset(
    source: DatasetFolder,
    plan: Plan,
    to: str,
    *,
    copy: bool = False,
    relative: bool = False,
    look: ImageCheck = "header",
    overwrite: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> ExportReport:
    """Write ``plan.out`` in the format ``to``; it appears whole, or not at all.

    Images are referred to by absolute paths, or by ones ``relative`` to the folder, or copied. ``look`` says how far
    they are looked at. A sample that the format cannot take is a rejection, listed in ``rejected.jsonl``. Raises
    ConfigError, or DataError where nothing can be written.
    """
    form = format_of(to)
    if plan.objects and to != "ms-swift":
        raise ConfigError(f"--objects means nothing to {to}", hint="it belongs to ms-swift")
    plan = replace(plan, resize=form.resize, roots={k: str(v) for k, v in source.roots.declared.items()})
    _refuse_own_ground(source, plan.out, copy=copy)
    report = ExportReport(to=to, family=plan.family.name if form.rendered else None)
    with atomic_folder(plan.out, overwrite=overwrite) as work:
        files = ImageFiles(source, work, plan.out, copy=copy, relative=relative, upright=form.upright)
        with closing(form.open(work, plan)) as writer:
            for row, sample in source.numbered(report.rejections.append, images=look):
                try:
                    writer.add(_row(sample, files, plan, form))
                except MirgError as error:
                    report.rejections.append(_rejected(source, row, sample, error))
                else:
                    report.n_samples += 1
                    report.n_without += sample.trajectory is None
                if on_progress:
                    on_progress(row)
            report.files = writer.finish()
        report.settings = _settings(form, plan, report.files)
        if not any(report.files.values()) or not report.n_samples:
            raise _nothing(source, report, form)
        report.images = {"referred": files.n_referred, "copied": files.n_copied, "turned": files.n_turned}
        if report.rejections:
            write_jsonl_atomic(work / REJECTED_FILE, (row.model_dump(mode="json") for row in report.rejections))
        write_atomic(work / README_FILE, readme_text(report, plan))
    return report


def make_plan(source: DatasetFolder, out: str | Path, family_name: str = DEFAULT_FAMILY, **settings: Any) -> Plan:
    """The plan for a dataset; ``settings`` are other fields of :class:`Plan`. ConfigError for an unknown family."""
    for name in ("min_pixels", "max_pixels"):
        if settings.get(name) is not None and settings[name] < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {settings[name]}: at least one pixel")
    least, most = settings.get("min_pixels"), settings.get("max_pixels")
    if least and most and least > most:
        raise ConfigError(f"--min-pixels {least} is more than --max-pixels {most}")
    return Plan(family=family(family_name), out=Path(out), card=source.card, **settings)


def readme_text(report: ExportReport, plan: Plan) -> str:
    """The README.md of an export: what it is, and which settings its trainer needs."""
    files = "\n".join(f"- `{name}`: {rows} rows" for name, rows in report.files.items())
    frame = f" Prompts and boxes are those of {report.family}." if report.family else ""
    settings = "\n".join(report.settings)
    said = front_matter(report.to, plan, list(report.files)) if report.family and not plan.objects else ""
    return f"""{said}# {plan.card.name}, for {report.to}

{report.n_samples} samples of the dataset `{plan.card.name}`, written by `mirg data export --to {report.to}`.{frame}

{files}

Read it with these settings; with other pixel limits the boxes of a family that counts in pixels are wrong:

```
{settings}
```
"""


def _settings(form: Format, plan: Plan, files: dict[str, int]) -> list[str]:
    """The settings for the trainer, without the lines about a file of ``plan.out`` that was not written.

    A dataset without trajectories has no rows for SFT, for example.
    """
    named = re.compile(re.escape(f"{plan.out.absolute()}{os.sep}") + r"([\w.-]+)")
    return [line for line in form.settings(plan) if all(name in files for name in named.findall(line))]


def _row(sample: Sample, files: ImageFiles, plan: Plan, form: Format) -> Row:
    """Everything that can fail, before a writer sees the row."""
    images = tuple(files.path(ref, sample.id) for ref in sample.images)
    if form.rendered:
        return rendered(sample, images, plan, form.reserved)
    return Row(sample=sample, images=images)


def _refuse_own_ground(source: DatasetFolder, out: Path, *, copy: bool) -> None:
    """ConfigError where writing ``out`` would remove the source, or images that the rows refer to."""
    place = out.resolve()
    for folder in (source.root.resolve(), *([] if copy else source.roots.declared.values())):
        if folder.is_relative_to(place):
            raise ConfigError(f"{out} holds {folder}, which is read from", hint="write to another folder")


def _rejected(source: DatasetFolder, row: int, sample: Sample, error: MirgError) -> Rejection:
    return Rejection(
        file=str(source.root / SAMPLES_FILE),
        row=row,
        id=sample.id,
        field="sample",
        reason=error.message,
        hint=error.hint,
    )


def _nothing(source: DatasetFolder, report: ExportReport, form: Format) -> DataError:
    if form.sft_only and report.n_samples:
        return DataError(
            f"none of {report.n_samples} samples of {source.root} has a trajectory, and {form.name} takes answers only",
            hint="`mirg trajectories build` writes them",
        )
    first = f"; first: {report.rejections[0]}" if report.rejections else ""
    return DataError(
        f"no sample of {source.root} can be exported{first}", hint="`mirg data check` lists every rejection"
    )
