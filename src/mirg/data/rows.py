"""Random access to the rows of a dataset folder: 24 bytes of memory per row, one seek per read."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from array import array
from types import TracebackType
from typing import BinaryIO

from pydantic import ValidationError

from mirg.data.keys import keyed
from mirg.errors import DataError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.folder import OnReject
from mirg.text_files import BOM, open_utf8


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
