"""The words about the form of an answer that `mirg data export` puts behind a question: a sample does not hold them."""

from __future__ import annotations

from functools import lru_cache
from typing import get_args

from mirg.answers import Instructions, Style, instruction_text
from mirg.frames import FAMILIES


def without_instructions(question: str) -> str:
    """``question`` without instructions of mirg at its end, for whatever family and style they were written."""
    known = _known()
    if not question.endswith(known):
        return question
    found = next(text for text in known if question.endswith(text))
    return question.removesuffix(found).rstrip()


@lru_cache(maxsize=1)
def _known() -> tuple[str, ...]:
    """All instructions, the longest first: one may be the end of another one."""
    styles: tuple[Style, ...] = get_args(Style)
    kinds: tuple[Instructions, ...] = get_args(Instructions)
    texts = {
        instruction_text(family, kind, style) for family in FAMILIES.values() for kind in kinds for style in styles
    }
    return tuple(sorted((f"\n{text}" for text in texts if text), key=len, reverse=True))
