"""Leaks beyond the English table of test_verify: in German, around what a question names, around labels."""

from __future__ import annotations

import re

import pytest

from mirg.trajectories.chain import image_words, normal_words, sentences
from mirg.trajectories.phrases import HARMLESS, LEAKS, SUSPECTS, conclusion_first, conclusions, leak

GERMAN = [
    "Laut der Annotation ist es Bild 2.",
    "Die Grundwahrheit nennt Bild 2.",
    "Die vorgegebene Box liegt links.",
    "Mir wurde gesagt, dass es Bild 2 ist.",
    "Ich weiß bereits, wo es ist.",
    "In den Metadaten steht Bild 2.",
    "Meine Notizen nennen Bild 2.",
    "Das passt zu der bekannten Lösung.",
    "Ich darf die Lösung nicht verraten.",
    "Ich tue so, als wüsste ich es nicht.",
    "Bild 2 ist als Ziel markiert.",
    "Die Antwort war vorab bekannt.",
    "Gemäß den Angaben liegt es dort.",
]
HONEST_GERMAN = [
    "Ich vergleiche die Bilder der Reihe nach.",
    "Laut der Frage ist ein Ring gesucht.",
    "Auf dem Etikett ist nichts zu lesen.",
    "Die Farbe ist von der Vorlage bekannt.",
    "Es passt in Farbe und Form.",
    "Der Hinweis in der Frage ist die Farbe.",
]


@pytest.mark.parametrize("sentence", GERMAN)
def test_german_leaks(sentence: str) -> None:
    assert leak(sentences(f"Bild 1 ist leer. {sentence}"))


@pytest.mark.parametrize("sentence", HONEST_GERMAN)
def test_honest_german(sentence: str) -> None:
    assert leak(sentences(f"Bild 1 ist leer. {sentence}")) is None


# (why, sentence, labels, images that the question names, whether it points at a box, leaks)
AROUND = [
    ("a label that is an object", "The label says nothing.", "label", (), False, False),
    ("... that is no object", "The label says ring.", "ring", (), False, True),
    ("a record that is an object", "The records lie on a table.", "records?", (), False, False),
    ("the box that the question points at", "The given box of Image-1 shows a ring.", "ring", (1,), True, False),
    ("... in a question that points at none", "The given box of Image-1 shows a ring.", "ring", (1,), False, True),
    ("... in another image", "The given box of Image-2 shows a ring.", "ring", (1,), True, True),
    ("an image that is known to be the one", "It is listed under Image-2.", "ring", (), False, True),
    ("... that the question names", "It is listed under Image-2.", "ring", (2,), False, False),
    ("what the question says", "As stated in the question, it is red.", "ring", (), False, False),
    ("what a file says", "As stated in the file, it is red.", "ring", (), False, True),
]


@pytest.mark.parametrize(("why", "text", "labels", "named", "box", "leaks"), AROUND, ids=[row[0] for row in AROUND])
def test_what_may_be_spoken_of(why: str, text: str, labels: str, named: tuple, box: bool, leaks: bool) -> None:
    assert bool(leak(sentences(text), re.compile(rf"\b{labels}\b"), named, box)) == leaks


DECIDES = [
    ("So the answer is Image-3.", [(3, True)]),
    ("The correct image must be the third image.", [(3, True)]),
    ("Image-2 is the right one.", [(2, True)]),
    ("I therefore choose image 4.", [(4, True)]),
    ("The target is clearly in Image-1.", [(1, False)]),
    ("Image-2 is the only one with a ring.", []),
    ("The answer is not Image-3.", []),
    ("The answer is Image-3 or Image-4.", []),
    ("The match must be in Image-1.", [(1, True)]),
    ("If the answer is Image-3, it is red.", []),
    ("Image-3 is to the right of it.", []),
    ("Image-3 is right beside Image-4.", []),
    ("Image-3 it is.", [(3, True)]),
    ("In Image-3 it is red.", []),
]


@pytest.mark.parametrize(("text", "decided"), DECIDES, ids=[row[0] for row in DECIDES])
def test_for_which_image_a_sentence_decides(text: str, decided: list[tuple[int, bool]]) -> None:
    assert [(found.number, found.certain) for found in conclusions(image_words(text))] == decided


FIRST = [
    ("a description of the target's image", "In Image-2 there is a ring.", False),
    ("a description, it as the subject", "Image-2 clearly shows a ring.", False),
    ("a look-up", "Found: ring Image-2.", False),
    ("a plan", "First I look at all images. Image-1 shows a star.", False),
    ("a plan, then the conclusion", "First I look at all images. It is in Image-2.", True),
    ("what the answer has to be", "The answer has to be an object. Image-1 shows a star.", False),
    ("another image first", "It is not in Image-1. It is in Image-2.", False),
    ("a guess", "Image-2, no question.", False),
    ("a name and nothing else", "My bet would be on Image-2.", True),
]


@pytest.mark.parametrize(("why", "text", "concludes"), FIRST, ids=[row[0] for row in FIRST])
def test_who_concludes_first(why: str, text: str, concludes: bool) -> None:
    found = conclusion_first(sentences(text), re.compile(r"\bring\b"), named=(), targets=(2,))
    assert bool(found) == concludes, found


def test_words() -> None:
    assert normal_words("  The\u200b RING\u2011like, (thing)! ") == "the ring like thing"
    assert image_words("The second image and images 3, 4: no") == "the img2 and images img3 img4 no"
    assert image_words("A red ring in Image-2", re.compile("red ring")) == "a thing in img2"


CROSSES = re.compile(r"\\[sSWD]|\[\^|\n|(?<!\\)[.$]")


def test_no_pattern_reaches_over_a_line_break() -> None:
    """Sentences are searched together, one a line: a pattern that crossed lines would join two harmless ones."""
    assert all(CROSSES.search(told) for told in (r"a\sb", r"a.b", r"a[^b]", r"a$"))
    for _, pattern in (*LEAKS, *SUSPECTS, ("harmless", HARMLESS)):
        assert not CROSSES.search(pattern.pattern), pattern.pattern
        assert not pattern.flags & (re.DOTALL | re.MULTILINE)
