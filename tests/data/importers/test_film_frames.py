"""Frames of a film by the names of their files, and the numbers of annotation files in any spelling."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.importers.files import number_lines
from mirg.data.importers.rows import Refused
from mirg.data.importers.video_tracks import flags_of, frame_files, frame_numbers


@pytest.mark.parametrize(
    ("names", "numbers", "why"),
    [
        (["1.jpg", "10.jpg", "2.jpg"], [1, 2, 10], "no leading zeros"),
        (["000010.jpg", "9.jpg", "08.jpg"], [8, 9, 10], "mixed zero padding"),
        (["frame_2.jpg", "frame_10.png", "Frame_1.JPG"], [1, 2, 10], "a prefix, another suffix and case"),
        (["cam1_frame_10.jpg", "cam1_frame_9.jpg"], [9, 10], "a number in the prefix that does not vary"),
        (["frame_10_cam1.jpg", "frame_9_cam1.jpg"], [9, 10], "a number behind it that does not vary"),
        (["5 of 12.jpg", "12 of 12.jpg"], [5, 12], "blanks, and a total that is the last number, too"),
        (["0.jpg", "1.jpg"], [0, 1], "from 0"),
        (["a1_1.jpg", "a2_2.jpg", "a10_10.jpg"], [1, 2, 10], "the same number twice in each name"),
        (["00000007.jpg"], [7], "one frame"),
        (["1.jpg", "2.jpg", "._1.jpg", "notes.txt"], [1, 2], "hidden files of a Mac and other files are no frames"),
    ],
)
def test_order(tmp_path: Path, names: list[str], numbers: list[int], why: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    files, found = frame_files(tmp_path)
    assert found == numbers, why
    assert all(str(number) in Path(file).name for file, number in zip(files, found, strict=True))


@pytest.mark.parametrize(
    ("names", "reason", "why"),
    [
        (["1.jpg", "01.jpg", "2.jpg"], "frame number 1 is in two names", "two files for one frame"),
        (["1.jpg", "1.png", "2.jpg"], "frame number 1 is in two names", "two kinds of files"),
        (["cam1_1.jpg", "cam1_2.jpg", "cam2_1.jpg"], "more than one number that varies", "two cameras"),
        (["a.jpg", "a.png"], "no number", "names without numbers"),
        (["frame_1.jpg", "cover.jpg"], "frame names are not alike", "another picture beside the frames"),
        (["a3f.jpg", "b7c.jpg"], "are not alike", "digests"),
    ],
)
def test_names_that_leave_the_order_open(tmp_path: Path, names: list[str], reason: str, why: str) -> None:
    for name in sorted(names):
        (tmp_path / name).touch()
    with pytest.raises(Refused) as caught:
        frame_files(tmp_path)
    assert caught.value.refusal.field == "frames" and caught.value.refusal.hint, why
    assert reason in caught.value.refusal.reason


@given(
    st.sets(st.integers(0, 10**6), min_size=2, max_size=12),
    st.sampled_from(["", "frame_", "cam3-", "Tag 9 Bild "]),
    st.integers(0, 8),
)
def test_every_name_keeps_its_number(numbers: set[int], prefix: str, padding: int) -> None:
    """The number of a file is the one that it was named by, with any padding."""
    assert frame_numbers([f"{prefix}{number:0{padding}d}_left2" for number in numbers]) == list(numbers)


@pytest.mark.parametrize(
    ("data", "rows", "why"),
    [
        (b"1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]], "commas"),
        (b"\xef\xbb\xbf1\t2\t3\r\n4\t5\t6\r\n", [[1, 2, 3], [4, 5, 6]], "byte order mark, tabs, CRLF"),
        ("1;2;3\n".encode("utf-16"), [[1, 2, 3]], "UTF-16, semicolons"),
        (b"1, 2 ,3,\n\n  \n4 5  6", [[1, 2, 3], [4, 5, 6]], "blanks, an empty line, a comma at the end"),
        (b"1e2,-.5,+3.\r7,8,9", [[100, -0.5, 3], [7, 8, 9]], "exponents, line ends of old Macs"),
        (b"", [], "an empty file"),
    ],
)
def test_number_lines(tmp_path: Path, data: bytes, rows: list[list[float]], why: str) -> None:
    (tmp_path / "gt.txt").write_bytes(data)
    assert number_lines(tmp_path / "gt.txt", "gt.txt") == rows, why


@pytest.mark.parametrize(
    ("data", "reason", "why"),
    [
        (b"1,2\n1,,2\n", "line 2 holds '', which is not a number", "a missing value"),
        (b"frame,x\n1,2\n", "line 1 holds 'frame'", "a header"),
        (b"1,2\n\n3,x4\n", "line 3 holds 'x4'", "lines are counted as an editor does"),
        (b"1,2,,\n", "''", "a value missing at the end"),
        (b",1,2\n", "''", "a value missing at the start"),
        (b"1,inf\n", "'inf'", "infinity"),
        (b"1,1e300\n", "beyond", "a number that no image has"),
        (b"\xff\x00\x80\n", "cannot be read", "no text"),
        (b"1,1_0\n", "'1_0'", "only Python reads it as ten"),
    ],
)
def test_lines_that_are_no_numbers(tmp_path: Path, data: bytes, reason: str, why: str) -> None:
    (tmp_path / "gt.txt").write_bytes(data)
    with pytest.raises(Refused) as caught:
        number_lines(tmp_path / "gt.txt", "gt.txt")
    assert reason in caught.value.refusal.reason, why


def test_flags(tmp_path: Path) -> None:
    file = tmp_path / "absence.label"
    file.write_text("0,1,0")
    assert flags_of(file, 3, (0, 1)) == [0, 1, 0]
    for text, reason in (("0\n1\n", "has 2 values for 3 frames"), ("0\n2\n0\n", "holds 2, which is not a flag")):
        file.write_text(text)
        with pytest.raises(Refused) as caught:
            flags_of(file, 3, (0, 1))
        assert reason in caught.value.refusal.reason
