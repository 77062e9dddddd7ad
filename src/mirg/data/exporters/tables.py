"""Files that are written one row at a time: JSON lists, JSON lines, Parquet. A file without rows is not left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from mirg.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow

_BATCH = 1000  # rows of a Parquet row group: readers fetch whole ones


class Table(Protocol):
    """A file of rows; ``n`` counts them."""

    path: Path
    n: int

    def add(self, row: dict[str, Any]) -> None:
        """Write one row."""
        ...

    def close(self) -> None:
        """Complete the file, or remove it where it has no rows. Calling it again does nothing."""
        ...


class JsonList:
    """``[…]``, one row per line of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n = 0
        self._stream: BinaryIO = path.open("wb")
        self._stream.write(b"[")

    def add(self, row: dict[str, Any]) -> None:
        """Write one row."""
        self._stream.write((b",\n" if self.n else b"\n") + json_bytes(row))
        self.n += 1

    def close(self) -> None:
        """End the list."""
        if not self._stream.closed:
            self._stream.write(b"\n]\n")
            self._stream.close()
            _remove_empty(self)


class JsonLines:
    """One JSON value per line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n = 0
        self._stream: BinaryIO = path.open("wb")

    def add(self, row: dict[str, Any]) -> None:
        """Write one row."""
        self._stream.write(json_bytes(row) + b"\n")
        self.n += 1

    def close(self) -> None:
        """Complete the file."""
        if not self._stream.closed:
            self._stream.close()
            _remove_empty(self)


class Parquet:
    """Row groups of a thousand rows. ConfigError where pyarrow is not installed."""

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
        """Complete the file."""
        if self._writer is not None:
            self._flush()
            self._writer.close()
            self._writer = None
            _remove_empty(self)

    def _flush(self) -> None:
        import pyarrow

        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


class Tables:
    """A writer's tables: finished and closed together."""

    def __init__(self, *tables: Table) -> None:
        self._tables = tables

    def finish(self) -> dict[str, int]:
        """Complete the files; the number of rows of each that was left, by name."""
        self.close()
        return {table.path.name: table.n for table in self._tables if table.n}

    def close(self) -> None:
        """Close every file."""
        for table in self._tables:
            table.close()


def arrow() -> Any:
    """The module pyarrow; ConfigError where it is not installed."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise ConfigError("this format needs the package pyarrow", hint="pip install 'mirg[train]'") from error
    return pyarrow


def json_bytes(value: Any) -> bytes:
    """``value`` as JSON on one line; NaN and infinity, which other readers refuse, are a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


def _remove_empty(table: Table) -> None:
    if not table.n:
        table.path.unlink(missing_ok=True)
