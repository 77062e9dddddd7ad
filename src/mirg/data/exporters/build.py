"""``mirg data export``: one pass over a dataset, one folder in the format of another project."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mirg.data.derive import Outcome, refuse_overwriting_inputs, sift
from mirg.data.exporters.coco import COCO
from mirg.data.exporters.easyr1 import EASYR1
from mirg.data.exporters.files import ImageFiles
from mirg.data.exporters.llamafactory import LLAMAFACTORY
from mirg.data.exporters.ms_swift import MS_SWIFT
from mirg.data.exporters.parquet import PARQUET
from mirg.data.exporters.plan import README_FILE, ExportNote, Format, Plan, Row
from mirg.data.exporters.render import looks_of, rendered
from mirg.data.exporters.trl import TRL
from mirg.data.exporters.verl import VERL
from mirg.errors import ConfigError, DataError, MirgError, did_you_mean
from mirg.families import family
from mirg.samples import DatasetFolder, Rejection, Sample, Tally, write_rejections
from mirg.samples.folder import ImageCheck
from mirg.storage import atomic_folder, write_atomic, write_json_atomic

WITHOUT = "without a trajectory"
DEFAULT_FAMILY = "qwen2.5-vl"


@dataclass
class ExportReport(Tally[Rejection]):
    """The :class:`Tally` of an export: what was written for the trainer ``to``, and the settings that it needs.

    ``files`` are the rows of each file; ``images`` counts image files by what was done with them.
    """

    to: str = ""
    family: str | None = None
    files: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    settings: list[str] = field(default_factory=list)

    @property
    def n_without(self) -> int:
        """Samples that have no trajectory."""
        return self.kept[WITHOUT]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "to": self.to,
            "family": self.family,
            "rows": self.n_rows,
            "samples": self.n_kept,
            "without_trajectory": self.n_without,
            "files": self.files,
            "images": self.images,
            "settings": self.settings,
            **self.rejected_dict(),
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
    they are inspected. A sample that the format cannot take is a rejection, listed in ``rejected.jsonl``. Raises
    ConfigError for a format that is not known or settings that it does not have, DataError if nothing can be written.
    """
    form = format_of(to)
    if plan.objects and to != "ms-swift":
        raise ConfigError(f"--objects means nothing to {to}", hint="it belongs to ms-swift")
    if plan.objects and plan.family.box_key != "bbox_2d":
        reason = f"--objects: ms-swift does not write boxes as {plan.family.name} does"
        raise ConfigError(reason, hint="leave --objects out: the texts then hold the numbers")
    plan = replace(plan, resize=form.resize, roots={k: str(v) for k, v in source.roots.declared.items()})
    refuse_overwriting_inputs(plan.out, [source], copy=copy)
    report = ExportReport(to=to, family=plan.family.name if form.rendered else None)
    with atomic_folder(plan.out, overwrite=overwrite) as work:
        files = ImageFiles(source, work, plan.out, copy=copy, relative=relative, upright=form.upright)
        with closing(form.open(work, plan)) as writer:

            def judge(row: int, sample: Sample) -> Outcome:
                try:
                    images = tuple(files.path(ref, sample.id) for ref in sample.images)
                    made = rendered(sample, images, plan, form.reserved) if form.rendered else Row(sample, images)
                    if len(made.turns) > 1:
                        looks = looks_of(made, plan)
                        paths = [files.crop(sample.images[at.image - 1], at.box, plan, sample.id) for _, at in looks]
                        made = replace(made, crops=tuple(zip([name for name, _ in looks], paths, strict=True)))
                    writer.add(made)
                except MirgError as error:
                    return Outcome(None, "", source.rejection(row, sample, "sample", error))
                return Outcome(sample, WITHOUT if sample.trajectory is None else "with a trajectory")

            for _, sample, word in sift(source, judge, report, images=look, on_progress=on_progress):
                report.keep(sample, word)
            report.files = writer.finish()
        report.settings = _settings(form, plan, report.files)
        if not any(report.files.values()) or not report.n_kept:
            raise _nothing(source, report, form)
        report.images = files.counts
        for name, value in form.beside.items():
            write_json_atomic(work / name, value)
        write_rejections(work, report.rejections)
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
    said = ""
    if report.family and not plan.objects:
        note = {"to": report.to, "family": report.family, "files": (*report.files,)}
        said = str(ExportNote(**note, min_pixels=plan.bounds.min_pixels, max_pixels=plan.bounds.max_pixels))
    return f"""{said}# {plan.card.name}, for {report.to}

{report.n_kept} samples of the dataset `{plan.card.name}`, written by `mirg data export --to {report.to}`.{frame}

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


def _nothing(source: DatasetFolder, report: ExportReport, form: Format) -> DataError:
    if form.sft_only and report.n_kept:
        return DataError(
            f"none of {report.n_kept} samples of {source.root} has a trajectory, and {form.name} takes answers only",
            hint="`mirg trajectories build` writes them",
        )
    return DataError(
        f"no sample of {source.root} can be exported{report.first()}", hint="`mirg data check` lists every rejection"
    )


FORMATS: dict[str, Format] = {f.name: f for f in (LLAMAFACTORY, MS_SWIFT, TRL, VERL, EASYR1, COCO, PARQUET)}


def format_of(name: str) -> Format:
    """The format called ``name``; ConfigError with the nearest name if it is unknown."""
    if name in FORMATS:
        return FORMATS[name]
    raise ConfigError(
        f"no format {name!r}", hint=f"{did_you_mean(name.lower(), FORMATS, cutoff=0.4)}known: {', '.join(FORMATS)}"
    )
