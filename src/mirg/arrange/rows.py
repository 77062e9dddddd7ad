"""Random access to the rows of a dataset folder: 24 bytes of memory per row, one seek per read."""

from __future__ import annotations

from array import array
from types import TracebackType
from typing import BinaryIO

from pydantic import ValidationError

from mirg.arrange.keys import keyed
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import OnReject


class Rows:
    """``rows[k]`` is the k-th sample of a dataset that can be used; broken rows go to ``on_reject`` and do not count.

    ``lines`` holds the line of the file, from 1, of each, and ``keys`` :func:`keyed` of its id. The file must not
    change while it is in use. DataError where it does, or for a broken row without ``on_reject``.
    """

    def __init__(self, folder: DatasetFolder, on_reject: OnReject | None = None) -> None:
        self.folder = folder
        self._path = folder.root / SAMPLES_FILE
        self.lines = array("Q")
        self.keys = array("Q")
        for line, sample in folder.numbered(on_reject):
            self.lines.append(line)
            self.keys.append(keyed(sample.id))
        starts = self._line_starts()
        self._starts = array("Q", (starts[line - 1] for line in self.lines))
        self._stream: BinaryIO | None = None

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, k: int) -> Sample:
        """The sample; IndexError beyond the last."""
        if self._stream is None:
            self._stream = self._path.open("rb")
        self._stream.seek(self._starts[k])
        try:
            return Sample.model_validate_json(self._stream.readline())
        except ValidationError as error:
            raise DataError(f"{self._path} changed while it was read", hint="start again") from error

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _line_starts(self) -> array[int]:
        starts = array("Q")
        offset = 0
        with self._path.open("rb") as stream:
            for line in stream:
                starts.append(offset)
                offset += len(line)
        return starts
