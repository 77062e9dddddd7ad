"""The rows of a dataset folder in the order of the file: in chunks, by their line numbers, or by random access."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from mirg.data.keys import keyed
from mirg.errors import DataError, StorageError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import OnReject
from mirg.storage import parse_line
from mirg.text_files import BOM, DAMAGE, open_utf8

CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20  # a chunk ends with the line that reaches this


class Chunk(NamedTuple):
    """Consecutive lines of a file; the first one is number ``first``, counted from 1."""

    first: int
    lines: list[bytes]


def chunks_of(folder: DatasetFolder) -> Iterator[Chunk]:
    """All lines of samples.jsonl, blank ones too. StorageError if the file cannot be read."""
    file = folder.root / SAMPLES_FILE
    first, lines, size = 1, [], 0
    try:
        with open_utf8(file) as stream:
            for line in stream:
                lines.append(line)
                size += len(line)
                if len(lines) >= CHUNK_ROWS or size >= CHUNK_BYTES:
                    yield Chunk(first, lines)
                    first, lines, size = first + len(lines), [], 0
    except (*DAMAGE, OSError) as error:
        raise StorageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    if lines:
        yield Chunk(first, lines)


def rows_at(folder: DatasetFolder, numbers: Iterable[int]) -> dict[int, Sample]:
    """The samples on the lines ``numbers`` (from 1) of samples.jsonl; lines that hold none are left out.

    StorageError if the file cannot be read. Memory is that of the samples asked for.
    """
    wanted = set(numbers)
    last = max(wanted, default=0)
    found: dict[int, Sample] = {}
    file = folder.root / SAMPLES_FILE
    try:
        with open_utf8(file) as stream:
            for number, line in enumerate(stream, 1):
                if number > last:
                    break
                if number in wanted and (sample := _parsed(line)) is not None:
                    found[number] = sample
    except (*DAMAGE, OSError) as error:
        raise StorageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    return found


def _parsed(line: bytes) -> Sample | None:
    try:
        return Sample.model_validate(parse_line(line))
    except ValidationError:
        return None  # reading the dataset has rejected the row with its reason


class Rows:
    """``rows[k]`` is the k-th sample of a dataset that can be used; broken rows go to ``on_reject`` and do not count.

    Memory is 24 bytes per row, and a read is one seek.
    ``lines`` holds the line of the file, from 1, of each, and ``keys`` :func:`keyed` of its id. The file must not
    change while it is in use. DataError if it does, or for a broken row without ``on_reject``.
    """

    def __init__(self, folder: DatasetFolder, on_reject: OnReject | None = None) -> None:
        self.folder = folder
        self._path = folder.root / SAMPLES_FILE
        self.lines = array("Q")
        self.keys = array("Q")
        for line, sample in folder.numbered(on_reject):
            self.lines.append(line)
            self.keys.append(keyed(sample.id))
        self._open = contextlib.ExitStack()
        self._stream = self._seekable()
        starts = self._line_starts()
        self._starts = array("Q", (starts[line - 1] for line in self.lines))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, k: int) -> Sample:
        """The sample; IndexError beyond the last."""
        self._stream.seek(self._starts[k])
        try:
            return Sample.model_validate_json(self._stream.readline().removeprefix(BOM))
        except ValidationError as error:
            raise DataError(f"{self._path} changed while it was read", hint="start again") from error

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def _seekable(self) -> BinaryIO:
        """The rows as UTF-8; a packed file, or one in another encoding, is unpacked into a temporary one."""
        stream = self._open.enter_context(open_utf8(self._path))
        if not stream.seekable():
            unpacked = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 (the stack closes it)
            shutil.copyfileobj(stream, unpacked)
            unpacked.seek(0)
            return unpacked
        return stream

    def _line_starts(self) -> array[int]:
        starts = array("Q")
        offset = self._stream.tell()
        for line in self._stream:
            starts.append(offset)
            offset += len(line)
        return starts
