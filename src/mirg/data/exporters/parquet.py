"""Parquet: ``samples.parquet``, which holds samples without loss, and columns to ask them by.

The column ``record`` is the whole sample; :func:`read_samples` gives it back. The card with its image folders,
absolute, is kept in the metadata of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mirg.data.exporters.files import TableWriter, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.errors import DataError
from mirg.samples import DatasetCard, Sample

DATA_FILE = "samples.parquet"
CARD_KEY = b"mirg.card"


def _schemas(plan: Plan) -> dict[str, Any]:
    pa = arrow()
    text, whole = pa.string(), pa.int32()
    image = pa.struct({"path": text, "width": whole, "height": whole, "role": text, "sha256": text})
    target = pa.struct({"image": whole, "box": pa.list_(pa.float64()), "label": text})
    columns = {
        **dict.fromkeys(("id", "task", "source", "question"), text),
        **dict.fromkeys(("image_hidden", "has_trajectory"), pa.bool_()),
        "images": pa.list_(image),
        "targets": pa.list_(target),
        "record": text,
    }
    card = plan.card.model_copy(update={"roots": plan.roots})
    return {DATA_FILE: pa.schema(columns).with_metadata({CARD_KEY: card.model_dump_json().encode()})}


def _rows(row: Row, _plan: Plan, _index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    sample = row.sample
    images = [
        {"path": path, "width": ref.width, "height": ref.height, "role": ref.role, "sha256": ref.sha256}
        for ref, path in zip(sample.images, row.images, strict=True)
    ]
    columns = {
        **sample.model_dump(include={"id", "task", "source", "question", "image_hidden"}),
        "has_trajectory": sample.trajectory is not None,
        "images": images,
        "targets": [target.model_dump(include={"image", "box", "label"}) for target in sample.targets],
        "record": sample.model_dump_json(exclude_defaults=True),
    }
    yield DATA_FILE, columns


def read_samples(path: str | Path) -> Iterator[Sample]:
    """The samples of a file that this format wrote, streamed; DataError if another program wrote it."""
    with _opened(path) as (_, file):
        for batch in file.iter_batches(columns=["record"]):
            for record in batch.column(0).to_pylist():
                yield Sample.model_validate_json(record)


def read_card(path: str | Path) -> DatasetCard:
    """The card of the exported dataset; its image folders are absolute. DataError if it has none."""
    with _opened(path) as (card, _):
        return card


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[DatasetCard, Any]]:
    arrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        card = (file.schema_arrow.metadata or {}).get(CARD_KEY)
        if card is None:
            raise DataError(f"{path} was not written by `mirg data export --to parquet`")
        yield DatasetCard.model_validate_json(card), file


def _settings(plan: Plan) -> list[str]:
    return [f"mirg.data.exporters.parquet.read_samples({str(plan.out.absolute() / DATA_FILE)!r})"]


PARQUET = Format(
    name="parquet", open=partial(TableWriter, _schemas, _rows), settings=_settings, rendered=False, upright=False
)
