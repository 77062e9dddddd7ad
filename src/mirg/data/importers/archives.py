"""Unpacking of archives from unknown sources: every member is checked before a byte is written.

Refused are names that leave the folder (``..``, absolute, drives), links, devices, names that differ only in case, and
archives that expand more than real data does. Headers are not trusted: the bytes that are unpacked are counted.
``mirg.data.importers.archive_members`` reads the formats.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mirg.data.importers.archive_members import ArchiveLimits, BadArchive, BadMember, Member, bomb, open_archive
from mirg.errors import DataError
from mirg.samples import REJECTED_FILE, Rejection
from mirg.samples.roots import resolve_inside
from mirg.storage import atomic_folder, write_jsonl_atomic

_NAME_BYTES = 255  # of one folder or file name: what file systems take
_PATH_BYTES = 1024  # of a whole path: the least that systems allow
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass
class UnpackReport:
    """What was written: ``members`` = ``files`` + ``folders`` + refused ones."""

    out: Path
    members: int = 0
    files: int = 0
    folders: int = 0
    bytes: int = 0
    rejected: list[Rejection] = field(default_factory=list)


def unpack(
    archives: Sequence[str | Path],
    out: str | Path,
    *,
    keep_good: bool = False,
    strip_absolute: bool = False,
    overwrite: bool = False,
    limits: ArchiveLimits | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> UnpackReport:
    """Unpack zip and tar archives (tar also with gzip, bzip2, xz) into the folder ``out``, which appears whole.

    The first bad member ends it with a DataError that names archive, member and remedy, and ``out`` is not touched.
    With ``keep_good`` bad members are left out and listed in ``out/rejected.jsonl``; an archive that is damaged, is one
    part of several, or breaks a limit as a whole is refused even then. ``strip_absolute`` turns ``/data/a.jpg`` and
    ``C:\\data\\a.jpg`` into ``data/a.jpg``. StorageError if ``out`` exists or cannot be written.
    """
    report = UnpackReport(Path(out))
    limits = limits or ArchiveLimits()
    with atomic_folder(out, overwrite=overwrite) as work:
        names = _Names(strip_absolute)
        for archive in archives:
            _Unpacking(Path(archive), work.resolve(), names, limits, report, keep_good, on_progress).run()
        if report.rejected:
            write_jsonl_atomic(work / REJECTED_FILE, (row.model_dump() for row in report.rejected))
    return report


class _Names:
    """The names written so far: one file system must hold them all, also one that ignores case."""

    def __init__(self, strip_absolute: bool) -> None:
        self.strip_absolute = strip_absolute
        self._spelling: dict[str, str] = {REJECTED_FILE: REJECTED_FILE}
        self._files: set[str] = {REJECTED_FILE}

    def relative(self, member: Member) -> str:
        """Where a member goes, relative to the folder; "" for the folder itself. BadMember if it has no such place."""
        name = member.name.replace("\\", "/")
        if _CONTROL.search(name):
            raise BadMember("its name holds control characters")
        drive = _DRIVE.match(name)
        if name.startswith("/") or drive:
            if not self.strip_absolute:
                raise BadMember("its path is absolute", "--strip-absolute unpacks it as a relative one")
            name = (name[2:] if drive else name).lstrip("/")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise BadMember("its path leads out of the folder (..)", "the archive is hostile or broken")
        try:
            lengths = [len(part.encode()) for part in parts]
        except UnicodeEncodeError as error:
            raise BadMember("its name is no UTF-8") from error
        if max(lengths, default=0) > _NAME_BYTES or sum(lengths) + len(lengths) > _PATH_BYTES:
            raise BadMember(f"its name is too long: {_NAME_BYTES} bytes a part and {_PATH_BYTES} in all are allowed")
        if not parts and not member.folder:
            raise BadMember("it has no name")
        return "/".join(parts)

    def claim(self, name: str, *, folder: bool) -> None:
        """Take ``name`` and the folders on its way. BadMember if another member has taken one of them."""
        parts = name.split("/")
        prefixes = ["/".join(parts[:k]) for k in range(1, len(parts) + 1)] if name else []
        folded = [unicodedata.normalize("NFC", prefix).casefold() for prefix in prefixes]
        for prefix, key in zip(prefixes, folded, strict=True):
            is_folder = folder or prefix != name
            taken = self._spelling.get(key)
            if taken is not None and (taken != prefix or not is_folder or key in self._files):
                what = "is there twice" if taken == prefix else f"differs from {taken} only in case"
                if taken == prefix and is_folder == (key in self._files):
                    what = "is a file and a folder"
                raise BadMember(f"the name {prefix} {what}", "unpack it into another folder")
        for prefix, key in zip(prefixes, folded, strict=True):
            self._spelling.setdefault(key, prefix)
        if not folder:
            self._files.add(folded[-1])


@dataclass
class _Unpacking:
    archive: Path
    work: Path
    names: _Names
    limits: ArchiveLimits
    report: UnpackReport
    keep_good: bool
    on_progress: Callable[[int], None] | None
    _unpacked: int = 0
    _folders: dict[str, Path] = field(default_factory=dict)

    def run(self) -> None:
        places: dict[int, str] = {}
        try:
            with open_archive(self.archive, self.limits) as members:
                for member, _ in members:
                    self.report.members += 1
                    try:
                        if member.problem:
                            raise BadMember(member.problem)
                        place = self.names.relative(member)
                        self.names.claim(place, folder=member.folder)
                    except BadMember as bad:
                        self._reject(member, bad)
                        continue
                    if member.folder:
                        self._folder(place)
                        self.report.folders += 1
                    else:
                        places[member.number] = place
            with open_archive(self.archive, self.limits) as members:
                for member, pieces in members:
                    if member.number in places:
                        try:
                            self._write(member, pieces, places[member.number])
                        except BadMember as bad:
                            self._reject(member, bad)
        except BadArchive as error:
            raise DataError(f"{self.archive}: {error.reason}", hint=error.hint) from error

    def _write(self, member: Member, pieces: Iterator[bytes], place: str) -> None:
        target = self._folder(posixpath.dirname(place)) / posixpath.basename(place)
        written = 0
        # Exclusive, so that nothing there is ever followed or replaced.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for data in pieces:
                    written += len(data)
                    self._count(len(data), member, written)
                    file.write(data)
        except BadMember:
            target.unlink()
            raise
        self.report.files += 1
        self.report.bytes += written
        if self.on_progress:
            self.on_progress(self.report.files)

    def _folder(self, name: str) -> Path:
        """A folder below ``work``, created if it is missing."""
        if name not in self._folders:
            folder = resolve_inside(self.work, name) if name else self.work
            folder.mkdir(parents=True, exist_ok=True)
            self._folders[name] = folder
        return self._folders[name]

    def _count(self, more: int, member: Member, written: int) -> None:
        self._unpacked += more
        if self.report.bytes + written > self.limits.total_bytes:
            reason = f"it unpacks to more than {self.limits.total_bytes:,} bytes"
            raise BadArchive(reason, "unpack its parts one by one")
        packed = self.archive.stat().st_size
        if self._unpacked > self.limits.room(packed):
            raise BadArchive(*bomb(packed, self.limits, "the archive"))
        if member.packed is not None and written > self.limits.room(member.packed):
            raise BadMember(*bomb(member.packed, self.limits, "it"))

    def _reject(self, member: Member, bad: BadMember) -> None:
        if not self.keep_good:
            hint = "; ".join(part for part in (bad.hint, "--keep-good leaves bad members out") if part)
            raise BadArchive(f"member {member.number} ({member.name[:200]!r}): {bad.reason}", hint)
        # What UTF-8 cannot write of the name is spelled out.
        name = member.name[:200].encode("utf-8", "backslashreplace").decode()
        self.report.rejected.append(
            Rejection(
                file=self.archive.name, row=member.number, id=None, field=name, reason=bad.reason, hint=bad.hint
            )
        )  # fmt: skip
