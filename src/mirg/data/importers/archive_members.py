"""What is inside an archive, zip or tar, in one shape: members, and their bytes in pieces.

``mirg.data.importers.archives`` decides which members are unpacked, and into which files.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import mmap
import os
import re
import shlex
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

_CHUNK = 1 << 20  # bytes unpacked at a time
_TAIL = 65535 + 22  # the longest comment and the record before it
_ENTRY_BYTES = 46  # of the table of a zip, without names
_SPLIT = re.compile(r"(?P<whole>.*\.(?:zip|tar|tgz|gz|bz2|xz))\.(?P<number>\d{2,4})", re.IGNORECASE)
_TAR_BLOCK = 512
_TAR_HEADERS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
}  # fmt: skip
_TAR_HEADER_BYTES = 1 << 20  # of a long name, or of properties of a member; tarfile holds all of it in memory
_DAMAGE = (
    EOFError, zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, UnicodeDecodeError,
    ValueError, NotImplementedError,
)  # fmt: skip
_COPY_AGAIN = "copy or download it again"
_NO_FILE = "it is not a file (a device, pipe or socket)"


@dataclass(frozen=True)
class ArchiveLimits:
    """What one call may unpack: ``members`` of an archive, ``total_bytes`` of all, and how far they may expand.

    ``ratio`` is unpacked over packed bytes, of a member and of a whole archive. It counts from ``free_bytes`` unpacked
    bytes on, because a short file of blanks is not a bomb.
    """

    members: int = 1_000_000
    total_bytes: int = 1 << 40
    ratio: float = 100.0
    free_bytes: int = 1 << 20

    def room(self, packed: int) -> float:
        """Most bytes that ``packed`` bytes may unpack to."""
        return max(self.free_bytes, packed * self.ratio)


class _Bad(Exception):
    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class BadArchive(_Bad):
    """The archive as a whole is not unpacked."""


class BadMember(_Bad):
    """One member is not unpacked."""


class Member(NamedTuple):
    """One entry: ``number`` counts from 1, ``packed`` bytes if its format says so, ``problem`` if it is not a file."""

    number: int
    name: str
    folder: bool
    packed: int | None = None
    problem: str = ""


# Every member with its bytes, which are read before the next member, or not at all.
Members = Iterator[tuple[Member, Iterator[bytes]]]


def bomb(packed: int, limits: ArchiveLimits, what: str) -> tuple[str, str]:
    """The reason and the hint for ``packed`` bytes that expand too much."""
    return f"{packed:,} bytes unpack to more than {limits.ratio:g} times as many", f"{what} is a bomb"


@contextlib.contextmanager
def open_archive(path: Path, limits: ArchiveLimits) -> Iterator[Members]:
    """The members of the archive at ``path``, in their order.

    BadArchive if it is damaged, spanned, not an archive, or has too many members. Reading of a compressed tar stops as
    soon as it has expanded too much. The bytes of a member raise BadMember if only they are damaged.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise BadArchive(f"it cannot be read: {error.strerror or error}") from error
    try:
        with raw:
            _refuse_spanned(path, raw)
            raw.seek(0)
            head = raw.read(_TAR_BLOCK)
            raw.seek(0)
            if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
                _too_many(_count_entries(raw, limits.members), limits)
                with zipfile.ZipFile(raw) as opened:
                    yield _zip_members(opened)
                return
            packer = _packer(head)
            room: float = path.stat().st_size
            too_large = BadArchive("it is damaged: a member is larger than the whole", _COPY_AGAIN)
            stream: Any = raw
            if packer is None:
                _too_many(_count_blocks(raw, limits.members), limits)
            else:
                too_large = BadArchive(*bomb(path.stat().st_size, limits, "the archive"))
                room = limits.room(path.stat().st_size)
                stream = io.BufferedReader(_Gauge(packer(raw), raw, limits), 1 << 16)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Info) as tar:
                yield _tar_members(tar, limits, room, too_large)
    except tarfile.ReadError as error:
        known = "zip, tar, tar.gz, tar.bz2 and tar.xz are"
        reason = f"it is damaged, or no archive that can be unpacked ({error})"
        raise BadArchive(reason, f"{known}; {_COPY_AGAIN}") from error
    except _DAMAGE as error:
        raise BadArchive(f"it is damaged: {error}", _COPY_AGAIN) from error


def _packer(head: bytes) -> Any:
    """What unpacks a compressed tar; None for a plain one."""
    if head.startswith(b"\x1f\x8b"):
        return lambda raw: gzip.GzipFile(fileobj=raw)
    if head.startswith(b"BZh"):
        return bz2.BZ2File
    return lzma.LZMAFile if head.startswith(b"\xfd7zXZ\x00") else None


def _too_many(count: int, limits: ArchiveLimits) -> None:
    if count > limits.members:
        raise BadArchive(f"it has more than {limits.members:,} members", "pack it as several archives")


def _zip_members(opened: zipfile.ZipFile) -> Members:
    for number, info in enumerate(opened.infolist(), 1):
        kind = stat.S_IFMT(info.external_attr >> 16)
        problem = ""
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            problem = "it is a link" if kind == stat.S_IFLNK else _NO_FILE
        elif info.flag_bits & 0x1:
            problem = "it is encrypted"
        folder = info.is_dir() or kind == stat.S_IFDIR
        yield Member(number, info.orig_filename, folder, info.compress_size, problem), _zip_bytes(opened, info)


def _zip_bytes(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of one member; damage concerns only this member."""
    try:
        with opened.open(info) as stream:
            yield from iter(partial(stream.read, _CHUNK), b"")
    except (*_DAMAGE, RuntimeError, OSError) as error:
        raise BadMember(f"it is damaged: {error}", _COPY_AGAIN) from error


def _tar_members(tar: tarfile.TarFile, limits: ArchiveLimits, room: float, too_large: BadArchive) -> Members:
    """``room``: bytes of the largest member; ``too_large`` is raised for a larger one."""
    number = 0
    while (info := tar.next()) is not None:
        number += 1
        _too_many(number, limits)
        if not 0 <= info.size <= room:  # tarfile would continue to read after the end of the file
            raise too_large
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header it has seen
        is_link = info.issym() or info.islnk()
        problem = "it is a link" if is_link else "" if info.isreg() or info.isdir() else _NO_FILE
        yield Member(number, info.name, info.isdir(), None, problem), _tar_bytes(tar, info)


def _tar_bytes(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(info)
    if stream is not None:
        yield from iter(partial(stream.read, _CHUNK), b"")


class _Info(tarfile.TarInfo):
    """A header that is checked strictly: tarfile takes a broken one in the middle for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> tarfile.TarInfo:
        """As :meth:`tarfile.TarInfo.frombuf`; ReadError for all but a good header and the mark of the end."""
        try:
            info = super().frombuf(buf, encoding, errors)
            if info.type in _TAR_HEADERS and info.size > _TAR_HEADER_BYTES:
                raise tarfile.ReadError(f"a header has {info.size:,} bytes")
            return info
        except tarfile.HeaderError as error:
            if len(buf) == _TAR_BLOCK and not any(buf):
                raise
            raise tarfile.ReadError(f"{error}" if buf else "it was cut off: the mark of its end is missing") from error


class _Gauge(io.RawIOBase):
    """Unpacked bytes of a compressed tar, against the packed ones that were read for them."""

    def __init__(self, stream: Any, raw: BinaryIO, limits: ArchiveLimits) -> None:
        super().__init__()
        self._stream, self._raw, self._limits = stream, raw, limits
        self._out = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """As :class:`io.RawIOBase`; BadArchive as soon as the bytes are too many."""
        try:
            data = self._stream.read(len(buffer))
        except OSError as error:  # of the disk, and of bz2, which calls damage that
            raise BadArchive(f"it is damaged: {error}", _COPY_AGAIN) from error
        buffer[: len(data)] = data
        self._out += len(data)
        if self._out > self._limits.room(self._raw.tell()):
            raise BadArchive(*bomb(self._raw.tell(), self._limits, "the archive"))
        return len(data)


def _count_blocks(raw: BinaryIO, most: int) -> int:
    """Headers of a plain tar, at most ``most`` + 1: a fast look before the exact one. Ends where a size is unusual."""
    count = 0
    read, seek = raw.read, raw.seek
    try:
        while count <= most and len(head := read(_TAR_BLOCK)) == _TAR_BLOCK and head[0]:
            count += 1
            size = int(head[124:135].rstrip(b" \0") or b"0", 8)
            if size:
                seek(-(-size // _TAR_BLOCK) * _TAR_BLOCK, 1)
    except ValueError:
        count = 0  # base-256 sizes, or no tar: tarfile says which
    seek(0)
    return count


class _End(NamedTuple):
    """What the last record of a zip states: the part it is in, members, bytes of the table, and its first byte."""

    disk: int
    members: int
    length: int
    start: int


def _end(raw: BinaryIO) -> _End | None:
    """The last record of a zip; None if it is missing."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, size - _TAIL))
    tail = raw.read(_TAIL)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return None
    place = size - len(tail) + at
    disk, _, _, members, length = struct.unpack_from("<HHHHI", tail, at + 4)
    raw.seek(max(0, place - 20))
    locator = raw.read(20)
    if len(locator) == 20 and locator.startswith(b"PK\x06\x07"):
        # Written right before the locator unless the record was extended; files with a prefix shift its offset.
        raw.seek(place - 20 - 56)
        record = raw.read(56)
        if record.startswith(b"PK\x06\x06"):
            members, length = struct.unpack_from("<QQ", record, 32)
            place -= 20 + 56
    return _End(0 if disk == 0xFFFF else disk, members, length, place - length)


def _count_entries(raw: BinaryIO, most: int) -> int:
    """Entries of the table of a zip, counted one by one, at most ``most`` + 1; the file is left at its beginning.

    A stated number above ``most`` is believed, because refusing such a file loses nothing.
    """
    end = _end(raw)
    raw.seek(0)
    if end is None or end.start < 0:
        return 0  # zipfile says what is wrong
    if end.members > most:
        return end.members
    count, at = 0, end.start
    lengths = struct.Struct("<HHH").unpack_from
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        last = min(at + end.length, len(data))
        while count <= most and at + _ENTRY_BYTES <= last and data[at : at + 4] == b"PK\x01\x02":
            at += _ENTRY_BYTES + sum(lengths(data, at + 28))
            count += 1
    return count


def _refuse_spanned(path: Path, raw: BinaryIO) -> None:
    """BadArchive, with the command that joins the parts, if ``path`` is one part of several."""
    split = _SPLIT.fullmatch(path.name)
    if split:
        whole, first = shlex.quote(split["whole"]), "1".zfill(len(split["number"]))
        reason = f"it is one part of a file that was cut into {split['whole']}.{first}, …"
        raise BadArchive(reason, f"join the parts in their folder: cat {whole}.* > {whole}")
    number = re.fullmatch(r"\.z(\d\d+)", path.suffix, re.IGNORECASE)
    end = _end(raw) if path.suffix.lower() == ".zip" else None
    spanned = path.suffix.lower() == ".zip" and any(
        other.name.lower() == f"{path.stem.lower()}.z01" for other in path.parent.iterdir()
    )
    disks = end.disk if end else 0
    if not (number or spanned or disks):
        return
    last = path.with_suffix(".zip").name
    joined = shlex.quote(f"{path.stem}-joined.zip")
    missing = [name for k in range(1, disks + 1) if not path.with_suffix(name := f".z{k:02d}").exists()]
    lost = f"; missing: {', '.join(f'{path.stem}{name}' for name in missing)}" if missing else ""
    raise BadArchive(
        f"it is one part of a zip that spans several files ({path.stem}.z01, …, {last}){lost}",
        f"join the parts in their folder: zip -s 0 {shlex.quote(last)} --out {joined}",
    )
