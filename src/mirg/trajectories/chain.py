"""A reasoning chain taken apart: sentences, the images they name, the boxes they cite, and plain words for patterns.

Every pattern here is linear in the text: gaps are bounded and no two repetitions can match the same characters.
Plain words are in lower case with one space between them; ``Image-2``, "the second image" and "images 2 and 3" become
``img2`` and so on, and look-alike characters are equal.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from mirg.answers import ordinals
from mirg.answers.markup import cited, replaced
from mirg.geometry import Box
from mirg.samples.schema import Sample

BOX_WORD = "\u25a1"  # marks one box in the prose

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")

_NUMBER_WORDS = {
    word: number
    for words in (
        "one two three four five six seven eight nine ten eleven twelve",
        "eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    )
    for number, word in enumerate(words.split(), 1)
}
_GERMAN_ORDINALS = [
    *("erst", "zweit", "dritt", "viert", "fünft", "sechst", "siebt", "acht", "neunt", "zehnt", "elft", "zwölft")
]
_GERMAN_IMAGE = r"(?:bild|foto|aufnahme)"
_IMAGE = rf"(?:image|img|picture|photograph|photo|{_GERMAN_IMAGE})"
_IMAGES = r"(?:images|imgs|pictures|photographs|photos|bildern|bilder|aufnahmen)"
_GAP = r"[ \-_#\u2010-\u2013]{0,3}"
_AND = r"(?: ?, ?(?:(?:and|und) )?| (?:and|or|to|und|oder|bis) | ?& ?| ?- ?)"

_NUMBERED = re.compile(
    rf"\b{_IMAGE}{_GAP}(?:no\.? ?|nr\.? ?|number )?(\d{{1,9}}|(?:{'|'.join(_NUMBER_WORDS)})\b(?! (?:by|after|at)\b))",
    re.IGNORECASE,
)
_LISTED = re.compile(rf"\b{_IMAGES}{_GAP}[(\[]?(\d{{1,9}}(?:{_AND}(?:{_IMAGE}{_GAP})?\d{{1,9}})*)", re.IGNORECASE)
_RANKED = re.compile(rf"\b({ordinals.ANY}) (?:\w{{1,20}} )?{_IMAGE}\b", re.IGNORECASE)
_GERMAN_RANKED = re.compile(
    rf"\b({'|'.join(_GERMAN_ORDINALS)})e[mnrs]? (?:\w{{1,20}} )?{_GERMAN_IMAGE}\b", re.IGNORECASE
)
_COLLECTIVE = re.compile(
    rf"\b{_IMAGES}\b|\b(?:each|every|no|neither|another|other|any|one) {_IMAGE}\b"
    rf"|\b(?:source|region|reference|query|cropped|original) {_IMAGE}\b"  # named by what the question has them for
    rf"|\b(?:jede|kein|ein|andere)[mnrs]? {_GERMAN_IMAGE}\b",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\d{1,9}")


class Cited(NamedTuple):
    """One box of the chain, and the words before it in its sentence (since the box before)."""

    image: int
    box: Box
    words_before: str


@dataclass(frozen=True)
class Sentence:
    """A sentence: ``raw`` contains the markup of boxes, ``prose`` has :data:`BOX_WORD` in the place of every box.

    ``boxes`` are the well-formed boxes in order. A sentence with a box is object-level (``has_box``). One that says
    something about images, and nothing about a place inside one, is image-level.
    """

    raw: str
    prose: str
    boxes: list[Cited]
    has_box: bool
    is_image_level: bool


def sentences(thinking: str) -> list[Sentence]:
    """The sentences of a chain, in order, without empty ones."""
    found = []
    for raw in filter(None, map(str.strip, _SENTENCE_END.split(thinking))):
        prose = prose_of(raw)
        pieces, has_box = prose.split(BOX_WORD), BOX_WORD in prose
        boxes = [Cited(image, box, words) for (image, box), words in zip(cited(raw), pieces, strict=False)]
        about_images = not has_box and bool(mentioned(prose) or _COLLECTIVE.search(prose))
        found.append(Sentence(raw, prose, boxes, has_box, about_images))
    return found


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) in ``text`` of every sentence, empty ones included."""
    cuts = [match.span() for match in _SENTENCE_END.finditer(text)]
    return list(zip([0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)], strict=True))


def prose_of(thinking: str) -> str:
    """The chain with :data:`BOX_WORD` in the place of every box, and without its looks."""
    return replaced(replaced(thinking, lambda image, box: "", "look"), lambda image, box: BOX_WORD)


class Mention(NamedTuple):
    """An image named in words: characters ``start`` to ``end`` of the prose name image ``number``."""

    start: int
    end: int
    number: int


@lru_cache(maxsize=512)  # several checks look at the same sentences
def mentions(prose: str) -> tuple[Mention, ...]:
    """Every image that ``prose`` names by its number or rank, in the order of the text."""
    found = []
    for match in _NUMBERED.finditer(prose):
        word = match[1].lower()
        found.append(Mention(*match.span(), _NUMBER_WORDS[word] if word in _NUMBER_WORDS else int(word)))
    found += [Mention(*match.span(), ordinals.number(match[1])) for match in _RANKED.finditer(prose)]
    for match in _GERMAN_RANKED.finditer(prose):
        found.append(Mention(*match.span(), 1 + _GERMAN_ORDINALS.index(match[1].lower())))
    for match in _LISTED.finditer(prose):
        found += [Mention(*d.span(), int(d[0])) for d in _DIGITS.finditer(prose, match.start(1), match.end(1))]
    return tuple(sorted(found))


def mentioned(prose: str) -> list[int]:
    """Numbers of the images that ``prose`` names: ``Image-2``, "images 1, 2 and 4", "the third image", "Bild zwei".

    >>> mentioned("Image-2 and the third image, unlike images 4 to 6")
    [2, 3, 4, 6]
    """
    return [mention.number for mention in mentions(prose)]


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
    notes = [*(note for image in sample.images for note in image.objects), *sample.targets]
    labels, subject = {note.label for note in notes}, sample.meta.get("subject")
    if isinstance(subject, str):
        labels.add(subject)
    known = sorted({normal_words(label) for label in labels} - {""}, key=lambda phrase: (-len(phrase), phrase))
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, known))})(?:s|es)?\b") if known else None
