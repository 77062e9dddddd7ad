"""The folder of one evaluation: what it is of, its rows, and which of them can be used again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mirg.errors import EvaluationError, StorageError
from mirg.evaluation.batches import NAMES
from mirg.evaluation.records import RECORDS_FILE
from mirg.samples import REJECTED_FILE
from mirg.storage import Journal, digest_file, read_json, write_json_atomic

SETTINGS_FILE = "evaluation.json"
SUMMARY_FILE = "summary.json"
REPLIES_FILE = "replies.jsonl"  # of an endpoint, until all of them are in the records
VALUES_FILE = "metric_values.jsonl"  # of plug-in metrics, by sample
BENCH_FILE = "bench.json"  # tables of a published benchmark (mirg.evaluation.benches)
DRAWS_FILE = "draws.jsonl"  # what several answers to a sample have in common, by sample
# Settings that are written only if they are given.
OPTIONAL = ("metrics", "prompt", "thinking", "draws", "variant", "scoring", "look")

RowKey = tuple[object, object]  # sample id, cache key, which ends in the draw if there are several


class Store:
    """The rows on disk, walked from the first: :meth:`reuse` whole batches, then :meth:`append` new ones.

    The first batch that cannot be used again, and everything after it, is cut off. ``unanswered``: an endpoint refused
    a request, so that its replies to the others must stay.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / RECORDS_FILE
        self._rows = _stored_rows(self.file)
        self.used = 0
        self.unanswered = False
        self._open = True  # False once rows were cut or added: nothing after them can be used

    def ahead(self, rows: Iterable[RowKey]) -> set[object]:
        """The ids of the ``rows`` that are stored next, up to the first stored row that is not among them."""
        left = list(rows)  # no set: a damaged file may hold an id that is no text
        found: set[object] = set()
        for key, _ in self._rows[self.used :] if self._open else ():
            if key not in left:
                break
            left.remove(key)
            found.add(key[0])
        return found

    def reuse(self, wanted: Sequence[RowKey]) -> bool:
        """True where the next rows are exactly ``wanted``; they then stay."""
        found = [key for key, _ in self._rows[self.used : self.used + len(wanted)]]
        if self._open and found == list(wanted):
            self.used += len(wanted)
            return True
        return False

    def append(self, records: Sequence[BaseModel]) -> None:
        """Add rows after those in use, flushed to the disk."""
        self.cut()
        with Journal(self.file) as journal:
            for record in records:
                journal.append(record.model_dump(mode="json"))

    def cut(self) -> None:
        """Drop what stands after the rows in use, a torn last row included; once."""
        if self._open and self.file.exists():
            try:
                with self.file.open("r+b") as stream:
                    stream.truncate(self._rows[self.used - 1][1] if self.used else 0)
            except OSError as error:
                raise StorageError(f"cannot write {self.file}: {error.strerror or error}") from error
        self._open = False


def claim(out: Path, settings: dict[str, Any], n_rows: int, *, overwrite: bool) -> Store:
    """Make ``out`` the folder of this evaluation, or say in an :class:`EvaluationError` why it is not."""
    files = [out / name for name in (RECORDS_FILE, REJECTED_FILE, SUMMARY_FILE, VALUES_FILE, DRAWS_FILE)]
    if overwrite:
        _remove([*files, out / REPLIES_FILE])
    elif (out / SETTINGS_FILE).exists() and _holds_rows(files):
        old = read_json(out / SETTINGS_FILE)
        known = old if isinstance(old, dict) else {}
        new = json.loads(json.dumps({name: value for name, value in settings.items() if name not in NAMES}))
        if others := [name for name in dict.fromkeys((*new, *OPTIONAL)) if known.get(name) != new.get(name)]:
            raise EvaluationError(
                f"{out} holds another evaluation: {', '.join(others)} differ",
                hint="choose another folder, or overwrite this one",
            )
        if changed := changed_rows(out):
            hint = f"overwrite the evaluation, or remove {SUMMARY_FILE} to use the changed rows"
            raise EvaluationError(changed, hint=hint)
        kept = len(_stored_rows(out / RECORDS_FILE))
        if kept > n_rows:
            raise EvaluationError(
                f"{out} holds {kept} records, more than the {n_rows} asked for",
                hint="choose another folder, or overwrite this one and lose them",
            )
    elif _holds_rows(files):
        raise EvaluationError(f"{out} holds results but no {SETTINGS_FILE}", hint="choose another folder")
    write_json_atomic(out / SETTINGS_FILE, settings)
    _remove([out / SUMMARY_FILE, out / BENCH_FILE])  # they are there exactly where the evaluation is complete
    Journal(out / RECORDS_FILE).close()  # an evaluation without a single row has an empty file
    return Store(out)


def _holds_rows(files: Sequence[Path]) -> bool:
    """Whether anything was evaluated; the settings of a folder in which nothing succeeded may change."""
    return any(file.exists() and file.stat().st_size > 0 for file in files)


def changed_rows(folder: Path) -> str:
    """A sentence if the rows are not those that the summary was made from; "" if they are, or no summary says so."""
    summary: object = None
    with suppress(StorageError):
        summary = read_json(folder / SUMMARY_FILE)
    digest = summary.get("records_digest") if isinstance(summary, dict) else None
    if digest is None or digest == digest_file(folder / RECORDS_FILE):
        return ""
    return f"{folder / RECORDS_FILE} is not the file that {SUMMARY_FILE} was made from: it is damaged, or was changed"


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {file}: {error.strerror or error}") from error


def _stored_rows(file: Path) -> list[tuple[RowKey, int]]:
    """The rows of a records file up to the first that is torn or broken: their keys, and the byte after each."""
    rows: list[tuple[RowKey, int]] = []
    end = 0
    try:
        with file.open("rb") as stream:
            for line in stream:
                end += len(line)
                value: object = None
                with suppress(ValueError, RecursionError):
                    value = json.loads(line)
                if not line.endswith(b"\n") or not isinstance(value, dict):
                    break
                rows.append(((value.get("id"), value.get("key")), end))
    except FileNotFoundError:
        return rows
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror or error}") from error
    return rows
