"""Phrases, in English and German, that a chain must not contain: signs of the truth, and conclusions that come first.

A teacher is given the annotation and asked to reason without it; a student trained on "according to the annotation …"
learns to invent annotations. The phrases are in ``phrases.txt``. They are matched on plain words
(:func:`~mirg.trajectories.chain.image_words`), in which an image that the question names is ``qimg`` if signs of the
truth are searched for. Gaps hold a bounded number of words, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mirg.trajectories.chain import THING, Sentence, image_words, mentioned


def _read() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """The title of each section of ``phrases.txt`` and its (heading, expression), with the fragments put in."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").replace("\n    ", "")
    fragments = {"THING": THING}
    for section in text.split("\n== ")[1:]:
        title, _, body = section.partition(" ==\n")
        heading, found = "", list[tuple[str, str]]()
        for line in filter(None, body.split("\n")):
            if not line.startswith("  "):
                heading = line
                continue
            # Case folding, which the words have gone through, writes ss for sharp s.
            pattern = re.sub("<([A-Z_]+)>", lambda name: fragments[name[1]], line.strip()).replace("ß", "ss")
            found.append((heading, pattern))
            if title == "fragments":
                fragments[heading] = pattern
        yield title, found


_SECTIONS = dict(_read())
LEAKS, SUSPECTS = (
    tuple((what, re.compile(rf"\b(?:{pattern})\b")) for what, pattern in _SECTIONS[name])
    for name in ("leaks", "suspects")
)
_OF_ANSWER, _OF_TARGET, _WEAK = (
    tuple(re.compile(pattern) for _, pattern in _SECTIONS[name]) for name in ("of the answer", "of the target", "weak")
)
HARMLESS, _POINTED_AT, _SPEAKS_OF_THE_ANSWER, _DESCRIBES = (
    re.compile(rf"\b(?:{'|'.join(pattern for _, pattern in _SECTIONS[name])})\b")
    for name in ("harmless", "pointed at", "speaks of the answer", "describes")
)
_IMAGE = re.compile(r"\bimg(\d{1,9})\b")
_PLACES = re.compile(r"(?:target|ziel) (?:is|lies|sits|ist|liegt)\b")
_SUPPOSES = re.compile(r"\b(?:if|whether|unless|maybe|perhaps|could|might|suppose|assume|wenn|ob|falls|vielleicht)\b")
_ABOUT_ITSELF = re.compile(r"^(?:first |now |so |ok |okay |zuerst )?(?:i|we|let|ich|wir)\b")


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
    for patterns, words in ((LEAKS, text), (SUSPECTS, HARMLESS.sub(" ", text))):
        for what, pattern in patterns:
            if found := pattern.search(words):
                return f"{what}: {found.group().strip()!r}"
    return None


class Conclusion(NamedTuple):
    """The chain decides for image ``number``; ``words`` say how.

    ``certain`` is False for "the target is in Image-1", which also says where a question places it.
    """

    number: int
    words: str
    certain: bool


def conclusions(words: str) -> list[Conclusion]:
    """Every image that a sentence decides for, in plain words of the kind "the answer is img2"."""
    if "img" not in words or _SUPPOSES.search(words):
        return []
    matches = [found for pattern in (*_OF_ANSWER, *_OF_TARGET) for found in pattern.finditer(words)]
    return [Conclusion(int(found[1]), found[0], not _PLACES.match(found[0])) for found in matches]


def conclusion_first(
    parts: Sequence[Sentence],
    things: re.Pattern[str] | None = None,
    named: Collection[int] = (),
    targets: Collection[int] = (),
) -> str | None:
    """The first sentence that concludes before any statement about the images was made, or None.

    ``things`` are the labels of the sample, ``named`` the images that its question names: a statement about their place
    is not a conclusion. ``targets`` are the images with a target: a chain that begins with one of them describes it.
    """
    for sentence in parts:
        words = image_words(sentence.prose, things)
        numbers = set(mentioned(sentence.prose))
        patterns = _OF_ANSWER if numbers <= set(named) else (*_OF_ANSWER, *_OF_TARGET, *_WEAK)
        if (
            _SPEAKS_OF_THE_ANSWER.search(words)
            or ("img" in words and any(pattern.search(words) for pattern in patterns))
            or (numbers and numbers <= set(targets) - set(named) and not _DESCRIBES.search(words))
        ):
            return f"concludes before it looks at the images: {sentence.prose[:80]!r}"
        if numbers or (sentence.is_image_level and not _ABOUT_ITSELF.match(words)):
            return None
    return None
