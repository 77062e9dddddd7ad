"""What split, mix and filter share: a place to write that harms no image, and samples carried there or rejected."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mirg.errors import ConfigError, ImageError
from mirg.samples import Carrier, DatasetFolder, DatasetWriter, Rejection, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.storage import write_jsonl_atomic

REJECTED_FILE = "rejected.jsonl"


def refuse_overwriting_inputs(out: Path, sources: Iterable[DatasetFolder], *, copy: bool = False) -> None:
    """ConfigError where writing ``out`` would remove a source, or images that the new rows refer to."""
    place = out.resolve()
    for source in sources:
        needed = [source.root.resolve(), *([] if copy else source.roots.declared.values())]
        for folder in needed:
            if folder.is_relative_to(place):
                raise ConfigError(f"{out} holds {folder}, which is read from", hint="write to another folder")


def add_carried(writer: DatasetWriter, carrier: Carrier, sample: Sample, row: int, rejections: list[Rejection]) -> bool:
    """Add ``sample`` with its images; one whose images cannot be brought along is a rejection, and False."""
    try:
        carried = carrier.carry(sample)
    except ImageError as error:
        rejections.append(rejected(carrier.source, row, sample, "images", error.message, error.hint))
        return False
    writer.add(carried)
    return True


def rejected(source: DatasetFolder, row: int, sample: Sample, field: str, reason: str, hint: str = "") -> Rejection:
    """A row of ``source`` that is not used though it could be read."""
    file = str(source.root / SAMPLES_FILE)
    return Rejection(file=file, row=row, id=sample.id, field=field, reason=reason, hint=hint)


def write_rejections(out: Path, rejections: list[Rejection]) -> None:
    """``OUT/rejected.jsonl``, where there are any."""
    if rejections:
        write_jsonl_atomic(out / REJECTED_FILE, (row.model_dump(mode="json") for row in rejections))
