"""Files of other tools: every encoding that JSON may come in gives the same rows, everywhere that rows are read."""

from __future__ import annotations

import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import mirg.text_files as text_files
from mirg.data.importers.stream import read_members, read_rows
from mirg.data.rows import Rows, chunks_of
from mirg.errors import DataError, StorageError
from mirg.samples import DatasetFolder, DatasetWriter, Sample
from mirg.storage import BadLine, read_json, read_jsonl
from mirg.text_files import open_utf8

ROWS = [{"id": "ä"}, {"id": "日本", "n": 2}, {"id": "\U0001f600 last"}]

ENCODINGS: list[tuple[str, Callable[[str], bytes]]] = [
    ("utf-8", lambda text: text.encode()),
    ("utf-8 with a mark", lambda text: codecs.BOM_UTF8 + text.encode()),
    ("utf-16 with a mark, as PowerShell writes it", lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le")),
    ("utf-16 big endian with a mark", lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be")),
    ("utf-16 without a mark", lambda text: text.encode("utf-16-le")),
    ("utf-32 with a mark", lambda text: text.encode("utf-32")),
    ("gzip", lambda text: gzip.compress(text.encode())),
    ("gzip of utf-8 with a mark", lambda text: gzip.compress(codecs.BOM_UTF8 + text.encode())),
    ("gzip of utf-16 with a mark", lambda text: gzip.compress(text.encode("utf-16"))),
    ("two gzip members in one file", lambda text: gzip.compress(text.encode()[:9]) + gzip.compress(text.encode()[9:])),
]
encoded = pytest.mark.parametrize("encode", [e for _, e in ENCODINGS], ids=[name for name, _ in ENCODINGS])


@encoded
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_rows_are_the_same_in_every_encoding(tmp_path: Path, encode: Callable[[str], bytes], end: str) -> None:
    """The names say nothing about the content: .json may be packed, .gz may be plain."""
    path = tmp_path / "rows.json"
    path.write_bytes(encode(end.join(json.dumps(row, ensure_ascii=False) for row in ROWS) + end))
    assert [value for _, value in read_rows(path)] == ROWS, "JSON lines"
    assert [value for _, value in read_jsonl(path)] == ROWS, "JSON lines, small"
    path.write_bytes(encode(f"[{end}" + f",{end}".join(json.dumps(r, ensure_ascii=False) for r in ROWS) + "]"))
    assert [value for _, value in read_rows(path)] == ROWS, "a list"
    path.write_bytes(encode(json.dumps({"images": ROWS}, ensure_ascii=False)))
    assert list(read_members(path)) == [("images", row) for row in ROWS], "an object"
    assert read_json(path) == {"images": ROWS}


def test_files_joined_of_several_have_marks_between_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(codecs.BOM_UTF8 + json.dumps(row).encode() + b"\r\n" for row in ROWS))
    assert [value for _, value in read_rows(path)] == ROWS
    assert [value for _, value in read_jsonl(path)] == ROWS


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (codecs.BOM_UTF16_LE + '[{"id": 1}]'.encode("utf-16-le")[:-1], "damaged|cut off|truncated"),
        (gzip.compress(b'{"id": 1}\n' * 50)[:-20], "damaged|end-of-stream"),
    ],
    ids=["half a character of utf-16", "gzip that was cut"],
)
def test_damage_is_said_and_is_no_traceback(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match=word):
        list(read_rows(path))
    with pytest.raises(StorageError, match="damaged"):
        list(read_jsonl(path))


def test_zeros_of_a_power_cut_stay_a_bad_line(tmp_path: Path) -> None:
    """They look like UTF-32, in which no line would be found again."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(bytes(40) + b'\n{"id": 2}\n')
    first, second = (value for _, value in read_jsonl(path))
    assert isinstance(first, BadLine) and second == {"id": 2}


def test_a_packed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(gzip.compress(b"[" + b" " * 10**6 + b"]"))
    assert read_json(path) == [], "a small file may be blanks"
    monkeypatch.setattr(text_files, "_FREE_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more than"):
        list(read_rows(path))
    with pytest.raises(StorageError, match="unpacks to more than"):
        read_json(path)


@encoded
def test_a_dataset_that_was_saved_again_by_an_editor(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    from PIL import Image

    with DatasetWriter(tmp_path / "ds", name="ds") as writer:
        ref = writer.add_image(Image.new("RGB", (7, 5)), "a")
        for k in range(3):
            writer.add(Sample(id=f"é{k}", task="t", images=(ref,), question="Where?"))
    file = tmp_path / "ds" / "samples.jsonl"
    plain = file.read_text(encoding="utf-8")
    file.write_bytes(encode(plain.replace("\n", "\r\n")))
    folder = DatasetFolder.open(tmp_path / "ds")
    assert [sample.id for sample in folder] == ["é0", "é1", "é2"]
    assert sum(len(chunk) for chunk in chunks_of(folder)) == 3
    with Rows(folder) as rows:
        assert [rows[k].id for k in (2, 0, 1)] == ["é2", "é0", "é1"], "in any order"


def test_only_plain_files_can_be_sought(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(codecs.BOM_UTF8 + b"ab")
    with open_utf8(path) as stream:
        assert stream.seekable() and stream.tell() == 3
    path.write_bytes("ab".encode("utf-16"))
    with open_utf8(path) as stream:
        assert not stream.seekable() and stream.read() == b"ab"
