"""What the commands of ``mirg data`` share: how lists are written, and how many rejections are printed."""

from __future__ import annotations

SHOWN = 20  # rejections listed without --json


def listed(text: str) -> list[str]:
    """The parts of ``a, b``."""
    return [part.strip() for part in text.split(",") if part.strip()]
