"""What the model is asked: one placeholder per image, and a text that changes only on purpose."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from fakes.completions import random_sample
from mirg.answers import messages, prompt_text, question_text
from mirg.errors import AnswerError
from mirg.families import FAMILIES, QWEN3_VL, QWEN25_VL, Family, PixelLimits
from mirg.samples.schema import ImageRef, Sample

SNAPSHOTS = Path(__file__).parent / "snapshots"
SAMPLE = Sample(
    id="s1",
    task="object_tracking",
    images=(ImageRef(path="a.png", width=1280, height=720), ImageRef(path="b.png", width=640, height=480)),
    question="Image-1 shows a red ring at <box image=1>0.1,0.2,0.3,0.4</box>. Where is it in Image-2?",
)


@pytest.mark.parametrize("instructions", ["full", "short", "none"])
@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_the_prompt_is_the_stored_one(family: Family, style, instructions) -> None:
    """Models are trained on these bytes: a change here is a change of every trained model's prompt."""
    stored = (SNAPSHOTS / f"{family.name}.txt").read_text("utf-8").split("\n=====\n")
    expected = dict(zip(stored[::2], stored[1::2], strict=False))
    assert (
        prompt_text(messages(SAMPLE, family, instructions=instructions, style=style))
        == expected[f"{style} {instructions}"]
    )


def test_the_shape_that_arrow_and_the_templates_need() -> None:
    (message,) = messages(SAMPLE, QWEN3_VL, instructions="none")
    assert message["role"] == "user"
    assert [p["type"] for p in message["content"]] == ["text", "image", "text", "image", "text"]
    assert all(set(p) == {"type", "text"} for p in message["content"])
    assert [p["text"] for p in message["content"]][:4] == ["Image-1: ", None, "\nImage-2: ", None]


def test_boxes_of_the_question_follow_the_limits() -> None:
    assert "[129,146,386,291]" in question_text(SAMPLE, QWEN25_VL)
    assert "[14,11,42,22]" in question_text(SAMPLE, QWEN25_VL, PixelLimits(28 * 28, 140 * 84))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_a_question_cannot_smuggle_in_a_placeholder(family: Family) -> None:
    for token in family.vision_tokens:
        sample = SAMPLE.model_copy(update={"question": f"what is {token} here?"})
        with pytest.raises(AnswerError, match="the question of sample 's1' holds"):
            messages(sample, family)


def test_broken_markup_names_the_sample() -> None:
    sample = SAMPLE.model_copy(update={"question": "<box image=3>0,0,1,1</box>"})
    with pytest.raises(AnswerError, match="sample 's1': markup at character 0: Image-3 does not exist"):
        messages(sample, QWEN3_VL)


def _many_images(rng: random.Random) -> Sample:
    sample = random_sample(rng)
    refs = tuple(ImageRef(path=f"{i}.png", width=72, height=72) for i in range(rng.randint(1, 12)))
    return sample.model_copy(update={"images": refs})


def test_placeholders_equal_images_for_10_000_samples() -> None:
    """Promise 10 for the prompt: one image part per image, in order, each after its label."""
    rng = random.Random(10)
    families = list(FAMILIES.values())
    for i in range(10_000):
        sample = _many_images(rng)
        (message,) = messages(sample, families[i % len(families)])
        parts = message["content"]
        places = [k for k, part in enumerate(parts) if part["type"] == "image"]
        assert len(places) == len(sample.images)
        labels = [parts[k - 1]["text"].strip() for k in places]
        assert labels == [f"Image-{n}:" for n in range(1, len(places) + 1)]
        assert not any(token in (p["text"] or "") for p in parts for token in families[i % len(families)].vision_tokens)


@pytest.mark.parametrize(("template", "name"), [("qwen2_5_vl.jinja", "qwen2.5-vl"), ("qwen3_vl.jinja", "qwen3-vl")])
def test_the_real_chat_templates_print_one_placeholder_per_image(template: str, name: str) -> None:
    spec = importlib.util.find_spec("trl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs TRL's chat templates")
    import jinja2

    source = (Path(spec.submodule_search_locations[0]) / "chat_templates" / template).read_text("utf-8")
    compiled = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    rng = random.Random(1)
    for _ in range(200):
        sample = _many_images(rng)
        text = compiled.render(messages=messages(sample, FAMILIES[name]), add_generation_prompt=True)
        assert text.count("<|image_pad|>") == len(sample.images)
        assert "Image-1: <|vision_start|><|image_pad|>" in text
