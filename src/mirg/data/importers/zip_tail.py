"""The end of a zip file, where its table of members is: how many there are, and whether it is one part of several."""

from __future__ import annotations

import os
import re
import shlex
import struct
from pathlib import Path
from typing import BinaryIO

from mirg.errors import DataError

_END = b"PK\x05\x06"
_END_64 = b"PK\x06\x06"
_LOCATOR_64 = b"PK\x06\x07"
_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 46
_TAIL = 65535 + 22  # the longest comment and the record before it
_CHUNK = 1 << 20
_SPLIT = re.compile(r"(?P<whole>.*\.(?:zip|tar|tgz|gz|bz2|xz))\.(?P<number>\d{2,4})", re.IGNORECASE)


def count_members(raw: BinaryIO, most: int) -> int:
    """Entries of the table of a zip, counted one by one, at most ``most`` + 1; the file is left at its beginning.

    The number that the file states is believed where it is too large: nothing is lost by refusing it.
    """
    end = _end(raw)
    count = 0
    if end is not None:
        stated, length, start = end
        count = stated if stated > most else _count_table(raw, start, length, most)
    raw.seek(0)
    return count


def refuse_spanned(path: Path, raw: BinaryIO) -> None:
    """DataError, with the command that joins the parts, where ``path`` is one part of several."""
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
    """Number of the part that a zip's last record says it is in, 0 where there is only one."""
    tail, at = _tail(raw)
    raw.seek(0)
    number = struct.unpack_from("<H", tail, at + 4)[0] if at >= 0 else 0
    return 0 if number == 0xFFFF else number


def _tail(raw: BinaryIO) -> tuple[bytes, int]:
    """The last bytes of the file, and where in them the last record begins (-1: nowhere)."""
    length = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, length - _TAIL))
    tail = raw.read(_TAIL)
    at = tail.rfind(_END)
    return tail, at if at >= 0 and at + 22 <= len(tail) else -1


def _end(raw: BinaryIO) -> tuple[int, int, int] | None:
    """(members, bytes of the table, its first byte) as the last record states them; None where there is none."""
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
    raw.seek(start)
    count, at, left = 0, 0, length
    window = b""
    lengths = struct.Struct("<HHH").unpack_from
    while count <= most:
        if len(window) - at < _ENTRY_BYTES:
            data = raw.read(min(_CHUNK, left))
            left -= len(data)
            window, at = window[at:] + data, 0
            if len(window) < _ENTRY_BYTES:
                break
        if window[at : at + 4] != _ENTRY:
            break
        name, extra, comment = lengths(window, at + 28)
        step = _ENTRY_BYTES + name + extra + comment
        if step > len(window) - at:
            data = raw.read(min(max(_CHUNK, step), left))
            left -= len(data)
            window, at = window[at:] + data, 0
        at += step
        count += 1
    return count
