"""Which option or number an answer gives, in the forms in which models write it; never a guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import takes_at_most
from mirg.answers.choice import UNFINISHED, read_choice, read_number

OPTIONS = {"A": "the second image", "B": "the third image", "C": "None of the choices provided"}
IMAGES = {"A": "", "B": "", "C": "", "D": "None of the choices provided"}
TRUTH = {"T": "True", "F": "False"}
WORDS = {"A": "dogs", "B": "two dogs", "C": "A red cat", "D": "left/right"}


@pytest.mark.parametrize(
    ("text", "options", "letter", "why"),
    [
        *((text, OPTIONS, "B", "the forms of a letter") for text in (
            "B", "b", "(B)", "(b)", "B.", "B)", " B \n", "**B**", "`B`", '"B"', "[B]", "B:", "（Ｂ）", "$B$",
            "Answer: B", "answer: (b)", "**Answer:** B", "Final answer\nB", "Option B", "The answer is B.",
            "The correct option is:\n\n(B) right", "So the answer is **(B)**.", "The answer would be B", "I choose B.",
            "\\boxed{B}", "\\boxed{B}, since A and C differ", "It is not (A) but (B)",
            "$\\boxed{\\text{B}}$", "It is A or C at first sight, so \\boxed{B}.", '{"answer": "B"}',
            "At first \\boxed{A}, no: \\boxed{B}.", "The answer is A. " + "No. " * 6_000 + "The answer is B.",
            "<answer>B</answer>", "<think>A? C?</think><answer>B</answer>", "<think>A</think>B", "答案是B",
            "B<|im_end|>",
            "The camera moves to the right (option B), and not left.", "Image 2 matches, so I take choice B.",
            "A looks like it, but is not. The answer is B.", "B, the third image",
        )),
        *((text, OPTIONS, "B", "the text of the option") for text in (
            "the third image", "The third image.", "B. the third image", "(B) the third image",
            "The answer is the third image because of its style.", "It shares the style of the third image",
        )),
        *((text, OPTIONS, "C", "no choice is right") for text in (
            "C", "None of the choices provided", "None of the choices provided.", "None of the choices.",
            "none of the above", "None of the options",
        )),
        ("The matching image is D", IMAGES, "D", "options that are images have no text"),
        ("two dogs", WORDS, "B", "the longer text, which holds another"),
        ("I see two dogs there", WORDS, "B", "the same inside a sentence"),
        ("A red cat", WORDS, "C", "the text of an option before an article that is a letter"),
        ("A", WORDS, "A", "the letter"),
        ("the answer is A because of the fur", WORDS, "A", "after 'is' a capital A is no article"),
        ("left/right", WORDS, "D", "a text with a slash"),
        ("A red circle marks B.", {"A": "A", "B": "B"}, "B", "options that are letters, and an article"),
        ("3", {"A": "4", "B": "3"}, "B", "options that are numbers"),
        ("Yes, it is.", {"A": "yes", "B": "no"}, "A", "yes or no"),
        *((text, TRUTH, "T", "true") for text in ("T", "True", "true.", "T(True)", "The answer is True", "It is true")),
        *((text, TRUTH, "F", "false") for text in ("F", "False", "(F)", "<think>True</think>False", "Answer: F")),
    ],
)  # fmt: skip
def test_letters(text: str, options: dict[str, str], letter: str, why: str) -> None:
    read = read_choice(text, options)
    assert (read.said, read.failure) == (letter, None), f"{why}: {text!r}"


@pytest.mark.parametrize(
    ("text", "options", "reason", "why"),
    [
        ("", OPTIONS, "empty", "nothing was written"),
        ("<think>B</think>", OPTIONS, "empty", "the thinking is never read"),
        ("<think>The answer is B", OPTIONS, UNFINISHED, "cut off while it thinks"),
        ("(A) or (B)", OPTIONS, "several options: A, B", "both"),
        ("A or B", OPTIONS, "several options: A, B", "both"),
        ("Answer: A and B", OPTIONS, "several options: A, B", "both"),
        ("A is wrong, B is right", OPTIONS, "several options: A, B", "a sentence about two letters"),
        ("the second image or the third image", OPTIONS, "several options: A, B", "the texts of both"),
        ("True or false", TRUTH, "several options: F, T", "the question again"),
        ("I cannot tell.", OPTIONS, "names no option", "a refusal"),
        ("A cat sits on a mat.", OPTIONS, "names no option", "an article"),
        ("The answer is not B.", OPTIONS, "names no option", "a letter that is negated"),
        ("The statement is not true.", TRUTH, "names no option", "a text that is negated"),
        ("\\boxed{}", OPTIONS, "empty", "an empty box"),
        ("E", OPTIONS, "names no option", "a letter that is no option"),
        ("yes", TRUTH, "names no option", "not one of the options"),
        ("Two dogs.", {"A": "two dogs", "B": "Two dogs", "C": "a cat"}, "names no option", "a text of two options"),
        ("Image-1: (100,100),(500,500)", IMAGES, "names no option", "a box"),
        ("<answer></answer>", OPTIONS, "empty", "an empty block"),
    ],
)
def test_nothing_is_guessed(text: str, options: dict[str, str], reason: str, why: str) -> None:
    read = read_choice(text, options)
    assert read.said is None and reason in str(read.failure), f"{why}: {read}"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", "3"), ("03", "3"), ("3.0", "3"), ("Three", "3"), ("three.", "3"), ("(3)", "3"), ("\\boxed{3}", "3"),
        ("There are 3 things", "3"), ("<think>2, no</think>The answer is three", "3"), ("<answer>3</answer>", "3"),
        ("In image 1 and image 2 there are 3 dogs", "3"), ("Answer: 3, not 2", "3"), ("2 of 5. The answer is 3.", "3"),
        ("1.5", "1.5"), ("-1", "-1"), ("zero", "0"), ("0", "0"),
        ("2 or 3", None), ("The answer is 2 or 3", None), ("two and three", None), ("none", None), ("", None),
        ("<think>3", None), ("30%", None),
    ],
)  # fmt: skip
def test_numbers(text: str, number: str | None) -> None:
    read = read_number(text)
    assert read.said == number and (read.failure is None) == (number is not None), read


PIECES = ("A", "B", "(B)", "answer is", "\\boxed{", "}", "<think>", "</think>", "<answer>", "\n", "or", " ", "*", "3")


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_total(text: str) -> None:
    """Any text gives one of the options or a reason."""
    for read in (read_choice(text, OPTIONS), read_choice(text, TRUTH), read_choice(text, {}), read_number(text)):
        assert (read.said is None) == (read.failure is not None)
    assert read_choice(text, OPTIONS).said in (*OPTIONS, None)


@given(st.sampled_from("ABC"), st.text(alphabet="xyz .,", max_size=20))
def test_the_thinking_changes_nothing(letter: str, words: str) -> None:
    for other in "ABC":
        assert read_choice(f"<think>{words} The answer is {other}.</think>{letter}", OPTIONS).said == letter


@pytest.mark.parametrize("piece", PIECES)
def test_a_loop_is_read_quickly(piece: str) -> None:
    text = piece * 30_000
    assert takes_at_most(0.5, lambda: (read_choice(text, OPTIONS), read_number(text)))
