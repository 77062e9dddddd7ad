"""Reading replies: every spelling of a box, which image it belongs to, what cannot be read; total and linear."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.speed import takes_at_most
from mirg.answers import cited, write_completion
from mirg.data.scenes.generate import generate, to_sample
from mirg.data.scenes.tasks import TASKS
from mirg.families import FAMILIES, MIRG_TINY, QWEN3_VL, QWEN25_VL, Family
from mirg.frames import from_frame, to_frame
from mirg.samples import ImageRef, Sample, Target, Trajectory
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.teacher.replies import LONGEST_REPLY, LONGEST_THINKING, MOST_BOXES, read_reply
from mirg.trajectories.writer import build

A, B = (0.12, 0.2, 0.32, 0.48), (0.5, 0.6, 0.7, 0.8)
IMAGES = tuple(ImageRef(path=f"{k}.png", width=640, height=480) for k in range(3))
SAMPLE = Sample(id="s", task="refer", images=IMAGES, question="?", targets=(Target(image=2, box=A, label="red ring"),))
ANSWER = '<answer>[{"image": 2, "bbox_2d": [120, 200, 320, 480]}]</answer>'


def read(thinking: str, sample: Sample = SAMPLE) -> Trajectory | str:
    return read_reply(f"<think>{thinking}</think>{ANSWER}", sample, QWEN3_VL)


SPELLINGS = [
    "(120,200),(320,480)",
    "(120, 200), (320, 480)",
    "( 120 , 200 ) , ( 320 , 480 )",
    "[120, 200, 320, 480]",
    "[[120,200,320,480]]",
    "[[120,200],[320,480]]",
    "(120,200)-(320,480)",
    "(120, 200) to (320, 480)",
    "(120,200,320,480)",
    "(120.0,200.0),(320.0,480.0)",
    "<|box_start|>(120,200),(320,480)<|box_end|>",
    "<box>[[120,200,320,480]]</box>",
    "<box>120 200 320 480</box>",
    '{"bbox_2d": [120, 200, 320, 480], "label": "red ring"}',
    '{"image": 2, "bbox": [120, 200, 320, 480]}',
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_box_is_read(spelling: str) -> None:
    found = read(f"All three differ. Image-2 has a red ring {spelling}, and (7) more.")
    assert isinstance(found, Trajectory), found
    assert cited(found.thinking) == [(2, A)]
    assert "120" not in found.thinking and "<|" not in found.thinking and found.thinking.endswith(", and (7) more.")


AT_A, AT_B = "(120,200),(320,480)", "(500,600),(700,800)"
OWNERS = [
    ("the name before it", f"Image-1 is dark. Image-2 ring {AT_A}.", [2]),
    ("the last name before it", f"Unlike Image-3, the first image has it at {AT_A}.", [1]),
    ("a rank", f"In the third image it is at {AT_A}.", [3]),
    ("a list: the last", f"Images 1 and 3 show it, at {AT_A}.", [3]),
    ("the name directly after it", f"Like Image-1, it is at {AT_A} in Image-3.", [3]),
    ("... but not one after a comma", f"In Image-2 it is at {AT_A}, in Image-3 there is none.", [2]),
    ("the sentence before", f"Now to Image-3. It is at {AT_A}.", [3]),
    ("... and what that one was given", f"Now to Image-3. It is at {AT_A}. The other is at {AT_B}.", [3, 3]),
    ("a list of lines", f"Image-2:\n- ring {AT_A}\n- cross {AT_B}\nImage-3:\n- star {AT_A}", [2, 2, 3]),
    ("two in a sentence", f"Image-1 ring {AT_A} and Image-2 ring {AT_B}.", [1, 2]),
    ("two of one image", f"Image-1 ring {AT_A} and cross {AT_B}.", [1, 1]),
    ("JSON names it itself", 'Image-1. {"image": 3, "bbox_2d": [120, 200, 320, 480]}', [3]),
    ("JSON without", 'Image-1: {"bbox_2d": [120, 200, 320, 480]}', [1]),
    ("German", f"Im zweiten Bild liegt es bei {AT_A}. Bild 3 ist leer.", [2]),
    ("the form of the rules", f"Target: red ring. Found: red ring Image-3. Box: Image-3 red ring {AT_A}.", [3]),
    ("a list of images is no box", f"Images [1, 2, 3, 3] differ. Image-2 has it at {AT_A}.", [2]),
]


@pytest.mark.parametrize(("why", "thinking", "owners"), OWNERS, ids=[row[0] for row in OWNERS])
def test_whose_a_box_is(why: str, thinking: str, owners: list[int]) -> None:
    found = read(thinking)
    assert isinstance(found, Trajectory), found
    assert [image for image, _ in cited(found.thinking)] == owners


def test_with_a_single_image_no_box_needs_a_name() -> None:
    one = SAMPLE.model_copy(update={"images": IMAGES[:1], "targets": (Target(image=1, box=A),)})
    found = read_reply(f"<think>The ring is at {AT_A}.</think><answer>{AT_A}</answer>", one, QWEN3_VL)
    assert isinstance(found, Trajectory) and cited(found.thinking) == [(1, A)]
    assert found.answer == (Target(image=1, box=A),)


def whole(thinking: str = "Image-1 is dark.", answer: str = ANSWER) -> str:
    return f"<think>{thinking}</think>{answer}"


UNREADABLE = [
    ("nothing", " \n", "empty"),
    ("no answer", "<think>Image-1.</think>", "the answer cannot be read"),
    ("cut in the thinking", "<think>Image-1 shows", "the thinking never ends"),
    ("no thinking", ANSWER, "no thinking"),
    ("words for an answer", whole(answer="<answer>on the left</answer>"), "the answer cannot be read"),
    ("an image that is not there", whole(answer="<answer>Image-7: (1,2),(3,4)</answer>"), "no such image"),
    ("an inverted box", whole(answer="<answer>Image-2: (9,2),(3,4)</answer>"), "(Image-2) cannot be used: inverted"),
    ("a box outside", whole(answer="<answer>Image-2: (1,2),(3,1400)</answer>"), "outside"),
    ("a box without an image", whole(answer="<answer>(1,2),(3,4)</answer>"), "no image named"),
    ("a cited box of no image", whole(f"It is at {AT_A}. Image-2 is bright."), "belongs to no image"),
    ("... two sentences later", whole(f"Image-2. It is red. It is at {AT_A}."), "belongs to no image"),
    ("a cited box of image 9", whole(f"Image-9 has it at {AT_A}."), "is in Image-9, which does not exist"),
    ("a cited box inverted", whole("Image-1 has it at (320,200),(120,480)."), "in Image-1 is inverted"),
    ("a cited box outside", whole("Image-1 has it at (0,0),(1280,720)."), "in Image-1 is outside"),
    ("the sign of a box", whole("Image-1 has it at \u25a1."), "stands for a box"),
    ("a control character", whole("Image-1\x07 is dark."), "control character"),
    ("a broken character", whole("Image-1 \ud800 is dark."), "broken character"),
    ("too long a reply", "x" * (LONGEST_REPLY + 1), f"at most {LONGEST_REPLY}"),
    ("too long a thinking", whole("x" * (LONGEST_THINKING + 1)), f"at most {LONGEST_THINKING}"),
    ("too many boxes", whole("Image-1 " + "[1,2,3,4] " * (MOST_BOXES + 1)), f"more than {MOST_BOXES} boxes"),
]


@pytest.mark.parametrize(("why", "text", "words"), UNREADABLE, ids=[row[0] for row in UNREADABLE])
def test_what_cannot_be_read_is_said(why: str, text: str, words: str) -> None:
    problem = read_reply(text, SAMPLE, QWEN3_VL)
    assert isinstance(problem, str) and words in problem and "\n" not in problem


def test_thoughts_of_a_reasoning_model_before_the_reply_are_not_the_thinking() -> None:
    found = read_reply(f"<think>hm, (1,2),(3,4)</think>\n<think>Image-1 is dark.</think>{ANSWER}", SAMPLE, QWEN3_VL)
    assert isinstance(found, Trajectory) and found.thinking == "Image-1 is dark."


def test_the_answer_takes_the_labels_of_the_targets_it_lies_on() -> None:
    both = "<answer>Image-2: (500,600),(700,800)\nImage-2: (130,200),(320,480)</answer>"
    found = read_reply(whole(answer=both), SAMPLE, QWEN3_VL)
    assert isinstance(found, Trajectory) and [target.label for target in found.answer] == ["", "red ring"]


def test_no_target_is_an_answer() -> None:
    for answer in ("none", "[]"):
        found = read_reply(whole(answer=f"<answer>{answer}</answer>"), SAMPLE, QWEN3_VL)
        assert isinstance(found, Trajectory) and found.answer == ()


def test_unknown_sizes() -> None:
    refs = tuple(ref.model_copy(update={"width": 0, "height": 0}) for ref in IMAGES)
    unknown = SAMPLE.model_copy(update={"images": refs})
    text = whole(f"Image-1 is dark. Image-2 has it at {AT_A}.")
    assert read_reply(text, unknown, QWEN3_VL) == read_reply(text, SAMPLE, QWEN3_VL)
    assert "size of Image-1 is not known" in str(read_reply(text, unknown, QWEN25_VL))
    trajectory = read_reply(text, unknown, QWEN3_VL)
    assert isinstance(trajectory, Trajectory) and not failures(verify(unknown, trajectory))
    assert list(failures(verify(unknown, trajectory, family=QWEN25_VL))) == ["grammar"]


def half_a_step(family: Family, size: tuple[int, int]) -> float:
    """Half a step of the family's frame in fractions of the shorter side, and the rounding of stored fractions."""
    width, height = from_frame((1, 1, 1, 1), size, family)[:2]
    return 0.5 * family.step * max(width, height) + 1e-6


@pytest.mark.parametrize("family", [MIRG_TINY, QWEN3_VL, QWEN25_VL], ids=lambda f: f.name)
@pytest.mark.parametrize("task", TASKS)
def test_what_a_student_of_the_rules_writes_reads_back(task: str, family: Family) -> None:
    """Rules rendered for the family, as for SFT, are what a trained model writes; boxes return within half a step."""
    for key, draft in generate([task], 8, split="validation", seed=5):
        refs = [ImageRef(path=f"{k}.png", width=96, height=96) for k in range(len(draft.pictures))]
        sample = to_sample(key, draft, refs)
        true = build(sample)
        text = write_completion(true.thinking, true.answer, sample.sizes, family)
        found = read_reply(text, sample, family)
        assert isinstance(found, Trajectory), found
        pairs = list(zip(cited(true.thinking), cited(found.thinking), strict=True))
        pairs += [((t.image, t.box), (f.image, f.box)) for t, f in zip(true.answer, found.answer, strict=True)]
        assert pairs or not sample.targets
        for (image, box), (read_image, read_box) in pairs:
            assert read_image == image
            written = from_frame(to_frame(box, (96, 96), family), (96, 96), family)
            assert max(abs(a - b) for a, b in zip(written, read_box, strict=True)) <= 1e-6
            assert max(abs(a - b) for a, b in zip(box, read_box, strict=True)) <= half_a_step(family, (96, 96))
        if family.step == 1:
            assert not failures(verify(sample, found, family=family)), text


PIECES = st.lists(
    st.sampled_from(
        [*SPELLINGS, "<think>", "</think>", "<answer>", "</answer>", ANSWER, "Image-", "Image-2 ", "the third image ",
         "images 1, 2", "{", "}", '{"image": ', "[[[[", "(1,2", "1e309", "9" * 40, "\u25a1", "\ud800", "\x00", "\u0662",
         ". ", "\n", "<box image=2>0.1,0.2,0.3,0.4</box>", "<box image=", "none", "(1.5,nan),(3,4)"]
    )
    | st.text(max_size=8),
    max_size=14,
)  # fmt: skip


@settings(max_examples=400)
@given(PIECES, st.sampled_from(sorted(FAMILIES)), st.booleans(), st.booleans())
def test_any_text_gives_a_trajectory_or_a_reason(pieces: list[str], family: str, wrap: bool, known: bool) -> None:
    text = "".join(pieces)
    refs = IMAGES if known else tuple(ref.model_copy(update={"width": 0, "height": 0}) for ref in IMAGES)
    sample = SAMPLE.model_copy(update={"images": refs})
    found = read_reply(whole(text) if wrap else text, sample, FAMILIES[family])
    assert found if isinstance(found, str) else verify(sample, found, family=family)
    assert found == read_reply(whole(text) if wrap else text, sample, FAMILIES[family])


CRAFTED = [
    "(1,2),(3,4)", "[1,2,3,4]", "Image-1 ", "images 1, 2, ", "the first big ", "{", '{"bbox', "[[[[", "(1, 2",
    "(1,2),(", "a. ", "<box>", "<|box_start|>", "\n", '{"image":1,"bbox_2d":[1,2,3,4]}', "das erste ", "1 ",
    "<think>", "</think>", "Image-1 (1,2),(3,4). ", "image ", "\u0662",
]  # fmt: skip


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "as a thinking"])
@pytest.mark.parametrize("piece", CRAFTED)
def test_the_worst_64_kB_take_20_ms(piece: str, wrapped: bool) -> None:
    """Within a reply the longest thinking that is read, after one box."""
    size = LONGEST_THINKING - 40 if wrapped else LONGEST_REPLY - 1
    body = (piece * (size // len(piece) + 1))[:size]
    text = whole(f"Image-1 [1,2,3,4]. {body}") if wrapped else body
    assert takes_at_most(0.020, lambda: read_reply(text, SAMPLE, QWEN3_VL))
