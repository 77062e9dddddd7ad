"""Box markup in texts: bit-exact, rendered in the family's frame, and never silently broken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import takes_at_most
from mirg.answers import box_markup, cited, markup_problem, render, replaced
from mirg.errors import AnswerError
from mirg.families import INTERNVL, MIRG_TINY, QWEN2_VL, QWEN3_VL, QWEN25_VL, Family

BOX = "<box image=2>0.1,0.2,0.3,0.4</box>"
SIZES = [(100, 100), (1280, 720)]


@pytest.mark.parametrize(
    ("family", "style", "expected"),
    [
        (MIRG_TINY, None, "a (120,200),(320,400) b"),
        (QWEN3_VL, None, "a [100,200,300,400] b"),
        (QWEN3_VL, "text", "a (100,200),(300,400) b"),
        (QWEN2_VL, None, "a <|box_start|>(100,200),(300,400)<|box_end|> b"),
        (QWEN25_VL, None, "a [129,146,386,291] b"),
        (INTERNVL, None, "a <box>[[100,200,300,400]]</box> b"),
        (INTERNVL, "json", "a [100,200,300,400] b"),
    ],
)
def test_render(family: Family, style, expected: str) -> None:
    assert render(f"a {BOX} b", SIZES, family, style=style) == expected


@pytest.mark.parametrize(
    ("family", "style", "expected"),
    [
        (QWEN3_VL, None, '{"image": 2, "bbox_2d": [100, 200, 300, 400]}'),
        (QWEN3_VL, "text", "Image-2: (100,200),(300,400)"),
        (QWEN2_VL, None, "Image-2: <|box_start|>(100,200),(300,400)<|box_end|>"),
        (QWEN2_VL, "json", '{"image": 2, "bbox_2d": [100, 200, 300, 400]}'),
    ],
)
def test_render_looks(family: Family, style, expected: str) -> None:
    text = "a <look image=2>0.1,0.2,0.3,0.4</look> b"
    assert render(text, SIZES, family, style=style) == f"a <look>{expected}</look> b"


def test_text_without_markup_is_untouched() -> None:
    assert render("a < b, <box>, </box> and 0.5", SIZES, QWEN3_VL) == "a < b, <box>, </box> and 0.5"


fractions = st.floats(0, 1, allow_nan=False)


@given(st.integers(1, 12), st.tuples(fractions, fractions, fractions, fractions))
def test_markup_is_read_back_bit_for_bit(image: int, box) -> None:
    assert cited(f"x{box_markup(image, box)}y{box_markup(image, box)}") == [(image, box)] * 2


@pytest.mark.parametrize(
    ("text", "problem", "why"),
    [
        (BOX, None, "proper"),
        ("", None, "nothing to check"),
        ("<box image=3>0.1,0.2,0.3,0.4</box>", "Image-3 does not exist, there are 2 images", "beyond the images"),
        ("<box image=0>0.1,0.2,0.3,0.4</box>", "Image-0 does not exist, there are 2 images", "numbers count from 1"),
        ("<box image=1>0.3,0.2,0.1,0.4</box>", "the box is inverted", "x1 > x2"),
        ("<box image=1>0.1,0.2,0.3,1.4</box>", "the box is outside", "not fractions"),
        ("<box image=1>0.1,0.2,nan,0.4</box>", "the box is non-finite", "NaN"),
        ("<box image=1>0.1,0.2,0.3</box>", "not <box image=N>x1,y1,x2,y2</box>", "three numbers"),
        ("<box image=1>0.1,0.2,0.3,0.4", "not <box image=N>x1,y1,x2,y2</box>", "never closed"),
        ("<box image=one>0.1,0.2,0.3,0.4</box>", "not <box image=N>x1,y1,x2,y2</box>", "no number"),
        ("<box image=²>0.1,0.2,0.3,0.4</box>", "not <box image=N>x1,y1,x2,y2</box>", "a digit, but not a decimal"),
        ("<box image=1>a,b,c,d</box>", "not <box image=N>x1,y1,x2,y2</box>", "no numbers"),
    ],
)
def test_problems_are_named_and_stop_rendering(text: str, problem: str | None, why: str) -> None:
    found = markup_problem(f"ab{text}", 2)
    assert found == (problem and f"markup at character 2: {problem}"), why
    if problem:
        with pytest.raises(AnswerError, match="markup at character 2"):
            render(f"ab{text}", SIZES, QWEN3_VL)


def test_cited_skips_broken_markup() -> None:
    assert cited(f"<box image=x></box> {BOX} <box image=1>") == [(2, (0.1, 0.2, 0.3, 0.4))]


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("", "", "nothing to replace"),
        (f"a {BOX} b {BOX}", "a [2: 0.1] b [2: 0.1]", "every one, the text between them kept"),
        (BOX, "[2: 0.1]", "the whole text"),
        ("<box image=1>0.3,0.2,0.1,0.4</box>", "[1: 0.3]", "an improper box is a box: whether it may be is not asked"),
        ("<box image=x></box>", "<box image=x></box>", "broken markup is a text like any other"),
        (f"<box image=1>{BOX}", "<box image=1>[2: 0.1]", "and does not hide the proper one after it"),
        (f"<box image=1>{' ' * 200}</box>{BOX}", f"<box image=1>{' ' * 200}</box>[2: 0.1]", "too long"),
    ],
)
def test_replaced(text: str, expected: str, why: str) -> None:
    assert replaced(text, lambda image, box: f"[{image}: {box[0]}]") == expected, why


def test_a_looping_text_is_scanned_in_linear_time() -> None:
    text = "<box image=" * 100_000
    assert cited(text) == []
    assert takes_at_most(2.0, lambda: cited(text))
