from __future__ import annotations

import re

import pytest

from mirg.answers import ordinals


@pytest.mark.parametrize(
    ("text", "number", "why"),
    [
        *((word, k, "a word") for k, word in enumerate(ordinals.WORDS, 1)),
        ("Second", 2, "at the start of a sentence"),
        ("1st", 1, "digits"),
        ("2th", 2, "the ending is not looked at"),
        ("12th", 12, "two digits"),
        ("21ST", 21, "capitals"),
    ],
)
def test_every_spelling_that_is_matched_has_its_number(text: str, number: int, why: str) -> None:
    assert re.fullmatch(ordinals.ANY, text, re.IGNORECASE), why
    assert ordinals.number(text) == number, why


@pytest.mark.parametrize("text", ["one", "2", "nd", "thirdly", "9999999999th", "twenty-first"])
def test_other_words_are_no_ordinals(text: str) -> None:
    assert not re.fullmatch(ordinals.ANY, text, re.IGNORECASE)
