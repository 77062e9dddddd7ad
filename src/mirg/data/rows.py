"""The rows of a dataset folder in the order of the file: in chunks, by their line numbers, or by random access.

:func:`keyed` gives the numbers by which commands choose among rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator

from pydantic import ValidationError

from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import OnReject
from mirg.storage import parse_line, read_lines
from mirg.text_files import BOM, open_utf8

SPAN = 1 << 64
CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20  # a chunk ends with the line that reaches this

Chunk = list[tuple[int, bytes]]  # lines of samples.jsonl with their numbers, from 1


def keyed(*parts: int | str) -> int:
    """A number from 0 to 2^64 - 1, evenly spread, that depends only on ``parts`` (BLAKE2b).

    >>> keyed(0, "a") == keyed(0, "a"), keyed(0, "a") == keyed("0", "a"), keyed("ab", "c") == keyed("a", "bc")
    (True, False, False)
    """
    spelled = "".join(f"{type(part).__name__}{len(str(part))}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(spelled.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def chunks_of(folder: DatasetFolder) -> Iterator[Chunk]:
    """All lines of samples.jsonl that are not blank. StorageError if the file cannot be read."""
    chunk: Chunk = []
    size = 0
    for numbered in read_lines(folder.root / SAMPLES_FILE):
        chunk.append(numbered)
        size += len(numbered[1])
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def rows_at(folder: DatasetFolder, numbers: Iterable[int]) -> dict[int, Sample]:
    """The samples on the lines ``numbers`` (from 1) of samples.jsonl; lines that hold none are left out.

    StorageError if the file cannot be read. Memory is that of the samples asked for.
    """
    wanted = set(numbers)
    last = max(wanted, default=0)
    found: dict[int, Sample] = {}
    for number, line in read_lines(folder.root / SAMPLES_FILE):
        if number > last:
            break
        if number in wanted:
            with contextlib.suppress(ValidationError):  # reading the dataset has rejected the row with its reason
                found[number] = Sample.model_validate(parse_line(line))
    return found


class Rows(contextlib.ExitStack):
    """``rows[k]`` is the k-th sample of a dataset that can be used; broken rows go to ``on_reject`` and do not count.

    Memory is 24 bytes per row, and a read is one seek. ``lines`` holds the line of the file, from 1, of each, and
    ``keys`` :func:`keyed` of its id. The file must not change while it is in use; it is closed at the end of a ``with``
    block. DataError if it changes, or for a broken row without ``on_reject``.
    """

    def __init__(self, folder: DatasetFolder, on_reject: OnReject | None = None) -> None:
        super().__init__()
        self._path = folder.root / SAMPLES_FILE
        self.lines, self.keys, starts = array("Q"), array("Q"), array("Q")
        for line, sample in folder.numbered(on_reject):
            self.lines.append(line)
            self.keys.append(keyed(sample.id))
        self._stream = self.enter_context(open_utf8(self._path))
        if not self._stream.seekable():  # packed, or in another encoding
            packed, self._stream = self._stream, self.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            shutil.copyfileobj(packed, self._stream)
            self._stream.seek(0)
        offset = self._stream.tell()
        for text in self._stream:
            starts.append(offset)
            offset += len(text)
        self._starts = array("Q", (starts[line - 1] for line in self.lines))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, k: int) -> Sample:
        self._stream.seek(self._starts[k])
        try:
            return Sample.model_validate_json(self._stream.readline().removeprefix(BOM))
        except ValidationError as error:
            raise DataError(f"{self._path} changed while it was read", hint="start again") from error
