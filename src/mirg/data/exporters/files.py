"""The files of an export: images, referred to or copied, and rows as JSON lists, JSON lines or Parquet."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mirg.answers.looks import crop_pixels, crop_size
from mirg.data.exporters.plan import Plan, Row
from mirg.engines.looking import cut
from mirg.errors import ConfigError, ImageError
from mirg.geometry import Box
from mirg.images import DEFAULT_LIMITS, ImageLimits, image_header, open_image
from mirg.samples import DatasetFolder, ImageRef

if TYPE_CHECKING:
    import pyarrow

FOLDER = "images"
_BATCH = 1000  # rows of a Parquet row group: readers fetch whole ones
_MARKS = {".json": (b"[\n", b",\n", b"\n]\n"), ".jsonl": (b"", b"\n", b"\n")}
_PLAIN = frozenset({".bmp", ".gif", ".ppm"})  # these formats carry no rotation


@dataclass
class ImageFiles:
    """Paths of images for the rows of an export, each file looked at once; ``counts`` says what was done with them.

    Boxes are fractions of the upright image. Where ``upright``, a file that is stored turned is therefore written
    again, upright, into the export: most readers of these formats do not turn it. ``work`` is the folder being
    written, ``out`` what it will be called.
    """

    source: DatasetFolder
    work: Path
    out: Path
    _: KW_ONLY
    copy: bool
    relative: bool
    upright: bool
    counts: dict[str, int] = field(default_factory=lambda: {"referred": 0, "copied": 0, "turned": 0})
    _known: dict[str, str] = field(default_factory=dict)
    _stems: Counter[str] = field(default_factory=Counter)

    def path(self, ref: ImageRef, sample_id: str) -> str:
        """How rows write the file of ``ref``; ImageError, naming the sample, if it cannot be used."""
        if ref.path not in self._known:
            self._known[ref.path] = self._placed(self.source.image_path(ref, sample_id), sample_id)
        return self._known[ref.path]

    def crop(self, ref: ImageRef, box: Box, plan: Plan, sample_id: str) -> str:
        """How rows write the crop of ``box`` (fractions) of the image ``ref``, which is written into the export."""
        image = self.source.open_image(ref, sample_id)
        pixels = crop_pixels(box, image.size)
        size = (pixels[2] - pixels[0], pixels[3] - pixels[1])
        key = f"{ref.path} {pixels}"
        if key not in self._known:
            name = self._free_name(f"{Path(ref.path).stem}-{'-'.join(map(str, pixels))}", ".png")
            cut(image, pixels, crop_size(size, plan.family, plan.look, plan.limits)).save(self.work / name)
            self.counts["crops"] = self.counts.get("crops", 0) + 1
            file = self.out.absolute() / name
            self._known[key] = Path(name).as_posix() if self.relative else str(file)
        return self._known[key]

    def _placed(self, file: Path, sample_id: str) -> str:
        if self.upright and is_turned(file, sample_id, self.source.limits):
            name = self._free_name(file.stem, ".png")
            open_image(file, limits=self.source.limits, sample_id=sample_id).save(self.work / name)
            done, file = "turned", self.out.absolute() / name
        elif self.copy:
            name = self._free_name(file.stem, file.suffix.lower())
            try:
                shutil.copyfile(file, self.work / name)
            except OSError as error:
                raise ImageError(f"sample {sample_id}: image {file} cannot be copied: {error.strerror}") from error
            done, file = "copied", self.out.absolute() / name
        else:
            done = "referred"
        self.counts[done] += 1
        return Path(os.path.relpath(file.resolve(), self.out.resolve())).as_posix() if self.relative else str(file)

    def _free_name(self, stem: str, suffix: str) -> str:
        (self.work / FOLDER).mkdir(exist_ok=True)
        clean = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:80] or "image"
        count = self._stems[clean.lower()]
        self._stems[clean.lower()] += 1
        return f"{FOLDER}/{clean}{f'~{count}' if count else ''}{suffix}"


def is_turned(file: Path, sample_id: str, limits: ImageLimits = DEFAULT_LIMITS) -> bool:
    """Whether an image file is stored turned or mirrored, by its EXIF data; ImageError if it cannot be read."""
    if file.suffix.lower() in _PLAIN:
        return False
    return image_header(file, limits=limits, sample_id=sample_id).orientation != 1


class JsonTable:
    """Rows as JSON, one on each line; ``marks`` are the bytes before the first row, between two rows and at the end."""

    def __init__(self, path: Path, marks: tuple[bytes, bytes, bytes]) -> None:
        self.path = path
        self.n = 0
        self._marks = marks
        self._stream: BinaryIO = path.open("wb")

    def add(self, row: dict[str, Any]) -> None:
        """Write one row; :attr:`n` counts them."""
        self._stream.write(self._marks[1 if self.n else 0] + json_bytes(row))
        self.n += 1

    def close(self) -> None:
        """Complete the file, or remove it if it has no rows. Calling it again does nothing."""
        if not self._stream.closed:
            self._stream.write(self._marks[2])
            self._stream.close()
            if not self.n:
                self.path.unlink()


class ParquetTable:
    """Row groups of a thousand rows."""

    def __init__(self, path: Path, schema: pyarrow.Schema) -> None:
        from pyarrow import parquet

        self.path = path
        self.n = 0
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = parquet.ParquetWriter(path, schema)

    def add(self, row: dict[str, Any]) -> None:
        """Write one row."""
        self._rows.append(row)
        self.n += 1
        if len(self._rows) == _BATCH:
            self._flush()

    def close(self) -> None:
        """As :meth:`JsonTable.close`."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None
            if not self.n:
                self.path.unlink()

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


class TableWriter:
    """Writes the tables of a format.

    ``schemas`` gives the name of each file with the schema of its columns, None for JSON; ``rows`` gives the rows of a
    sample with the names of their files, and receives the number of samples before this one.
    """

    def __init__(
        self,
        schemas: Callable[[Plan], Mapping[str, pyarrow.Schema | None]],
        rows: Callable[[Row, Plan, int], Iterable[tuple[str, dict[str, Any]]]],
        folder: Path,
        plan: Plan,
    ) -> None:
        self._rows = rows
        self._plan = plan
        self._n = 0
        self._tables = {
            name: ParquetTable(folder / name, schema) if schema else JsonTable(folder / name, _MARKS[Path(name).suffix])
            for name, schema in schemas(plan).items()
        }

    def add(self, row: Row) -> None:
        """Write the rows of a sample."""
        for name, values in self._rows(row, self._plan, self._n):
            self._tables[name].add(values)
        self._n += 1

    def finish(self) -> dict[str, int]:
        """Complete the files; the number of rows of each that has any, by name."""
        self.close()
        return {name: table.n for name, table in self._tables.items() if table.n}

    def close(self) -> None:
        """Close every file."""
        for table in self._tables.values():
            table.close()


def arrow() -> Any:
    """The module pyarrow; ConfigError if it is not installed."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ConfigError("this format needs the package pyarrow", hint="pip install 'mirg[train]'") from error
    return pyarrow


def json_bytes(value: Any) -> bytes:
    """``value`` as JSON on one line; NaN and infinity, which other readers refuse, are a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
