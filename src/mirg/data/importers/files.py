"""Text and XML files that other tools wrote: lines of numbers, elements of XML, corners in place of sizes."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from mirg.data.importers.rows import Refused
from mirg.errors import DataError
from mirg.text_files import DAMAGE, read_text

_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_LAST_COMMA = re.compile(r"\s*[,;]?\s*$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan", re.IGNORECASE | re.ASCII)
_LARGEST = 1e9  # of a number in an annotation file


def number_lines(file: Path, field: str) -> list[list[float]]:
    """The numbers of every line that is not blank, between commas, semicolons or blanks; NaN is kept.

    Refused with the line if anything else is in it, or if the file cannot be read.
    """
    filled = ((k, line) for k, line in enumerate(lines_of(file, field), 1) if line.strip())
    return [_numbers(_LAST_COMMA.sub("", line, count=1).strip(), f"line {k}", field) for k, line in filled]


def lines_of(file: Path, field: str) -> list[str]:
    """The lines of a text file of any usual encoding. Refused if it cannot be read."""
    try:
        return read_text(file).splitlines()
    except (OSError, *DAMAGE) as error:
        raise Refused(field, f"cannot be read: {error}") from error


def _numbers(line: str, where: str, field: str) -> list[float]:
    words = _BETWEEN.split(line)
    wrong = next((word for word in words if not _NUMBER.fullmatch(word)), None)
    if wrong is not None:
        raise Refused(field, f"{where} holds {wrong[:40]!r}, which is not a number", "")
    values = [float(word) for word in words]
    if any(abs(value) >= _LARGEST for value in values if not math.isnan(value)):
        raise Refused(field, f"{where} holds a number beyond {_LARGEST:.0e}", "")
    return values


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[None]:
    """What is refused about the whole file ``path`` is a DataError, since no row of it can be read."""
    try:
        yield
    except Refused as refused:
        raise DataError(f"{path} {refused.refusal.reason}", hint=refused.refusal.hint) from refused


_CHUNK = 1 << 20  # bytes read at a time
_DEEPEST = 64  # elements inside each other
_LARGEST_ELEMENT = 64 << 20  # bytes between two children of the root


def read_xml(path: Path) -> Iterator[Element]:
    """The root without its children, then each child. Refused if the file is damaged or is not XML."""
    reader = _Reader()
    try:
        with path.open("rb") as stream:
            while data := stream.read(_CHUNK):
                yield from reader.feed(data)
            yield from reader.feed(b"", final=True)
    except OSError as error:
        raise Refused("xml", f"cannot be read: {error.strerror or error}") from error


def text_in(element: Element | None, name: str) -> str:
    """The text of the first child called ``name``, without blanks around it; empty if there is no such child."""
    return "" if element is None else (element.findtext(name) or "").strip()


def size_of(width: str, height: str, *, field: str, hint: str = "") -> tuple[int, int]:
    """(width, height) in pixels out of their texts in an XML file. Refused if these are not whole numbers."""
    if not all(re.fullmatch(r"\d{1,6}", side, re.ASCII) for side in (width, height)):
        raise Refused(field, f"{width[:20]!r} x {height[:20]!r} is not a size in pixels", hint)
    return int(width), int(height)


class _Reader:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._builder = TreeBuilder()
        self._depth = self._bytes = 0
        self._done: list[Element] = []

    def feed(self, data: bytes, *, final: bool = False) -> list[Element]:
        """The elements that end in ``data``."""
        self._bytes += len(data)
        if self._bytes > _LARGEST_ELEMENT:
            raise Refused("xml", f"holds an element of more than {_LARGEST_ELEMENT:,} bytes")
        try:
            self._parser.Parse(data, final)
        except (expat.ExpatError, LookupError, ValueError) as error:
            reason = f"is not XML, or was cut off: {error}"
            raise Refused("xml", reason, "the file is damaged: copy or export it again") from error
        found, self._done = self._done, []
        self._bytes = 0 if found else self._bytes
        return found

    def _doctype(self, *_: object) -> None:
        raise Refused("xml", "has a document type (DOCTYPE), which is not read", "remove the line: no tool needs it")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Refused("xml", f"holds elements inside each other, {_DEEPEST} deep")
        if self._depth == 1:
            self._done.append(Element(tag, attributes))
        else:
            self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        if self._depth > 1:
            found = self._builder.end(tag)
            if self._depth == 2:
                self._done.append(found)
                self._builder = TreeBuilder()
        self._depth -= 1

    def _text(self, text: str) -> None:
        if self._depth > 1:
            self._builder.data(text)


_Case = tuple[Sequence[float], float, float]  # four numbers, and the width and height of the image in the same unit


def refuse_corners(where: str, cases: Iterable[_Case], expected: str, *, centered: bool = False) -> None:
    """DataError if at least one box leaves its image as ``expected``, and all of them lie inside of it as corners.

    ``centered``: the first two numbers are the center of the box. The first box that cannot be corners ends the search.
    """
    count = outside = 0
    for (x, y, right, lower), width, height in cases:
        if not (0 <= x < right <= width * 1.001 and 0 <= y < lower <= height * 1.001):
            return
        count += 1
        part = 0.5 if centered else 1.0
        outside += x + part * right > 1.01 * width or y + part * lower > 1.01 * height
    if outside:
        raise DataError(
            f"{where}: {outside} of {count} boxes leave the image as {expected}, and none does as x1, y1, x2, y2",
            hint=f"write every box as {expected}",
        )
