"""The table of reasons: every text with which an import refuses a row or a file, what it means, and what to do.

``tools/refused_page.py`` writes ``docs/how-to/refused.md`` of it. The code that refuses writes its own texts; a test
collects them and fails if one of them has no entry.
"""

from __future__ import annotations

from functools import cache

from mirg.data.importers.reasons.annotations import ABSENCE, COCO, FILES, TOOLS, TRACKS
from mirg.data.importers.reasons.entry import VARIES, Reason
from mirg.data.importers.reasons.rows import ANSWERS, BOXES, LABELS, PICTURES, ROWS, WHICH_IMAGE

__all__ = ["FILE_GROUPS", "ROW_GROUPS", "VARIES", "Reason", "is_case", "kind_of", "reason_of"]

# Reasons for one row, question or object, by what they are about.
ROW_GROUPS: dict[str, tuple[Reason, ...]] = {
    "Which image": WHICH_IMAGE,
    "Boxes and frames": BOXES,
    "Images and files": PICTURES,
    "Labels": LABELS,
    "Complete annotation": ABSENCE,
    "COCO": COCO,
    "Annotation tools": TOOLS,
    "Films and tracks": TRACKS,
    "Texts and answers": ANSWERS,
    "Rows and fields": ROWS,
}
# Reasons that stop an import.
FILE_GROUPS: dict[str, tuple[Reason, ...]] = {"Whole files": FILES}


def is_case(text: str, says: str) -> bool:
    """Whether ``text`` is ``says`` with anything in the place of what varies; linear in the length of the text.

    >>> is_case("has 3 lines for 4 frames", "has … lines for … frames")
    True
    """
    return _fits(text, tuple(says.split(VARIES)))


def _fits(text: str, parts: tuple[str, ...]) -> bool:
    if len(parts) == 1:
        return text == parts[0]
    first, *between, last = parts
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in between:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


@cache
def _entries() -> list[tuple[tuple[str, ...], str, Reason]]:
    """The texts for rows, the most exact ones first: "is missing: this is not a task" before "is missing"."""
    texts = [(text, reason) for group in ROW_GROUPS.values() for reason in group for text in reason.says]
    texts.sort(key=lambda pair: -len(pair[0].replace(VARIES, "")))
    return [(tuple(text.split(VARIES)), text, reason) for text, reason in texts]


def reason_of(text: str) -> Reason | None:
    """The entry for the reason of a rejected row, or None if the table has no entry for it.

    >>> reason_of("Image-7 does not exist, there are 3 images").remedy
    'Correct the number in the text, or add the image to the row.'
    """
    found = _found(text)
    return found and found[1]


def kind_of(text: str) -> str | None:
    """The text of the table that a reason is a case of, for counting.

    >>> kind_of("Image-7 does not exist, there are 3 images")
    'Image-… does not exist, there are … images'
    """
    found = _found(text)
    return found and found[0]


def _found(text: str) -> tuple[str, Reason] | None:
    if text.startswith("sample ") and ": image " in text:  # an image of a sample whose name was known
        text = text[text.index(": image ") + 2 :]
    return next(((kind, reason) for parts, kind, reason in _entries() if _fits(text, parts)), None)
