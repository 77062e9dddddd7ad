"""Locks: one holder at a time, released with the process, and never on a file that another process has removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mirg import locks
from mirg.errors import StorageError
from mirg.storage import atomic_folder, sole_writer


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_refused_lock_leaves_no_open_file(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.mkdir() if place == "folder" else path.write_text("")
    held = locks.lock(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(BlockingIOError):
            locks.lock(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(held)
    os.close(locks.lock(path))


@pytest.mark.parametrize("made_again", [False, True])
def test_a_lock_file_that_is_removed_meanwhile_is_locked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_again: bool
) -> None:
    """Its last holder removes it between the opening and the lock, and a third process may make it again."""
    path, real, opened = tmp_path / "x.lock", locks.lock, list[int]()

    def late(*arguments: object) -> int:
        opened.append(real(*arguments))  # type: ignore[arg-type]
        if len(opened) == 1:
            path.unlink()
            if made_again:
                path.write_text("")
        return opened[-1]

    monkeypatch.setattr(locks, "lock", late)
    held = locks.lock_file(path)
    assert len(opened) == 2 and os.path.samestat(os.fstat(held), path.stat())
    os.close(held)


def test_a_killed_maker_lets_go(tmp_path: Path) -> None:
    script = f"""
import time
from mirg.storage import atomic_folder
with atomic_folder({str(tmp_path / "out")!r}):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="another process"), atomic_folder(tmp_path / "out"):
            pass
        child.kill()
    with atomic_folder(tmp_path / "out"):
        pass
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_a_leftover_that_is_held_does_not_keep_the_others(tmp_path: Path) -> None:
    held, left = (tmp_path / f".out.{letter * 8}.tmp" for letter in "ab")
    held.mkdir()
    left.mkdir()
    descriptor = locks.lock(held)
    with atomic_folder(tmp_path / "out"):
        assert held.is_dir() and not left.exists()
    os.close(descriptor)


def test_a_folder_has_one_writer_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with sole_writer(folder), pytest.raises(StorageError, match="another process is writing"), sole_writer(folder):
        pass
    with sole_writer(folder), sole_writer(folder / "inner"):
        assert not any(folder.glob("*.*")), "nothing is left in it"


def test_a_killed_writer_lets_go(tmp_path: Path) -> None:
    script = f"""
import time
from mirg.storage import sole_writer
with sole_writer({str(tmp_path)!r}):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match="another process"), sole_writer(tmp_path):
            pass
        child.kill()
    with sole_writer(tmp_path):
        pass
