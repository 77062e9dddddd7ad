"""A look through the container of an image file before a decoder reads it: is its metadata of a usual size?

Pillow reads metadata (EXIF tags, comments, chunks, headers of PPM files) and a few rare codings in Python. The cost of
that does not follow from the size of the file or of the picture: 40 kB whose tags all point to the same data take
gigabytes. :func:`refusal` steps through the same pieces without copying or decoding them, so it costs about as much as
it counts, and it stops counting at limits that files of cameras and of editors stay far below.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import BinaryIO

# Pieces (segments, chunks, blocks, tags) that Pillow handles one at a time in Python, in one file.
MAX_PIECES = 2_000
# The pixels of a PNG and the frames of a WebP come in pieces, too; they count if they are smaller than this on average.
PIECE_BYTES = 1_024
# Bytes between the pieces of a JPEG or GIF, which Pillow passes over one at a time.
MAX_JUNK = 65_536
# Numbers in the tags of a TIFF or an EXIF block: each becomes a Python object. A TIFF has two for each of its strips.
MAX_NUMBERS = 100_000
# Bytes of all values of the tags together. More than the file has means that tags share their data.
MAX_VALUES = 32 * 2**20
_SHARED = 65_536
_RATIONAL_COST = 10  # a fraction costs as much as ten plain numbers
# Segments of a JPEG whose EXIF data Pillow joins, copying all of it for each.
MAX_EXIF_SEGMENTS = 64
_COMPRESSED_COST = 100  # pieces that a compressed text of a PNG counts for: it inflates up to 1 MB
_TEXT_PAGE = 4_096  # bytes of text in a PNG that count for one piece
# Bytes of a file whose pixels Pillow decodes in Python: text PPM, PPM with unusual maximum, run-length-coded BMP.
MAX_SLOW_BYTES = 256 * 2**10
_HEADER = 4_096  # bytes within which the header of a PPM, its comments included, must end

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")
# Tag type -> bytes of one value; those that Pillow turns into numbers.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_NUMBERS = frozenset(_TYPE_BYTES) - {1, 2, 7}
_RATIONALS = frozenset({5, 10})
# The EXIF, GPS and interoperability tags of a directory point to further directories.
_SUB_DIRECTORIES = frozenset({0x8769, 0x8825, 0xA005})
_NO_LENGTH = frozenset({0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})  # JPEG markers without a segment
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xDE}) - {0xC4, 0xC8, 0xCC}  # JPEG segments with a list of colour components
_PNG_PIXELS = frozenset({b"IDAT", b"fdAT", b"fcTL"})
_PROFILE = b"Raw profile type exif\0"  # ImageMagick writes EXIF data of a PNG as hexadecimal text
_SLOW_PPM = frozenset({b"P1", b"P2", b"P3"})


class _Unusual(Exception):
    """A limit is exceeded; the message is the result of :func:`refusal`."""


class _Count:
    """Counts the pieces and bytes of metadata in one file of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pieces = self.junk = self.numbers = self.values = 0

    def piece(self, cost: int = 1) -> None:
        """Count one piece, or one that costs as much as several."""
        self.pieces += cost
        if self.pieces > MAX_PIECES:
            raise _Unusual(f"its metadata has more than {MAX_PIECES:,} pieces")

    def skipped(self) -> None:
        """Count one byte that belongs to no piece."""
        self.junk += 1
        if self.junk > MAX_JUNK:
            raise _Unusual(f"it has more than {MAX_JUNK:,} bytes between its parts")

    def value(self, kind: int, count: int, size: int) -> None:
        """The value of one tag: ``count`` of TIFF's type ``kind``, ``size`` bytes."""
        self.values += size
        if self.values > min(self.size + _SHARED, MAX_VALUES):
            raise _Unusual(f"the values of its tags have {self.values:,} bytes or more")
        if kind in _NUMBERS:
            self.numbers += count * (_RATIONAL_COST if kind in _RATIONALS else 1)
        if self.numbers > MAX_NUMBERS:
            raise _Unusual(f"its tags have more than {MAX_NUMBERS:,} numbers")


def refusal(stream: BinaryIO, size: int) -> str:
    """Why the metadata of an image file of ``size`` bytes must not be read, or "" if it is of a usual size.

    ``stream`` is the seekable file; its position afterwards is anywhere. Files that are no image or are damaged give
    "": the decoder says what is wrong with them. At most about a hundred thousand bytes are read one by one.
    """
    stream.seek(0)
    first = stream.read(32)
    count = _Count(size)
    try:
        if first.startswith(b"\xff\xd8\xff"):
            _jpeg(stream, count)
        elif first.startswith(b"\x89PNG\r\n\x1a\n"):
            _png(stream, count)
        elif first.startswith((b"GIF87a", b"GIF89a")):
            _gif(stream, count)
        elif first.startswith(b"RIFF") and first[8:12] == b"WEBP":
            _webp(stream, count)
        elif first.startswith(_TIFF_STARTS):
            _tiff(stream, size, count)
        elif first.startswith(b"BM") and first[30:31] in {b"\1", b"\2"}:
            _slow("a BMP with run-length coding", count)
        elif first.startswith(b"P"):
            _ppm(stream, count)
    except _Unusual as found:
        return str(found)
    return ""


def _jpeg(stream: BinaryIO, count: _Count) -> None:
    exif: list[bytes] = []
    pictures = b""  # the index of a file with several pictures has the form of a TIFF, too
    stream.seek(2)
    while byte := stream.read(1):
        if byte != b"\xff":
            count.skipped()
            continue
        while (code := stream.read(1)) == b"\xff":
            count.skipped()
        if not code or code == b"\xda" or 0 < code[0] < 0xC0:
            break
        marker = code[0]
        count.piece()
        if marker in _NO_LENGTH:
            continue
        length = max(0, int.from_bytes(stream.read(2), "big") - 2)
        data = stream.read(length)
        if marker in _FRAMES:
            count.piece(length // 3)
        elif marker == 0xE1 and data.startswith(b"Exif\0\0"):
            exif.append(data[6:])
            if len(exif) > MAX_EXIF_SEGMENTS:
                raise _Unusual(f"it has more than {MAX_EXIF_SEGMENTS} EXIF segments")
        elif marker == 0xE2 and data.startswith(b"MPF\0"):
            pictures = data[4:]
        elif marker == 0xED:
            count.piece(data.count(b"8BIM"))
    _exif(b"".join(exif), count)
    _tiff(io.BytesIO(pictures), len(pictures), count)


def _png(stream: BinaryIO, count: _Count) -> None:
    small = -count.size // PIECE_BYTES  # pieces of pixel data beyond those that a file of this size may have
    seen: set[bytes] = set()
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND" or (kind == b"fcTL" and {b"acTL", b"IDAT"} <= seen):
            return  # only the first picture of an animation is read
        seen.add(kind)
        start = stream.tell()
        small += kind in _PNG_PIXELS
        count.piece(kind not in _PNG_PIXELS or small > 0)
        if kind == b"eXIf":
            _exif(stream.read(length), count)
        elif kind in {b"tEXt", b"zTXt", b"iTXt"}:
            count.piece(length // _TEXT_PAGE + (0 if kind == b"tEXt" else _COMPRESSED_COST))
            stream.seek(start)
            if stream.read(len(_PROFILE)) == _PROFILE:
                _exif(_profile(kind, stream.read(max(0, length - len(_PROFILE)))), count)
        stream.seek(start + length + 4)


def _profile(kind: bytes, rest: bytes) -> bytes:
    """The EXIF data of a text chunk of a PNG, from the bytes after its key; b"" if it holds no EXIF data."""
    if kind == b"iTXt":
        packed = rest[:1] == b"\1"
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed, rest = kind == b"zTXt", rest[1:] if kind == b"zTXt" else rest
    try:
        text = zlib.decompressobj().decompress(rest, 2**20) if packed else rest
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except (zlib.error, ValueError):
        return b""


def _gif(stream: BinaryIO, count: _Count) -> None:
    stream.seek(0)
    head = stream.read(13)
    if len(head) < 13:
        return
    if head[10] & 128:
        stream.seek(3 << ((head[10] & 7) + 1), 1)
    while (mark := stream.read(1)) not in {b"", b",", b";"}:
        if mark != b"!":
            count.skipped()
            continue
        stream.seek(1, 1)
        count.piece()
        while (block := stream.read(1)) not in {b"", b"\0"}:
            count.piece()
            stream.seek(block[0], 1)


def _webp(stream: BinaryIO, count: _Count) -> None:
    small = -count.size // PIECE_BYTES
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        length = int.from_bytes(head[4:], "little")
        start = stream.tell()
        small += 1
        count.piece(small > 0)
        if head.startswith(b"EXIF"):
            _exif(stream.read(length), count)
        stream.seek(start + length + (length & 1))


def _exif(data: bytes, count: _Count) -> None:
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    _tiff(io.BytesIO(data), len(data), count)


def _tiff(stream: BinaryIO, size: int, count: _Count) -> None:
    """The first directory of a TIFF or an EXIF block and those that it points to for EXIF, GPS and interoperability."""

    def read(offset: int, length: int) -> bytes:
        stream.seek(min(offset, size))
        return stream.read(length)

    head = read(0, 16)
    if not head.startswith(_TIFF_STARTS) or len(head) < 8:
        return
    order, big = ("<" if head.startswith(b"II") else ">"), head[2] == 43
    word = order + ("Q" if big else "L")
    entry, inline = struct.Struct(order + ("HHQ8s" if big else "HHL4s")), 8 if big else 4
    pending = [struct.unpack(word, head[8:16] if big else head[4:8])[0]] if len(head) == 16 or not big else []
    known: set[int] = set()
    while pending:
        start = pending.pop()
        if start in known:
            continue
        known.add(start)
        prefix = read(start, 8 if big else 2)
        if len(prefix) < (8 if big else 2):
            continue
        tags = struct.unpack(order + ("Q" if big else "H"), prefix)[0]
        rows = read(start + len(prefix), min(tags, MAX_PIECES + 1) * entry.size)
        for at in range(0, len(rows) - entry.size + 1, entry.size):
            tag, kind, number, value = entry.unpack_from(rows, at)
            count.piece()
            unit = _TYPE_BYTES.get(kind)
            if unit is None:
                continue
            if number * unit > inline:
                offset = struct.unpack(word, value)[0]
                if offset + number * unit > size:
                    break  # Pillow reads no further
                value = read(offset, unit)
            count.value(kind, number, number * unit)
            if tag in _SUB_DIRECTORIES and number:
                pending.append(int.from_bytes(value[:unit], "little" if order == "<" else "big"))


def _ppm(stream: BinaryIO, count: _Count) -> None:
    stream.seek(0)
    start = stream.read(_HEADER)
    words = re.sub(rb"#[^\r\n]*[\r\n]?", b"", start).split(None, 4)
    needed = 3 if words[0] in {b"P1", b"P4"} else 4
    if count.size > _HEADER and len(words) <= needed:
        raise _Unusual(f"its header is longer than {_HEADER:,} bytes")
    if words[0] in _SLOW_PPM:
        _slow("a PPM with its pixels as text", count)
    usual = {b"P5": {b"255", b"65535"}, b"P6": {b"255"}}.get(words[0])
    if usual and len(words) > 3 and words[3] not in usual:
        _slow(f"a PPM with the maximum {words[3][:8].decode('ascii', 'replace')}", count)


def _slow(what: str, count: _Count) -> None:
    if count.size > MAX_SLOW_BYTES:
        raise _Unusual(f"it is {what}, of which {MAX_SLOW_BYTES:,} bytes are allowed")
