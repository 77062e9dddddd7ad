"""Names of objects in English sentences: articles, plurals, verbs and lists. Rules, with a few exceptions.

A name is a label of a dataset ("traffic light", "scissors") or the phrase of a question ("the man on the left").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
LONGEST_NAME = 16  # words; a longer phrase is an instruction, which no sentence can hold

_ARTICLE = re.compile(r"^(?:the|an?) ", re.IGNORECASE)
_DETERMINED = re.compile(
    r"(?:another|this|that|these|those|his|her|its|their|my|your|our|all|both|each|every|some|\w+['\u2019]s|"
    + "|".join(NUMBERS[1:])
    + r"|\d+(?= ))\b",
    re.IGNORECASE,
)
# Where the noun of a phrase ends: "bowl | of fruit", "man | riding a horse".
_HEAD = re.compile(
    r" (?:of|with|without|in|on|at|for|to|from|by|near|behind|under|above|below|between|next|and|or|that|who|which"
    r"|whose|(?:rid|hold|wear|stand|sitt|play|walk|runn|carry|eat|look|ly|lean|talk|us|fly|jump|watch|driv|pull|push"
    r"|cross|hang|fac|show|contain|mak|tak|work|swimm|drink|read|sleep)ing)\b"
)
_IS_LONG = re.compile(r"[?!:;\n]|\.(?=\s|$)")
_VOWEL = re.compile(r"[aeio]|u(?!ni(?!n|mp)|s[aeiu]|t[ei]|r[aeiou]|b?iq)|hour|honest|heir", re.IGNORECASE)
_SPELLED = re.compile(r"[A-Z]{1,4}\d*\b")
_IRREGULAR = {
    **{"person": "people", "man": "men", "woman": "women", "child": "children", "mouse": "mice", "foot": "feet"},
    **{"goose": "geese", "tooth": "teeth", "knife": "knives", "shelf": "shelves", "leaf": "leaves", "loaf": "loaves"},
    **{"calf": "calves", "wolf": "wolves", "scarf": "scarves", "half": "halves", "potato": "potatoes"},
    **{"tomato": "tomatoes", "sheep": "sheep", "deer": "deer", "fish": "fish", "aircraft": "aircraft"},
}
_PLURALS = {*_IRREGULAR.values(), "skis"} - {"sheep", "deer", "fish", "aircraft"}
_UNCOUNTED = {
    *("broccoli", "water", "grass", "hair", "food", "bread", "luggage", "baggage", "furniture", "clothing", "sand"),
    *("snow", "rice", "meat", "milk", "sky", "ground", "fruit", "paper", "cheese", "butter", "equipment", "text"),
}
_NOT_PLURAL = re.compile(r"(?:ss|us|is|os|as|lens|series|species)$")


@dataclass(frozen=True)
class Name:
    """What an object is called. ``label`` is the text of the annotation, which may begin with an article."""

    label: str

    @cached_property
    def bare(self) -> str:
        """The name without its article."""
        return _ARTICLE.sub("", " ".join(self.label.split())) or "object"

    @cached_property
    def is_long(self) -> bool:
        """Whether the name is an instruction or a sentence, which is not repeated."""
        return len(self.bare.split()) > LONGEST_NAME or bool(_IS_LONG.search(self.label))

    @cached_property
    def _head(self) -> tuple[str, str]:
        """The words up to the noun, and what follows it: ("bowl", " of fruit")."""
        cut = _HEAD.search(self.bare)
        return (self.bare[: cut.start()], self.bare[cut.start() :]) if cut else (self.bare, "")

    @cached_property
    def is_plural(self) -> bool:
        """Whether verbs have the form of the plural: "the scissors are"."""
        noun = self._head[0].split()[-1].casefold()
        return not self.is_long and (noun in _PLURALS or (noun.endswith("s") and not _NOT_PLURAL.search(noun)))

    @property
    def determined(self) -> bool:
        """Whether the name has its own determiner ("his left hand") and takes no article."""
        return bool(_DETERMINED.match(self.bare))

    @property
    def a(self) -> str:
        """``a red ring``, ``an umbrella``, ``scissors``."""
        if self.is_long:
            return "something that fits the description"
        noun = self._head[0].split()[-1].casefold()
        if self.is_plural or self.determined or noun in _UNCOUNTED:
            return self.bare
        spelled = _SPELLED.match(self.bare)
        vowel = self.bare[0] in "AEFHILMNORSX" if spelled else _VOWEL.match(self.bare)
        return f"{'an' if vowel else 'a'} {self.bare}"

    @property
    def the(self) -> str:
        """``the red ring``."""
        if self.is_long:
            return "what the question describes"
        return self.bare if self.determined else f"the {self.bare}"

    @property
    def no(self) -> str:
        """``no red ring``, after a "but": ``not his left hand``."""
        if self.bare.startswith("another "):
            return f"no other {self.bare.removeprefix('another ')}"
        if self.is_long:
            return "nothing that fits the description"
        return f"not {self.the}" if self.determined else f"no {self.bare}"

    @property
    def any(self) -> str:
        """``a red ring``, after a "not"."""
        return "anything that fits the description" if self.is_long else self.a

    def counted(self, count: int) -> str:
        """``a red ring`` for one, else ``two red rings``, ``14 people``."""
        if count == 1 or self.determined:
            return self.a
        head, rest = self._head
        *before, noun = head.split()
        many = " ".join([*before, noun if self.is_plural else plural(noun)]) + rest
        return f"{number(count)} {many}"

    @property
    def many(self) -> str:
        """``red rings``."""
        return self.counted(2).partition(" ")[2]


def plural(noun: str) -> str:
    """The plural of one English noun.

    >>> [plural(noun) for noun in ("ring", "cross", "person", "berry", "Hund")]
    ['rings', 'crosses', 'people', 'berries', 'Hunds']
    """
    low = noun.casefold()
    if low in _IRREGULAR:
        return _IRREGULAR[low]
    if low in _UNCOUNTED:
        return noun
    if low.endswith("man") and low not in ("human", "german", "talisman"):
        return f"{noun[:-2]}en"
    if low.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if low.endswith("y") and low[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def number(count: int) -> str:
    """The number in words up to twelve: "no", "one", "two"."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sentence(words: str) -> str:
    """``words`` with a capital letter at the beginning."""
    return words[:1].upper() + words[1:]
