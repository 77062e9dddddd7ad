"""Streaming of large JSON files: the same values as Python's own reader, and the row where a damaged file ends."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.importers import stream
from mirg.data.importers.stream import read_members, read_rows
from mirg.errors import DataError
from mirg.storage import BadLine

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
ROWS = [
    {"id": "ä-1", "images": ["a.jpg", "b.jpg"], "text": 'say "[{,:}]" \\ \u2028 😀'},
    [1.5e-7, -20, True, None],
    12345678,
    "text",
    {"deep": {"deep": [[[{}]]]}},
]


def drained(rows: Iterator[tuple[Any, Any]]) -> tuple[list[Any], DataError | None]:
    """What was given before the end, and the error that ended it."""
    found = []
    try:
        for row in rows:
            found.append(row)
    except DataError as error:
        return found, error
    return found, None


@pytest.fixture(params=[7, 64, 1 << 20], ids=["7 bytes", "64 bytes", "1 MiB"])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much is read at a time: in small steps every value and every letter is met at the edge."""
    monkeypatch.setattr(stream, "_CHUNK", request.param)
    return request.param


def as_list(rows: list[Any]) -> bytes:
    return json.dumps(rows, ensure_ascii=False).encode()


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("form", "why"),
    [
        (as_list, "a list"),
        (lambda rows: b"\xef\xbb\xbf \n" + json.dumps(rows, indent=3).encode() + b"\n\n", "a mark, blanks, indents"),
        (as_lines, "JSON lines"),
        (lambda rows: as_lines(rows).replace(b"\n", b"\r\n\r\n").rstrip(), "line ends of Windows, empty lines"),
    ],
    ids=["list", "indented", "lines", "windows"],
)
def test_rows_are_those_of_json(
    tmp_path: Path, window: int, packed: bool, form: Callable[[list[Any]], bytes], why: str
) -> None:
    path = tmp_path / "rows"
    path.write_bytes(gzip.compress(form(ROWS)) if packed else form(ROWS))
    found = [value for _, value in read_rows(path)]
    assert found == ROWS, why
    assert [number for number, _ in read_rows(path)][:2] in ([1, 2], [1, 3])


@given(st.lists(VALUES, max_size=5), st.integers(1, 30))
def test_any_list_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], window: int) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=True), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "_CHUNK", window)
        assert [value for _, value in read_rows(path)] == json.loads(path.read_text())


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_list_cut_anywhere_names_the_row(tmp_path: Path, packed: bool) -> None:
    """At every byte: the rows before the cut are the same, and the next one is named."""
    data = as_list(ROWS)
    path = tmp_path / "rows.json"
    cuts = range(len(data)) if not packed else range(len(gzip.compress(data)))
    for cut in cuts:
        path.write_bytes(gzip.compress(data, mtime=0)[:cut] if packed else data[:cut])
        found, error = drained(read_rows(path))
        assert found == list(enumerate(ROWS, 1))[: len(found)], f"cut at {cut}"
        if packed and error is None:
            # Of a gzip file only the sum at its end may be missing: Python's reader then still ends with an error.
            pytest.fail(f"cut at {cut} was not noticed")
        assert error is not None and str(path) in error.message, f"cut at {cut}"
        if cut > 2 and found:
            assert f"row {len(found) + 1}" in error.message, f"cut at {cut}: {error}"


def test_lines_cut_anywhere_give_whole_rows_or_a_bad_line(tmp_path: Path) -> None:
    data = as_lines(ROWS)
    path = tmp_path / "rows.jsonl"
    for cut in range(1, len(data)):
        path.write_bytes(data[:cut])
        found, error = drained(read_rows(path))
        whole = data[:cut].count(b"\n")
        if error is not None:
            assert whole == 0, f"cut at {cut}: only a file without one row is no JSON lines"
            continue
        values = [value for _, value in found]
        assert values[:whole] == ROWS[:whole], f"cut at {cut}"
        for rest in values[whole:]:
            # 1234 of 12345678 is JSON too: of a bare number nobody can tell, rows are objects.
            assert (isinstance(rest, BadLine) and rest.torn) or rest == ROWS[whole] or isinstance(rest, int)


COCO = {
    "info": {"year": 2026},
    "images": [{"id": 1, "file_name": "ä.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [],
    "annotations": [{"id": 9, "image_id": 1, "bbox": [1, 2, 3, 4]}],
    "licence": "none",
}
MEMBERS = [
    ("info", {"year": 2026}), *(("images", image) for image in COCO["images"]),
    ("categories", []), ("annotations", COCO["annotations"][0]), ("licence", "none"),
]  # fmt: skip


def test_members_of_an_object(tmp_path: Path, window: int) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO, indent=1, ensure_ascii=False))
    assert list(read_members(path)) == MEMBERS


def test_an_object_cut_anywhere(tmp_path: Path) -> None:
    data = as_list(COCO)  # type: ignore[arg-type]
    path = tmp_path / "coco.json"
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        found, error = drained(read_members(path))
        assert found == MEMBERS[: len(found)] and error is not None and str(path) in error.message, f"cut at {cut}"


@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), lines=st.booleans(), packed=st.booleans())
def test_a_changed_byte_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, lines: bool, packed: bool
) -> None:
    data = bytearray((as_lines if lines else as_list)(ROWS))
    if packed:
        data = bytearray(gzip.compress(bytes(data), mtime=0))
    data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("rows") / "rows"
    path.write_bytes(data)
    rows, error = drained(read_rows(path))
    said = error is not None or any(isinstance(row, BadLine) for _, row in rows)
    assert said or len(rows) >= len(ROWS), "a row that is lost is said"
    drained(read_members(path))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"  \n ", "is empty"),
        (b"hello", "neither a JSON list of rows nor JSON lines"),
        (b"[1, 2] 3", "follows the end"),
        (b"[1, 2}", "row 3: expected ','"),
        (b"[1 2]", "row 2: expected ','"),
        (b"[1,, 2]", "row 2: not JSON"),
        (b"[1, 2, ]", "row 3: a comma stands before the ']' at the end"),
        (b"[1, \xff]", "row 2: not UTF-8"),
        ('[{"a": "杯子"}]'.encode("gbk"), "row 1: not UTF-8"),
        (b"[" * 100_000, "row 1: "),
        (b'[{"a": 1}, {"a": tru', "row 2: the file is cut off"),
        (b'[{"a": "abc', "row 1: the file is cut off inside a row"),
        (b"\x1f\x8b\x08", "is damaged|row 1"),
        ('{"a": "请在图2中"}'.encode("gb18030"), "not UTF-8"),
    ],
)
def test_what_is_no_list_of_rows(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason):
        list(read_rows(path))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        list(read_rows(tmp_path / "absent.json"))


def test_a_value_larger_than_any_row_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MAX_ROW", 100)
    monkeypatch.setattr(stream, "_CHUNK", 64)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(["short", "long" * 200]))
    found, error = drained(read_rows(path))
    assert found == [(1, "short")] and error is not None and "more than 100 characters" in error.message


def test_memory_is_that_of_a_row(tmp_path: Path) -> None:
    """Twenty megabytes of rows through a window of one or two."""
    import tracemalloc

    path = tmp_path / "rows.json"
    path.write_bytes(as_list([{"text": "x" * 2000}] * 10_000))
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000 and peak < 6 << 20
