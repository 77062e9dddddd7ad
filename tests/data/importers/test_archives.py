"""Promise 25: no archive writes outside its folder; a bad member is reported or left out."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import grows_at_most
from mirg.cli.data.imports import unpack as command
from mirg.data.importers.archives import ArchiveLimits, unpack
from mirg.errors import DataError, StorageError

GOOD = {"a/one.jpg": b"one", "a/b/two.jpg": b"two" * 1000, "three.txt": b""}
Make = Callable[[Path, list[tuple[str, bytes]]], Path]


def zipped(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.comment = b"its entry of the table is longer than its name"
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return path


def special(name: str, mode: int, data: bytes = b"/etc/passwd") -> tuple[zipfile.ZipInfo, bytes]:
    """A zip member that is no file; ``mode`` from :mod:`stat`."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    return info, data


def tarred(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def linked(path: Path, kind: bytes, name: str = "a/link", target: str = "../../outside") -> Path:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
        if kind == tarfile.SYMTYPE:  # the attack: a file through the link
            inside = tarfile.TarInfo(f"{name}/file.txt")
            inside.size = 4
            archive.addfile(inside, io.BytesIO(b"evil"))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder whose only content is what a test puts there: everything else was written by an archive."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out-sibling").mkdir()
    return tmp_path


def outside(room: Path) -> set[str]:
    """Everything that lies neither in the archives' folder nor in the output."""
    return {p.name for p in room.iterdir()} - {"in", "out", "out-sibling"} | {
        str(p) for p in (room / "out-sibling").iterdir()
    }


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("x.zip", zipped),
        ("x.tar", tarred),
        ("x.tar.gz", lambda path, members: tarred(path, members, "w:gz")),
        ("x.tar.bz2", lambda path, members: tarred(path, members, "w:bz2")),
        ("x.tar.xz", lambda path, members: tarred(path, members, "w:xz")),
        ("misnamed.bin", zipped),
    ],
)
def test_good_archives(room: Path, name: str, make: Make) -> None:
    report = unpack([make(room / "in" / name, list(GOOD.items()))], room / "out")
    assert files(room / "out") == GOOD
    assert (report.members, report.files, report.bytes, report.rejected) == (3, 3, 3003, [])
    assert not outside(room)
    assert not any(p.stat().st_mode & 0o111 for p in (room / "out").rglob("*") if p.is_file()), "data does not run"


NAMES = [
    ("../evil.txt", "leads out", "dot-dot"),
    ("a/../../evil.txt", "leads out", "dot-dot behind a folder"),
    ("a/../b.txt", "leads out", "dot-dot that stays inside: nobody needs it"),
    ("..\\evil.txt", "leads out", "dot-dot as Windows writes it"),
    ("../out-sibling/evil.txt", "leads out", "a sibling with the same prefix"),
    ("/tmp/evil.txt", "is absolute", "absolute"),
    ("//server/evil.txt", "is absolute", "a network share"),
    ("C:\\evil.txt", "is absolute", "a drive"),
    ("c:evil.txt", "is absolute", "a drive without a root"),
    ("a\nb.txt", "control characters", "a name that would break listings"),
    ("a/\x1b[31m.txt", "control characters", "a name that would colour a terminal"),
    ("x" * 300, "too long", "a file name that no system takes"),
    ("/".join(["long-folder"] * 100) + "/x", "too long", "a path that not every system takes"),
    ("A/one.jpg", "only in case", "a folder that differs in case"),
    ("a/ONE.jpg", "only in case", "a file that differs in case"),
    ("a/one.jpg", "there twice", "a name used twice"),
    ("a/one.jpg/x.jpg", "is a file and a folder", "a file as a folder"),
    ("a/b", "is a file and a folder", "a folder as a file"),
    ("rejected.jsonl", "there twice", "the name of the list of refused members"),
]


@pytest.mark.parametrize("make", [zipped, tarred], ids=["zip", "tar"])
@pytest.mark.parametrize(("name", "reason", "why"), NAMES, ids=[why for *_, why in NAMES])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_names(room: Path, make: Make, name: str, reason: str, why: str) -> None:
    archive = make(room / "in" / "x", [*GOOD.items(), (name, b"evil")])
    with pytest.raises(DataError, match="--keep-good") as caught:
        unpack([archive], room / "out")
    assert reason in caught.value.message and "member 4" in caught.value.message, why
    assert not (room / "out").exists() and not outside(room)
    report = unpack([archive], room / "out", keep_good=True)
    kept = files(room / "out")
    (row,) = (json.loads(line) for line in kept.pop("rejected.jsonl").splitlines())
    assert kept == GOOD and not outside(room)
    assert (row["file"], row["row"]) == ("x", 4) and reason in row["reason"]
    assert report.members == report.files + report.folders + len(report.rejected)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "not a file"),
        (tarfile.CHRTYPE, "not a file"),
        (tarfile.BLKTYPE, "not a file"),
    ],
)
def test_links_and_devices_in_a_tar(room: Path, kind: bytes, reason: str) -> None:
    archive = linked(room / "in" / "x.tar", kind)
    with pytest.raises(DataError, match=reason):
        unpack([archive], room / "out")
    assert not (room / "out").exists()
    unpack([archive], room / "out", keep_good=True)
    written = files(room / "out")
    assert set(written) <= {"rejected.jsonl", "a/link/file.txt"} and not outside(room)
    assert not any(p.is_symlink() or p.is_fifo() for p in (room / "out").rglob("*"))


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(room: Path, mode: int) -> None:
    archive = room / "in" / "x.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(*special("link", mode))
        opened.writestr("good.txt", b"good")
    with pytest.raises(DataError, match="it is a link" if mode == stat.S_IFLNK else "not a file"):
        unpack([archive], room / "out")
    report = unpack([archive], room / "out", keep_good=True)
    assert set(files(room / "out")) == {"good.txt", "rejected.jsonl"} and len(report.rejected) == 1


def test_absolute_paths_made_relative(room: Path) -> None:
    archive = zipped(room / "in" / "x.zip", [("/data/raw/a.jpg", b"a"), ("C:\\pictures\\b.jpg", b"b"), ("/../c", b"c")])
    report = unpack([archive], room / "out", strip_absolute=True, keep_good=True)
    kept = files(room / "out")
    assert set(kept) == {"data/raw/a.jpg", "pictures/b.jpg", "rejected.jsonl"}
    assert [row.reason for row in report.rejected] == ["its path leads out of the folder (..)"]


MB = 1 << 20


@pytest.mark.parametrize(
    ("name", "pack"),
    [("x.tar.gz", gzip.compress), ("x.tar.bz2", bz2.compress), ("x.tar.xz", lzma.compress)],
)
def test_bombs_in_tars_are_given_up_early(room: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    plain = tarred(room / "in" / "plain.tar", [("bomb", bytes(12 * MB))]).read_bytes()
    archive = room / "in" / name
    archive.write_bytes(pack(plain))
    for keep_good in (False, True):
        with pytest.raises(DataError, match="100 times as many.*bomb"):
            unpack([archive], room / "out", keep_good=keep_good)
        assert not (room / "out").exists() and not outside(room)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["tar", "tar.gz"])
@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [
        (tarfile.REGTYPE, 2**60, "damaged|bomb"),
        (tarfile.DIRTYPE, 2**60, "damaged|bomb"),
        (tarfile.REGTYPE, -512, "damaged|bomb"),
        (tarfile.GNUTYPE_LONGNAME, 2**60, "a header has"),
        (tarfile.XHDTYPE, 2**21, "a header has"),
        (tarfile.XGLTYPE, 2**21, "a header has"),
    ],
)
def test_sizes_that_no_archive_holds(
    room: Path, kind: bytes, size: int, reason: str, pack: Callable[[bytes], bytes]
) -> None:
    """tarfile would continue to read after the end of the file for years, or take all of a name into memory."""
    info = tarfile.TarInfo("large")
    info.size = size
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[156:157] = kind
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    archive = room / "in" / "x.tar"
    archive.write_bytes(pack(bytes(data) + bytes(2 * MB)))
    with pytest.raises(DataError, match=reason):
        unpack([archive], room / "out")
    assert not (room / "out").exists()


def test_a_bomb_among_good_members_of_a_zip(room: Path) -> None:
    noise = b"".join(struct.pack("<I", (k * 2654435761) % 2**32) for k in range(MB // 4)) * 3
    archive = zipped(room / "in" / "x.zip", [("noise", zlib.compress(noise)), ("bomb", bytes(8 * MB)), *GOOD.items()])
    with pytest.raises(DataError, match="'bomb'.*100 times as many"):
        unpack([archive], room / "out")
    unpack([archive], room / "out", keep_good=True)
    assert set(files(room / "out")) == {"noise", *GOOD, "rejected.jsonl"}


def test_what_comes_out_is_counted_not_believed(room: Path) -> None:
    """Two hundred entries of a table that share one member's bytes: each is honest, together they are a bomb."""
    once = zipped(room / "in" / "once.zip", [("a", bytes(2 * MB))]).read_bytes()
    table = once.index(b"PK\x01\x02")
    entry = once[table : once.index(b"PK\x05\x06")]
    entries = b"".join(entry for _ in range(200))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 200, 200, len(entries), table, 0)
    archive = room / "in" / "shared.zip"
    archive.write_bytes(once[:table] + entries + end)
    with pytest.raises(DataError):
        unpack([archive], room / "out")
    with pytest.raises(DataError, match="bomb|damaged"):
        unpack([archive], room / "out", keep_good=True, limits=ArchiveLimits(ratio=50, free_bytes=0))
    assert not (room / "out").exists()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ArchiveLimits(members=2), "more than 2 members"),
        (ArchiveLimits(total_bytes=3002), "more than 3,002 bytes"),
    ],
)
@pytest.mark.parametrize("make", [zipped, tarred, lambda p, m: tarred(p, m, "w:gz")], ids=["zip", "tar", "tar.gz"])
def test_limits_hold_for_the_whole(room: Path, make: Make, limits: ArchiveLimits, reason: str) -> None:
    archive = make(room / "in" / "x", list(GOOD.items()))
    with pytest.raises(DataError, match=reason):
        unpack([archive], room / "out", limits=limits, keep_good=True)
    assert not (room / "out").exists() and not outside(room)


def many_in_a_zip(path: Path, count: int, stated: int) -> Path:
    """A zip whose table lists one empty member ``count`` times; ``stated`` is the number that its last record tells."""
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, 7, 0) + b"members"
    entry = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    table = (entry + b"members") * count
    end = len(local) + len(table)
    few = min(stated, 0xFFFF)
    path.write_bytes(
        local
        + table
        + b"PK\x06\x06"
        + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, stated, stated, len(table), len(local))
        + b"PK\x06\x07"
        + struct.pack("<IQI", 0, end, 1)
        + b"PK\x05\x06"
        + struct.pack("<HHHHIIH", 0, 0, few, few, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    )
    return path


def many_in_a_tar(path: Path, count: int) -> Path:
    block = tarfile.TarInfo("empty").tobuf()
    with path.open("wb") as file:
        for _ in range(count // 10_000):
            file.write(block * 10_000)
        file.write(block * (count % 10_000) + bytes(1024))
    return path


REFUSE = r"""
import json, pathlib, re, sys, time
from mirg.errors import DataError
from mirg.data.importers.archives import ArchiveLimits, unpack
start = time.process_time()
try:
    unpack([sys.argv[1]], sys.argv[2], limits=ArchiveLimits(members=int(sys.argv[3])))
except DataError as error:
    peak = re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())
    print(json.dumps([error.message, time.process_time() - start, int(peak[1])]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda path: many_in_a_zip(path, 1_000_001, 1_000_001), 1_000_000),
        (lambda path: many_in_a_zip(path, 1_000_001, 5), 1_000_000),
        (lambda path: many_in_a_tar(path, 100_001), 100_000),
        pytest.param(lambda path: many_in_a_tar(path, 1_000_001), 1_000_000, marks=pytest.mark.slow),
    ],
    ids=["zip", "zip whose record lies", "tar", "tar of half a gigabyte"],
)
def test_a_million_members_are_refused_at_once(room: Path, make: Callable[[Path], Path], most: int) -> None:
    archive = make(room / "in" / "x")
    command = [sys.executable, "-c", REFUSE, str(archive), str(room / "out"), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, seconds, kib = json.loads(done.stdout)
    archive.unlink()
    assert f"more than {most:,} members" in message and not (room / "out").exists()
    assert seconds < 2 and kib < 150_000


def test_zip_tables_are_counted_as_they_are(room: Path) -> None:
    report = unpack([many_in_a_zip(room / "in" / "x.zip", 300, 300)], room / "out", keep_good=True)
    assert (report.members, report.files, len(report.rejected)) == (300, 1, 299)
    with pytest.raises(DataError, match="more than 299 members"):
        unpack([room / "in" / "x.zip"], room / "more", limits=ArchiveLimits(members=299))


@pytest.mark.parametrize("make", [zipped, tarred, lambda p, m: tarred(p, m, "w:gz")], ids=["zip", "tar", "tar.gz"])
def test_cut_archives(room: Path, make: Make) -> None:
    """Cut anywhere, an archive is refused: its end is what says that it is whole."""
    whole = make(room / "in" / "whole", list(GOOD.items())).read_bytes()
    end = len(whole.rstrip(b"\0")) if make is tarred else len(whole)
    archive = room / "in" / "cut"
    for at in sorted({0, 1, 100, 511, 512, 513, 1024, *range(7, end, max(1, end // 40))}):
        if at < end:
            archive.write_bytes(whole[:at])
            with pytest.raises(DataError):
                unpack([archive], room / "out")
            assert not (room / "out").exists() and not outside(room)


@given(at=st.integers(0, 10**6), value=st.integers(0, 255), kind=st.sampled_from(["zip", "tar", "gz", "bz2", "xz"]))
def test_a_changed_byte_is_an_error_or_other_content(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: int, kind: str
) -> None:
    room = tmp_path_factory.mktemp("room")
    members = [("a/one.jpg", b"one"), ("a/two.jpg", b"two" * 50)]
    path = room / "x"
    data = bytearray((zipped(path, members) if kind == "zip" else tarred(path, members, _MODES[kind])).read_bytes())
    data[at % len(data)] = value
    path.write_bytes(data)
    try:
        report = unpack([path], room / "out", keep_good=True)
    except (DataError, StorageError):
        assert not (room / "out").exists()
    else:
        assert report.members == report.files + report.folders + len(report.rejected)
    assert {p.name for p in room.iterdir()} <= {"x", "out"}


_MODES = {"tar": "w", "gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}


def test_a_damaged_member_of_a_zip(room: Path) -> None:
    data = zipped(room / "in" / "x.zip", [("a", b"A" * 3000), ("b", b"good")]).read_bytes()
    at = data.index(b"a") + 3
    (room / "in" / "x.zip").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
    with pytest.raises(DataError, match="'a'.*damaged"):
        unpack([room / "in" / "x.zip"], room / "out")
    unpack([room / "in" / "x.zip"], room / "out", keep_good=True)
    assert set(files(room / "out")) == {"b", "rejected.jsonl"}


@pytest.mark.parametrize(
    ("names", "given", "hint", "missing"),
    [
        (["my set.z01", "my set.zip"], "my set.zip", "zip -s 0 'my set.zip' --out 'my set-joined.zip'", False),
        (["x.z01", "x.z02", "x.zip"], "x.z02", "zip -s 0 x.zip --out x-joined.zip", False),
        (["x.zip.001", "x.zip.002"], "x.zip.001", "cat x.zip.* > x.zip", False),
        (["x.tar.gz.00", "x.tar.gz.01"], "x.tar.gz.01", "cat x.tar.gz.* > x.tar.gz", False),
        (["x.zip"], "x.zip", "zip -s 0 x.zip --out x-joined.zip", True),
    ],
)
def test_parts_are_told_how_to_be_joined(room: Path, names: list[str], given: str, hint: str, missing: bool) -> None:
    for name in names:
        (room / "in" / name).write_bytes(b"part")
    if missing:  # only the last part, which says that it is the third
        (room / "in" / given).write_bytes(b"PK\x05\x06" + struct.pack("<HHHHIIH", 2, 0, 1, 1, 50, 0, 0))
    with pytest.raises(DataError) as caught:
        unpack([room / "in" / given], room / "out")
    assert hint in caught.value.hint and "part of" in caught.value.message
    assert ("missing: x.z01, x.z02" in caught.value.message) == missing


def test_what_is_no_archive(room: Path) -> None:
    (room / "in" / "x.zip").write_text("hello")
    for name in ("x.zip", "absent.zip"):
        with pytest.raises(DataError, match=name):
            unpack([room / "in" / name], room / "out")
    with pytest.raises(StorageError, match="exists already"):
        unpack([zipped(room / "in" / "y.zip", [("a", b"")])], room / "in")


def test_several_archives_share_one_folder(room: Path) -> None:
    first = zipped(room / "in" / "1.zip", [("a/x", b"1")])
    second = tarred(room / "in" / "2.tar", [("a/y", b"2"), ("A/x", b"3")])
    with pytest.raises(DataError, match=r"2\.tar: member 2.*only in case"):
        unpack([first, second], room / "out")
    report = unpack([first, second], room / "out", keep_good=True)
    assert set(files(room / "out")) == {"a/x", "a/y", "rejected.jsonl"} and report.members == 3


def test_command(room: Path) -> None:
    from typer import Typer
    from typer.testing import CliRunner

    app = Typer()
    app.command()(command)
    archive = zipped(room / "in" / "x.zip", [("a", b"1"), ("../b", b"2")])
    run = CliRunner().invoke
    assert isinstance(run(app, [str(archive), str(room / "out")]).exception, DataError)
    told = run(app, [str(archive), str(room / "out"), "--keep-good"])
    assert (
        told.exit_code == 1 and "1 files, 1 bytes, 1 members left out" in told.stdout and "x.zip:2: ../b" in told.stdout
    )
    told = run(app, [str(archive), str(room / "out"), "--keep-good", "--overwrite", "--json"])
    assert json.loads(told.stdout)["refused"] == 1
    assert run(app, [str(archive), str(archive), str(room / "out"), "--max-members", "1"]).exit_code != 0


def test_unpacking_is_not_slowed_by_what_was_unpacked(room: Path) -> None:
    """Four times the members take about four times the time, not sixteen times."""
    names = itertools.count()
    few, many = (
        zipped(room / "in" / f"{count}.zip", [(f"d/{k:05d}", b"x") for k in range(count)]) for count in (300, 1_200)
    )
    assert grows_at_most(
        10, lambda: unpack([few], room / f"out-{next(names)}"), lambda: unpack([many], room / f"out-{next(names)}")
    )
