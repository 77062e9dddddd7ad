"""Files are whole or absent, also when the writer is killed or the disk is full."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.disk import Disk
from mirg import storage
from mirg.errors import StorageError
from mirg.storage import (
    SEAL_FILE,
    BadLine,
    Journal,
    append_line,
    atomic_folder,
    digest_file,
    folder_manifest,
    manifest_problems,
    read_json,
    read_jsonl,
    seal_folder,
    seal_problems,
    write_atomic,
    write_json_atomic,
    write_jsonl_atomic,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def values(path: Path) -> list[object]:
    return [value for _, value in read_jsonl(path)]


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


# --- atomic files -----------------------------------------------------------------------------------------------------


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    assert write_atomic(path, "één") == path
    assert path.read_text(encoding="utf-8") == "één"
    write_atomic(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert leftovers(path.parent) == []


@given(rows=st.lists(JSON, max_size=5))
def test_json_lines_are_read_back_and_equal_a_journal(
    tmp_path_factory: pytest.TempPathFactory, rows: list[object]
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    write_jsonl_atomic(folder / "whole.jsonl", iter(rows))
    assert values(folder / "whole.jsonl") == rows
    with Journal(folder / "journal.jsonl") as journal:
        for row in rows:
            journal.append(row)
    assert (folder / "whole.jsonl").read_bytes() == (folder / "journal.jsonl").read_bytes()


def test_json_lines_hold_any_text_and_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl_atomic(path, [{"id": "\ud800"}, "a\nb"])
    with pytest.raises(ValueError, match="JSON compliant"):
        write_jsonl_atomic(path, [1, float("nan")])
    assert values(path) == [{"id": "\ud800"}, "a\nb"] and leftovers(tmp_path) == []


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_new_files_and_folders_have_the_usual_mode(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "usual").write_text("")
        write_atomic(tmp_path / "atomic", "")
        (tmp_path / "usual folder").mkdir()
        with atomic_folder(tmp_path / "atomic folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "atomic folder").stat().st_mode == (tmp_path / "usual folder").stat().st_mode


def test_a_real_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    """The system itself refuses in the middle of writing (limit on file size): same promise, no monkeypatch."""
    path = write_atomic(tmp_path / "file.bin", b"old")
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old_limit[1]))
        with pytest.raises(StorageError):
            write_atomic(path, b"x" * 100_000)
        with Journal(tmp_path / "journal.jsonl") as journal:
            journal.append("kept")
            with pytest.raises(StorageError):
                journal.append("x" * 100_000)
            journal.append("after")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert path.read_bytes() == b"old"
    assert values(tmp_path / "journal.jsonl") == ["kept", "after"]
    assert leftovers(tmp_path) == []


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", "x")
    with pytest.raises(StorageError):
        Journal(tmp_path / "file" / "below")
    with pytest.raises(StorageError):
        write_atomic(tmp_path, "a folder exists there")
    assert leftovers(tmp_path) == []


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = write_json_atomic(tmp_path / "a.json", {"ü": [1, 2.5, None]})
    assert read_json(path) == {"ü": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(path, float("nan"))
    assert read_json(path) == {"ü": [1, 2.5, None]}
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "missing.json"):
        with pytest.raises(StorageError, match=name):
            read_json(tmp_path / name)


# --- journals ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(JSON, max_size=5))
def test_journal_returns_what_was_appended(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    with Journal(path) as journal:
        for row in rows:
            journal.append(row)
    assert values(path) == rows


def test_journal_cut_anywhere_reads_and_goes_on(tmp_path: Path) -> None:
    """However many bytes a kill left: whole lines are read, the tail is reported, appending starts on a new line."""
    rows = [{"step": i, "text": "é" * i, "nested": {"a": [i]}} for i in range(4)]
    whole = tmp_path / "whole.jsonl"
    with Journal(whole) as journal:
        for row in rows:
            journal.append(row)
    data = whole.read_bytes()
    for length in range(len(data) + 1):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(data[:length])
        read = values(path)
        good = [value for value in read if not isinstance(value, BadLine)]
        assert good == rows[: len(good)]
        assert all(value.torn for value in read if isinstance(value, BadLine))
        append_line(path, "next")
        assert values(path) == [*good, "next"]


def test_a_tail_longer_than_one_chunk_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", 16)
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 100)
    append_line(path, 2)
    assert values(path) == [{"a": 1}, 2]
    path.write_bytes(b'"' + b"x" * 100)  # no line end at all
    append_line(path, 3)
    assert values(path) == [3]


def test_broken_lines_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    deep = b"[" * 100_000
    path.write_bytes(b"1\n\n{bad}\n\xff\xfe\n" + deep + b"\n\n2\n[1,")
    rows = list(read_jsonl(path))
    assert [number for number, _ in rows] == [1, 3, 4, 5, 7, 8]
    bad = {number: value for number, value in rows if isinstance(value, BadLine)}
    assert set(bad) == {3, 4, 5, 8}
    assert all(value.reason and len(value.text) <= 200 for value in bad.values())
    assert [number for number, value in bad.items() if value.torn] == [8]
    with pytest.raises(StorageError, match="missing"):
        list(read_jsonl(tmp_path / "missing.jsonl"))


def test_nan_never_reaches_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        with pytest.raises(ValueError, match="JSON compliant"):
            journal.append(float("inf"))
        journal.append(1)
        journal.close()
        journal.close()
    assert values(tmp_path / "j.jsonl") == [1]


KILLED_SCRIPT = """
import sys
from mirg.storage import Journal, write_atomic
with Journal(sys.argv[1] + "/j.jsonl") as journal:
    i = 0
    while True:
        journal.append({"i": i, "pad": "x" * (i % 5000)})
        write_atomic(sys.argv[1] + "/state.txt", str(i) * 1000)
        i += 1
"""


def test_sigkill_at_any_moment(tmp_path: Path) -> None:
    """A real kill: the journal is whole lines in order (at most the last one torn), the state file is one state."""
    for round_ in range(3):
        folder = tmp_path / str(round_)
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", KILLED_SCRIPT, str(folder)])
        while not (folder / "state.txt").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(0.03 * (round_ + 1))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        read = values(folder / "j.jsonl")
        good = [value for value in read if not isinstance(value, BadLine)]
        assert [row["i"] for row in good] == list(range(len(good)))  # type: ignore[index]
        assert len(read) - len(good) <= 1
        state = (folder / "state.txt").read_text()
        last = len(good) - 1
        assert state in {str(i) * 1000 for i in (last - 1, last, last + 1)}


# --- digests ----------------------------------------------------------------------------------------------------------


def test_digest_of_known_content(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "abc", "abc")
    assert digest_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    with pytest.raises(StorageError, match="missing"):
        digest_file(tmp_path / "missing")


def test_a_manifest_sees_names_and_contents(tmp_path: Path) -> None:
    def digest(files: dict[str, str], **options: frozenset[str]) -> tuple[tuple[str, str], ...]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in files.items():
            write_atomic(folder / name, text)
        return tuple(folder_manifest(folder, **options).items())

    base = {"a": "1", "sub/b": "2"}
    assert digest(base) == digest(dict(reversed(base.items())))
    others = [{"a": "1", "sub/b": "3"}, {"a": "1", "sub/c": "2"}, {"a": "1"}, {"a": "1", "b": "2"}, {"a": "1sub/b2"}]
    assert len({digest(files) for files in [base, *others]}) == 1 + len(others)
    assert digest({**base, "log": "x"}, ignore=frozenset({"log"})) == digest(base)
    with pytest.raises(StorageError, match="not a folder"):
        folder_manifest(tmp_path / "none")
    names = [f"{k * 7 % 24:02d}" for k in range(24)]
    digest(dict.fromkeys(names, ""))
    assert list(folder_manifest(max(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns))) == sorted(names)


def test_a_sealed_folder_may_have_files_that_change(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("1")
    (tmp_path / "notes").write_text("1")  # it is there already when the folder is sealed
    seal_folder(tmp_path, ignore=frozenset({"notes", "later"}))
    (tmp_path / "notes").write_text("2")
    (tmp_path / "later").write_text("2")
    assert seal_problems(tmp_path) == []
    (tmp_path / "weights").write_text("2")
    assert seal_problems(tmp_path) == ["weights is damaged"]


@pytest.mark.parametrize("manifest", ["[]", "{}", "[1]", "7", "{"])
def test_a_seal_that_seals_nothing_is_damaged(tmp_path: Path, manifest: str) -> None:
    (tmp_path / SEAL_FILE).write_text(manifest)
    (problem,) = seal_problems(tmp_path)
    assert SEAL_FILE in problem


def test_manifest_finds_every_flipped_byte_and_every_cut(tmp_path: Path) -> None:
    """Promise 5, for the storage layer."""
    folder = tmp_path / "checkpoint"
    content = bytes(range(200))
    write_atomic(folder / "weights", content)
    write_atomic(folder / "config.json", "{}")
    manifest = folder_manifest(folder)
    assert manifest_problems(folder, manifest) == []
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        (folder / "weights").write_bytes(flipped)
        assert manifest_problems(folder, manifest) == ["weights is damaged"]
        (folder / "weights").write_bytes(content[:at])
        assert manifest_problems(folder, manifest) == ["weights is damaged"]
    (folder / "weights").unlink()
    assert manifest_problems(folder, manifest) == ["weights is missing"]


# --- atomic folders ---------------------------------------------------------------------------------------------------


def test_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with atomic_folder(target) as work:
        write_atomic(work / "a", "1")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a"]
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "other") as work:
        write_atomic(work / "a", "1")
        raise RuntimeError
    assert not (tmp_path / "other").exists()
    assert leftovers(tmp_path) == leftovers(target.parent) == []
    assert target.stat().st_mode == target.parent.stat().st_mode


def test_existing_folder_is_refused_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write_atomic(target / "old", "precious")
    with pytest.raises(StorageError, match="exists already"), atomic_folder(target):
        pytest.fail("must not be entered")
    with pytest.raises(RuntimeError), atomic_folder(target, overwrite=True) as work:
        write_atomic(work / "new", "1")
        raise RuntimeError
    assert [p.name for p in target.iterdir()] == ["old"], "a failed replacement loses nothing"
    with atomic_folder(target, overwrite=True) as work:
        write_atomic(work / "new", "1")
    assert [p.name for p in target.iterdir()] == ["new"]
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as work:
        write_atomic(work / "new", "1")
    assert (tmp_path / "empty" / "new").exists()
    with pytest.raises(StorageError), atomic_folder(target / "new", overwrite=True):
        pytest.fail("a file exists there")
    assert leftovers(tmp_path) == []


def a_folder(path: Path) -> None:
    write_atomic(path / "mine", "precious")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("appears", "stays"),
    [
        (a_folder, True),
        (lambda path: write_atomic(path, "precious"), True),
        (lambda path: path.symlink_to("nowhere"), True),
        (Path.mkdir, False),
    ],
    ids=["folder", "file", "link", "empty folder"],
)
def test_what_appears_during_the_work_is_never_removed(tmp_path: Path, appears, stays: bool, overwrite: bool) -> None:
    """Only an empty folder gives way, or, if asked for, a folder; the work of hours is kept beside what appeared."""
    (tmp_path / "out-2").mkdir()
    (tmp_path / "out-3").symlink_to("nowhere")
    target = tmp_path / "out"
    gives_way = not stays or (overwrite and appears is a_folder)
    expected = (
        contextlib.nullcontext()
        if gives_way
        else pytest.raises(StorageError, match="appeared while .*the result is .*out-4")
    )
    with expected, atomic_folder(target, overwrite=overwrite) as work:
        write_atomic(work / "new", "1")
        appears(target)
    assert [p.name for p in (target if gives_way else tmp_path / "out-4").iterdir()] == ["new"]
    if not gives_way:
        mine = target / "mine" if appears is a_folder else target
        assert target.is_symlink() or mine.read_text() == "precious"
    assert leftovers(tmp_path) == []


def test_of_two_that_make_one_folder_the_second_stops_first(tmp_path: Path) -> None:
    target = tmp_path / ("long" * 30)
    with atomic_folder(target, overwrite=True) as work:
        write_atomic(work / "first", "1")
        with pytest.raises(StorageError, match="another process is writing"), atomic_folder(target, overwrite=True):
            pytest.fail("must not be entered")
        with atomic_folder(target.with_name("long" * 31)):
            pass  # another name that begins alike
    assert [p.name for p in target.iterdir()] == ["first"] and leftovers(tmp_path) == []


def test_a_folder_behind_a_link_is_filled_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "out") as work:
        write_atomic(work / "new", "1")
    assert (tmp_path / "out").is_symlink() and (tmp_path / "disk" / "new").read_text() == "1"


class _Slow:
    """A stream that writes at most three bytes at a time: the system may write less than it is given."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, data: bytes) -> int:
        return self.stream.write(data[:3])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def test_a_line_that_is_written_in_pieces_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", sync=True)
    stream = journal._stream
    journal._stream = _Slow(stream)  # type: ignore[assignment]
    for row in ("a long line", {"and": "another"}):
        journal.append(row)
    journal._stream = stream
    journal.close()
    assert values(tmp_path / "j.jsonl") == ["a long line", {"and": "another"}]


def test_a_journal_makes_its_folders(tmp_path: Path) -> None:
    for k in range(2):
        append_line(tmp_path / "new" / "folder" / "j.jsonl", k)
    assert values(tmp_path / "new" / "folder" / "j.jsonl") == [0, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="no permission"), atomic_folder(tmp_path / "out"):
            pytest.fail("must not be entered")
    finally:
        tmp_path.chmod(0o700)


def test_journal_line_is_one_line(tmp_path: Path) -> None:
    append_line(tmp_path / "j.jsonl", "a\nb\u2028c\udc80")
    data = (tmp_path / "j.jsonl").read_bytes()
    assert data.count(b"\n") == 1
    assert values(tmp_path / "j.jsonl") == ["a\nb\u2028c\udc80"]
    assert json.loads(data.decode("utf-8", "surrogatepass")) == "a\nb\u2028c\udc80"


# --- every call to the disk fails, or is the last one ----------------------------------------------------------------


def _file(root: Path) -> None:
    write_atomic(root / "out", "new")


def _folder(root: Path) -> None:
    with atomic_folder(root / "out", overwrite=True) as work:
        (work / "a").write_text("new")
        (work / "b").write_text("new")


def _journal(root: Path) -> None:
    with Journal(root / "out", sync=True) as journal:
        journal.append("new")


def _quick_journal(root: Path) -> None:
    with Journal(root / "out") as journal:
        journal.append("new")


def _content(root: Path) -> object:
    out = root / "out"
    if out.is_dir():
        return {path.name: path.read_text() for path in sorted(out.iterdir())}
    return out.read_text() if out.exists() else None


STATES = {
    "nothing": lambda root: None,
    "an old file": lambda root: (root / "out").write_text('"old"\n'),
    "an empty folder": lambda root: (root / "out").mkdir(),
    "an old folder": lambda root: ((root / "out").mkdir(), (root / "out" / "old").write_text("old")),
}
RUNS = [
    (_file, "nothing"), (_file, "an old file"), (_journal, "nothing"), (_journal, "an old file"),
    (_quick_journal, "an old file"),
    (_folder, "nothing"), (_folder, "an empty folder"), (_folder, "an old folder"),
]  # fmt: skip
JOURNALS = (_journal, _quick_journal)
_IDS = [f"{action.__name__.strip('_')} over {state}" for action, state in RUNS]


def _run(root: Path, action, state: str, at: int | None = None, *, kill: bool = False):
    """(calls, content before, content after, what was raised) of one run on a fresh folder."""
    root.mkdir()
    STATES[state](root)
    before, raised, disk = _content(root), None, Disk(root, at, kill=kill)
    child = os.fork() if kill else 0
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        return disk.calls, before, _content(root), raised
    with disk.watched():
        try:
            action(root)
        except StorageError as found:
            raised = found
    return disk.calls, before, _content(root), raised


@pytest.mark.parametrize(("action", "state"), RUNS, ids=_IDS)
def test_what_is_renamed_was_flushed_and_the_rename_is_flushed(tmp_path: Path, action, state: str) -> None:
    calls, _, after, raised = _run(tmp_path / "room", action, state)
    assert raised is None and after
    if action in JOURNALS:
        assert ("fsync", "out") in calls
        return
    renamed = calls.index(next(call for call in calls if call[0] in ("replace", "rename") and call[2] == "out"))
    assert ("fsync", ".") in calls[renamed:], "else a power cut takes the rename back"
    if action is _file:
        assert ("fsync", calls[renamed][1]) in calls[:renamed], "else a power cut leaves an empty file"
    removed = [k for k, call in enumerate(calls) if call[0] in ("unlink", "rmdir") and ".old" in call[1]]
    assert bool(removed) == (state in ("an old folder", "an empty folder"))
    flushed = calls.index(("fsync", "."), renamed)
    assert all(k > flushed for k in removed), "the old folder goes when the new one is safe"


@pytest.mark.parametrize("kill", [False, True], ids=["fails", "ends the process"])
@pytest.mark.parametrize(("action", "state"), RUNS, ids=_IDS)
def test_whichever_call_fails_the_old_or_the_new_is_there(tmp_path: Path, action, state: str, kill: bool) -> None:
    calls, before, complete, _ = _run(tmp_path / "whole", action, state)
    assert len(calls) >= (1 if action in JOURNALS else 4)
    for at, call in enumerate(calls):
        root = tmp_path / f"{at}"
        _, _, after, raised = _run(root, action, state, at, kill=kill)
        if not kill:
            assert after in (before, complete) or (action in JOURNALS and after in ("", '"old"\n"new"\n')), (
                f"{call} leaves half of it"
            )
            assert raised is not None or after == complete, f"{call} failed, nothing was written and nothing was said"
            kept = call[0] in ("unlink", "rmdir") or (
                call == ("fsync", ".") and after == complete
            )  # the next one cleans
            assert kept or leftovers(root) == [], f"{call} leaves files behind"
        if action is _folder:
            with contextlib.suppress(RuntimeError), atomic_folder(root / "out", overwrite=True):
                assert _content(root) in (before, complete), f"{call}: found by the next writer"
                raise RuntimeError
        action(root)
        again = _content(root)
        assert again == complete or (action in JOURNALS and str(again).endswith('"new"\n')), "and it can be done again"
        assert action is not _folder or leftovers(root) == [], f"{call}: the next writer removes what was left"


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EIO, ""),
    ],
)
def test_what_is_wrong_with_a_disk_is_said(number: int, hint: str, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("mirg.storage.os.replace", refuse)
    with pytest.raises(StorageError, match=os.strerror(number)) as caught:
        write_atomic(tmp_path / "x", "y")
    assert caught.value.hint == hint
