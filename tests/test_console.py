"""Console output carries no control sequences, and CSV cells no formulas (promise 30)."""

from __future__ import annotations

import csv
import io
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import takes_at_most
from mirg import console
from mirg.errors import DataError

CLEANED = [
    ("\x1b[31mred\x1b[0m", "red", "colours"),
    ("a\x1b[2J\x1b[Hb", "ab", "clear the screen, cursor home"),
    ("\x1b]0;evil title\x07text", "text", "window title ended by BEL"),
    ("\x1b]52;c;ZXZpbA==\x1b\\text", "text", "clipboard ended by ST"),
    ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link", "terminal hyperlink"),
    ("\x9b31mred", "red", "eight-bit CSI"),
    ("\x90q\x9ctext", "text", "eight-bit DCS"),
    ("\x1bcreset", "reset", "full reset"),
    ("\x1b(0line", "line", "character set"),
    ("loss 0.1\rloss 9.9", "loss 0.1loss 9.9", "a line may not overwrite itself"),
    ("a\r\nb\tc\n", "a\nb\tc\n", "line ends and tabs stay"),
    ("ab\x08\x08cd", "abcd", "backspaces"),
    ("\x1b]0;never closed", "0;never closed", "an unfinished sequence is defused, its text kept"),
    ("safe\u202etxt.exe", "safetxt.exe", "right-to-left override"),
    ("x\ud800y", "x\ufffdy", "a lone surrogate cannot be encoded"),
    ("Größe 図 ✓", "Größe 図 ✓", "ordinary text of any script stays"),
]


@pytest.mark.parametrize(("text", "expected", "reason"), CLEANED, ids=[row[2] for row in CLEANED])
def test_clean_removes_what_a_terminal_obeys(text: str, expected: str, reason: str) -> None:
    assert console.clean(text) == expected, reason


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
def test_cleaned_text_is_inert_encodable_and_stays_so(text: str) -> None:
    result = console.clean(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", result)
    result.encode("utf-8")
    assert console.clean(result) == result


@pytest.mark.parametrize("worst", ["\x1b]" * 40_000, "\x9d" * 80_000, "\x1b[" + "1;" * 40_000, "\x9b" * 80_000])
def test_clean_is_linear(worst: str) -> None:
    assert takes_at_most(0.5, lambda: console.clean(worst))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\x1b[0m=", "\x00="])
def test_csv_cells_cannot_be_formulas(start: str) -> None:
    cell = console.csv_cell(start + "cmd|' /C calc'!A0")
    assert isinstance(cell, str) and cell.startswith("'")
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell])
    assert not buffer.getvalue().lstrip('"').startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("value", [-1.5, 0, True, None, "red ring", "Image-1", ""])
def test_csv_leaves_numbers_and_plain_text_alone(value: object) -> None:
    assert console.csv_cell(value) == value


def test_say_survives_a_poor_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console.say("75.3 … \x1b[1mred")
    assert raw.getvalue() == b"75.3 \\u2026 red\n"


def test_fail_prints_the_message_the_hint_and_gives_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.fail(DataError("no \x1b[31msamples", hint="pass a dataset folder")) == 2
    assert capsys.readouterr().err == "error: no samples\nhint: pass a dataset folder\n"


def test_table_aligns_and_cleans(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("Results", ["model", "joint"], [["[red]base[/red]\x1b[5m", 3.1], ["SFT", "55.0"]])
    text = capsys.readouterr().out
    assert "\x1b" not in text and "[red]base[/red]" in text
    lines = [line for line in text.split("\n") if "3.1" in line or "55.0" in line]
    assert lines[0].index("3.1") + 3 == lines[1].index("55.0") + 4, "numbers end in the same column"


def test_a_long_cell_is_not_cut_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    path = "runs/" + "very-long-name/" * 8 + "report.html"
    console.table("", ["what", "where"], [["report", path]])
    assert path in capsys.readouterr().out


def test_log_lines_are_clean_and_not_doubled(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = list(console.logger.handlers)
    try:
        console.log_to_console()
        console.log_to_console()
        console.logger.warning("sample %s: \x1b]0;x\x07broken", "a\x1b[2Jb")
        try:
            raise ValueError("\x1b[31mred")
        except ValueError:
            console.logger.exception("trace")
    finally:
        console.logger.handlers[:] = handlers
        console.logger.setLevel(logging.NOTSET)
    err = capsys.readouterr().err
    assert err.count("sample ab: broken") == 1 and "ValueError: red" in err and "\x1b" not in err


def test_one_line_flattens_and_cuts() -> None:
    assert console.one_line("a\n\n b\x1b[0m\tc") == "a b c"
    assert console.one_line("x" * 300, limit=10) == "x" * 9 + "…"
