"""The language of a chain, by its frequent words: refused if it is another one, never if it is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.trajectories.language import Language, language_problem

ENGLISH = (
    "The first image shows a red ring and a star. In the second image there is only a star, so the ring must be the "
    "object that is missing there."
)
GERMAN = (
    "Das erste Bild zeigt einen roten Ring und einen Stern. Auf dem zweiten Bild ist nur noch der Stern zu sehen, also "
    "ist es der Ring, der dort fehlt."
)
POLISH = (
    "Na pierwszym obrazie widać czerwony pierścień i gwiazdę. Na drugim obrazie jest tylko gwiazda, więc brakuje tam "
    "pierścienia, którego szukamy w pytaniu."
)
CHINESE = (
    "第一张图片里有一个红色的圆环和一颗星星。第二张图片里只有星星，所以圆环是那里缺少的东西，它就是问题所要找的物体。"
)
TERSE = "Target: red ring. Found: red ring Image-2. " + "Box: Image-2 red ring. " * 8

CASES: list[tuple[str, str, Language, bool]] = [
    ("English", ENGLISH, "en", True),
    ("German", GERMAN, "de", True),
    ("English for German", ENGLISH, "de", False),
    ("German for English", GERMAN, "en", False),
    ("a language without its own list", POLISH, "en", False),
    ("another script", CHINESE, "en", False),
    ("a few words", "Das ist der Ring.", "en", True),
    ("terse chains have no frequent words", TERSE, "en", True),
    ("... in any language", TERSE, "de", True),
    ("a foreign name in an English chain", ENGLISH + " Its label is in German: die Uhr.", "en", True),
]


@pytest.mark.parametrize(("why", "text", "wanted", "fine"), CASES, ids=[row[0] for row in CASES])
def test_languages(why: str, text: str, wanted: Language, fine: bool) -> None:
    problem = language_problem(text, wanted, {"red", "ring"})
    assert (problem is None) == fine, problem


def test_labels_are_of_any_language() -> None:
    labels = "der rote ring und die blaue uhr"
    listed = (
        f"Image-1 shows {labels}, {labels}. The second image has {labels} too, and the one that is not there is it."
    )
    assert language_problem(listed, "en", set(labels.split())) is None


@given(st.text(max_size=200), st.sampled_from(["en", "de"]))
def test_any_text_gives_a_verdict(text: str, wanted: Language) -> None:
    problem = language_problem(text, wanted)
    assert problem is None or problem
