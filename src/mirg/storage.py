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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mirg.errors import StorageError
from mirg.text_files import BOM, DAMAGE, open_utf8, read_text

CHUNK_BYTES = 1 << 20
SEAL_FILE = "mirg_manifest.json"
_HASHERS = 4  # files hashed at a time: SHA-256 of a large model takes longer than reading it


@dataclass(frozen=True)
class BadLine:
    """A line of a JSON-lines file that holds no JSON value; ``torn`` where it is an unfinished last line."""

    reason: str
    text: str
    torn: bool = False


def write_atomic(path: str | Path, data: bytes | str) -> Path:
    """Write ``data`` (text as UTF-8) so that ``path`` holds either its old content or all of the new.

    Folders on the way are made. Raises StorageError where the system refuses; the old content is then intact.
    """
    path = Path(path)
    payload = data.encode("utf-8") if isinstance(data, str) else data
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(_default_mode())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise _refused("write", path, error) from error
    return path


def write_json_atomic(path: str | Path, value: object, *, indent: int | None = 2) -> Path:
    """Write ``value`` as JSON, atomically. NaN and infinity are refused (ValueError): other readers reject them."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False) + "\n")


def write_jsonl_atomic(path: str | Path, values: Iterable[object]) -> Path:
    """Write one JSON value per line, atomically; lone surrogates and NaN are treated as by :class:`Journal`."""
    return write_atomic(path, b"".join(map(_json_line, values)))


def read_json(path: str | Path) -> object:
    """The JSON value in ``path`` (:mod:`mirg.text_files`); StorageError where the file is missing or holds none."""
    try:
        return json.loads(read_text(path))
    except gzip.BadGzipFile as error:
        raise StorageError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise _refused("read", Path(path), error) from error
    except (*DAMAGE, ValueError, RecursionError) as error:
        raise StorageError(f"{path} is not JSON: {error}") from error


def read_jsonl(path: str | Path) -> Iterator[tuple[int, object | BadLine]]:
    """Stream ``(line number from 1, value)`` of a JSON-lines file; a line that is no JSON comes as a BadLine.

    Blank lines are skipped. Memory is one line. Raises StorageError where the file cannot be read.
    """
    return ((number, parse_line(line)) for number, line in read_lines(path))


def read_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines of :func:`read_jsonl` before they are parsed, as UTF-8."""
    try:
        with open_utf8(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line
    except DAMAGE as error:
        raise StorageError(f"{path} is damaged: {error}", hint="copy or download it again") from error
    except OSError as error:
        raise _refused("read", Path(path), error) from error


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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_tail(self.path)
            self._stream: BinaryIO = self.path.open("ab", buffering=0)
        except OSError as error:
            raise _refused("append to", self.path, error) from error

    def append(self, value: object) -> None:
        """Add one line. StorageError where the system refuses; a part that was written is taken back."""
        line = _json_line(value)
        start = self._stream.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):
                written += self._stream.write(line[written:]) or 0
            if self.sync:
                os.fsync(self._stream.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.truncate(start)
            raise _refused("append to", self.path, error) from error

    def close(self) -> None:
        """Flush to the disk and close; calling it again does nothing. StorageError if the system refuses."""
        if not self._stream.closed:
            try:
                os.fsync(self._stream.fileno())
            except OSError as error:
                raise _refused("append to", self.path, error) from error
            finally:
                self._stream.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def digest_bytes(data: bytes) -> str:
    """SHA-256 of ``data``, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: str | Path) -> str:
    """SHA-256 of a file's content, read in chunks of 1 MiB; StorageError where it cannot be read."""
    state = hashlib.sha256()
    try:
        with Path(path).open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                state.update(chunk)
    except OSError as error:
        raise _refused("read", Path(path), error) from error
    return state.hexdigest()


def digest_folder(path: str | Path, *, ignore: frozenset[str] = frozenset()) -> str:
    """SHA-256 over the relative names and contents of all files below ``path``, in sorted order.

    ``ignore`` names files, relative to ``path`` with forward slashes, that do not count.
    """
    state = hashlib.sha256()
    for name, digest in folder_manifest(path, ignore=ignore).items():
        state.update(f"{name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def folder_manifest(path: str | Path, *, ignore: frozenset[str] = frozenset()) -> dict[str, str]:
    """``{relative name: SHA-256}`` of every file below ``path``, sorted by name; StorageError where it is no folder."""
    root = Path(path)
    if not root.is_dir():
        raise StorageError(f"{root} is not a folder")
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    names = [name for name in names if name not in ignore]
    return dict(zip(names, _digests([root / name for name in names]), strict=True))


def manifest_problems(path: str | Path, manifest: dict[str, str]) -> list[str]:
    """What differs between a folder and its manifest: missing, changed; files beyond the manifest are no problem."""
    root = Path(path)
    there = {name: (root / name).is_file() for name in manifest}
    found = iter(_digests([root / name for name in manifest if there[name]]))
    problems = []
    for name, digest in manifest.items():
        if not there[name]:
            problems.append(f"{name} is missing")
        elif next(found) != digest:
            problems.append(f"{name} is damaged")
    return problems


def _digests(files: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(_HASHERS) as pool:
        return list(pool.map(digest_file, files))


def seal_folder(folder: Path, *, ignore: frozenset[str] = frozenset()) -> None:
    """Write the manifest of what lies in ``folder`` into it: from now on it is complete, and damage is noticed.

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
    """Give a temporary sibling to fill; it becomes ``path`` when the block ends well and vanishes when it raises.

    StorageError if ``path`` exists and is not an empty folder, unless ``overwrite``, or if another process is making
    ``path``. An old folder is only removed after the new one is complete. If something appears at ``path`` during the
    block, it stays: the new folder gets a free name beside it, which the StorageError says. What killed processes left
    beside ``path`` is put in order first.
    """
    path = Path(path)
    if path.is_symlink() and path.is_dir():
        path = path.resolve()  # the linked folder is filled; the link stays
    try:
        with _sole_maker(path):
            _clear_leftovers(path)
            refuse_existing(path, overwrite=overwrite)
            with scratch_folder(path) as work:
                yield work
                work.chmod(_default_mode() | 0o111)
                _swap_in(work, path, overwrite=overwrite)
    except OSError as error:
        raise _refused("write", path, error) from error


@contextlib.contextmanager
def scratch_folder(path: str | Path) -> Iterator[Path]:
    """A temporary sibling of ``path``, removed when the block ends; of a killed process, when ``path`` is next written.

    A lock on the folder itself, which the system lets go with its process, tells whether there is still an owner.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".new", dir=path.parent))
    work = made.with_suffix(".tmp")  # only once it is locked: nobody finds it without its owner
    lock = _lock(made)
    try:
        made.rename(work)
        yield work
    finally:
        for folder in (work, made):
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@contextlib.contextmanager
def sole_writer(folder: str | Path) -> Iterator[None]:
    """Hold ``folder``, made if it does not exist, only for this block; StorageError where another process has it.

    The system lets go of it with the process, however that ends. If it has no locks, nobody is refused. Files that
    killed processes left unfinished in it are removed.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused("write", folder, error) from error
    try:
        lock = None if os.name == "nt" else _locked(folder)
    except BlockingIOError:
        raise StorageError(
            f"another process is writing to {folder}", hint="wait for it, or choose another folder"
        ) from None
    except OSError:
        lock = None
    try:
        for path in folder.iterdir() if lock is not None else ():
            if is_unfinished_file(path):
                path.unlink(missing_ok=True)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def is_unfinished_file(path: Path) -> bool:
    """Whether ``path`` is what :func:`write_atomic` leaves behind when its process is killed."""
    return re.fullmatch(r"\..+\.[a-z0-9_]{8}\.tmp", path.name) is not None and path.is_file()


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise StorageError where writing to ``path`` would touch something that is there."""
    if path.is_dir() and (overwrite or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        hint = "choose another path" if not path.is_dir() else "choose another path, or allow overwriting"
        raise StorageError(f"{path} exists already", hint=hint)


def sync_folder(path: Path) -> None:
    """Make renames inside ``path`` durable, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sole_maker(path: Path) -> Iterator[None]:
    """Hold the name ``path`` for this block, so that of two processes that make it the second stops before it works."""
    if os.name == "nt":
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    short = path.name[:60]
    file = path.with_name(f".{short}{digest_bytes(os.fsencode(path.name))[:8] if short != path.name else ''}.lock")
    try:
        lock: int | None = _locked_file(file)
    except BlockingIOError:
        raise StorageError(f"another process is writing {path}", hint="wait for it, or choose another path") from None
    except OSError:
        lock = None  # a folder without locks, or one that cannot be written to: making the folder will say so
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
            os.close(lock)


def _swap_in(work: Path, path: Path, *, overwrite: bool) -> None:
    """Rename ``work`` to ``path``. A rename gives way to an empty folder only, so nothing else is ever replaced."""
    old: Path | None = None
    lock: int | None = None
    if overwrite and path.is_dir() and not path.is_symlink():
        lock = _lock(path)
        old = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".old", dir=path.parent))
    set_aside = False
    try:
        if old is not None:
            path.replace(old)  # a rename onto an empty folder
            set_aside = True
        if os.name == "nt":
            with contextlib.suppress(OSError):
                path.rmdir()  # there, not even an empty folder gives way; one that is not empty stays
        work.rename(path)
    except OSError as error:
        if old is not None and not set_aside:
            old.rmdir()
        elif old is not None and not path.exists():
            old.replace(path)
        elif path.exists() or path.is_symlink():
            raise _kept_beside(work, path) from error
        raise
    finally:
        if lock is not None:
            os.close(lock)
    sync_folder(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _kept_beside(work: Path, path: Path) -> StorageError:
    """Something appeared at ``path`` during the work: neither is lost."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    beside = next(name for name in names if not name.exists() and not name.is_symlink())
    work.rename(beside)
    words = f"{path} appeared while it was being written, and is left unchanged"
    return StorageError(words, hint=f"the result is {beside}")


def _clear_leftovers(path: Path) -> None:
    """Remove temporary siblings of ``path`` whose process is gone; a killed one may have set the old folder aside.

    The old folder comes back where there is no new one; so ``path`` is never lost, whenever the process was killed.
    """
    name = re.escape(path.name[:80])
    kind = re.compile(rf"\.{name}\.[a-z0-9_]{{8}}\.(?:tmp|old|new)")
    try:
        left = sorted(p for p in path.parent.iterdir() if kind.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    except OSError:
        return  # no folder yet, or none that can be looked into: writing will say so
    for folder in left:
        lock = _lock(folder)
        if lock is None:
            continue
        try:
            if folder.suffix == ".old" and not path.exists():
                with contextlib.suppress(OSError):  # another process was faster
                    folder.rename(path)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds ``folder`` for this process; None where another holds it, or the system has no locks."""
    if os.name == "nt":
        return None
    try:
        return _locked(folder)
    except OSError:
        return None


def _locked_file(file: Path) -> int:
    """A descriptor that holds ``file``, made if it is not there; errors as of :func:`_locked`."""
    while True:
        descriptor = _locked(file, os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(FileNotFoundError):  # its last holder removed it between the two calls
            if os.path.samestat(file.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _locked(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor that holds ``path``; BlockingIOError where another does, OSError if there are no locks."""
    import fcntl

    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _json_line(value: object) -> bytes:
    """``surrogatepass``: a lone surrogate, which JSON can spell and UTF-8 cannot, is read back as it was."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def parse_line(line: bytes) -> object | BadLine:
    """The JSON value of one line, its line end included; a BadLine if it holds none.

    A byte order mark in front is left out: it stands before every part of a file that was joined of several.
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
        end = stream.seek(0, os.SEEK_END)
        tail = b""
        start = end
        while start > 0 and b"\n" not in tail:
            step = min(CHUNK_BYTES, start)
            start -= step
            stream.seek(start)
            tail = stream.read(step) + tail
        keep = start + tail.rfind(b"\n") + 1
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        if last.strip() and not isinstance(parse_line(last), BadLine):
            stream.seek(end)
            stream.write(b"\n")
        else:
            stream.truncate(keep)


def _default_mode() -> int:
    """The mode an ordinary new file would get: mkstemp's 0600 would lock out other readers of a shared folder."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _refused(action: str, path: Path, error: OSError) -> StorageError:
    hints = {28: "the disk is full", 30: "the disk is read-only", 13: "no permission", 122: "the quota is used up"}
    hint = hints.get(error.errno or 0, "")
    return StorageError(f"cannot {action} {path}: {error.strerror or error}", hint=hint)
