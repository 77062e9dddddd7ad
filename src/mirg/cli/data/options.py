"""What the commands of ``mirg data`` share: choices, how lists are written, how many rejections are printed."""

from __future__ import annotations

from enum import StrEnum

SHOWN = 20  # rejections listed without --json


class Look(StrEnum):
    """How far image files are looked at; each level includes the ones before it."""

    none = "none"
    header = "header"
    hash = "hash"
    decode = "decode"


class Where(StrEnum):
    """What works on the rows."""

    local = "local"
    processes = "processes"
    ray = "ray"


def listed(text: str) -> list[str]:
    """The parts of ``a, b``."""
    return [part.strip() for part in text.split(",") if part.strip()]
