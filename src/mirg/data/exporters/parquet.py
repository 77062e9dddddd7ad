"""Parquet: ``samples.parquet``, which holds samples without loss, and columns to ask them by.

The column ``record`` is the whole sample; :func:`read_samples` gives it back. The card with its image folders,
absolute, is kept in the metadata of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mirg.data.exporters.files import Parquet, Tables, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.errors import DataError
from mirg.samples import DatasetCard, Sample

DATA_FILE = "samples.parquet"
CARD_KEY = b"mirg.card"


class SampleWriter(Tables):
    """Every sample, with or without trajectory."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        card = plan.card.model_copy(update={"roots": plan.roots})
        schema = _schema(arrow()).with_metadata({CARD_KEY: card.model_dump_json().encode()})
        self._table = Parquet(folder / DATA_FILE, schema)
        super().__init__(self._table)

    def add(self, row: Row) -> None:
        """Write one sample."""
        sample = row.sample
        images = [
            {"path": path, "width": ref.width, "height": ref.height, "role": ref.role, "sha256": ref.sha256}
            for ref, path in zip(sample.images, row.images, strict=True)
        ]
        targets = [{"image": t.image, "box": list(t.box), "label": t.label} for t in sample.targets]
        self._table.add(
            {
                "id": sample.id,
                "task": sample.task,
                "source": sample.source,
                "question": sample.question,
                "image_hidden": sample.image_hidden,
                "has_trajectory": sample.trajectory is not None,
                "images": images,
                "targets": targets,
                "record": sample.model_dump_json(exclude_defaults=True),
            }
        )


def _schema(pa: Any) -> Any:
    text, whole = pa.string(), pa.int32()
    image = pa.struct({"path": text, "width": whole, "height": whole, "role": text, "sha256": text})
    target = pa.struct({"image": whole, "box": pa.list_(pa.float64()), "label": text})
    return pa.schema(
        {
            **{name: text for name in ("id", "task", "source", "question")},
            "image_hidden": pa.bool_(),
            "has_trajectory": pa.bool_(),
            "images": pa.list_(image),
            "targets": pa.list_(target),
            "record": text,
        }
    )


def read_samples(path: str | Path) -> Iterator[Sample]:
    """The samples of a file that this format wrote, streamed; DataError if another program wrote it."""
    arrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _card(path, file)
        for batch in file.iter_batches(columns=["record"]):
            for record in batch.column(0).to_pylist():
                yield Sample.model_validate_json(record)


def read_card(path: str | Path) -> DatasetCard:
    """The card of the exported dataset; its image folders are absolute. DataError if it has none."""
    arrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return _card(path, file)


def _card(path: str | Path, file: Any) -> DatasetCard:
    kept = (file.schema_arrow.metadata or {}).get(CARD_KEY)
    if kept is None:
        raise DataError(f"{path} was not written by `mirg data export --to parquet`")
    return DatasetCard.model_validate_json(kept)


def _settings(plan: Plan) -> list[str]:
    return [f"mirg.data.exporters.parquet.read_samples({str(plan.out.absolute() / DATA_FILE)!r})"]


PARQUET = Format(name="parquet", open=SampleWriter, settings=_settings, rendered=False, upright=False)
