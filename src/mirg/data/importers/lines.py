"""Lines of text files that other tools wrote, and the numbers in them: a line is understood as a whole, or refused."""

from __future__ import annotations

import math
import re
from pathlib import Path

from mirg.data.importers.rows import Refused
from mirg.text_files import DAMAGE, read_text

_BETWEEN = re.compile(r"\s*[,;]\s*|\s+")
_LAST_COMMA = re.compile(r"\s*[,;]?\s*$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan", re.IGNORECASE | re.ASCII)
_LARGEST = 1e9  # of a number in an annotation file


def number_lines(file: Path, field: str) -> list[list[float]]:
    """The numbers of every line that is not blank, between commas, semicolons or blanks; NaN is kept.

    Refused with the line if anything else is in it, or if the file cannot be read.
    """
    return [_numbers(line, f"line {k}", field) for k, line in _filled(lines_of(file, field))]


def lines_of(file: Path, field: str) -> list[str]:
    """The lines of a text file of any usual encoding. Refused if it cannot be read."""
    try:
        return read_text(file).splitlines()
    except (OSError, *DAMAGE) as error:
        raise Refused(field, f"cannot be read: {error}") from error


def _filled(lines: list[str]) -> list[tuple[int, str]]:
    return [(k, _LAST_COMMA.sub("", line, count=1).strip()) for k, line in enumerate(lines, 1) if line.strip()]


def _numbers(line: str, where: str, field: str) -> list[float]:
    words = _BETWEEN.split(line)
    wrong = next((word for word in words if not _NUMBER.fullmatch(word)), None)
    if wrong is not None:
        raise Refused(field, f"{where} holds {wrong[:40]!r}, which is not a number", "")
    values = [float(word) for word in words]
    if any(abs(value) >= _LARGEST for value in values if not math.isnan(value)):
        raise Refused(field, f"{where} holds a number beyond {_LARGEST:.0e}", "")
    return values
