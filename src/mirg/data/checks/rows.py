"""Rows of a dataset as they stand in the file: in chunks, or single ones by their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydantic import ValidationError

from mirg.errors import StorageError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.storage import parse_line
from mirg.text_files import DAMAGE, open_utf8

CHUNK_ROWS = 1000
CHUNK_BYTES = 1 << 20  # a chunk ends with the line that reaches this


class Chunk(NamedTuple):
    """Consecutive lines of a file; the first one is number ``first``, counted from 1."""

    first: int
    lines: list[bytes]


def chunks_of(folder: DatasetFolder) -> Iterator[Chunk]:
    """All lines of samples.jsonl, blank ones too. StorageError where the file cannot be read."""
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

    StorageError where the file cannot be read. Memory is that of the samples asked for.
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
