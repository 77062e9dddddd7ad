"""What the commands of ``mirg data`` share: choices, how lists are written, how many rejections are printed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from mirg.console import one_line, say

SHOWN = 20  # rejections listed without --json


class ImageLook(StrEnum):
    """How image files are inspected by commands that do not compare digests."""

    none = "none"
    header = "header"
    decode = "decode"


class Look(StrEnum):
    """How image files are inspected; each level includes the ones before it."""

    none = "none"
    header = "header"
    hash = "hash"
    decode = "decode"


class Where(StrEnum):
    """What works on the rows."""

    local = "local"
    processes = "processes"
    ray = "ray"


def say_listed(rows: Sequence[object], word: str = "rejected", file: str | Path = "rejected.jsonl") -> None:
    """Print the first of ``rows``, such as rejections, and how many more are in ``file``."""
    for row in rows[:SHOWN]:
        say(f"{word} {one_line(str(row), limit=400)}")
    if len(rows) > SHOWN:
        say(f"… and {len(rows) - SHOWN} more in {file}")


def listed(text: str) -> list[str]:
    """The parts of ``a, b``."""
    return [part.strip() for part in text.split(",") if part.strip()]
