"""XML files that nobody vouches for: the children of the root one at a time, in any encoding that the file declares.

A document type is refused before anything of it is read, so that no entity is ever expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from mirg.data.importers.rows import Refused

_CHUNK = 1 << 20  # bytes read at a time
_DEEPEST = 64  # elements inside each other
_LARGEST = 64 << 20  # bytes between two children of the root


def read_xml(path: Path) -> Iterator[Element]:
    """The root without its children, then each child. Refused if the file is damaged or is not XML."""
    reader = _Reader()
    try:
        with path.open("rb") as stream:
            while data := stream.read(_CHUNK):
                reader.feed(data, final=False)
                yield from reader.taken()
            reader.feed(b"", final=True)
            yield from reader.taken()
    except OSError as error:
        raise Refused("xml", f"cannot be read: {error.strerror or error}") from error


def text_in(element: Element, name: str) -> str:
    """The text of the first child called ``name``, without blanks around it; empty if there is no such child."""
    return (element.findtext(name) or "").strip()


class _Reader:
    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartDoctypeDeclHandler = _refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._builder = TreeBuilder()
        self._depth = self._bytes = 0
        self._done: list[Element] = []

    def feed(self, data: bytes, *, final: bool) -> None:
        self._bytes += len(data)
        if self._bytes > _LARGEST:
            raise Refused("xml", f"holds an element of more than {_LARGEST:,} bytes")
        try:
            self._parser.Parse(data, final)
        except (expat.ExpatError, LookupError, ValueError) as error:
            reason = f"is not XML, or was cut off: {error}"
            raise Refused("xml", reason, "the file is damaged: copy or export it again") from error

    def taken(self) -> list[Element]:
        found, self._done = self._done, []
        self._bytes = 0 if found else self._bytes
        return found

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


def _refuse_doctype(*_: object) -> None:
    raise Refused("xml", "has a document type (DOCTYPE), which is not read", "remove the line: no tool needs it")
