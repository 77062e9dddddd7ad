"""Samples as the cards of a contact sheet: as many of each task as there is room for, the same ones every time."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mirg.answers.markup import cited, replaced
from mirg.data.checks.problems import rotated
from mirg.data.rows import rows_at
from mirg.errors import DataError, ImageError
from mirg.images import Header, image_header
from mirg.report.sheet import BUDGET, Sheet, SheetBox, SheetData, SheetImage, SheetSample, write_sheet
from mirg.samples import DatasetFolder, ImageRef, Sample, Target


@dataclass(frozen=True)
class Choice:
    """Row numbers (from 1) in the order in which they are shown, and what they were chosen from."""

    rows: tuple[int, ...]
    tasks: dict[str, int]  # accepted rows by task, also those of other tasks than the one asked for
    candidates: int  # accepted rows of the chosen task; all accepted rows if no task was chosen
    rejected: int


def choose(
    folder: DatasetFolder,
    n: int,
    *,
    task: str | None = None,
    seed: int = 0,
    tell: Callable[[int], None] | None = None,
) -> Choice:
    """Up to ``n`` rows, alternating between the tasks; within a task a digest of ``seed`` and the sample's id decides.

    One pass over the rows, of which two numbers each are kept. ``tell`` hears the number of rows read.
    """
    ranks: dict[str, list[tuple[int, int]]] = {}
    rejected = array("Q")
    for row, sample in folder.numbered(lambda rejection: rejected.append(rejection.row)):
        if tell is not None:
            tell(row)
        data = f"{seed}\n{sample.id}".encode("utf-8", "surrogatepass")
        rank = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())
        ranks.setdefault(sample.task, []).append((rank, row))
    chosen = {name: found for name, found in ranks.items() if task in (None, name)}
    ranked = sorted(
        (place, name, row) for name, found in chosen.items() for place, (_, row) in enumerate(heapq.nsmallest(n, found))
    )
    tasks = {name: len(ranks[name]) for name in sorted(ranks)}
    candidates = sum(len(found) for found in chosen.values())
    return Choice(tuple(row for _, _, row in ranked[:n]), tasks, candidates, len(rejected))


ROTATED_NOTE = (
    "samples have photographs that EXIF rotates, and nothing tells in which orientation their boxes were drawn: if "
    "they are beside the objects, import the file again with --exif ignore."
)


def show(
    folder: DatasetFolder,
    out: Path,
    *,
    n: int = 1000,
    task: str | None = None,
    seed: int = 0,
    budget: int = BUDGET,
    tell: Callable[[int], None] | None = None,
) -> tuple[Sheet, Choice]:
    """Write the sheet of up to ``n`` samples to ``out``; DataError if no row is of ``task``."""
    chosen = choose(folder, n, task=task, seed=seed, tell=tell)
    if task is not None and not chosen.candidates:
        known = ", ".join(list(chosen.tasks)[:30]) or "none"
        raise DataError(f"{folder.root} has no sample of the task {task!r}", hint=f"its tasks: {known}")
    samples = rows_at(folder, chosen.rows)
    data = sheet_data(folder, [samples[row] for row in chosen.rows], chosen, task)
    return write_sheet(out, data, budget=budget, limits=folder.limits), chosen


def sheet_data(folder: DatasetFolder, samples: Sequence[Sample], chosen: Choice, task: str | None = None) -> SheetData:
    """The page of ``samples`` in the order given."""
    of = f"{chosen.candidates:,} samples" + (f" of the task {task}" if task is not None else "")
    few = f"{len(samples):,} of {of}, alternating between the tasks." if len(samples) < chosen.candidates else f"{of}."
    notes = []
    if chosen.rejected:
        notes.append(f"{chosen.rejected:,} rows cannot be read; mirg data check lists them.")

    @cache
    def header(path: str) -> Header | None:
        with contextlib.suppress(ImageError):  # the card says why
            return image_header(folder.image_path(ImageRef(path=path)), limits=folder.limits)

    turned = {sample.id: dict(rotated(sample, lambda ref: header(ref.path))) for sample in samples}
    if count := sum(map(bool, turned.values())):
        notes.append(f"{count:,} {ROTATED_NOTE}")
    cards = [sheet_sample(folder, sample, turned[sample.id]) for sample in samples]
    return SheetData(folder.card.name, f"{folder.card.description} {few}".strip(), cards, notes)


def sheet_sample(folder: DatasetFolder, sample: Sample, turned: Mapping[int, str] | None = None) -> SheetSample:
    """One card. Boxes inside texts are said in words and drawn on the image.

    ``turned`` says by the place of an image, from 0, what EXIF does to it.
    """
    trajectory, turned, written = sample.trajectory, turned or {}, ""
    tags = [sample.relation.replace("_", " ")] if sample.relation != "none" else []
    tags += ["image hidden"] if sample.image_hidden else []
    facts: dict[str, object] = {"source": sample.source, "image set": sample.image_set}
    facts |= {f"meta.{name}": value for name, value in sample.meta.items()}
    if trajectory is not None:
        checks = f"checks passed: {', '.join(trajectory.checks)}" if trajectory.checks else "not checked"
        written = f"written by {trajectory.writer}; {checks}"
        facts |= {f"trajectory.meta.{name}": value for name, value in trajectory.meta.items()}
    return SheetSample(
        id=sample.id,
        task=sample.task,
        question=_words(sample.question),
        images=tuple(
            _image(folder, sample, number, ref, "rotated by EXIF" if number - 1 in turned else "")
            for number, ref in enumerate(sample.images, 1)
        ),
        tags=tuple(tags),
        hidden=sample.image_hidden,
        targets=_lines(sample.targets),
        chain=_words(trajectory.thinking) if trajectory else "",
        answer=_lines(trajectory.answer) if trajectory else (),
        written=written,
        facts=tuple(
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in facts.items()
        ),
    )


def _image(folder: DatasetFolder, sample: Sample, number: int, ref: ImageRef, more: str) -> SheetImage:
    role = [ref.role] if ref.role != "candidate" else []
    if ref.frame is not None:
        role += [str(ref.frame)] if ref.role == "frame" else ["frame", str(ref.frame)]
    note = ", ".join(filter(None, (" ".join(role), more)))
    try:
        path, problem = folder.image_path(ref), ""
    except ImageError as error:
        path, problem = None, error.message
    targets = [SheetBox("true", t.box, t.label) for t in sample.targets if t.image == number]
    asked = [box for image, box in cited(sample.question) if image == number]
    given = [SheetBox("given", box, "given in the question") for box in asked]
    drawn = {box.box for box in targets} | set(asked)
    noted = [SheetBox("noted", note.box, note.label) for note in ref.objects if note.box not in drawn]
    # Painted in this order: if there are too many boxes, the targets are kept.
    boxes = (*noted[:40], *given[:8], *targets[:12])
    return SheetImage(path, f"Image-{number}", note, ref.caption or "", boxes, problem)


def _lines(targets: Sequence[Target]) -> tuple[str, ...]:
    """Each target as a line: image, box in fractions, label."""
    boxes = [", ".join(f"{v:.3f}" for v in target.box) for target in targets]
    lines = [f"Image-{t.image} ({box}) {t.label}".strip() for t, box in zip(targets, boxes, strict=True)]
    return tuple(lines) or ("none",)


def _words(text: str) -> str:
    return replaced(text, lambda image, box: f"[box in Image-{image}]")
