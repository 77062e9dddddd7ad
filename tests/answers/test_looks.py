"""Looks: one spelling per family and style that reads back, what may follow what, and what becomes of bad ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import grows_at_most
from mirg.answers import instruction_text, read
from mirg.answers.blocks import look_order, split
from mirg.answers.looks import (
    Look,
    LookBudget,
    crop_name,
    crop_pixels,
    crop_size,
    cut_turn,
    find_look,
    joined,
    look_text,
    replay,
    split_turns,
)
from mirg.answers.markup import look_markup
from mirg.answers.prompts import write_completion
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL, QWEN25_VL
from mirg.frames import from_frame, input_size, to_frame
from mirg.samples.schema import Target

SIZES = [(1280, 720), (300, 900), (64, 48)]
TWO = LookBudget(max_looks=2)
GOOD = "<look>Image-2: (100,200),(300,400)</look>"
sides = st.tuples(st.floats(0, 0.97), st.floats(0, 0.97), st.floats(0.02, 1), st.floats(0.02, 1))
boxes = sides.map(lambda v: (v[0], v[1], min(v[0] + v[2], 1.0), min(v[1] + v[3], 1.0)))


@given(st.integers(1, 3), boxes, st.sampled_from(list(FAMILIES.values())), st.sampled_from(["text", "json"]))
def test_a_look_reads_back_in_every_family_and_style(image, box, family, style) -> None:
    text = look_text(Look(image, box), SIZES, family, style)
    size = SIZES[image - 1]
    found = find_look(f"<think>Hm. {text} more", SIZES, family)
    assert found is not None and (found.problem, found.noise, found.closed) == (None, None, True)
    assert found.look == Look(image, from_frame(to_frame(box, size, family), size, family))
    assert text == f"<think>Hm. {text} more"[found.start : found.end]


PIECES = st.sampled_from([*"<lok>/ {}[]():,12", "Image-", "<look>", "</look>", "<think>", "</think>", "<answer>", GOOD])
BLOCKS = st.sampled_from(["a", "\n", "<think>", "</think>", "<answer>", "</answer>", "none"])


@given(st.lists(PIECES, max_size=40).map("".join))
def test_the_readers_are_total(text: str) -> None:
    for family in (QWEN3_VL, QWEN25_VL, FAMILIES["gemma-4"]):
        found = find_look(text, SIZES, family)
        steps = replay(text, SIZES, family, TWO)
        read(text, SIZES, family, looks=True)
        assert (found is None) == ("<look>" not in text)
        assert sum(step.refusal is None for step in steps) <= TWO.max_looks
        assert cut_turn(text) == text[: len(cut_turn(text))]


@given(st.lists(BLOCKS, max_size=14).map("".join))
def test_without_looks_the_format_is_as_before(text: str) -> None:
    plain, with_looks = read(text, SIZES, QWEN3_VL), read(text, SIZES, QWEN3_VL, looks=True)
    assert plain == with_looks
    if split(text).problem is None:
        assert look_order(text) == (None, [])


@pytest.mark.parametrize("piece", ["<look>", "</look>", GOOD, "<look>Image-1: (1,2", "<look>" + "[" * 30])
def test_reading_looks_takes_linear_time(piece: str) -> None:
    short, long = ("<think>" + piece * n + "</think><answer>none</answer>" for n in (200, 1600))
    assert grows_at_most(16, lambda: replay(short, SIZES, QWEN3_VL, TWO), lambda: replay(long, SIZES, QWEN3_VL, TWO))
    once, more = (lambda text=text: read(text, SIZES, QWEN3_VL, looks=True) for text in (short, long))
    assert grows_at_most(16, once, more)


THINK = f"<think>a {GOOD} b</think><answer>Image-2: (100,200),(300,400)</answer>"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (THINK, None),
        (THINK.replace(GOOD, GOOD * 2), None),
        (f"{GOOD}{THINK}", "text before <think>"),
        (f"<think>a</think>{GOOD}<answer>none</answer>", "text between </think> and <answer>"),
        (f"<think>a</think><answer>{GOOD}none</answer>", "a look inside the answer"),
        (f"<think>a</think><answer>none</answer>{GOOD}", "text after </answer>"),
        (f"<think>a <look>{GOOD}</think><answer>none</answer>", "a look that is not closed before <look>"),
        ("<think>a <look>Image-2</think><answer>none</answer>", "a look that is not closed before </think>"),
        ("<think>a </look></think><answer>none</answer>", "</look> without <look>"),
        ("<think>a <look></look></think><answer>none</answer>", "a look that does not parse: the answer is empty"),
        (THINK.replace("Image-2: (100,200)", "it is (100,200)", 1), "a look that does not parse: the text 'it'"),
        (THINK.replace("(300,400)</look>", "(300,400),(1,2),(3,4)</look>"), "a look that does not parse: 2 boxes"),
        (f"<think>a {GOOD}", "</think> is missing"),
    ],
)
def test_what_may_follow_what(text: str, reason: str | None) -> None:
    """A place outside of its image, or an image that is not there, does not break the format."""
    assert read(text, SIZES, QWEN3_VL, looks=True).format_reason == reason


def test_the_answer_of_a_completion_with_looks_is_that_of_its_answer_block() -> None:
    reading = read(THINK, SIZES, QWEN3_VL, looks=True)
    assert [box.image for box in reading.boxes] == [2] and reading.format_score == 1.0


def test_crops_have_names_without_end() -> None:
    names = [crop_name(7, k) for k in range(1, 800)]
    assert names[:2] == ["Image-7a", "Image-7b"] and names[25:28] == ["Image-7z", "Image-7aa", "Image-7ab"]
    assert len(set(names)) == len(names)
    assert all(len(a) <= len(b) for a, b in pairwise(names))


def test_crops_are_named_after_their_parent_in_the_order_of_the_looks() -> None:
    other = "<look>Image-1: (0,0),(500,500)</look>"
    steps = replay(f"<think>{GOOD}{other}{GOOD}{other}", SIZES, QWEN3_VL, LookBudget(max_looks=3))
    assert [step.name for step in steps] == ["Image-2a", "Image-1a", "Image-2b", ""]
    assert [step.refusal for step in steps] == [None, None, None, "No look is left."]


BAD = [
    ("<look>Image-4: (1,2),(300,400)</look>", "There is no Image-4."),
    ("<look>Image-2: (1,2),(1300,400)</look>", "This box is not inside Image-2."),
    ("<look>Image-2: (300,2),(100,400)</look>", "This box has no area: x1 must be less than x2, and y1 less than y2."),
    ("<look>Image-2: (300,2),(300,400)</look>", "This box has no area: x1 must be less than x2, and y1 less than y2."),
    ("<look>Image-3: (1,1),(15,20)</look>", "This part of Image-3 has only 1 x 1 pixels."),
    ("<look>Image-1: (1,1),(3,999)</look>", "This part of Image-1 has only 3 x 720 pixels."),
    ("<look>Image-2a: (1,2),(300,400)</look>", "This look names no box in one image."),
    ("<look>(1,2),(300,400)</look>", "This look names no box in one image."),
    ("<look></look>", "This look names no box in one image."),
    ("<look>the ring</look>", "This look names no box in one image."),
    ("<look>Image-1: (1,2),(3,4),(5,6),(7,8)</look>", "This look names no box in one image."),
    ("</think><answer>" + GOOD, "A look belongs inside the thinking, not behind it."),
    ("</think>" + GOOD, "A look belongs inside the thinking, not behind it."),
    (GOOD * 2 + GOOD, "No look is left."),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_bad_look_is_refused_in_words(text: str, words: str) -> None:
    assert replay(f"<think>a {text}", SIZES, QWEN3_VL, TWO)[-1].refusal == words


def test_a_hundred_looks_show_as_many_crops_as_the_budget_allows() -> None:
    steps = replay("<think>" + GOOD * 100, SIZES, QWEN3_VL, TWO)
    assert len(steps) == 100 and [step.refusal for step in steps[:3]] == [None, None, "No look is left."]


def test_a_crop_touches_every_pixel_of_its_box() -> None:
    assert crop_pixels((0.1, 0.2, 0.3, 0.4), (10, 10)) == (1, 2, 3, 4)
    assert crop_pixels((0.101, 0.2, 0.3001, 0.41), (10, 10)) == (1, 2, 4, 5)
    assert crop_pixels((0.0, 0.0, 1.0, 1.0), (37, 11)) == (0, 0, 37, 11)


@given(st.integers(4, 3000), st.integers(4, 3000), st.sampled_from(list(FAMILIES.values())))
def test_a_crop_is_shown_within_the_limits_and_resized_once(width: int, height: int, family) -> None:
    """About as many pixels as the budget says; the processor does not change the size."""
    if max(width, height) > 20 * min(width, height):
        return
    shown = crop_size((width, height), family, TWO)
    if family.grids:
        assert input_size(shown, family) == shown
    area = min(max(TWO.crop_pixels, family.limits.min_pixels), family.limits.max_pixels)
    assert 0.4 * area <= shown[0] * shown[1] <= 1.6 * area


def test_turns_join_to_one_completion() -> None:
    turns = [
        f"<think>a {GOOD}<|im_end|>\n",
        f"<think>\nb {GOOD} this is cut off",
        "c</think><answer>none</answer><|im_end|>",
    ]
    whole = joined(turns)
    assert whole == f"<think>a {GOOD}\nb {GOOD}c</think><answer>none</answer><|im_end|>"
    assert read(whole, SIZES, QWEN3_VL, looks=True).format_score == 1.0
    assert split_turns(whole) == [f"<think>a {GOOD}", f"b {GOOD}", "c</think><answer>none</answer><|im_end|>"]
    assert split_turns("none") == ["none"] and joined(["none"]) == "none"


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_thinking_with_looks_is_written_and_reads_back(family) -> None:
    box, target = (0.1, 0.2, 0.5, 0.6), Target(image=2, box=(0.2, 0.3, 0.3, 0.4), label="ring")
    thinking = f"I look closer. {look_markup(2, box)}Image-2a shows it. {look_markup(1, box)}"
    text = write_completion(thinking, (target,), SIZES, family)
    assert read(text, SIZES, family, looks=True).format_reason is None
    assert [step.name for step in replay(text, SIZES, family, TWO)] == ["Image-2a", "Image-1a"]


@pytest.mark.parametrize("family", [QWEN3_VL, MIRG_TINY, FAMILIES["gemma-4"]], ids=lambda f: f.name)
@pytest.mark.parametrize("style", ["text", "json"])
def test_instructions_explain_looks_only_if_they_are_on(family, style) -> None:
    """The form that the instructions show is the form that is written."""
    for kind in ("full", "short"):
        plain, told = (instruction_text(family, kind, style, looks) for looks in (0, 3))
        assert "<look>" not in plain and told.startswith(plain) and "at most 3 times" in told
        form = told.partition("<look>")[2].partition("</look>")[0]
        written = look_text(Look(1, (0.0, 0.0, 0.5, 0.5)), SIZES, family, style)
        assert form.translate(str.maketrans("", "", "0123456789Nxy")) == written[6:-7].translate(
            str.maketrans("", "", "0123456789Nxy")
        )
    assert instruction_text(family, "none", style, 3) == ""
