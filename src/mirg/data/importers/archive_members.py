"""What is inside an archive, zip or tar, in one shape: members, and their bytes as streams.

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
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from mirg.errors import DataError

_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 46
_TAIL = 65535 + 22  # the longest comment and the record before it
_SPLIT = re.compile(r"(?P<whole>.*\.(?:zip|tar|tgz|gz|bz2|xz))\.(?P<number>\d{2,4})", re.IGNORECASE)


def count_members(raw: BinaryIO, most: int) -> int:
    """Entries of the table of a zip, counted one by one, at most ``most`` + 1; the file is left at its beginning.

    A stated number above ``most`` is believed, because refusing such a file loses nothing.
    """
    end = _end(raw)
    count = 0
    if end is not None:
        stated, length, start = end
        count = stated if stated > most else _count_table(raw, start, length, most)
    raw.seek(0)
    return count


def refuse_spanned(path: Path, raw: BinaryIO) -> None:
    """DataError, with the command that joins the parts, if ``path`` is one part of several."""
    split = _SPLIT.fullmatch(path.name)
    if split:
        whole, first = shlex.quote(split["whole"]), "1".zfill(len(split["number"]))
        raise DataError(
            f"{path}: it is one part of a file that was cut into {split['whole']}.{first}, …",
            hint=f"join the parts in their folder: cat {whole}.* > {whole}",
        )
    spanned = any(p.name.lower() == f"{path.stem.lower()}.z01" for p in path.parent.iterdir())
    number = re.fullmatch(r"\.z(\d\d+)", path.suffix, re.IGNORECASE)
    is_zip = path.suffix.lower() == ".zip"
    disks = _disks(raw) if is_zip else 0
    if not number and not (is_zip and (spanned or disks)):
        return
    last = path.with_suffix(".zip").name
    joined = shlex.quote(f"{path.stem}-joined.zip")
    missing = [name for k in range(1, disks + 1) if not path.with_suffix(name := f".z{k:02d}").exists()]
    lost = f"; missing: {', '.join(f'{path.stem}{name}' for name in missing)}" if missing else ""
    raise DataError(
        f"{path}: it is one part of a zip that spans several files ({path.stem}.z01, …, {last}){lost}",
        hint=f"join the parts in their folder: zip -s 0 {shlex.quote(last)} --out {joined}",
    )


def _disks(raw: BinaryIO) -> int:
    """Number of the part that a zip's last record says it is in, 0 if there is only one."""
    tail, at = _tail(raw)
    raw.seek(0)
    number = struct.unpack_from("<H", tail, at + 4)[0] if at >= 0 else 0
    return 0 if number == 0xFFFF else number


def _tail(raw: BinaryIO) -> tuple[bytes, int]:
    """The last bytes of the file, and where in them the last record begins (-1: it is missing)."""
    length = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, length - _TAIL))
    tail = raw.read(_TAIL)
    at = tail.rfind(_END)
    return tail, at if at >= 0 and at + 22 <= len(tail) else -1


def _end(raw: BinaryIO) -> tuple[int, int, int] | None:
    """(members, bytes of the table, its first byte) as the last record states them; None if it is missing."""
    tail, at = _tail(raw)
    if at < 0:
        return None
    place = raw.seek(0, os.SEEK_END) - len(tail) + at
    stated, length = struct.unpack_from("<HI", tail, at + 10)
    raw.seek(max(0, place - 20))
    locator = raw.read(20)
    if len(locator) == 20 and locator.startswith(_LOCATOR_64):
        # Written right before the locator unless the record was extended; files with a prefix shift its offset.
        raw.seek(place - 20 - 56)
        record = raw.read(56)
        if record.startswith(_END_64):
            stated, length = struct.unpack_from("<QQ", record, 32)
            place -= 20 + 56
    return stated, length, place - length


def _count_table(raw: BinaryIO, start: int, length: int, most: int) -> int:
    if start < 0:
        return 0  # zipfile says what is wrong
    count = 0
    lengths = struct.Struct("<HHH").unpack_from
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        end = min(start + length, len(data))
        while count <= most and start + _ENTRY_BYTES <= end and data[start : start + 4] == _ENTRY:
            start += _ENTRY_BYTES + sum(lengths(data, start + 28))
            count += 1
    return count


_TAR_BLOCK = 512
_TAR_HEADERS = {
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE
}  # fmt: skip
_TAR_HEADER_BYTES = 1 << 20  # of a long name, or of properties of a member; tarfile holds all of it in memory
_DAMAGE = (
    EOFError, zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, UnicodeDecodeError,
    ValueError,
)  # fmt: skip
_COPY_AGAIN = "copy or download it again"


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


class Bytes(Protocol):
    """What comes out of a member, in pieces."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""
        ...


class Archive(Protocol):
    """An open archive; each method may be used once, and not both."""

    def members(self) -> Iterator[Member]:
        """All members, in their order. BadArchive if there are too many."""
        ...

    def streams(self, wanted: Collection[int]) -> Iterator[tuple[Member, Bytes]]:
        """The members of these numbers; each is read before the iterator continues.

        A stream raises BadMember if its bytes are damaged, but those of others may be intact.
        """
        ...


@contextlib.contextmanager
def open_archive(path: Path, most: int, ratio: float, free_bytes: int) -> Iterator[Archive]:
    """The archive at ``path``, of at most ``most`` members. BadArchive if it is damaged, spanned, or not an archive.

    Reading of a compressed tar stops as soon as it has expanded more than ``ratio`` times, beyond ``free_bytes``.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise BadArchive(f"it cannot be read: {error.strerror or error}") from error
    try:
        with raw:
            refuse_spanned(path, raw)
            head = raw.read(_TAR_BLOCK)
            raw.seek(0)
            if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
                _too_many(count_members(raw, most), most)
                with zipfile.ZipFile(raw) as opened:
                    yield _Zip(opened)
                return
            packer = _packer(head)
            room = path.stat().st_size
            too_large = BadArchive("it is damaged: a member is larger than the whole", _COPY_AGAIN)
            if packer is None:
                _too_many(_count_blocks(raw, most), most)
                stream: BinaryIO = raw
            else:
                too_large = _bomb(room, ratio)
                room = max(free_bytes, int(room * ratio))
                stream = io.BufferedReader(_Gauge(packer(raw), raw, ratio, free_bytes), 1 << 16)  # type: ignore[arg-type]
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Info) as tar:
                yield _Tar(tar, most, room, too_large)
    except DataError as error:
        raise BadArchive(error.message.removeprefix(f"{path}: "), error.hint) from error
    except tarfile.ReadError as error:
        known = "zip, tar, tar.gz, tar.bz2 and tar.xz are"
        raise BadArchive(
            f"it is damaged, or no archive that can be unpacked ({error})", f"{known}; {_COPY_AGAIN}"
        ) from error
    except _DAMAGE as error:
        raise BadArchive(f"it is damaged: {error}", _COPY_AGAIN) from error


def _packer(head: bytes) -> Any:
    """What unpacks a compressed tar; None for a plain one."""
    if head.startswith(b"\x1f\x8b"):
        return lambda raw: gzip.GzipFile(fileobj=raw)
    if head.startswith(b"BZh"):
        return bz2.BZ2File
    return lzma.LZMAFile if head.startswith(b"\xfd7zXZ\x00") else None


def _too_many(count: int, most: int) -> None:
    if count > most:
        raise BadArchive(f"it has more than {most:,} members", "pack it as several archives")


def _bomb(packed: int, ratio: float) -> BadArchive:
    return BadArchive(f"{packed:,} bytes unpack to more than {ratio:g} times as many", "the archive is a bomb")


class _Zip:
    def __init__(self, opened: zipfile.ZipFile) -> None:
        self._opened = opened

    def members(self) -> Iterator[Member]:
        for number, info in enumerate(self._opened.infolist(), 1):
            yield self._member(number, info)

    def streams(self, wanted: Collection[int]) -> Iterator[tuple[Member, Bytes]]:
        for number, info in enumerate(self._opened.infolist(), 1):
            if number in wanted:
                with contextlib.closing(_ZipStream(self._opened, info)) as stream:
                    yield self._member(number, info), stream

    def _member(self, number: int, info: zipfile.ZipInfo) -> Member:
        kind = stat.S_IFMT(info.external_attr >> 16)
        problem = ""
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            problem = "it is a link" if kind == stat.S_IFLNK else "it is not a file (a device, pipe or socket)"
        elif info.flag_bits & 0x1:
            problem = "it is encrypted"
        return Member(number, info.orig_filename, info.is_dir() or kind == stat.S_IFDIR, info.compress_size, problem)


class _ZipStream:
    """The bytes of one member; damage concerns only this member."""

    def __init__(self, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        self._opened, self._info = opened, info
        self._stream: Any = None

    def read(self, size: int, /) -> bytes:
        try:
            if self._stream is None:
                self._stream = self._opened.open(self._info)
            return self._stream.read(size)
        except (*_DAMAGE, NotImplementedError, RuntimeError, OSError) as error:
            raise BadMember(f"it is damaged: {error}", _COPY_AGAIN) from error

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Tar:
    def __init__(self, tar: tarfile.TarFile, most: int, room: int, too_large: BadArchive) -> None:
        """``room``: bytes of the largest member; ``too_large`` is raised for a larger one."""
        self._tar, self._most, self._room, self._too_large = tar, most, room, too_large

    def members(self) -> Iterator[Member]:
        return (member for member, _ in self._infos())

    def streams(self, wanted: Collection[int]) -> Iterator[tuple[Member, Bytes]]:
        for member, info in self._infos():
            if member.number in wanted:
                stream = self._tar.extractfile(info)
                if stream is not None:
                    yield member, stream

    def _infos(self) -> Iterator[tuple[Member, tarfile.TarInfo]]:
        number = 0
        while (info := self._tar.next()) is not None:
            number += 1
            _too_many(number, self._most)
            if not 0 <= info.size <= self._room:  # tarfile would continue to read after the end of the file
                raise self._too_large
            kept: Any = self._tar
            kept.members = []  # tarfile keeps every header it has seen
            problem = ""
            if info.issym() or info.islnk():
                problem = "it is a link"
            elif not (info.isreg() or info.isdir()):
                problem = "it is not a file (a device, pipe or socket)"
            yield Member(number, info.name, info.isdir(), None, problem), info


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

    def __init__(self, stream: Any, raw: BinaryIO, ratio: float, free_bytes: int) -> None:
        super().__init__()
        self._stream, self._raw, self._ratio, self._free = stream, raw, ratio, free_bytes
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
        if self._out > self._free and self._out > self._raw.tell() * self._ratio:
            raise _bomb(self._raw.tell(), self._ratio)
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
