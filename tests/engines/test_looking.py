"""The environment of looks: crops of the original pixels, words for bad looks, and the turns of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.answers.looks import LookBudget
from mirg.answers.read import read
from mirg.engines.base import Generation, Request
from mirg.engines.looking import Crop, CropCache, LookEnvironment, Refusal, looked
from mirg.families import QWEN3_VL

LOOK = "<look>Image-2: (500,250),(750,500)</look>"


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Two images of different sizes; the second has a red square that no other place shows."""
    second = np.zeros((400, 800, 3), np.uint8)
    second[100:200, 400:600] = (255, 0, 0)
    return [Image.new("RGB", (300, 200), "white"), Image.fromarray(second)]


@pytest.fixture
def environment(images: list[Image.Image]) -> LookEnvironment:
    return LookEnvironment(images, QWEN3_VL, LookBudget(max_looks=2))


def test_a_crop_is_cut_from_the_original_and_enlarged(environment: LookEnvironment) -> None:
    found = environment.answer([f"<think>Closer. {LOOK}"])
    assert isinstance(found, Crop) and (found.name, found.pixels) == ("Image-2a", (400, 100, 600, 200))
    assert found.image.size[0] > 3 * 200 and np.asarray(found.image)[:, :].min(axis=(0, 1)).tolist() == [255, 0, 0]
    assert found.message["content"] == [{"type": "text", "text": "Image-2a: "}, {"type": "image", "text": None}]


def test_equal_looks_give_one_crop(images: list[Image.Image]) -> None:
    """Also in another environment with the same cache; the name counts the looks."""
    cache = CropCache()
    first, other = (LookEnvironment(images, QWEN3_VL, LookBudget(max_looks=2), cache=cache) for _ in range(2))
    one, again = first.answer([LOOK]), other.answer([LOOK, LOOK])
    assert isinstance(one, Crop) and isinstance(again, Crop)
    assert one.image is again.image and (one.name, again.name) == ("Image-2a", "Image-2b")


def test_a_full_cache_forgets_the_oldest_crop(images: list[Image.Image]) -> None:
    environment = LookEnvironment(images, QWEN3_VL, LookBudget(max_looks=2), cache=CropCache(most_pixels=300_000))
    one = environment.answer([LOOK])
    environment.answer(["<look>Image-1: (0,0),(500,500)</look>"])
    again = environment.answer([LOOK])
    assert isinstance(one, Crop) and isinstance(again, Crop)
    assert one.image is not again.image and one.image.tobytes() == again.image.tobytes()


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        (["<think><look>Image-3: (1,2),(300,400)</look>"], "There is no Image-3."),
        (["<think><look>Image-1: (1,2),(300,1400)</look>"], "This box is not inside Image-1."),
        (["<think><look>Image-1: (1,2),(5,4)</look>"], "This part of Image-1 has only 2 x 1 pixels."),
        (["<think><look>Image-1: (1"], "This look is not closed."),
        (["<think>a</think><answer>" + LOOK], "A look belongs inside the thinking, not behind it."),
        ([LOOK, LOOK, LOOK], "No look is left."),
        (["<look>Image-1: (0,0),(500", LOOK, "<look></look>"], "This look names no box in one image."),
        (["<think>a</think><answer>none</answer>"], None),
        (["<think>a <look>Image-1: </think><answer>none</answer>"], None),
        ([LOOK, LOOK, LOOK, LOOK], None),
        ([""], None),
        (["no tags"], None),
    ],
)
def test_bad_looks_get_words_and_final_turns_nothing(
    environment: LookEnvironment, turns: list[str], words: str | None
) -> None:
    found = environment.answer(turns)
    assert (found.words if isinstance(found, Refusal) else found) == words
    if isinstance(found, Refusal):
        assert found.message == {"role": "user", "content": [{"type": "text", "text": words}]}


def test_too_long_a_part_is_refused() -> None:
    wide = LookEnvironment([Image.new("RGB", (4000, 40))], QWEN3_VL, LookBudget(max_looks=1))
    found = wide.answer(["<look>Image-1: (0,0),(1000,100)</look>"])
    assert isinstance(found, Refusal) and found.words == "This part of Image-1 is too long and thin to be shown."


def _asked(images: Sequence[Image.Image], name: str = "a") -> Request:
    return Request(name, [{"role": "user", "content": [{"type": "text", "text": "Where?"}]}], list(images))


def test_any_engine_looks_in_rounds(images: list[Image.Image], environment: LookEnvironment) -> None:
    """Every completion has its own turns; the model is shown the crop after its own turn up to the look."""
    seen: list[Request] = []

    def script(request: Request, settings: Generation) -> str:
        seen.append(request)
        turn = len(request.messages) // 2
        if request.sample_id == "b" or turn == 2:
            return "so</think><answer>none</answer>"
        return ["<think>Closer. ", "again "][turn] + LOOK + " whatever follows"

    engine = ScriptedEngine(script)
    groups = looked(engine, [_asked(images), _asked(images, "b")], [environment] * 2, Generation(), 2)
    assert engine.asked == [["a", "a", "b", "b"], ["a", "a"], ["a", "a"]]
    one = groups[0][1]
    assert [answer.name for answer in one.answers if isinstance(answer, Crop)] == ["Image-2a", "Image-2b"]
    whole = one.completion
    assert whole.text == f"<think>Closer. {LOOK}again {LOOK}so</think><answer>none</answer>"
    assert read(whole.text, [i.size for i in images], QWEN3_VL, looks=True).format_score == 1.0
    assert whole.tokens == sum(turn.tokens for turn in one.turns)
    last = seen[-1]
    assert [message["role"] for message in last.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert last.messages[1]["content"][0]["text"] == f"<think>Closer. {LOOK}"
    assert len(last.images) == 4 and last.images[2].size == one.answers[0].image.size  # type: ignore[union-attr]


def test_the_tokens_of_all_turns_are_limited(images: list[Image.Image], environment: LookEnvironment) -> None:
    engine = ScriptedEngine(lambda request, settings: f"<think>one two {LOOK}")
    ((one,),) = looked(engine, [_asked(images)], [environment], Generation(max_new_tokens=4), 1)
    assert len(one.turns) == 1 and not one.answers


def test_looks_that_never_end_end(images: list[Image.Image], environment: LookEnvironment) -> None:
    ((one,),) = looked(ScriptedEngine(lambda *_: LOOK), [_asked(images)], [environment], Generation(), 1)
    assert len(one.turns) == 4 and isinstance(one.answers[-1], Refusal)


def test_without_looks_one_turn_is_asked_for(images: list[Image.Image]) -> None:
    off = LookEnvironment(images, QWEN3_VL, LookBudget())
    engine = ScriptedEngine(lambda *_: LOOK)
    ((one,),) = looked(engine, [_asked(images)], [off], replace(Generation(), seed=3), 1)
    assert len(engine.asked) == 1 and one.completion.text == LOOK
