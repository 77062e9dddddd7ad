"""What people see in a terminal: text without control sequences, tables, and log lines.

Labels, file names, questions and above all model output are written by others. A terminal obeys the control
sequences inside them (colours, window titles, clipboard, overwritten lines), so everything goes through
:func:`clean` first. rich is imported only where a table is drawn.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import TextIO

from mirg.errors import MirgError

# One introducer, then a body that may not hold another introducer: every pattern is linear in the text.
_BODY = r"[^\x07\x1b\x80-\x9f]*"
_SEQUENCE = re.compile(
    rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]){_BODY}(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC with their ends
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b[ -/]*[0-~]"  # two-character and character-set sequences
)
# What is left of C0 (tab and newline stay), DEL, C1, and the marks that reorder text on the screen (bidi controls).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r", "\n")

logger = logging.getLogger("mirg")


def clean(text: str) -> str:
    r"""``text`` without control sequences, control characters, text-reordering marks and lone surrogates.

    Newlines and tabs stay, ``\r\n`` becomes a newline. Idempotent, linear in the length of ``text``.

    >>> clean("\x1b[31mred\x1b[0m \x1b]0;title\x07ring")
    'red ring'
    """
    text = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return _SURROGATE.sub("\ufffd", _CONTROL.sub("", text))


def one_line(text: str, limit: int = 200) -> str:
    """``clean(text)`` on one line of at most ``limit`` characters, cut with an ellipsis."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def csv_cell(value: object) -> object:
    """A value safe in a spreadsheet: text that would be read as a formula gets a leading apostrophe.

    Numbers pass unchanged.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("red ring"), csv_cell(-0.5)
    ("'=HYPERLINK(1)", 'red ring', -0.5)
    """
    if not isinstance(value, str):
        return value
    # Both before and after cleaning: an invisible character in front must not hide the sign behind it.
    text = clean(value)
    dangerous = value.startswith(_FORMULA_START) or text.lstrip(" \t\n").startswith(_FORMULA_START)
    return "'" + text if dangerous else text


def say(text: str = "", *, file: TextIO | None = None) -> None:
    """Write one cleaned line (or several) to standard output, whatever its encoding is."""
    _write(clean(text) + "\n", file or sys.stdout)


def warn(text: str) -> None:
    """Write one cleaned line to standard error, marked as a warning."""
    _write(f"warning: {clean(text)}\n", sys.stderr)


def fail(error: MirgError) -> int:
    """Write an error and its hint to standard error; returns the exit code of the program."""
    _write(f"error: {clean(error.message)}\n", sys.stderr)
    if error.hint:
        _write(f"hint: {clean(error.hint)}\n", sys.stderr)
    return error.exit_code


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table to standard output: the first column left-aligned, the others right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=Text(one_line(title)) if title else None, box=box.SIMPLE_HEAD, title_justify="left")
    for position, column in enumerate(columns):
        drawn.add_column(Text(one_line(column)), justify="left" if position == 0 else "right", no_wrap=position > 0)
    for row in rows:
        drawn.add_row(*(Text(clean(str(cell))) for cell in row))
    # Off a terminal rich would cut the table to 80 columns; a file or a pipe takes what it is given.
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200, no_color=True)
    with console.capture() as captured:
        console.print(drawn)
    lines = (line.rstrip() for line in captured.get().rstrip().split("\n"))
    _write("\n".join(lines) + "\n", sys.stdout)


class CleanFormatter(logging.Formatter):
    """A log formatter whose lines and tracebacks contain no control sequences."""

    def format(self, record: logging.LogRecord) -> str:
        """The formatted record through :func:`clean`."""
        return clean(super().format(record))


def log_to_console(*, verbose: bool = False) -> None:
    """Send mirg's log lines to standard error; calling it again replaces the earlier handler."""
    for handler in [h for h in logger.handlers if isinstance(h.formatter, CleanFormatter)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def _write(text: str, file: TextIO) -> None:
    # A terminal set to ASCII or Latin-1 must not end a run over one character of a label.
    encoding = getattr(file, "encoding", None) or "utf-8"
    file.write(text.encode(encoding, "backslashreplace").decode(encoding))
    file.flush()
