"""A question rewritten for another order of its images, in whatever words it names them.

:mod:`mirg.samples.reorder` renumbers the two spellings that mirg writes. Questions of other datasets also say
"image 2", "the second image" or "the last picture", which :func:`in_new_order` rewrites, or refuses to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mirg.answers import ordinals
from mirg.answers.image_names import LAST, Name, names_in
from mirg.answers.languages import CARDINALS
from mirg.samples.reorder import renumbered

_MARKUP = re.compile(r"(<box image=\d{1,9}>[^<]*</box>)")
_NOUN = r"(?:image|picture|photo|photograph|view|frame)s?"
# Words that may speak of the order of the images, once every image that is named is cut out.
_ORDER = re.compile(
    rf"""\b(?:{ordinals.ANY}|last|next|previous|former|latter|preced\w+|followed|following\s{_NOUN}|consecutive\w*|sequence\w*
        |order|earlier|later|before|after
        |(?:left|right|middle|cent(?:re|er)|top|bottom|upper|lower)(?:most)?[- ]{_NOUN}
        |{_NOUN}[ ](?:on|at|to)[ ]the[ ](?:left|right|top|bottom))\b""",
    re.IGNORECASE | re.VERBOSE,
)


def in_new_order(text: str, now: Mapping[int, int]) -> str | None:
    """``text`` with every name of an image replaced by that of its new number ``now[old]``, both from 1.

    None if a name is not understood, belongs to no image, or is an ordinal of another language than English.

    >>> in_new_order("Where in the second image is the cup of Image-1?", {1: 3, 2: 1, 3: 2})
    'Where in the first image is the cup of Image-3?'
    """
    pieces = _MARKUP.split(text)
    for k, piece in enumerate(pieces):
        found = renumbered(piece, now) if k % 2 else _renamed(piece, now)
        if found is None:
            return None
        pieces[k] = found
    return "".join(pieces)


def speaks_of_order(text: str) -> bool:
    """Whether an English ``text`` may mean the order of its images in words that name no single image.

    >>> speaks_of_order("Find the second image."), speaks_of_order("Find the first region of the source image.")
    (False, True)
    """
    plain = _MARKUP.sub("", text)
    for name in reversed(names_in(plain)):
        plain = plain[: name.start] + plain[name.end :]
    return _ORDER.search(plain) is not None


def _renamed(text: str, now: Mapping[int, int]) -> str | None:
    for name in reversed(names_in(text)):
        old = len(now) if name.number == LAST else name.number
        new = _written(name, text, now[old]) if old in now else None
        if new is None:
            return None
        start, end, word = new
        text = text[:start] + word + text[end:]
    return text


def _written(name: Name, text: str, number: int) -> tuple[int, int, str] | None:
    """The place of the number in ``text``, and what is to be there; None if there is no word for it."""
    if not name.ordinal:
        start, end = name.digits
        word = text[start:end]
        if word.isascii() and word.isdigit():
            return start, end, str(number)
        return (start, end, _like(word, CARDINALS[number - 1])) if number <= len(CARDINALS) else None
    word = text[name.start : name.end].split()[0].rstrip(",")
    end = name.start + len(word)
    if word.lower() in (*ordinals.WORDS, "last", "final"):
        new = ordinals.WORDS[number - 1] if number <= len(ordinals.WORDS) else _digits(number)
        return name.start, end, _like(word, new)
    if re.fullmatch(ordinals.ANY, word, re.IGNORECASE):
        # "2th", as a benchmark of the field writes it, becomes "3th": the wording must not change.
        odd = word.lower() != _digits(ordinals.number(word))
        return name.start, end, f"{number}{word[-2:]}" if odd else _digits(number)
    return None


def _like(old: str, new: str) -> str:
    return new.capitalize() if old[0].isupper() else new


def _digits(number: int) -> str:
    """
    >>> [_digits(n) for n in (1, 2, 3, 4, 11, 21, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '21st', '112th']
    """
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
