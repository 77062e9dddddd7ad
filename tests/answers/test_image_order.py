"""Questions rewritten for another order of their images, and those that cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.image_names import names_in
from mirg.answers.image_order import in_new_order, speaks_of_order

NOW = {1: 3, 2: 1, 3: 2}  # the first image is now the third one, and so on


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("Find the cup.", "Find the cup.", "it names no image"),
        ("Where in Image-1 is the cup of Image-3?", "Where in Image-3 is the cup of Image-2?", "as mirg writes it"),
        ("<box image=3>0.1,0.1,0.5,0.5</box> of image-3", "<box image=2>0.1,0.1,0.5,0.5</box> of image-2", "markup"),
        ("In image 2 and picture #3", "In image 1 and picture #2", "other spellings"),
        ("the second image, the First picture", "the first image, the Third picture", "words keep their case"),
        ("the 2nd image and the 3rd", "the 1st image and the 3rd", "only names of images are replaced"),
        ("the 1th image", "the 3th image", "an ordinal that is written wrongly stays so"),
        ("the last image", "the second image", "the last one is the third here"),
        ("the first and third images", "the third and second images", "two ordinals with one noun"),
        ("Images 1 and 2, image two", "Images 3 and 1, image one", "lists, and numbers in words"),
        ("the image 4", None, "there are three images"),
        ("image 0", None, "it counts from 0"),
        ("Image A", None, "letters are not numbers"),
        ("the second to last image", None, "counted from the end"),
        ("im dritten Bild", None, "no ordinals of another language are written"),
        ("in b.png", None, "which image the file is, is not known here"),
    ],
)
def test_names_of_images_follow(text: str, expected: str | None, why: str) -> None:
    assert in_new_order(text, NOW) == expected, why


@given(st.permutations([1, 2, 3, 4]), st.lists(st.integers(1, 4), max_size=4))
def test_back_is_the_same_text(order: list[int], numbers: list[int]) -> None:
    words = ("first", "second", "third", "fourth")
    text = " ".join(f"Image-{n}, the {words[n - 1]} image, picture {n};" for n in numbers)
    now = dict(enumerate(order, 1))
    there = in_new_order(text, now)
    assert there is not None and [n.number for n in names_in(there)] == [now[n.number] for n in names_in(text)]
    assert in_new_order(there, {new: old for old, new in now.items()}) == text


def test_numbers_beyond_the_words() -> None:
    now = {n: n % 22 + 1 for n in range(1, 23)}
    assert in_new_order("the twelfth image, the 20th image", now) == "the 13th image, the 21st image"
    assert in_new_order("image twelve", now) is None, "there is no word for 13 here"


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("Find the second image.", False),
        ("Find the cup left of the plate.", False),
        ("Find the region of the following expression: a cup.", False),
        ("Locate the 1th region picture in the source image.", True),
        ("A source image followed by its regions.", True),
        ("Find it in the next image.", True),
        ("The first two images show it.", True),
        ("Find it in the left picture.", True),
        ("The image on the left shows it.", True),
        ("The frames are in the order of time.", True),
        ("It is in the former and not in the latter.", True),
    ],
)
def test_other_words_about_the_order(text: str, speaks: bool) -> None:
    assert speaks_of_order(text) is speaks
