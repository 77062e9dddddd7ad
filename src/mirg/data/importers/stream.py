"""Rows of large JSON files, one at a time: the memory is that of one row, for files of any size.

A list of rows (``[{…}, {…}]``), JSON lines, or the lists inside one object (COCO), each also gzipped, with a byte order
mark, or in UTF-16 (:mod:`mirg.text_files`). Python's own scanner reads the values; a row must fit into memory, the file
need not.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mirg.data.importers.raw import ImportOptions, Row
from mirg.errors import DataError
from mirg.storage import BadLine, parse_line
from mirg.text_files import DAMAGE, open_utf8

_CHUNK = 1 << 20  # bytes read at a time
_MAX_ROW = 256 << 20  # characters of one value: beyond it the file is not a list of rows
_BLANK = re.compile(r"[ \t\r\n]*")
_CUT = "the file is cut off"
_LITERAL = re.compile(r"[-+.\w]{0,9}")  # what may be there of true or -Infinity, or follow in a number: e-7
_SCAN = json.JSONDecoder().raw_decode


def read_rows(path: str | Path) -> Iterator[tuple[int, object]]:
    """Stream ``(row number from 1, value)`` of a JSON list or a JSON-lines file.

    DataError, with the number of the row, if a list is cut off or not JSON; the rows before it have been yielded by
    then. A broken line of JSON lines is yielded as a BadLine, because the next line can be read again.
    """
    with _Text.open(path) as text:
        first = text.peek()
        if first == "":
            raise DataError(f"{path} is empty", hint="expected a JSON list of rows, or JSON lines")
        if first == "[":
            text.take("[")
            yield from enumerate(text.elements("]"), 1)
            text.expect_end()
            return
    yield from _lines(path)


def json_rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The rows of a JSON list or of JSON lines, for formats with independent rows. DataError if it is neither."""
    for number, value in read_rows(path):
        yield Row(path.name, number, value)


def read_members(path: str | Path) -> Iterator[tuple[str, object]]:
    """Stream one JSON object as ``(key, element)`` for every element of its lists, and ``(key, value)`` for the rest.

    An empty list comes as itself. For COCO-like files, whose rows are in lists of one object. DataError if the
    file is cut off or not JSON.
    """
    with _Text.open(path) as text:
        if text.peek() != "{":
            raise DataError(f"{path} is not a JSON object", hint="expected one object that holds lists")
        text.take("{")
        while text.peek() != "}":
            key = text.value()
            text.take(":")
            if text.peek() == "[":
                text.take("[")
                if text.peek() == "]":
                    yield str(key), []
                for element in text.elements("]"):
                    yield str(key), element
            else:
                yield str(key), text.value()
            if text.peek() == ",":
                text.take(",")
        text.take("}")
        text.expect_end()


def _lines(path: str | Path) -> Iterator[tuple[int, object | BadLine]]:
    """Rows of JSON lines. DataError if the first line is not JSON: the file is then of another format."""
    with _bytes(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, _MAX_ROW), b""), 1):
            if not line.strip():
                continue
            if len(line) == _MAX_ROW and not line.endswith(b"\n"):
                raise DataError(f"{path}: row {number}: a line of more than {_MAX_ROW:,} bytes")
            value = parse_line(line)
            if isinstance(value, BadLine) and number == 1:
                foreign = value.reason.startswith("not UTF-8")
                hint = "save it as UTF-8" if foreign else "the file was cut off, or is of another format"
                raise DataError(f"{path} is neither a JSON list of rows nor JSON lines: {value.reason}", hint=hint)
            yield number, value


@contextlib.contextmanager
def _bytes(path: str | Path) -> Iterator[BinaryIO]:
    """The text of a file as UTF-8 bytes; errors of the system and of a damaged file become DataError."""
    try:
        with open_utf8(path) as stream:
            yield stream
    except DAMAGE as error:
        raise DataError(f"{path} is damaged: {error}", hint="copy or download it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


class _Text:
    """A window on the decoded text of a file that moves forward."""

    def __init__(self, path: str | Path, stream: BinaryIO) -> None:
        self.path = path
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._window, self._at, self._ended = "", 0, False
        self._failure: Exception | None = None  # met while reading on: raised once what came before it is used up
        self._rows = 0

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | Path) -> Iterator[_Text]:
        """The text of ``path``; damage and values nested too deeply become a DataError that names the row."""
        with _bytes(path) as stream:
            text = cls(path, stream)
            try:
                yield text
            except RecursionError as error:
                raise text.broken(str(error)) from error

    def peek(self) -> str:
        while True:
            self._at = _BLANK.match(self._window, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        found = self.peek()
        if found != wanted:
            raise self.broken(f"expected {wanted!r}, found {found!r}" if found else _CUT)
        self._at += 1

    def value(self) -> object:
        self.peek()
        while True:
            try:
                value, end = _SCAN(self._window, self._at)
            except ValueError as error:
                if self._more():
                    continue
                raise self.broken(self._words(error)) from error
            # A number may continue beyond the window ("1" of 1.5e-7, "1." too, of which "1" is read); whatever else is
            # complete ends with its own mark.
            if isinstance(value, int | float) and _LITERAL.fullmatch(self._window, end):
                if self._more():
                    continue
                raise self.broken(_CUT)
            self._at = end
            return value

    def elements(self, close: str) -> Iterator[object]:
        """The elements of a list whose bracket was taken, up to and including ``close``."""
        found = self.peek()
        while found != close:
            value = self.value()
            self._rows += 1
            yield value
            found = self.peek()
            if found != close:
                self.take(",")
                if self.peek() == close:
                    raise self.broken(f"a comma stands before the {close!r} at the end", "remove the comma")
        self._at += 1

    def expect_end(self) -> None:
        if found := self.peek():
            raise self.broken(f"{found!r} follows the end of the list")

    def broken(self, reason: str, hint: str = "") -> DataError:
        hint = hint or "the file is damaged or was cut off: copy or download it again"
        return DataError(f"{self.path}: row {self._rows + 1}: {reason}", hint=hint)

    def _words(self, error: ValueError) -> str:
        left = len(self._window) - self._at
        if not left:
            return _CUT
        reason = getattr(error, "msg", str(error))
        # If the scanner reached the end of the text, something is missing rather than wrong.
        at = getattr(error, "pos", 0)
        if _LITERAL.fullmatch(self._window, at) or at >= len(self._window) - 1 or "Unterminated" in reason:
            return f"the file is cut off inside a row ({left:,} characters of it are there)"
        return f"not JSON: {reason}"

    def _more(self) -> bool:
        """Read on; False at the end of the file. What lies behind is dropped."""
        if self._failure is not None:
            foreign = isinstance(self._failure, UnicodeDecodeError) and self._failure.reason != "unexpected end of data"
            reason = f"not UTF-8: {self._failure}" if foreign else str(self._failure)
            raise self.broken(reason, "save the file as UTF-8" if foreign else "") from self._failure
        if self._ended:
            return False
        if len(self._window) - self._at > _MAX_ROW:
            raise self.broken(f"a value of more than {_MAX_ROW:,} characters")
        # Twice the rest at once: a row of many megabytes is not scanned again for every one of them.
        wanted = max(_CHUNK, len(self._window) - self._at)
        data = bytearray()
        try:  # a whole read would lose what it has when it fails
            while len(data) < wanted and (part := self._stream.read1(wanted - len(data))):  # type: ignore[attr-defined]
                data += part
            self._ended = len(data) < wanted
        except DAMAGE as error:
            self._failure = error
        try:
            text = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._failure = error
            text = error.object[: error.start].decode("utf-8-sig")
        self._window, self._at = self._window[self._at :] + text, 0
        return True
