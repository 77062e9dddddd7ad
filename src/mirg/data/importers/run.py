"""``mirg data import``: rows of any format to a dataset folder, streamed, every refused row explained."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from mirg.data.importers.evidence import Evidence
from mirg.data.importers.finish import STORED, Finished, Job, finish
from mirg.data.importers.formats import source_of
from mirg.data.importers.frames import WORDS, considered, said, with_note
from mirg.data.importers.guess import LISTED, explained
from mirg.data.importers.look import note_facts
from mirg.data.importers.match_refusals import kind_of
from mirg.data.importers.pictures import advice
from mirg.data.importers.raw import FrameName, ImportOptions, Refusal, Row, Source
from mirg.data.importers.relabel import LabelReport
from mirg.errors import ConfigError, DataError, ImageError
from mirg.executors import Executor, Local
from mirg.plugins import is_plugin
from mirg.samples import DatasetWriter, ImageRef, Rejection, Sample
from mirg.samples.roots import MARK
from mirg.samples.writer import WrittenRow, written
from mirg.storage import Journal, scratch_folder

_PEEKED = 2000  # rows whose boxes decide the frame if nothing else does
_STORED = f"{MARK}{STORED}/"
_REFUSE_EVERY = 1000  # rows between two looks at the evidence


@dataclass
class ImportReport:
    """What became of the rows: ``rows`` = ``rows_used`` + ``rows_refused``; a row may hold several questions.

    ``rotated``: photographs that EXIF rotates, by path with their orientation, if it is not known in which orientation
    their boxes were drawn.
    """

    out: Path
    kind: str
    frame: FrameName = "auto"
    image_index_from: int | None = None  # None: no text names image 0, so they count from 1
    rows: int = 0
    rows_used: int = 0
    refused: int = 0
    renamed: int = 0
    tasks: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Rejection] = field(default_factory=list)
    negatives: int = 0
    warnings: list[str] = field(default_factory=list)
    rotated: dict[str, int] = field(default_factory=dict)

    @property
    def rows_refused(self) -> int:
        """Rows of which nothing was used."""
        return self.rows - self.rows_used

    @property
    def samples(self) -> int:
        """Samples written."""
        return self.tasks.total()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "out": str(self.out), "kind": self.kind, "frame": self.frame,
            "image_index_from": self.image_index_from, "rows": self.rows, "rows_used": self.rows_used,
            "rows_refused": self.rows_refused, "samples": self.samples, "renamed": self.renamed,
            "negatives": self.negatives, "warnings": self.warnings,
            "tasks": dict(sorted(self.tasks.items())), "refused": self.refused,
            "rotated": len(self.rotated), "rotated_first": list(self.rotated)[:20],
            "reasons": dict(self.reasons.most_common()), "rejections": [row.model_dump() for row in self.first],
        }  # fmt: skip


def import_dataset(
    kind: str,
    path: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    copy: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    executor: Executor | None = None,
    listed: int = 20,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Read ``path``, a file or folder of format ``kind``, into the dataset folder ``out``.

    ``kind`` is one of ``mirg data kinds``, or ``FILE.py:NAME`` for an importer of the user's; samples are then named
    after :attr:`Source.kind`.

    Images are referred to below ``options.root``, or copied. The first ``limit`` rows are read, None: all. Refused
    rows go to ``out/rejected.jsonl``, the first ``listed`` also into the report. The result does not depend on the
    executor. DataError if the file is damaged, its boxes are in another frame than said or in several, or no row
    can be used: ``out`` is then unchanged, and the next import does not open the same images again.
    """
    source, plugin = source_of(kind), kind if is_plugin(kind) else ""
    kind = source.kind
    options = options.model_copy(update={"root": str(Path(options.root).resolve())})
    if not Path(options.root).is_dir():
        raise DataError(f"{options.root} is not a folder", hint="--root is the folder that image paths are relative to")
    if options.exif == "ignore" and options.look == "none":
        raise ConfigError("--exif ignore needs a look at the images", hint="--look header finds out which are rotated")
    path, out = Path(path), Path(out)
    options = with_note(path, options)
    workers = executor or Local()
    report = ImportReport(out, kind)
    journal = out.parent / f".{out.name}.looked.jsonl"
    with contextlib.ExitStack() as stack:
        # A stopped import is continued by its journal, unless nothing was found out about images.
        stack.callback(lambda: journal.is_file() and not journal.stat().st_size and journal.unlink())
        writer = stack.enter_context(
            DatasetWriter(
                out,
                name=out.name,
                description=f"Imported from {path.name} ({kind}).",
                created_by=f"mirg data import {plugin or kind}",
                license="that of the source",
                overwrite=overwrite,
            )
        )
        stack.enter_context(explained(kind, path))
        if source.stores:
            stored = stack.enter_context(scratch_folder(out))
            options = options.model_copy(update={"stored": str(stored.resolve())})
        rows = islice(source.read(path, options), limit)
        if source.names_images and options.image_index_from is None:
            first, rows = _counted_from(source, options, rows)
            options = options.model_copy(update={"image_index_from": first})
        report.image_index_from = options.image_index_from
        root_name = writer.add_root(Path(options.root).name or "images", options.root)
        job = Job(
            kind,
            options,
            "auto",
            root_name,
            journal="" if options.look == "none" else str(journal.resolve()),
            run=uuid4().hex,
            plugin=str(Path(plugin).absolute()) if plugin else "",
        )
        with Journal(journal) as looked:
            job, rows = _settled(source, job, rows, path, looked)
            report.frame = job.frame
            work = _Work(writer, job, report, copy, listed)
            for found in workers.map(partial(finish, job), rows):
                work.take(found)
                note_facts(looked, found.facts)
                if report.rows % _REFUSE_EVERY == 0:
                    work.contradict(found.row.file, final=False)
                    if on_progress:
                        on_progress(report.rows)
            if not (work.evidence.counts or options.frame or source.frame != "auto"):
                report.frame = "auto"  # every box said its own
        report.warnings += work.labels.warnings(options)
        work.contradict(str(path), final=True)
        if not report.samples:
            first = f"; first: {report.first[0]}" if report.first else ""
            reason = f"{path}: no row of {report.rows:,} can be used{first}"
            hint = advice(Path(options.root), report.first) or f"if the format is another one: {LISTED}"
            raise DataError(reason, hint=hint)
    journal.unlink(missing_ok=True)
    return report


def _settled(source: Source, job: Job, rows: Iterator[Row], path: Path, looked: Journal) -> tuple[Job, Iterator[Row]]:
    """The job with the frame of all boxes, and the rows again from the first one."""
    options = job.options
    named, tried = said(options), considered(options)
    frame = options.frame or source.frame
    limited = options.min_pixels or options.max_pixels
    if limited and frame not in ("auto", "resized_pixels"):
        reason = f"--min-pixels and --max-pixels mean nothing for boxes in {WORDS[frame]}"
        raise ConfigError(reason, hint="they belong to --frame resized_pixels")
    unsure = frame == "resized_pixels" and not limited
    if frame == "auto" or unsure:
        peeked = list(islice(rows, _PEEKED))
        rows = chain(peeked, rows)
        evidence = Evidence()
        for row in peeked:
            found = finish(job._replace(tried=tried), row)
            evidence.join(found.evidence)
            note_facts(looked, found.facts)
        if frame == "auto":
            sizes = any(isinstance(row.value, dict) and row.value.get("boxes_xywh") is not None for row in peeked)
            frame = evidence.settle(str(path), tried, named, sizes=sizes)
        elif named:
            evidence.doubt(str(path), named, tried)
    return job._replace(frame=frame, resized=named if frame == "resized_pixels" else None, tried=tried), rows


def _counted_from(source: Source, options: ImportOptions, rows: Iterator[Row]) -> tuple[int | None, Iterator[Row]]:
    """What the texts count images from, and the rows again from the first one: 0 if a row names image 0.

    None if no row does, so that a later one is still noticed. DataError if more rows name an image that exists only if
    images are counted from 1.
    """

    def names(row: Row, what: str, settings: ImportOptions) -> bool:
        return any(isinstance(out, Refusal) and out.counts == what for out in source.convert(row.value, settings))

    peeked = list(islice(rows, _PEEKED))
    zeros = [row for row in peeked if names(row, "0", options)]
    if not zeros:
        return None, chain(peeked, rows)
    from_zero = options.model_copy(update={"image_index_from": 0})
    ones = [row for row in peeked if names(row, "1", from_zero)]
    if len(ones) > len(zeros):
        raise DataError(
            f"{zeros[0].file}: {len(zeros):,} rows name image 0 (row {zeros[0].number}), and {len(ones):,} name an "
            f"image that exists only if images are counted from 1 (row {ones[0].number})",
            hint="say which it is: --image-index-from 0 or --image-index-from 1",
        )
    return 0, chain(peeked, rows)


class _Work:
    def __init__(self, writer: DatasetWriter, job: Job, report: ImportReport, copy: bool, listed: int) -> None:
        self.writer, self.job, self.report, self.copy, self.listed = writer, job, report, copy, listed
        self.evidence = Evidence()
        self.labels = LabelReport()
        self._copied: dict[str, ImageRef] = {}

    def contradict(self, source: str, *, final: bool) -> None:
        job = self.job
        self.evidence.contradict(job.frame, source, final=final, resized=job.tried, said=job.resized)

    def take(self, found: Finished) -> None:
        report = self.report
        report.rows += 1
        self.evidence.join(found.evidence)
        self.labels.take(found.row.number, found.noted)
        report.negatives += found.noted.negatives
        report.rotated.update(found.rotated)
        kept = sum(self._write(found.row, row) for row in found.written)
        for refusal in found.refused:
            if refusal.counts == "0" and self.job.options.image_index_from is None:
                where = f"{found.row.file}: row {found.row.number}"
                raise DataError(f"{where} {refusal.reason}, as in the rows before it", hint=refusal.hint)
            self._refuse(found.row, refusal)
        report.rows_used += bool(kept)
        if not kept and not found.refused and not found.written:
            self._refuse(found.row, Refusal("row", "holds no question that can be answered"))

    def _write(self, at: Row, row: WrittenRow) -> bool:
        try:
            if self.copy or (self.job.options.stored and any(path.startswith(_STORED) for path in row.images)):
                row = self._with_copies(row)
            if self.writer.has(row.id):  # another id: sources number their parts independently
                self.report.renamed += 1
                k = next(k for k in range(2, 10**9) if not self.writer.has(f"{row.id}~{k}"))
                sample = Sample.model_validate_json(row.line)
                row = written(sample.model_copy(update={"id": f"{row.id}~{k}"}))
            self.writer.add_written(row)
        except ImageError as error:
            self._refuse(at, Refusal("images", error.message, error.hint, row.id))
            return False
        self.report.tasks[row.task] += 1
        return True

    def _with_copies(self, row: WrittenRow) -> WrittenRow:
        sample = Sample.model_validate_json(row.line)
        root = Path(self.job.options.root)
        images = []
        for ref in sample.images:
            held = ref.path.startswith(_STORED)
            if held or self.copy:
                if ref.path not in self._copied:
                    inside = ref.path.removeprefix(_STORED if held else f"{MARK}{self.job.root_name}/")
                    file = (Path(self.job.options.stored) if held else root) / inside
                    self._copied[ref.path] = self.writer.add_file(file, Path(inside).stem, sample_id=sample.id)
                facts = self._copied[ref.path].model_dump(include={"path", "sha256", "width", "height"})
                ref = ref.model_copy(update=facts)
            images.append(ref)
        return written(sample.model_copy(update={"images": tuple(images)}))

    def _refuse(self, at: Row, refusal: Refusal) -> None:
        where, reason, hint, sample_id, _ = refusal
        rejection = Rejection(file=at.file, row=at.number, id=sample_id, field=where, reason=reason, hint=hint)
        self.writer.reject(rejection)
        self.report.refused += 1
        # For counting, a reason is without the parts that differ from row to row.
        kind = kind_of(reason) or re.sub(r"-?\d+(?:[.,]\d+)*", "#", re.sub(r"(?<=image )\S+", "…", reason))[:100]
        self.report.reasons[f"{where.split('.')[0]}: {kind}"] += 1
        if len(self.report.first) < self.listed:
            self.report.first.append(rejection)
