"""Files that are whole or absent: atomic writes, append-only journals, digests.

A reader never sees half a file: data goes to a temporary sibling, is flushed to the disk, and is renamed over the
target. A journal (JSON lines) grows by whole lines; a process killed while appending leaves at most one torn last
line, which readers report and the next writer cuts off.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mirg.errors import StorageError
from mirg.locks import lock, lock_file
from mirg.text_files import BOM, DAMAGE, open_utf8, read_text

CHUNK_BYTES = 1 << 20
SEAL_FILE = "mirg_manifest.json"
_HASHERS = 4  # files hashed at a time: SHA-256 of a large model takes longer than reading it


@dataclass(frozen=True)
class BadLine:
    """A line of a JSON-lines file without a JSON value; ``torn`` if it is an unfinished last line."""

    reason: str
    text: str
    torn: bool = False


def write_atomic(path: str | Path, data: bytes | str) -> Path:
    """Write ``data`` (text as UTF-8) so that ``path`` holds either its old content or all of the new.

    Parent folders are created. StorageError if the file cannot be written; the old content is then intact.
    """
    path = Path(path)
    with _refusals("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data.encode("utf-8") if isinstance(data, str) else data)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(_default_mode())
            Path(name).replace(path)
            _sync_folder(path.parent)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return path


def write_json_atomic(path: str | Path, value: object, *, indent: int | None = 2) -> Path:
    """Write ``value`` as JSON, atomically. NaN and infinity are refused (ValueError): other readers reject them."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def write_jsonl_atomic(path: str | Path, values: Iterable[object]) -> Path:
    """Write one JSON value per line, atomically; lone surrogates and NaN are treated as by :class:`Journal`."""
    return write_atomic(path, b"".join(map(_json_line, values)))


def read_json(path: str | Path) -> object:
    """The JSON value in ``path`` (:mod:`mirg.text_files`); StorageError if the file is missing or is not JSON."""
    try:
        with _refusals("read", path):
            return json.loads(read_text(path))
    except (*DAMAGE, ValueError, RecursionError) as error:
        what = "damaged" if isinstance(error, gzip.BadGzipFile) else "not JSON"
        raise StorageError(f"{path} is {what}: {error}") from error


def read_jsonl(path: str | Path) -> Iterator[tuple[int, object | BadLine]]:
    """Stream ``(line number from 1, value)`` of a JSON-lines file; a line that is not JSON is given as a BadLine.

    Blank lines are skipped. Memory use is one line. Raises StorageError if the file cannot be read.
    """
    return ((number, parse_line(line)) for number, line in read_lines(path))


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines of :func:`read_jsonl` before they are parsed, as UTF-8."""
    try:
        with _refusals("read", path), open_utf8(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except DAMAGE as error:
        raise StorageError(f"{path} is damaged: {error}", hint="copy or download it again") from error


def append_line(path: str | Path, value: object) -> None:
    """Append one JSON value as one line and flush it to the disk; for many lines use :class:`Journal`."""
    with Journal(path) as journal:
        journal.append(value)


class Journal:
    """An append-only JSON-lines file that survives a kill: whole lines only, a torn tail is cut when it is opened.

    ``sync=True`` waits for the disk after every line; without it a power cut (not a kill) may lose the last lines.
    """

    def __init__(self, path: str | Path, *, sync: bool = False) -> None:
        self.path = Path(path)
        self.sync = sync
        with _refusals("append to", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_tail(self.path)
            self._stream: BinaryIO = self.path.open("ab", buffering=0)

    def append(self, value: object) -> None:
        """Add one line. StorageError if it cannot be written; a part that was written is removed."""
        line = _json_line(value)
        start = self._stream.seek(0, os.SEEK_END)
        with _refusals("append to", self.path):
            try:
                written = 0
                while written < len(line):
                    written += self._stream.write(line[written:]) or 0
                if self.sync:
                    os.fsync(self._stream.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    self._stream.truncate(start)
                raise

    def close(self) -> None:
        """Flush to the disk and close; calling it again does nothing. StorageError if the system refuses."""
        if not self._stream.closed:
            with _refusals("append to", self.path), self._stream:
                os.fsync(self._stream.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def digest_bytes(data: bytes) -> str:
    """SHA-256 of ``data``, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file's content, which is read in chunks; StorageError if it cannot be read."""
    with _refusals("read", path), Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_manifest(path: str | Path, *, ignore: frozenset[str] = frozenset()) -> dict[str, str]:
    """``{relative name: SHA-256}`` of every file below ``path``, sorted by name; StorageError if it is not a folder."""
    root = Path(path)
    if not root.is_dir():
        raise StorageError(f"{root} is not a folder")
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    names = sorted(found - ignore)
    return dict(zip(names, _digests([root / name for name in names]), strict=True))


def manifest_problems(path: str | Path, manifest: dict[str, str]) -> list[str]:
    """The missing and the changed files of a manifest; files that are not in it are ignored."""
    root = Path(path)
    there = [name for name in manifest if (root / name).is_file()]
    found = dict(zip(there, _digests([root / name for name in there]), strict=True))
    return [
        f"{name} is {'damaged' if name in found else 'missing'}"
        for name, digest in manifest.items()
        if found.get(name) != digest
    ]


def _digests(files: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(_HASHERS) as pool:
        return list(pool.map(digest_file, files))


def seal_folder(folder: Path, *, ignore: frozenset[str] = frozenset()) -> None:
    """Write the manifest of the files of ``folder`` into it, which marks it as complete and makes damage detectable.

    ``ignore`` names files, relative to ``folder``, that may change.
    """
    write_json_atomic(folder / SEAL_FILE, folder_manifest(folder, ignore=ignore | {SEAL_FILE}))


def seal_problems(folder: Path) -> list[str]:
    """What differs between a sealed folder and its manifest; a folder without a manifest was not written to the end."""
    file = folder / SEAL_FILE
    if not file.is_file():
        return ["it has no manifest, so it was not written to the end"]
    try:
        manifest = read_json(file)
        if not isinstance(manifest, dict) or not manifest:
            return [f"its manifest {SEAL_FILE} is damaged"]
        return manifest_problems(folder, manifest)
    except (StorageError, OSError) as error:  # another process may be removing a damaged folder
        return [str(error)]


@contextlib.contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling to fill; it becomes ``path`` when the block succeeds and is removed when it raises.

    StorageError if ``path`` exists and is not an empty folder, unless ``overwrite``, or if another process is writing
    ``path``. An old folder is only removed after the new one is complete. If something appears at ``path`` during the
    block, it is kept: the new folder gets a free name beside it, which the StorageError names. Before, leftovers of
    killed processes beside ``path`` are removed or restored.
    """
    path = Path(path)
    if path.is_symlink() and path.is_dir():
        path = path.resolve()  # the linked folder is filled; the link stays
    with _refusals("write", path), _sole_maker(path):
        _clear_leftovers(path)
        refuse_existing(path, overwrite=overwrite)
        with scratch_folder(path) as work:
            yield work
            work.chmod(_default_mode(0o777))
            _swap_in(work, path, overwrite=overwrite)


@contextlib.contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """A temporary sibling of ``path``, removed at the end of the block, or after a kill when ``path`` is next written.

    A lock on the folder, which the system releases with the process, shows whether it is still in use.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".new", dir=path.parent))
    work = made.with_suffix(".tmp")  # renamed after it is locked, so that no other process removes it
    with _locked(made):
        try:
            made.rename(work)
            yield work
        finally:
            for folder in (work, made):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Lock ``folder``, which is created if needed, for this block; StorageError if another process holds it.

    The system releases the lock when the process ends. On a system without locks, no process is refused. Unfinished
    files of killed processes in ``folder`` are removed.
    """
    folder = Path(folder)
    with _refusals("write", folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, doing=f"writing to {folder}") as held:
        for path in folder.iterdir() if held else ():
            if is_unfinished_file(path):
                path.unlink(missing_ok=True)
        yield


def is_unfinished_file(path: Path) -> bool:
    """Whether ``path`` is a temporary file of :func:`write_atomic` whose process was killed."""
    return re.fullmatch(r"\..+\.[a-z0-9_]{8}\.tmp", path.name) is not None and path.is_file()


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """StorageError if writing to ``path`` would change an existing file or folder."""
    if path.is_dir() and (overwrite or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        hint = "choose another path" if not path.is_dir() else "choose another path, or allow overwriting"
        raise StorageError(f"{path} exists already", hint=hint)


def _sync_folder(path: Path) -> None:
    """Make renames inside ``path`` durable; does nothing on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sole_maker(path: Path) -> Iterator[None]:
    """Hold the name ``path`` for this block, so that a second process that writes it stops before it does any work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    short = path.name[:60]
    file = path.with_name(f".{short}{digest_bytes(os.fsencode(path.name))[:8] if short != path.name else ''}.lock")
    with _locked(file, lock_file, doing=f"writing {path}") as held:
        try:
            yield
        finally:
            if held:
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)


def _swap_in(work: Path, path: Path, *, overwrite: bool) -> None:
    """Rename ``work`` to ``path``. A rename only replaces an empty folder, so nothing else is overwritten."""
    old: Path | None = None
    set_aside = False
    with _locked(path):
        try:
            if overwrite and path.is_dir() and not path.is_symlink():
                old = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".old", dir=path.parent))
                path.replace(old)  # a rename onto an empty folder
                set_aside = True
            if os.name == "nt":
                with contextlib.suppress(OSError):
                    path.rmdir()  # on Windows a rename does not replace an empty folder; rmdir removes only those
            work.rename(path)
        except OSError as error:
            if old is not None and not set_aside:
                old.rmdir()
            elif old is not None and not path.exists():
                old.replace(path)
            elif path.exists() or path.is_symlink():
                raise _kept_beside(work, path) from error
            raise
    _sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _kept_beside(work: Path, path: Path) -> StorageError:
    """Rename ``work`` to a free name beside ``path``, which appeared during the work, so that both are kept."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    beside = next(name for name in names if not name.exists() and not name.is_symlink())
    work.rename(beside)
    words = f"{path} appeared while it was being written, and is left unchanged"
    return StorageError(words, hint=f"the result is {beside}")


def _clear_leftovers(path: Path) -> None:
    """Remove temporary siblings of ``path`` whose process has ended.

    A killed process may have set the old folder aside. It is restored if there is no new one: ``path`` is never lost.
    """
    name = re.escape(path.name[:80])
    kind = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}\.(?:tmp|old|new)")
    try:
        left = sorted(p for p in path.parent.iterdir() if kind.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    except OSError:
        return  # there is no folder yet, or no permission, which writing reports
    for folder in left:
        with _locked(folder) as held:
            if held and folder.suffix == ".old" and not path.exists():
                with contextlib.suppress(OSError):  # another process was faster
                    folder.rename(path)
            elif held:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, take: Callable[[Path], int] = lock, *, doing: str = "") -> Iterator[bool]:
    """Lock ``path`` for this block if possible; whether it is locked.

    It is not on a file system without locks, or without permission, which writing reports. If another process holds it,
    and ``doing`` says what that process does, StorageError.
    """
    held: int | None = None
    try:
        held = take(path)
    except OSError as error:
        if doing and isinstance(error, BlockingIOError):
            hint = "wait for it, or choose another path"
            raise StorageError(f"another process is {doing}", hint=hint) from None
    try:
        yield held is not None
    finally:
        if held is not None:
            os.close(held)


def _json_line(value: object) -> bytes:
    """``surrogatepass``: a lone surrogate, which JSON can spell and UTF-8 cannot, is read back as it was."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def parse_line(line: bytes) -> object | BadLine:
    """The JSON value of one line with its line end; a BadLine if it cannot be parsed.

    A byte order mark before it is ignored: files that were joined from several have one before every part.
    """
    try:
        return json.loads(line.removeprefix(BOM).decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        foreign = isinstance(error, UnicodeDecodeError) and error.reason != "unexpected end of data"
        torn = not line.endswith(b"\n") and not foreign
        reason = "line is cut off" if torn else f"not UTF-8: {error}" if foreign else f"not JSON: {error}"
        return BadLine(reason=reason, text=line[:200].decode("utf-8", "replace"), torn=torn)


def _cut_torn_tail(path: Path) -> None:
    """Drop what follows the last line end, unless it is a whole JSON value (a file written by hand)."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("r+b") as stream:
        end = start = stream.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail:
            step = min(CHUNK_BYTES, start)
            start = stream.seek(start - step)
            tail = stream.read(step) + tail
        last = tail[tail.rfind(b"\n") + 1 :]
        if last and not isinstance(parse_line(last), BadLine):
            stream.seek(end)
            stream.write(b"\n")
        else:
            stream.truncate(end - len(last))


def _default_mode(most: int = 0o666) -> int:
    """The mode of an ordinary new file under the umask of this process; with ``most`` 0777, that of a folder.

    With mkstemp's 0600 and mkdtemp's 0700, other users of a shared folder could not read them.
    """
    mask = os.umask(0)
    os.umask(mask)
    return most & ~mask


@contextlib.contextmanager
def _refusals(action: str, path: str | Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError, except for that of a damaged gzip file which is read."""
    try:
        yield
    except OSError as error:
        if action == "read" and isinstance(error, gzip.BadGzipFile):
            raise
        hints = {28: "the disk is full", 30: "the disk is read-only", 13: "no permission", 122: "the quota is used up"}
        hint = hints.get(error.errno or 0, "")
        raise StorageError(f"cannot {action} {path}: {error.strerror or error}", hint=hint) from error
