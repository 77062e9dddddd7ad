"""Sentences as plain words, for patterns to be matched on: what looks alike is alike, and an image is one word.

Lower case, one space between words, marks gone; ``Image-2``, "the second image" and "images 2 and 3" become ``img2`` …
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from mirg.samples.schema import Sample
from mirg.trajectories.chain import mentions

THING = "thing"  # replaces the labels of the sample, since a "label" or a "key" may be an object of a question

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_MARKS = re.compile(r"[\W_]+")


def normal_words(text: str) -> str:
    """Lower-case words with one space between them; look-alike and invisible characters are folded first."""
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return _MARKS.sub(" ", folded).strip()


@lru_cache(maxsize=512)  # several checks look at the same sentences
def image_words(prose: str, things: re.Pattern[str] | None = None) -> str:
    """:func:`normal_words` with every image named as ``imgN`` and what ``things`` matches as :data:`THING`.

    >>> image_words("The second image, unlike Image-3: no!")
    'the img2 unlike img3 no'
    """
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", prose))
    pieces, done = [], 0
    for start, end, number in mentions(folded):
        if start >= done:  # mentions may share words
            pieces += [folded[done:start], f" img{number} "]
            done = end
    words = _MARKS.sub(" ", "".join([*pieces, folded[done:]]).casefold()).strip()
    return things.sub(THING, words) if things else words


def things_of(sample: Sample) -> re.Pattern[str] | None:
    """A pattern for the labels of a sample in :func:`image_words`, singular and plural; None without labels."""
    labels = {note.label for image in sample.images for note in image.objects}
    labels |= {target.label for target in sample.targets}
    subject = sample.meta.get("subject")
    if isinstance(subject, str):
        labels.add(subject)
    return _any_of(normal_words(label) for label in labels)


def _any_of(phrases: Iterable[str]) -> re.Pattern[str] | None:
    known = sorted({phrase for phrase in phrases if phrase}, key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, known))})(?:s|es)?\b") if known else None
