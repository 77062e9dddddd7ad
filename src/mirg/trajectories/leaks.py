"""Signs that a chain was written by someone who had been shown the truth.

A teacher is given the annotation and asked to reason without it; a student trained on "according to the
annotation …" learns to invent annotations. Patterns are matched on plain words (``mirg.trajectories.chain``), in which
the labels of the sample and the box of its question are taken out: those may be spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from mirg.trajectories.chain import THING, Sentence, image_words
from mirg.trajectories.leaks_de import GERMAN
from mirg.trajectories.leaks_en import BOX, HARMLESS, LEAKS, SUSPECTS

# A box that the question points at may be spoken of: "the given box of Image-1", "the object in the marked box".
_POINTED_AT = re.compile(
    r"\b(?:(?:given|provided|specified|reference|marked|highlighted|indicated|the|a) ){1,3}(?:bounding )?"
    r"(?:box|coordinates|region|location)(?: \w+)? (?:in|of|from|for) (?:the )?qimg\b"
    rf"|\b(?:in|at|inside|within|by|of) the (?:given|provided|specified|reference|marked) {BOX}\b"
)
_IMAGE = re.compile(r"\bimg(\d{1,9})\b")


def leak(
    parts: Sequence[Sentence],
    things: re.Pattern[str] | None = None,
    named: Collection[int] = (),
    box_named: bool = False,
) -> str | None:
    """What gives away that the writer knew the truth, or None.

    ``things`` are the labels of the sample, ``named`` the images that its question names, ``box_named`` says whether
    the question points at a box.
    """
    texts: dict[str, None] = {}
    for sentence in parts:
        words = image_words(sentence.prose, things)
        words = _IMAGE.sub(lambda found: "qimg" if int(found[1]) in named else found[0], words)
        texts[_POINTED_AT.sub(THING, words) if box_named else words] = None
    # No pattern matches a line break: all sentences at once are searched in a fraction of the time.
    if _found("\n".join(texts)) is None:
        return None
    return next((found for found in map(_found, texts) if found), None)


def _found(text: str) -> str | None:
    for patterns, words in (((*LEAKS, *GERMAN), text), (SUSPECTS, HARMLESS.sub(" ", text))):
        for what, pattern in patterns:
            found = pattern.search(words)
            if found:
                return f"{what}: {found.group().strip()!r}"
    return None
