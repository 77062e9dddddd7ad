from __future__ import annotations

import random

import pytest

from mirg.data.importers.migbench import Item
from mirg.errors import ConfigError
from mirg.evaluation.migbench.strict import StrictScore, check_family, score_response
from mirg.families import FAMILIES, PixelLimits

QWEN3 = FAMILIES["qwen3-vl"]


def item(targets: tuple[int, ...] = (2,), n_images: int = 3) -> Item:
    task = "diff" if len(targets) == 2 else "group_grounding"
    return Item(0, task, tuple("abcdefg"[:n_images]), "?", (0.1, 0.2, 0.5, 0.6), "", targets)


RIGHT = StrictScore(1.0, True, None)


@pytest.mark.parametrize(
    ("response", "expected", "why"),
    [
        ("<think>hm</think><answer>Image-2: (100,200),(500,600)</answer>", RIGHT, "our own format"),
        ('[{"image": 2, "bbox_2d": [100, 200, 500, 600]}]', RIGHT, "JSON with an image"),
        ("Image-2: <|box_start|>(100,200),(500,600)<|box_end|>", RIGHT, "another family's decorations"),
        ("It is in Image-2: (100,200),(500,600).", RIGHT, "a sentence around the box"),
        ("It's in the second image. <|box_start|>(100,200),(500,600)<|box_end|>", RIGHT, "the image in words"),
        ("In the 2th image: [[100,200,500,600]]", RIGHT, "the image in the benchmark's own words"),
        ("Not the first image but the second image: (100,200),(500,600)", RIGHT, "the image last named counts"),
        ("<answer>the second image: (100,200),(500,600)</answer>", RIGHT, "words inside the tags"),
        ("Image-1: (100,200),(500,600)", StrictScore(0.0, False, None), "the wrong image scores 0"),
        ("Image-7: (100,200),(500,600)", StrictScore(0.0, False, "no such image"), "there are three images"),
        ("(100,200),(500,600)", StrictScore(0.0, False, "no image named"), "which of the three?"),
        ("[100, 200, 500, 600]", StrictScore(0.0, False, "no image named"), "which of the three?"),
        ('[{"bbox_2d": [100, 200, 500, 600]}]', StrictScore(0.0, False, "no image named"), "which of the three?"),
        (
            "<think>Image-2: (100,200),(500,600)</think><answer>Image-1: (0,0),(9,9)</answer>",
            StrictScore(0.0, False, None),
            "the thinking is not read",
        ),
        ("Image-2: (500,600),(100,200)", StrictScore(0.0, True, "inverted box"), "inverted"),
        ("Image-2: (100,200),(100,600)", StrictScore(0.0, True, "empty box"), "no area"),
        ("Image-2: (100,200),(500,1600)", StrictScore(0.0, True, "box outside the image"), "out of range"),
        ("Image-2: (100,200),(500,1e999)", StrictScore(0.0, True, "non-finite box"), "infinite"),
        ("Image-2: (100,200,500)", StrictScore(0.0, True, "3 numbers instead of 4"), "three numbers"),
        ("none", StrictScore(0.0, False, "the answer is none"), "every item has an answer"),
        (
            "Image-2: (0.1,0.2),(0.5,0.6)",
            StrictScore(pytest.approx(0.0, abs=1e-3), True, None),  # type: ignore[arg-type]
            "fractions are not in the 0-1000 frame: one frame for the whole box",
        ),
        (
            "Image-2: (100,200),(500,600) Image-2: (0,0),(9,9)",
            StrictScore(0.5, True, None),
            "two boxes for one object: matched one to one",
        ),
        (
            "Image-1: (100,200),(500,600) Image-2: (100,200),(500,600)",
            StrictScore(0.5, False, None),
            "a box in every image is a guess",
        ),
    ],
)
def test_what_a_response_is_worth(response: str, expected: StrictScore, why: str) -> None:
    assert score_response(response, item(), QWEN3) == expected, why


@pytest.mark.parametrize(("word", "image"), [("sixth", 6), ("seventh", 7), ("Twelfth", 12), ("7th", 7), ("12th", 12)])
def test_images_beyond_the_sixth_have_words_too(word: str, image: int) -> None:
    many = Item(0, "group_grounding", tuple("abcdefghijkl"), "?", (0.1, 0.2, 0.5, 0.6), "", (image,))
    assert score_response(f"In the {word} image: (100,200),(500,600)", many, QWEN3) == RIGHT


@pytest.mark.parametrize(
    "response", ["", "I cannot see it.", "<think>it goes on (1,2),(3,4)", "<answer></answer>", "[1,"]
)
def test_unreadable_responses_fail_with_a_reason(response: str) -> None:
    scored = score_response(response, item(), QWEN3)
    assert scored.iou == 0.0 and not scored.image_ok and scored.failure


def test_either_image_of_a_pair_but_not_both() -> None:
    pair = item(targets=(1, 2), n_images=2)
    for image in (1, 2):
        assert score_response(f"Image-{image}: (100,200),(500,600)", pair, QWEN3) == RIGHT
    both = "Image-1: (100,200),(500,600)\nImage-2: (100,200),(500,600)"
    assert score_response(both, pair, QWEN3) == StrictScore(0.5, False, None)


def test_a_single_image_needs_no_name() -> None:
    assert score_response("(100,200),(500,600)", item(targets=(1,), n_images=1), QWEN3) == RIGHT


def test_an_item_without_a_known_image_fails() -> None:
    assert score_response("Image-2: (100,200),(500,600)", item(targets=()), QWEN3).failure


def test_total_on_fuzz() -> None:
    rng = random.Random(3)
    pieces = [
        "Image-2",
        "the third image",
        ": ",
        "(",
        ")",
        "[",
        "]",
        "{",
        '"bbox_2d"',
        "1e309",
        "nan",
        "\ud800",
        "<box>",
    ]
    pieces += [
        "</think>",
        "<think>",
        "<answer>",
        "</answer>",
        "500",
        "٣",
        ",",
        "-1",
        "0.5",
        "none",
        "<|image_pad|>",
        "\n",
    ]
    for _ in range(3000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 40)))
        scored = score_response(text, item(), QWEN3)
        assert 0.0 <= scored.iou <= 1.0
        assert scored.failure is None or scored.failure
        assert not (scored.failure and scored.iou)


@pytest.mark.parametrize(
    ("response", "expected", "why"),
    [
        ("(100,200),(500,600)", RIGHT, "the question names the image"),
        ("[[100,200,500,600]]", RIGHT, "in another spelling"),
        ("<think>Image-1</think><answer>(100,200),(500,600)</answer>", RIGHT, "the thinking is not read"),
        ("Image-2: (100,200),(500,600)", RIGHT, "naming it does no harm"),
        ("Image-1: (100,200),(500,600)", StrictScore(0.0, False, None), "another image stays wrong"),
        ("(500,600),(100,200)", StrictScore(0.0, True, "inverted box"), "a bad box stays bad"),
        ("(100,200),(500,600) (0,0),(9,9)", StrictScore(0.5, True, None), "two boxes are matched one to one"),
        (
            "(100,200),(500,600) Image-2: (100,200),(500,600)",
            StrictScore(0.0, False, "no image named"),
            "one box names the image and the other does not",
        ),
    ],
)
def test_strict_box_needs_no_name_that_the_question_gives(response: str, expected: StrictScore, why: str) -> None:
    named = Item(0, "common_object", tuple("abc"), "in the 2th image", (0.1, 0.2, 0.5, 0.6), "", (2,))
    assert score_response(response, named, QWEN3, must_name=False) == expected, why
    unnamed = score_response("(100,200),(500,600)", item(), QWEN3, must_name=False)
    assert unnamed == StrictScore(0.0, False, "no image named"), "the question hides the image"


@pytest.mark.parametrize("must_name", [True, False])
def test_boxes_in_pixels_of_the_resized_image(must_name: bool) -> None:
    """Qwen2.5-VL counts in pixels of the resized image, here half as wide and half as high."""
    sizes, limits = [(560, 840), (1120, 560), (56, 56)], PixelLimits(56 * 56, 560 * 280)
    named = Item(0, "common_object", tuple("abc"), "in the 2th image", (0.1, 0.2, 0.5, 0.6), "", (2,))
    text = "(56,56),(280,168)" if not must_name else "Image-2: (56,56),(280,168)"
    scored = score_response(text, named, FAMILIES["qwen2.5-vl"], sizes, limits, must_name=must_name)
    assert scored == StrictScore(pytest.approx(1.0), True, None)  # type: ignore[arg-type]
    other = score_response(text, named, FAMILIES["qwen2.5-vl"], sizes, must_name=must_name)
    assert other.iou < 0.5, "with the family's own limits the image is not resized"


def test_families_in_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"qwen2\.5-vl"):
        check_family(FAMILIES["qwen2.5-vl"])
    check_family(QWEN3)
