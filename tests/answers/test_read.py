"""The reader: what it takes, what it refuses, and that it says why; never an exception, linear time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.speed import grows_at_most, takes_at_most
from mirg.answers import read
from mirg.answers.blocks import MOST_BOXES
from mirg.answers.grammar import MOST_NOISE
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL, QWEN25_VL

SIZES = [(1280, 720), (640, 480), (100, 100)]
GOOD = ((2, (0.1, 0.2, 0.3, 0.4), None),)


def boxes_of(text: str, sizes=SIZES, family=QWEN3_VL):
    return tuple((b.image, b.box, b.problem) for b in read(text, sizes, family).boxes)


# --- what is read inside the answer block ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Image-2: (100,200),(300,400)", "the text style"),
        ("  Image-2 :( 100 , 200 ) , ( 300 , 400 )  ", "blanks"),
        ("image 2: (100,200),(300,400).", "lower case, a blank, a full stop"),
        ("Image-2: [100, 200, 300, 400]", "flat brackets"),
        ("Image-2: [[100, 200, 300, 400]]", "InternVL brackets"),
        ("Image-2: [[100, 200], [300, 400]]", "corner brackets"),
        ("Image-2: (100.0, 2e2, 300, 400)", "decimals and exponents"),
        ("Image-2: <|box_start|>(100,200),(300,400)<|box_end|>", "Qwen2-VL box tokens"),
        ("<|object_ref_start|>ring 7<|object_ref_end|>Image-2: <|box_start|>(100,200),(300,400)<|box_end|>", "a label"),
        ("<ref>ring</ref> Image-2: <box>[[100,200,300,400]]</box>", "InternVL tokens"),
        ("Image-2: <box>100 200 300 400</box>", "numbers between box tokens"),
        ("<|begin_of_box|>Image-2: [100,200,300,400]<|end_of_box|>", "GLM answer tokens"),
        ('<|begin_of_box|>[{"image": 2, "bbox_2d": [100, 200, 300, 400]}]<|end_of_box|>', "JSON between them"),
        ('[{"image": 2, "bbox_2d": [100, 200, 300, 400], "label": "x"}]', "the JSON style"),
        ('{"bbox_2d": [100, 200, 300, 400], "image": 2}', "one object, other order"),
        ('```json\n[{"image": 2, "bbox_2d": [100, 200, 300, 400]}]\n```', "a code fence"),
        ('[{"image": "Image-2", "bbox": [[100, 200], [300, 400]]}]', "the image by name, corners"),
        ('[{"image_index": "2", "box": [[100, 200, 300, 400]]}]', "other keys"),
        ("<ref>杯（小）</ref>Image-2: (100,200),(300,400)", "full-width signs in a label"),
        ("```\nImage-2: (100,200),(300,400)\n```", "a fence around text"),
        ("```text\nImage-2: (100,200),(300,400)\n```", "a fence that says so"),
        ('```[{"image": 2, "bbox_2d": [100, 200, 300, 400]}]```', "a fence on one line"),
        ('```json[{"image": 2, "bbox_2d": [100, 200, 300, 400]}]```', "a fence that says so, on one line"),
        ("[" * 33 + '{"image": 2, "bbox_2d": [100, 200, 300, 400]}' + "]" * 33, "the deepest nesting"),
    ],
)
def test_one_box_in_many_spellings(answer: str, why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert tuple((b.image, b.box, b.problem) for b in found.boxes) == GOOD, why
    assert (found.failure, found.format_score, found.format_reason) == (None, 1.0, None), why


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        ("Image-1: (0,0),(500,500)\nImage-3: (0,0),(1000,1000)", [1, 3], "one a line"),
        ("Image-1: (0,0),(500,500); Image-3: (0,0),(1000,1000)", [1, 3], "on one line"),
        ("Image-1: (0,0),(500,500), (0,0),(100,100)", [1, 1], "two boxes of one image"),
        ('{"image": 1, "bbox_2d": [0,0,5,5]}\n{"image": 3, "bbox_2d": [0,0,5,5]}', [1, 3], "JSON lines"),
        ('[{"image": 2, "bbox_2d": [[0,0,5,5],[1,1,6,6]]}]', [2, 2], "two boxes of one object"),
        ("Image-1: " + "(0,0),(5,5) " * MOST_BOXES + "<|end_of_box|>", [1] * MOST_BOXES, "as many as are read"),
    ],
)
def test_several_boxes(answer: str, expected: list[int], why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert [b.image for b in found.boxes] == expected, why
    assert all(b.problem is None for b in found.boxes) and found.format_score == 1.0


def test_the_last_image_is_that_of_the_sample() -> None:
    (box,) = read("<answer>(0,0),(5,5) in the last image</answer>", SIZES, QWEN3_VL).boxes
    assert (box.image, box.problem) == (len(SIZES), None)


@pytest.mark.parametrize("answer", ["none", " None.\n", '"none"', "```\nnone\n```", "[]", "```json\n[]\n```", "[ ]"])
def test_none(answer: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert (found.none, found.failure, found.boxes, found.format_score) == (True, None, (), 1.0)


@pytest.mark.parametrize(
    ("answer", "image", "problem", "why"),
    [
        ("Image-2: (0,0),(1001,500)", 2, "outside", "one beyond the frame"),
        ("Image-2: (-1,0),(100,500)", 2, "outside", "a negative number"),
        ("Image-2: (500,0),(100,500)", 2, "inverted", "x1 > x2"),
        ("Image-2: (100,0),(100,500)", 2, "empty", "no width"),
        ("Image-2: (0,0),(1e309,500)", 2, "non-finite", "overflow"),
        ("Image-2: (0,0),(nan,500)", 2, "non-finite", "NaN"),
        ("Image-2: [0, 0, -Infinity, 5]", 2, "non-finite", "infinity"),
        ("Image-0: (0,0),(100,500)", 0, "no such image", "numbers count from 1"),
        ("Image-4: (0,0),(100,500)", 4, "no such image", "one too many"),
        ("Image-4: (500,0),(100,500)", 4, "no such image", "said before what is wrong with the box"),
        ("Image-99999999999999999999: (0,0),(100,500)", 999_999_999, "no such image", "capped"),
        ("(0,0),(100,500)", 0, "no image named", "three images, none named"),
        ('[{"bbox_2d": [0, 0, 100, 500]}]', 0, "no image named", "three images, none named"),
        ('[{"image": 2.5, "bbox_2d": [0, 0, 100, 500]}]', 0, "no such image", "half an image"),
        ('[{"image": [2], "bbox_2d": [0, 0, 100, 500]}]', 0, "no such image", "not a number"),
        ("Image-1: (0,0),(5,5) in Image-2", 0, "no image named", "two names that disagree, before and behind"),
        ("Image-2: (0,0,5)", 2, "3 numbers instead of 4", "a number is missing"),
        ("Image-2: (0,0)", 2, "2 numbers instead of 4", "half a box"),
        ("Image-2: (0,0,5,6,7)", 2, "5 numbers instead of 4", "one too many"),
        ('[{"image": 2, "bbox_2d": [0, 0, "5", 6]}]', 2, "3 numbers instead of 4", "a string is not a number"),
        ('[{"image": 2, "bbox_2d": []}]', 2, "0 numbers instead of 4", "no number"),
        ('[{"image": 2, "bbox_2d": [[[0, 0, 5, 6], 7]]}]', 2, "5 numbers instead of 4", "one too many, nested"),
        ('[{"image": 2, "bbox_2d": [NaN, 0, 1, 2]}]', 2, "non-finite", "JSON's NaN"),
    ],
)
def test_bad_boxes_are_kept_with_their_problem(answer: str, image: int, problem: str, why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert found.failure is None, why
    (box,) = found.boxes
    assert (box.image, box.problem) == (image, problem), why
    assert all(math.isfinite(v) for v in box.box)
    assert found.format_score == (0.0 if "instead of" in problem or problem == "no image named" else 1.0)


def test_a_key_that_says_y_first() -> None:
    expected = ((2, (0.2, 0.1, 0.4, 0.3), None),)
    assert boxes_of('<answer>{"image": 2, "box_2d": [100, 200, 300, 400]}</answer>') == expected
    assert boxes_of('<answer>{"image": 2, "bbox_2d": [200, 100, 400, 300]}</answer>') == expected
    twice = boxes_of('<answer>[{"image": 2, "box_2d": [100,200,300,400]}, {"image": 2, "box_2d": [0,0,50,9]}]</answer>')
    assert twice == (*expected, (2, (0.0, 0.0, 0.009, 0.05), None))
    assert read("<answer> hm\n</answer>", SIZES, QWEN3_VL).answer_text == "hm"
    assert read("<answer> none\n</answer>", SIZES, QWEN3_VL).answer_text == "none"


def test_every_box_of_a_missing_image_has_its_problem() -> None:
    text = "<answer>Image-9: (1,2),(3,4), (5,6),(7,8)\nImage-0: (1,2),(3,4), (5,6),(7,8)</answer>"
    assert [problem for _, _, problem in boxes_of(text)] == ["no such image"] * 4
    assert [problem for _, _, problem in boxes_of("<answer>(1,2),(3,4)(5,6),(7,8)</answer>")] == ["no image named"] * 2


def test_an_image_inside_an_object_of_another_is_neither() -> None:
    ((image, _, problem),) = boxes_of('<answer>{"image": 2, "objects": [{"image": 3, "bbox": [1,2,3,4]}]}</answer>')
    assert (image, problem) == (0, "no such image")


def test_pixels_of_a_missing_image_have_no_place() -> None:
    assert boxes_of("<answer>Image-9: (1,2),(3,4)</answer>", family=QWEN25_VL) == ((9, (0, 0, 0, 0), "no such image"),)
    ((image, box, problem),) = boxes_of("<answer>Image-2: [0,0,50,50]</answer>", [(9, 9), (1, 900)], QWEN25_VL)
    assert (image, box) == (2, (0, 0, 0, 0)) and problem is not None and problem.startswith("no frame: ")


@pytest.mark.parametrize("answer", ["(100,200),(300,400)", "[100,200,300,400]", '{"bbox_2d": [100,200,300,400]}'])
def test_with_a_single_image_its_name_may_be_missing(answer: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES[:1], QWEN3_VL)
    assert [(b.image, b.problem) for b in found.boxes] == [(1, None)]
    assert found.format_score == 1.0


@pytest.mark.parametrize(
    ("answer", "reason", "why"),
    [
        ("I see Image-2: (100,200),(300,400)", "the text 'I'", "prose before"),
        ("Image-2: (100,200),(300,400) I think", "the text 'I'", "prose after"),
        ("Image-1, Image-2: (100,200),(300,400)", "Image-1 is named without a box", "an image without a box"),
        ("Image-2: (100,200),(300,400)\nnone", "the text 'none'", "a box and none"),
        ("Image-2: (100,200),(300,400))", "a bracket too many", "unbalanced"),
        ("Image-2: ((100,200),(300,400)", "a bracket that is not closed", "unbalanced"),
        ("Image-2: 7 (100,200),(300,400)", "the number 7 outside brackets", "a stray number"),
        ('Sure: [{"image": 2, "bbox_2d": [100,200,300,400]}]', "text before the JSON", "prose before"),
        ('[[｛"image"：2，"bbox_2d"：[100,200,300,400]｝]]', "JSON that had to be repaired", "full-width signs"),
        ('[{"image": 2, "bbox_2d": [100,200,300,400]}] ok', "text after the JSON", "prose after"),
        ('[{"image": 2, "bbox_2d": [100,200,300,400]}, 5]', "a JSON value that is not an object", "a stray value"),
        ('[{"image": 2, "bbox_2d": [100,200,300,400]}, {}]', "a JSON object without a box", "an empty object"),
    ],
)
def test_noise_is_read_through_but_breaks_the_format(answer: str, reason: str, why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert tuple((b.image, b.box, b.problem) for b in found.boxes) == GOOD, why
    assert (found.format_score, found.format_reason) == (0.0, reason), why


@pytest.mark.parametrize(
    ("answer", "failure", "why"),
    [
        ("", "the answer is empty", "nothing"),
        ("```json\n```", "the answer is empty", "an empty fence"),
        ("Image-2", "no box, and not exactly 'none': Image-2 is named without a box", "only an image"),
        ("Image-2: none", "no box, and not exactly 'none': the text 'none'", "an image without the object"),
        ("none of them", "no box, and not exactly 'none': the text 'none'", "prose"),
        ("The second image.", "no box, and not exactly 'none': the text 'The'", "prose"),
        ("Image-2: (٣,٤),(٥,٦)", "no box, and not exactly 'none': the text '٣'", "only ASCII digits are digits"),
        ("null", "no box, and not exactly 'none': the text 'null'", "JSON's nothing"),
        ("{}", "a JSON object without a box", "an empty object"),
        ("[{}]", "a JSON object without a box", "an empty object"),
        ("][", "no box, and not exactly 'none'", "not an empty list"),
        ('[{"image": 2, "bbox_2', "the JSON is cut off", "cut off before the first box"),
        ('[{"image": 2}]', "a JSON object without a box", "only an image"),
        ("[" * 100_000, "no box, and not exactly 'none': a bracket that is not closed", "a loop"),
        ("so " * 10_000, f"more than {MOST_NOISE} characters that are no part of an answer", "a loop"),
        ("[" * 5000, "no box, and not exactly 'none': a bracket that is not closed", "deep nesting"),
        ('{"a":' * 1500, "the JSON does not parse", "deep nesting of objects"),
        ("[" * 34 + '{"image": 2, "bbox_2d": [1, 2, 3, 4]}' + "]" * 34, "JSON that is nested too deeply", "34 lists"),
        ("<|image_pad|>" * 20, "no box, and not exactly 'none': the text '<'", "vision tokens"),
    ],
)
def test_failures_have_a_reason(answer: str, failure: str, why: str) -> None:
    found = read(f"<think>t</think><answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert found.failure is not None and found.failure.startswith(failure), why
    assert (found.boxes, found.none, found.format_score) == ((), False, 0.0)
    assert found.format_reason == f"the answer does not parse: {found.failure}"


# --- blocks ----------------------------------------------------------------------------------------------------------

A = "<answer>Image-2: (100,200),(300,400)</answer>"


@pytest.mark.parametrize(
    ("text", "thinking", "why"),
    [
        (f"<think>t</think>{A}", "t", "the format itself"),
        (f"\n <think>\nt\n</think>\n\n{A}\n", "t", "white space around"),
        *(
            (f"<think>t</think>{A}{token}", "t", "an end token of a family")
            for token in (
                *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|user|>", "<|observation|>", "</s>", "<eos>"),
                *("<turn|>", "<end_of_utterance>"),
            )
        ),
        (f"<think>t</think>{A}\n<|im_end|>\n<|endoftext|><|endoftext|>", "t", "end tokens and padding"),
        (f"<think></think>{A}", "", "an empty thinking"),
    ],
)
def test_the_format_is_kept(text: str, thinking: str, why: str) -> None:
    found = read(text, SIZES, QWEN3_VL)
    assert (found.format_score, found.format_reason, found.thinking, found.paired_tags) == (1.0, None, thinking, 2), why
    assert boxes_of(text) == GOOD


@pytest.mark.parametrize(
    ("text", "reason", "pairs", "why"),
    [
        (A, "<think> is missing", 1, "no thinking"),
        (f"t</think>{A}", "<think> is missing", 1, "the prompt may have opened it"),
        (f"<think>t{A}", "</think> is missing", 1, "never closed"),
        ("<think>t</think>Image-2: (100,200),(300,400)", "<answer> is missing", 1, "no answer tags"),
        ("Image-2: (100,200),(300,400)", "<think> is missing", 0, "only the answer"),
        ('```json\n[{"image": 2, "bbox_2d": [100,200,300,400]}]\n```', "<think> is missing", 0, "only the answer"),
        ("<think>t</think><answer>Image-2: (100,200),(300,400)", "</answer> is missing", 1, "cut off"),
        (f"<think>t</think><answer>none</answer>{A}", "<answer> occurs 2 times", 1, "two answers: the last is read"),
        (f"<think>t</think><think>t</think>{A}", "<think> occurs 2 times", 1, "two thinkings"),
        (f"hm <think>t</think>{A}", "text before <think>", 2, "prose before"),
        (f"<think>t</think> so {A}", "text between </think> and <answer>", 2, "prose between"),
        (f"<think>t</think>{A} done", "text after </answer>", 2, "prose after"),
        (f"<think>t</think>{A}<|im_end|>x", "text after </answer>", 2, "text after the end"),
        (
            f"<think>t</think></answer>{A[:-9]}",
            "the tags are not in the order <think></think><answer></answer>",
            1,
            "an answer that is closed before it begins",
        ),
        (
            f"</think><think>{A}",
            "the tags are not in the order <think></think><answer></answer>",
            1,
            "a thinking that is closed before it begins",
        ),
    ],
)
def test_broken_formats_are_still_read(text: str, reason: str, pairs: int, why: str) -> None:
    found = read(text, SIZES, QWEN3_VL)
    assert (found.format_score, found.format_reason, found.paired_tags) == (0.0, reason, pairs), why
    assert found.failure is None and boxes_of(text) == GOOD, why


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        (f"<think>t{A}", "t"),
        ("<think> t ", "t"),
        (f"t</think>{A}", "t"),
        (f"<think>a</think>b</think>{A}", "a</think>b"),
    ],
)
def test_what_the_thinking_is_where_its_tags_are_broken(text: str, thinking: str) -> None:
    assert read(text, SIZES, QWEN3_VL).thinking == thinking


@pytest.mark.parametrize(
    ("answer", "images", "why"),
    [
        ("Image-1: ((0,0),(5,5)\nImage-2: (1,1),(6,6) 7", [1, 2], "an open bracket ends with its image"),
        ("Image-1: (0,0),(5,5)) [1 1 6 6]", [1, 1], "a bracket too many closes nothing later"),
        ("Image-1: (0 0 5 5) 7 Image-2: [1 1 6 6]", [1, 2], "a number outside brackets is no part of a box"),
    ],
)
def test_brackets_that_do_not_agree_leave_the_next_box_alone(answer: str, images: list[int], why: str) -> None:
    found = read(f"<answer>{answer}</answer>", SIZES, QWEN3_VL)
    assert [(box.image, box.problem) for box in found.boxes] == [(image, None) for image in images], why
    assert found.format_score == 0


NOT_ONE = "no answer block, and the rest is not an answer: "


@pytest.mark.parametrize(
    ("text", "failure", "why"),
    [
        ("", f"{NOT_ONE}the answer is empty", "nothing"),
        ("<|im_end|>", f"{NOT_ONE}the answer is empty", "nothing but the end"),
        ("<think>Image-2: (100,200),(300,400)", "the thinking never ends", "cut off in the thinking"),
        ("<think>Image-2: (100,200),(300,400)</think>", f"{NOT_ONE}the answer is empty", "the thinking is not read"),
        ("</think><think>Image-2: (100,200),(300,400)", "the thinking never ends", "opened again and cut off"),
        (f"<think>{A}</think>", f"{NOT_ONE}the answer is empty", "an answer block inside the thinking is not read"),
        (f"{A}<think>t</think>", f"{NOT_ONE}the answer is empty", "an answer before the thinking is not read"),
        (
            "The ring is in Image-2: (100,200),(300,400).",
            f"{NOT_ONE}the text 'The'",
            "prose without tags is not an answer",
        ),
    ],
)
def test_what_is_not_an_answer_is_not_read(text: str, failure: str, why: str) -> None:
    found = read(text, SIZES, QWEN3_VL)
    assert found.failure is not None and found.failure.startswith(failure), why
    assert found.boxes == () and found.format_reason


# --- total and linear ------------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "Image-1: ",
        "(1,2)",
        "[",
        "]",
        "{",
        "}",
        '"',
        ",",
        "none",
        "9",
        "-",
    ]
)


@given(st.lists(st.one_of(pieces, st.text(max_size=8))).map("".join), st.sampled_from(list(FAMILIES.values())))
def test_reading_is_total(text: str, family) -> None:
    found = read(text, SIZES, family)
    if found.failure is None:
        assert found.none == (not found.boxes)
    else:
        assert found.failure and not found.boxes and not found.none
    assert (found.format_reason is None) == (found.format_score == 1.0)
    assert all(math.isfinite(v) for b in found.boxes for v in b.box)


@given(st.text(alphabet=st.characters(), max_size=200))
def test_surrogates_and_other_planes(text: str) -> None:
    found = read(text + "\ud800<answer>Image-1: (\udfff" + text, SIZES, MIRG_TINY)
    assert found.format_score == 0.0 and found.format_reason


UNITS = [
    *("[", "(", "{", "9", "1 ", " ", "<", "<|", "-", "e", "1e", ".", '"', "\\"),
    *('["', '{"a":1}', '{"a":', "[],", "[[1,2,3,4]],"),
    *("<think>", "</think>", "<answer>", "</answer>", "<think></think><answer>", "</answer></think>", "<|im_end|>"),
    *(" <|im_end|>", "Image-", "Image-1 ", "Image-1: (1,2),(3,4)\n", "<box>", "<|box_start|>", "<|object_ref_start|>"),
    *("(1,2),(3,4)", "[1,2,3,4],", "[[1,2,3,4]]", "(1)", "1,", "图2", "第二张图", "second image ", "a.png "),
    *("图", "Image-2 a ", "picture 2", "[[", "{,", "{a:"),
    *("（1，2），（3，4）", "图2(1,2),(3,4)", "{'a':", "{'a':1},", "[1,2,3,4,],", '{"image":1,"bbox":[1,2,3,4]},'),
    *("<box image=", "none ", "```", "```json\n", "\n", "٣", "\ud800", "😀", '[{"bbox_2d":[1,2,3,4],"image":1}],'),
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_the_worst_64_kb_take_20_ms(unit: str) -> None:
    """Promise 7, for texts that repeat themselves: bare, inside an answer block, and after a thinking block."""
    body = unit * (65_536 // len(unit))
    for text in (body, f"<answer>{body}</answer>", f"<think>{body}", f"<think>{body}</think><answer>{body}</answer>"):
        assert takes_at_most(0.020, lambda text=text: read(text, SIZES, QWEN25_VL))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("form", ["{}", "<answer>{}</answer>", "<think>{}</think>" + A])
def test_the_time_grows_with_the_text_not_with_its_square(unit: str, form: str) -> None:
    """Promise 7. Eight times the text may take twenty times as long because of caches and garbage collection; quadratic
    time would be 64 times as long.
    """
    small = 2 * 65_536 // 8 // len(unit)
    once, more = (form.replace("{}", unit * (n * small)) for n in (1, 8))
    assert grows_at_most(20, lambda: read(once, SIZES, QWEN25_VL), lambda: read(more, SIZES, QWEN25_VL), spare=0.001)
