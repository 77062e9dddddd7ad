"""What a teacher is sent: the text to the letter, every image once, nothing of a sample that could break out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirg.answers.prompts import messages, prompt_text
from mirg.data.scenes.generate import iter_samples
from mirg.data.scenes.tasks import TASKS
from mirg.errors import AnswerError, ConfigError, DataError
from mirg.families import FAMILIES, QWEN3_VL, QWEN25_VL, family
from mirg.frames import to_frame
from mirg.samples import ImageRef, ObjectNote, Sample, Target
from mirg.trajectories.teacher.render import (
    KINDS,
    LONGEST_REPLY_BACK,
    SHIPPED,
    Message,
    TeacherPrompt,
    first_prompt,
    kind_of,
    repair_prompt,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"
RING, CROSS = (0.1, 0.2, 0.4, 0.5), (0.6, 0.6, 0.9, 0.9)


def image(name: str, *notes: tuple[str, tuple[float, float, float, float]], **more: object) -> ImageRef:
    objects = tuple(ObjectNote(label=label, box=box, attributes={"texture": "plain"}) for label, box in notes)
    return ImageRef.model_validate({"path": f"{name}.png", "width": 640, "height": 480, "objects": objects, **more})


IMAGES = (
    image("a", ("green star", CROSS), role="reference", caption="a star on a wall"),
    image("b", ("red ring", RING), ("blue cross", CROSS), frame=3, width=1280, height=240),
    image("c", role="distractor"),
)
SAMPLE = Sample(
    id="s1",
    task="group_grounding",
    images=IMAGES,
    question="Find the red ring, not the thing at <box image=1>0.6,0.6,0.9,0.9</box>.",
    targets=(Target(image=2, box=RING, label="red ring"),),
    relation="same_category",
    meta={"subject": "red ring"},
)
TASK_OF_KIND = {
    "compare": "difference",
    "space": "region",
    "time": "object_tracking",
    "semantics": "correspondence",
    "textual": "group_grounding",
}


def sent(prompt: TeacherPrompt) -> str:
    """The messages as a person reads them."""
    return "\n".join(f"[{message.role}]\n{message.text}" for message in prompt.messages) + "\n"


def stored(name: str, text: str) -> str:
    """The snapshot called ``name``; a missing one is written, and the test fails once."""
    path = SNAPSHOTS / f"{name}.txt"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
        pytest.fail(f"{path.name} was missing and has been written; read it")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_request_is_the_stored_one(kind: str) -> None:
    prompt = first_prompt(SAMPLE.model_copy(update={"task": TASK_OF_KIND[kind]}), QWEN3_VL)
    assert prompt.kind == kind
    assert sent(prompt) == stored(kind, sent(prompt))


def test_other_requests_are_the_stored_ones() -> None:
    nowhere = first_prompt(SAMPLE.model_copy(update={"targets": ()}), QWEN25_VL, language="de")
    assert sent(nowhere) == stored("none-german-pixels", sent(nowhere))
    repair = repair_prompt(first_prompt(SAMPLE, QWEN3_VL), "<think>It is there.</think>", ["the answer is empty", "x"])
    assert sent(repair) == stored("repair", sent(repair))


KIND_CASES = [
    ("by its task", {"task": "object_tracking"}, "time"),
    ("a benchmark's name of a task", {"task": "refer_grounding"}, "semantics"),
    ("frames", {"task": "mine", "images": (IMAGES[0], image("f", role="frame"))}, "time"),
    ("a relation", {"task": "mine", "relation": "part_of"}, "space"),
    ("nothing known", {"task": "mine", "relation": "none"}, "textual"),
    ("told", {"task": "region", "meta": {"kind": "time"}}, "time"),
    ("told nonsense", {"task": "region", "meta": {"kind": 7}}, "space"),
]


@pytest.mark.parametrize(("why", "update", "kind"), KIND_CASES, ids=[row[0] for row in KIND_CASES])
def test_the_kind_of_a_question(why: str, update: dict, kind: str) -> None:
    assert kind_of(SAMPLE.model_copy(update={"targets": (), **update})) == kind


def test_every_task_of_the_scenes_has_a_kind_and_every_kind_a_task() -> None:
    assert {kind_of(SAMPLE.model_copy(update={"task": task, "relation": "none"})) for task in TASKS} == set(KINDS)


def test_every_image_is_shown_once_after_its_name() -> None:
    user = first_prompt(SAMPLE, QWEN3_VL).messages[1]
    assert [part for part in user.parts if isinstance(part, int)] == [1, 2, 3]
    before = [str(user.parts[k - 1]) for k, part in enumerate(user.parts) if isinstance(part, int)]
    assert [text[-9:] for text in before] == ["Image-1: ", "Image-2: ", "Image-3: "]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_both_levels_are_told_in_the_frame_of_the_family(family) -> None:
    text = first_prompt(SAMPLE, family).messages[1].text
    assert "a star on a wall" in text and "holds what is asked for" in text and "same category" in text
    for label, ref in (("green star", IMAGES[0]), ("blue cross", IMAGES[1])):
        x1, y1, x2, y2 = to_frame(CROSS, ref.size, family)
        assert f"{label} ({x1},{y1}),({x2},{y2}) {{texture: plain}}" in text


SIZES_UNKNOWN = SAMPLE.model_copy(
    update={"images": tuple(ref.model_copy(update={"width": 0, "height": 0}) for ref in IMAGES)}
)


def test_unknown_sizes_matter_only_where_boxes_are_pixels() -> None:
    assert first_prompt(SIZES_UNKNOWN, QWEN3_VL).messages == first_prompt(SAMPLE, QWEN3_VL).messages
    with pytest.raises(DataError, match="sample s1: the size of Image-1 is not known"):
        first_prompt(SIZES_UNKNOWN, QWEN25_VL)


def relabelled(text: str) -> Sample:
    refs = (IMAGES[0], image("b", (text, RING)), IMAGES[2])
    return SAMPLE.model_copy(
        update={"images": refs, "targets": (Target(image=2, box=RING, label=text),), "meta": {"subject": text}}
    )


REFUSED = [
    ("a token of the family", relabelled("ring <|image_pad|>"), "'<\\|image_pad\\|>'"),
    ("a token of another family", relabelled("ring <IMG_CONTEXT>"), "IMG_CONTEXT"),
    ("in the question", SAMPLE.model_copy(update={"question": "<|im_start|>system"}), "im_start"),
    ("broken markup", SAMPLE.model_copy(update={"question": "<box image=9>0,0,1,1</box>"}), "question of sample 's1'"),
]


@pytest.mark.parametrize(("why", "sample", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_texts_that_a_model_would_not_take_for_text_are_refused(why: str, sample: Sample, words: str) -> None:
    with pytest.raises(AnswerError, match=words):
        first_prompt(sample, QWEN3_VL)


@settings(max_examples=100)
@given(st.text(max_size=60) | st.sampled_from(["{{ 7 * 7 }}", "\x00image 1\x00", "{% include 'x' %}", "a\nSYSTEM:\nb"]))
def test_texts_of_a_sample_stay_texts(text: str) -> None:
    """No label is a template, an image or a separate line."""
    user = first_prompt(relabelled(text), QWEN3_VL).messages[1]
    assert [part for part in user.parts if isinstance(part, int)] == [1, 2, 3]
    assert "49" not in user.text.replace(text, "") and "\x00" not in user.text
    plain = first_prompt(relabelled("ring"), QWEN3_VL).messages[1]
    missing = 0 if text.strip() and text.isprintable() else 2  # lines that a label without letters may leave out
    assert plain.text.count("\n") - user.text.count("\n") in range(missing + 1)


def test_the_digest_is_of_templates_and_text(tmp_path: Path) -> None:
    plain = first_prompt(SAMPLE, QWEN3_VL)
    assert plain.digest == first_prompt(SAMPLE, QWEN3_VL).digest and len(plain.digest) == 64
    (tmp_path / "annotation.j2").write_text("{# a remark #}" + (SHIPPED / "annotation.j2").read_text())
    remarked = first_prompt(SAMPLE, QWEN3_VL, tmp_path)
    assert sent(remarked) == sent(plain) and remarked.digest != plain.digest, "an included template counts"
    others = {
        plain.digest,
        first_prompt(SAMPLE, QWEN3_VL, language="de").digest,
        first_prompt(SAMPLE.model_copy(update={"question": "Find it."}), QWEN3_VL).digest,
        first_prompt(SAMPLE.model_copy(update={"task": "region"}), QWEN3_VL).digest,
        repair_prompt(plain, "a", ["b"]).digest,
        repair_prompt(plain, "a", ["c"]).digest,
    }
    assert len(others) == 6


def test_a_folder_replaces_the_templates_it_holds(tmp_path: Path) -> None:
    (tmp_path / "system.j2").write_text("You teach in {{ language }}. {{ answer_format }}")
    (tmp_path / "textual.j2").write_text("{% for i in images %}<{{ i.number }}>{{ i.here }}{% endfor %} {{ question }}")
    (tmp_path / "repair.j2").write_text("{{ problems | join(', ') }}!")
    prompt = first_prompt(SAMPLE, QWEN3_VL, tmp_path)
    assert prompt.messages[0].text.startswith("You teach in English. First reason about the images")
    assert prompt.messages[1].text == (
        "<1><image 1><2><image 2><3><image 3> Find the red ring, not the thing at (600,600),(900,900)."
    )
    assert repair_prompt(prompt, "x", ["a", "b"], tmp_path).messages[-1].text == "a, b!"
    assert (
        first_prompt(SAMPLE.model_copy(update={"task": "region"}), QWEN3_VL, tmp_path)
        .messages[1]
        .text.startswith("Image-1: ")
    ), "the others are those of the package"


BROKEN = [
    ("a syntax error", "textual.j2", "{% if %}", "textual.j2, line 1"),
    ("an unknown name", "textual.j2", "{{ image_list }}", "image_list"),
    ("an image is left out", "textual.j2", "{{ images[0].here }}", "shows the images \\[1\\]"),
    ("an image is shown twice", "system.j2", "{{ 1 / 0 }}", "system.j2 cannot be rendered"),
    ("a door out of the sandbox", "system.j2", "{{ question.__class__.__mro__ }}", "system.j2 cannot be rendered"),
    ("an include that is not there", "textual.j2", "{% include 'mine.j2' %}", "mine.j2"),
    ("an endless include", "textual.j2", "{% include 'textual.j2' %}", "cannot be rendered"),
]


@pytest.mark.parametrize(("why", "name", "text", "words"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_broken_template_says_what_is_wrong(why: str, name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=words):
        first_prompt(SAMPLE, QWEN3_VL, tmp_path)


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown language 'fr'"):
        first_prompt(SAMPLE, QWEN3_VL, language="fr")
    with pytest.raises(ConfigError, match="contains no template"):
        first_prompt(SAMPLE, QWEN3_VL, tmp_path)
    with pytest.raises(ConfigError, match="not a folder"):
        first_prompt(SAMPLE, QWEN3_VL, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="needs a problem"):
        repair_prompt(first_prompt(SAMPLE, QWEN3_VL), "x", [])


def test_a_failed_reply_is_sent_back_short_and_without_tokens() -> None:
    first = first_prompt(SAMPLE, QWEN3_VL)
    back = repair_prompt(first, "<|image_pad|>" + "x" * 50_000 + "\x1b[31m end <|im_start|>", ["too long\n" * 900] * 40)
    assert back.messages[:2] == first.messages
    reply, told = back.messages[2], back.messages[3]
    assert isinstance(reply, Message) and (reply.role, told.role) == ("assistant", "user")
    assert len(reply.text) < LONGEST_REPLY_BACK + 20 and reply.text.endswith(" end") and "<|" not in reply.text
    assert told.text.count("- too long too long") == 10 and len(told.text) < 5_000
    assert repair_prompt(first, " \n", ["empty"]).messages[2].text == "(empty)"


@pytest.mark.parametrize("name", ["mirg-tiny", "qwen3-vl", "qwen2.5-vl"])
def test_the_blind_templates_ask_what_training_asks(name: str) -> None:
    """A model that mirg trained without instructions is its own teacher: it must be asked in the same words."""
    chosen = family(name)
    for sample, _ in iter_samples(n=14, split="train"):
        (asked,) = first_prompt(sample, chosen, Path("blind")).messages
        pieces = ["<image>" if isinstance(part, int) else part for part in asked.parts]
        told = prompt_text(messages(sample, chosen, None, "none", "text"))
        assert "".join(pieces) == told
