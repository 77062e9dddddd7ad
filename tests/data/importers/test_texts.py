"""Names of images in texts, placeholders, and which image a question asks about."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.answers.image_names import ascii_forms
from mirg.data.importers import answered
from mirg.data.importers.answered import asked_image, boxes_of, marked_up
from mirg.data.importers.raw import RawBox
from mirg.data.importers.rows import Refused
from mirg.data.importers.texts import ANY_BOX, BOX, Shown, image_names, plain, shown


@pytest.mark.parametrize(
    ("text", "numbers", "why"),
    [
        ("the third image, Image-1 and image-2", [3, 1, 2], "words and numbers"),
        ("the 2th image and the 3rd picture", [2, 3], "ordinals as the field writes them"),
        ("the last image", [4], "of four"),
        ("Image 2's table", [2], "with a blank"),
        ("in image 2 people", [], "a number in prose is no name"),
        ("the 3th region picture of these two images", [], "a region, no image"),
        ("Image-12 and the twelfth frame", [12, 12], "two digits"),
    ],
)
def test_names(text: str, numbers: list[int], why: str) -> None:
    assert [name.number for name in image_names(text, 4)] == numbers, why


@pytest.mark.parametrize(
    ("text", "before", "expected", "why"),
    [
        ("<image>\n<image>\nFind it.", 0, Shown("Find it.", 2), "at the beginning"),
        ("Image-1: <image>\nImage-2: <image>\nFind it.", 0, Shown("Find it.", 2), "labelled"),
        ("Picture 3: <image>Find it.", 2, Shown("Find it.", 1), "a later message counts on"),
        ("Find it.\n<image><image>", 0, Shown("Find it.", 2), "at the end"),
        ("<image>Is <image> like it?", 0, Shown("Is Image-2 like it?", 2), "inside a sentence: its name"),
        ("<image>", 0, Shown("", 1), "nothing else"),
        ("Find it.", 0, Shown("Find it.", 0), "none"),
        ("Compare <image> with it.", 2, Shown("Compare Image-3 with it.", 1), "inside, in a later message"),
        ("Image-2: <image>", 0, Shown("", 1, "image 1 is introduced as 'Image-2:'"), "another number"),
    ],
)
def test_placeholders(text: str, before: int, expected: Shown, why: str) -> None:
    assert shown(text, before) == expected, why


@pytest.mark.parametrize(
    ("question", "image", "why"),
    [
        ("Locate this object in the 3th image.", 3, "one name"),
        ("Where does the object in image-1 locate in the image-2?", 2, "the last place of a search"),
        ("For the object in the first image (1), please locate it in the 4th image.", 4, "the first one is shown"),
        ("Which cup of Image-2 fits Image-1? Find it and locate it in the second image.", 2, "said at the end"),
        ("Locate the object in Image-1 that is like the one in Image-2.", 1, "the second is compared with"),
        ("Find the mug of Image-1 in Image-2.", 2, "the other one says what to look for"),
        ("Image-1: the cup is not in Image-1. Where is it?", None, "the only image is excluded"),
        ("Is the cup of Image-1 like that of Image-2?", None, "nothing is to be found"),
        ("Compare these images.", None, "no name"),
        ("Find the cup in Image-1, then find it in Image-2.", None, "two places"),
        ("Find the cup in Image-1. Then locate it in Image-2.", None, "two places in two sentences"),
        ("Find the cup in Image-1 or in Image-2.", None, "one of them"),
        ("Find the cup in Image-1 and in Image-2.", None, "both"),
        ("Find the cup in Image-1, unless it is in Image-2.", None, "one of them, in another word"),
        ("Find what disappeared from Image-1 in Image-2.", None, "it may be missing from the last one"),
        ("Find the object of Image-1 that is missing in Image-2.", None, "it is not there"),
        ("Find the cup that is in Image-1, and not in Image-2.", None, "which object is meant"),
        ("In Image-2, find the cup that is in Image-1.", None, "the relative clause says which object is meant"),
        ("Find the cup in Image-2, not in Image-1.", 2, "the other one is excluded"),
        ("Ignore Image-1. Find the cup in Image-2.", 2, "in another sentence"),
        ("Locate the cup in Image-1 that is missing in Image-2.", 1, "the relative clause is about the other one"),
        ("Using Image-1 as reference, find the cup in Image-2.", 2, "in another clause"),
        ("If the cup is in Image-1, find it in Image-2.", 2, "a condition"),
        (
            "For the area marked by the red bounding box in the first image, locate the corresponding area "
            "in the second image that serves a similar function.",
            2,
            "a box is not only looked for but also drawn",
        ),
        (
            "These images share one object (marked with red bounding box in the first image (1,2),(3,4)). "
            "Recognize and locate this object in the 3th image.",
            3,
            "the same in another sentence",
        ),
    ],
)
def test_the_image_asked_about(question: str, image: int | None, why: str) -> None:
    assert asked_image(question, 4) == image, why


@pytest.mark.parametrize(
    ("text", "images", "why"),
    [
        ("the object in the first image ((1,2),(3,4)), locate it in the second image", [1], "the name before it"),
        ("find (1,2),(3,4) in the second image as in Image-1", [2], "the name directly behind it"),
        ("In Image-2: (1,2),(3,4) and (5,6),(7,8). In Image-1: (1,2),(3,4)", [2, 2, 1], "until another is named"),
        ("Image-1: (1,2),(3,4), (5,6),(7,8) in the second image", [1, 2], "the first box has a name in front of it"),
    ],
)
def test_boxes_of_a_text(text: str, images: list[int], why: str) -> None:
    assert [part.image for part in marked_up(text, 2, "question") if isinstance(part, RawBox)] == images, why


@given(st.text(alphabet="aI<>image-1234( ),[]thefirst:\n|_box") | st.text(), st.integers(1, 5))
def test_any_text_is_read(text: str, images: int) -> None:
    """Nothing is raised but a refusal; placeholders are all taken out."""
    found = shown(text)
    assert "<image>" not in found.text or "<image>" not in text
    assert all(name.start < name.end for name in image_names(text, images))
    try:
        parts = marked_up(text, images, "question")
    except Refused as refused:
        assert refused.refusal.field == "question"
    else:
        assert all(1 <= part.image <= images for part in parts if isinstance(part, RawBox))
        assert plain(text).startswith(parts[0] if isinstance(parts[0], str) else "")


_PIECES = st.lists(
    st.sampled_from(
        (
            "Image-2", "image 1", "Images 1, 2", "the second image", "first", "last", ": ", ", ", " ", ". ", "\n",
            "a.png", "none", "not in ",
            "<|box_start|>(12,345),(678,901)<|box_end|>", "(1,2),(3,4)", "[5, 6, 700, 800]", "(0,12)", "[[", "{", "}",
            '"bbox_2d": ', '"image": 3', "图2", "第二张图", "（１，２），（３，４）", "0", "<ref>cup</ref>",
        )
    ),
    max_size=8,
).map("".join)  # fmt: skip


def _outcome(work: Callable[[], object]) -> object:
    try:
        return work()
    except Refused as refused:
        return refused.refusal


@settings(max_examples=300)
@given(_PIECES, st.integers(1, 3), st.sampled_from((BOX, ANY_BOX)))
def test_what_is_remembered_of_an_answer_is_what_is_read_in_it(text: str, count: int, pattern: re.Pattern[str]) -> None:
    """Answers that differ only in the numbers of their boxes share what is remembered, the numbers excepted."""
    once = _outcome(lambda: boxes_of(text, count, pattern=pattern))
    places = _outcome(lambda: answered._places.__wrapped__(ascii_forms(text), count, pattern))
    if isinstance(once, list) and isinstance(places, tuple):
        assert [box.image for box in once] == [image for image, _ in places]
    else:
        assert once == places or "is stated" in str(once) or "unknown form" in str(once)
