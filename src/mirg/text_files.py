"""Text files that other tools wrote, as UTF-8 bytes: byte order marks, UTF-16, UTF-32 and gzip are recognised.

Which encoding a file is in follows from its first bytes (JSON begins with an ASCII character, so that it is recognised
even without a mark), and gzip from its magic number; the name of the file says nothing. YAML is read by one function,
which lets no document cost more than it looks like.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar, cast

import yaml

BOM = codecs.BOM_UTF8
CHUNK_BYTES = 1 << 20
# What a damaged file raises while it is read, next to OSError.
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError)

_MARKS = (BOM, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_FREE_BYTES = 256 << 20  # unpacked bytes from which the expansion of a gzip file counts
_MOST_EXPANSION = 200  # unpacked bytes of one packed byte: annotation files reach 50

_YAML_BYTES = 1 << 20  # the reader takes some seconds for as many
_YAML_VALUES = 100_000


class _YamlLoader(yaml.SafeLoader):
    """The safe loader, with the Booleans of YAML 1.2: off, on, no and yes are words."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@contextlib.contextmanager
def open_utf8(path: str | Path) -> Iterator[BinaryIO]:
    """The text of ``path`` as a stream of UTF-8 bytes without a byte order mark; only a plain UTF-8 file can be sought.

    OSError and :data:`DAMAGE` are raised as they come, also while the stream is read. A gzip file that unpacks to more
    than any annotation file does raises ``gzip.BadGzipFile``.
    """
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(Path(path).open("rb"))
        stream: BinaryIO = raw
        if raw.peek(2)[:2] == b"\x1f\x8b":
            stream = stack.enter_context(io.BufferedReader(_Chunks(_unpacked(raw, Path(path).stat().st_size))))
        encoding = _encoding(cast("io.BufferedReader", stream).peek(4)[:4])
        if encoding == "utf-8-sig":
            stream.read(len(BOM))
        elif encoding != "utf-8":
            stream = stack.enter_context(io.BufferedReader(_Chunks(_recoded(stream, encoding))))
        yield stream


def read_text(path: str | Path) -> str:
    """The whole text of a file, in any of the encodings above. Raises as :func:`open_utf8`."""
    with open_utf8(path) as stream:
        return stream.read().decode("utf-8")


def parse_yaml(text: bytes | str) -> object:
    """The value of a YAML document that a person wrote; ValueError says why it cannot be read.

    That is also so if a key is listed twice (YAML would keep the last one), if a document contains itself, or if its
    aliases repeat more values than anybody writes.
    """
    if len(text) > _YAML_BYTES:
        raise ValueError(f"it has more than {_YAML_BYTES:,} bytes")
    try:
        loader = _YamlLoader(text)
        node = loader.get_single_node()
        _yaml_values(node, {})
        return None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _yaml_values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values ``node`` has if aliases are written out; ``known`` are those of other nodes, 0 inside of one."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("it contains itself")
        return known[id(node)]
    known[id(node)] = 0
    inside = node.value
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise ValueError(f"the key {key.value!r} is listed twice: YAML would keep the last one only")
                keys.add(key.value)
        inside = [one for pair in node.value for one in pair]
    count = 1 + sum(_yaml_values(one, known) for one in inside)
    if count > _YAML_VALUES:
        raise ValueError(f"it has more than {_YAML_VALUES:,} values if its aliases are written out")
    known[id(node)] = count
    return count


def _encoding(first: bytes) -> str:
    """The encoding of a file that begins with these four bytes; without a mark only if JSON follows."""
    json_follows = first.replace(b"\0", b"").lstrip()[:1] in (b"[", b"{") and first.count(b"\0") != 1  # one is damage
    return json.detect_encoding(first) if json_follows or first.startswith(_MARKS) else "utf-8"


def _unpacked(raw: BinaryIO, packed: int) -> Iterator[bytes]:
    """The content of a gzip file of ``packed`` bytes, with a limit on its size."""
    most = max(_FREE_BYTES, packed * _MOST_EXPANSION)
    stream, done = gzip.GzipFile(fileobj=raw), 0
    while data := stream.read1(CHUNK_BYTES):
        done += len(data)
        if done > most:
            raise gzip.BadGzipFile(f"it unpacks to more than {most:,} bytes, {_MOST_EXPANSION} times its size")
        yield data


def _recoded(stream: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Text of another encoding as UTF-8 bytes."""
    decoder = codecs.getincrementaldecoder(encoding)()
    while data := stream.read(CHUNK_BYTES):
        yield decoder.decode(data).encode("utf-8")
    yield decoder.decode(b"", final=True).encode("utf-8")


class _Chunks(io.RawIOBase):
    """A stream of the bytes that an iterator gives piece by piece."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks, self._left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._left = self._left or next(self._chunks, b"")
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
