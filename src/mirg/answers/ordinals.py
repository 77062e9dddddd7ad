"""Numbers of images in words: people and models write "the third image" and "the 3rd image" for ``Image-3``."""

from __future__ import annotations

import re

WORDS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
# For use inside a pattern that ignores case. "2th" is what a benchmark of the field writes.
ANY_WORD = f"(?:{'|'.join(WORDS)})"
ANY = rf"(?:{ANY_WORD}|\d{{1,9}}(?:st|nd|rd|th))"
_DIGITS = re.compile(r"\d{1,9}")


def number(ordinal: str) -> int:
    """The number that an ordinal matched by :data:`ANY` means.

    >>> number("Third"), number("3rd")
    (3, 3)
    """
    word = ordinal.lower()
    if word in WORDS:
        return WORDS.index(word) + 1
    digits = _DIGITS.match(word)
    return int(digits.group()) if digits else 0
