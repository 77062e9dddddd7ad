"""Signs that a chain was written by someone who had been shown the truth.

A teacher is given the annotation and told to reason as if it were not; a student trained on "according to the
annotation …" learns to invent annotations. Patterns are matched on words: lower case, one space between, marks gone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mirg.trajectories.chain import Sentence

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")
_MARKS = re.compile(r"[\W_]+")

_PLACES = r"(?:bounding ?box(?:es)?|box(?:es)?|bbox(?:es)?|coordinates?|coords)"
_TRUTH = rf"(?:answers?|solutions?|{_PLACES}|annotations?|labels?)"
_GIVEN = r"(?:provided|given|supplied|revealed|disclosed|told|handed|furnished|made available)"
_SHOWN = r"(?:images?|pictures?|photos?|photographs?|frames?|question|query|crops?|scenes?|task|description)"
_SAYS = (
    r"(?:says?|said|tells?|told|states?|stated|gives?|gave|indicates?|indicated|confirms?|confirmed|reveals?|revealed)"
)
_RECORD = r"(?:labels?|metadata|json|dataset|hints?|system prompt|records?)"
_FILE = rf"(?:{_RECORD}|data|files?|answers?|solutions?|notes?|truth|input|system)"
_BEING = r"(?:that|which|i|we|you|had|has|have|is|are|was|were|been|being|already|also|me)"
_I_AM = r"(?:have|had|has|ve|was|were|am|are|m|re|been|being|already|also|just)"
_EQUALS = (
    r"(?:match(?:es|ing)?|agree(?:s|ing)? with|confirmed by|verified against|checked against|compared? (?:with|to)"
    r"|consistent with|in line with)"
)
_BY_QUESTION = r"(?! (?:in|by) (?:the |this )?(?:question|query|prompt|task|user))"
_NOT = r"(?:do not|did not|had not|have not|don t|didn t|hadn t|haven t|never)"

# (what is said to be wrong, pattern)
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("names the ground truth", r"ground ?truths?|gts?"),
    ("names an annotation", r"annotat(?:ion|ions|ed|or|ors|e|es|ing)"),
    ("names a reference answer", rf"(?:reference|gold|golden|oracle|model|official|expected) {_TRUTH}|answer key"),
    ("names a hidden answer", rf"(?:hidden|secret|privileged|true|correct) (?:{_PLACES}|labels?|information)"),
    ("names a hint", r"(?:the|this|that|given|provided|my|your) hints?(?! of)"),
    ("says that it was given", rf"{_GIVEN} (?:with )?(?:the |its |an? |that |this |me )?(?:\w+ )?{_TRUTH}"),
    ("says that it was given", rf"{_TRUTH} (?:{_BEING} ){{0,4}}{_GIVEN}"),
    (
        "says that the writer was told",
        rf"(?:i|we) (?:{_I_AM} ){{1,4}}(?:told|given|shown|provided|informed|supplied|handed)"
        rf"(?! (?:with )?(?:\w+ ){{0,3}}{_SHOWN})",
    ),
    ("appeals to a record", rf"according to (?:the |this |its |that |my |your )?(?:\w+ )?{_FILE}"),
    ("appeals to a record", rf"{_RECORD} (?:\w+ )?{_SAYS}"),
    (
        "appeals to a record",
        rf"as (?:{_BEING} ){{0,2}}(?:given|provided|supplied|specified|disclosed|told)\b{_BY_QUESTION}",
    ),
    ("knows beforehand", r"(?:already|beforehand) know|known? (?:beforehand|in advance|already)"),
    ("knows beforehand", rf"know (?:the |its )?(?:\w+ )?{_TRUTH}|known {_TRUTH}"),
    ("checks against the truth", rf"{_EQUALS} (?:the )?(?:\w+ )?(?:{_TRUTH}|truth)"),
    (
        "plays ignorant",
        rf"pretend\w*|as (?:if|though) (?:i|we) {_NOT}|without (?:revealing|mentioning|referring to|disclosing)",
    ),
)
LEAKS = tuple((what, re.compile(rf"\b(?:{pattern})\b")) for what, pattern in _PATTERNS)

_ANSWER = r"(?:answer|conclusion|solution)"
_MUST = r"(?:is|are|must be|should be|would be|will be|has to be|can be found|is found|is located|lies)"
_CONCLUSION = re.compile(
    rf"\b{_ANSWER} (?:{_MUST}|image)\b"
    rf"|^(?:the )?(?:final |correct )?{_ANSWER}\b"
    rf"|\b(?:target|answer|match) {_MUST} (?:in|inside) image\b"
    rf"|\bimage \d{{1,9}} {_MUST} the (?:final |correct |right )?(?:answer|one|target|match|solution|image)\b"
    rf"|\bimage \d{{1,9}} {_MUST} (?:correct|right)\b"
)


def normal_words(text: str) -> str:
    """Lower-case words with one space between them; look-alike and invisible characters are folded first."""
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return _MARKS.sub(" ", folded).strip()


def leak(parts: Sequence[Sentence]) -> str | None:
    """What gives away that the writer knew the truth, or None: a telling phrase, or the conclusion stated first."""
    for sentence in parts:
        words = normal_words(sentence.prose)
        for what, pattern in LEAKS:
            found = pattern.search(words)
            if found:
                return f"{what}: {found.group()!r}"
    return conclusion_first(parts)


def conclusion_first(parts: Sequence[Sentence]) -> str | None:
    """The first sentence that concludes before any statement about the images was made, or None."""
    for sentence in parts:
        if _CONCLUSION.search(normal_words(sentence.prose)):
            return f"concludes before it looks at the images: {sentence.prose[:80]!r}"
        if sentence.is_image_level:
            return None
    return None
