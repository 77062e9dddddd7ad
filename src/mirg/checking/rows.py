"""Single rows of a dataset by their number, without parsing the others."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pydantic import ValidationError

from mirg.errors import StorageError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE


def rows_at(folder: DatasetFolder, numbers: Iterable[int]) -> dict[int, Sample]:
    """The samples on the lines ``numbers`` (from 1) of samples.jsonl; lines that hold none are left out.

    StorageError where the file cannot be read. Memory is that of the samples asked for.
    """
    wanted = set(numbers)
    last = max(wanted, default=0)
    found: dict[int, Sample] = {}
    file = folder.root / SAMPLES_FILE
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if number > last:
                    break
                if number in wanted and (sample := _parsed(line)) is not None:
                    found[number] = sample
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror or error}") from error
    return found


def _parsed(line: bytes) -> Sample | None:
    try:
        return Sample.model_validate(json.loads(line.decode("utf-8", "surrogatepass")))
    except (ValueError, RecursionError, ValidationError):
        return None  # reading the dataset has rejected the row with its reason
