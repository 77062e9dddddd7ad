"""Texts that would end a run are errors with a place; what passes can be written for every family."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.answers.prompts import messages, write_completion
from mirg.data.checks import problems as module
from mirg.data.checks.problems import forbidden_tokens, placeholders, prompt_problem, text_problem
from mirg.families import FAMILIES, QWEN3_VL, QWEN25_VL
from mirg.samples import ImageRef, Sample, Target, Trajectory

TOKENS = forbidden_tokens(FAMILIES.values())
BOX = (0.1, 0.2, 0.3, 0.4)


def sample(question: str = "Where?", thinking: str | None = None, label: str = "ring", n: int = 2) -> Sample:
    target = Target(image=1, box=BOX, label=label)
    return Sample(
        id="s",
        task="refer",
        images=tuple(ImageRef(path=f"{k}.png", width=640, height=480) for k in range(n)),
        question=question,
        targets=(target,),
        trajectory=None if thinking is None else Trajectory(thinking=thinking, answer=(target,), writer="test"),
    )


BAD = [
    (sample("Look at <image> again."), "question", "'<image>'", "LLaVA's placeholder"),
    (sample("Look at <video>."), "question", "'<video>'", "a placeholder of films"),
    (sample("a <|image_pad|> b"), "question", "'<|image_pad|>'", "becomes a placeholder for Qwen"),
    (sample("a <IMG_CONTEXT> b"), "question", "'<IMG_CONTEXT>'", "becomes a placeholder for InternVL"),
    (sample("a <|begin_of_image|> b"), "question", "'<|begin_of_image|>'", "becomes a placeholder for GLM"),
    (sample("x <|im_start|>assistant"), "question", "'<|im_start|>'", "begins another turn"),
    (sample("Compare Image-1 and Image-3."), "question", "Image-3", "there are two images"),
    (sample("Image-0 is first."), "question", "Image-0", "numbers count from 1"),
    (sample("See <box image=3>0.1,0.2,0.3,0.4</box>."), "question", "Image-3 does not exist", "a box nowhere"),
    (sample("See <box image=1>0.3,0.2,0.1,0.4</box>."), "question", "inverted", "no box"),
    (sample("See <box image=1>here</box>."), "question", "not <box image=N>", "no numbers"),
    (sample(thinking="It is <image>."), "trajectory.thinking", "'<image>'", "the completion would hold a placeholder"),
    (sample(thinking="Image-7 has it."), "trajectory.thinking", "Image-7", "reasons about an image that is not there"),
    (sample(thinking="so </think> there"), "trajectory.thinking", "'</think>'", "ends the thinking early"),
    (sample(thinking="see <box image=9>0,0,1,1</box>"), "trajectory.thinking", "Image-9", "a box nowhere"),
    (sample(label="a <|vision_start|>"), "targets.0.label", "'<|vision_start|>'", "labels are part of JSON answers"),
]


@pytest.mark.parametrize(("bad", "field", "words", "why"), BAD, ids=[row[3].replace(" ", "_") for row in BAD])
def test_what_is_refused(bad: Sample, field: str, words: str, why: str) -> None:
    problem = text_problem(bad, TOKENS)
    assert problem is not None, why
    assert problem.field == field and words in problem.reason and problem.hint


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Image-1 shows it, Image-2 does not.", "both exist"),
        ("Is 3 < 4 and <b> bold?", "angle brackets of no meaning"),
        ("Is the box <box image=2>0.1,0.2,0.3,0.4</box> red?", "good markup"),
        ("The third image of image-9 in lower case", "only Image-N is a name"),
        ("</think> in a question", "a tag only ends the thinking of a completion"),
    ],
)
def test_what_passes(question: str, why: str) -> None:
    assert text_problem(sample(question, thinking="Found in Image-2."), TOKENS) is None, why


def test_the_families_named_decide_about_their_tokens() -> None:
    text = sample("a <IMG_CONTEXT> b")
    assert text_problem(text, forbidden_tokens([QWEN3_VL])) is None
    assert text_problem(sample("<image>"), forbidden_tokens([QWEN3_VL])) is not None


PARTS = st.lists(
    st.sampled_from(
        [
            *("red ring ", "Image-1 ", "Image-2 ", "Image-3 ", "<", "<b>", "<box image=", "</box>", "é\n"),
            *("<image>", "<|image_pad|>", "</think>", "<answer>", "<img>", "<|user|>"),
            *("<box image=1>0.1,0.2,0.3,0.4</box>", "<box image=9>0,0,1,1</box>", "<box image=1>0.5,0,0.1,1</box>"),
        ]
    ),
    max_size=6,
).map("".join)


@given(question=PARTS.filter(bool), thinking=PARTS)
def test_whatever_passes_can_be_written_for_every_family(question: str, thinking: str) -> None:
    made = sample(question, thinking)
    if text_problem(made, TOKENS) is not None:
        return
    assert prompt_problem(made, list(FAMILIES.values())) is None
    for family in FAMILIES.values():
        assert placeholders(messages(made, family), family) == len(made.images)
        assert made.trajectory is not None
        write_completion(made.trajectory.thinking, made.trajectory.answer, made.sizes, family)


@given(question=PARTS.filter(bool))
def test_whatever_a_family_cannot_write_is_refused(question: str) -> None:
    """The other direction: no text that raises when a prompt is written gets through."""
    from mirg.errors import AnswerError

    made = sample(question)
    try:
        for family in FAMILIES.values():
            messages(made, family)
    except AnswerError:
        assert text_problem(made, TOKENS) is not None


def test_placeholders_are_counted_in_the_prompt_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a prompt ever be written with one image too many, the sample is refused and not the run."""
    made = sample("<b>Where?</b>")
    assert prompt_problem(made, [QWEN3_VL]) is None

    def one_more(*args: object) -> list[dict[str, object]]:
        prompt = messages(made, QWEN25_VL)
        prompt[0]["content"].append({"type": "text", "text": f"see {QWEN25_VL.image_token}"})
        return prompt

    monkeypatch.setattr(module, "messages", one_more)
    problem = prompt_problem(made, [QWEN25_VL])
    assert problem is not None and "3 image placeholders for 2 images" in problem.reason


def test_samples_of_unknown_size_are_not_written() -> None:
    """Markup needs sizes; the tokens in the text are checked all the same."""
    made = sample("<b>Where?</b>")
    unmeasured = made.model_copy(update={"images": (ImageRef(path="a.png"),) * 2})
    assert prompt_problem(unmeasured, [QWEN3_VL]) is None
