"""A mismatch of images and placeholders is an error at once; placeholders are collapsed and counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.trees import noise, tiny_loaded
from mirg.errors import DataError
from mirg.models.prompts import Asked, collapsed, encode, encode_all, placeholder_runs

IMAGE = {"type": "image", "text": None}


@pytest.mark.parametrize(
    ("content", "images", "message"),
    [
        ([IMAGE, IMAGE], 1, "sample s7: 2 image placeholders for 1 images"),
        ([IMAGE], 2, "sample s7: 1 image placeholders for 2 images"),
        ([{"type": "text", "text": "<|image_pad|>"}], 0, "sample s7: 1 image placeholders for 0 images"),
    ],
)
def test_placeholders_and_images_must_agree(content: list[Any], images: int, message: str) -> None:
    loaded = tiny_loaded("qwen3_vl")
    with pytest.raises(DataError, match=message):
        encode(
            loaded.processor, [{"role": "user", "content": content}], [noise((56, 56), k) for k in range(images)], "s7"
        )


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"])
def test_a_prompt_holds_its_images_in_order(kind: str) -> None:
    loaded = tiny_loaded(kind)
    images = [noise((56, 112), 1), noise((112, 56), 2)]
    prompt = encode(loaded.processor, [{"role": "user", "content": [IMAGE, IMAGE]}], images, "s")
    assert prompt.grid is not None and prompt.pixels is not None
    (_, rows1, columns1), (_, rows2, columns2) = prompt.grid.tolist()
    assert rows1 > columns1 and rows2 < columns2
    assert len(prompt.pixels) == rows1 * columns1 + rows2 * columns2


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"])
def test_prompts_encoded_together_are_those_encoded_one_by_one(kind: str) -> None:
    """Equal to the bit: images of several sizes, one of them twice, and a prompt without any."""
    loaded = tiny_loaded(kind)
    twice = noise((112, 56), 3)
    shown = [[noise((56, 112), 1), twice], [], [twice], [noise((84, 84), 4)]]
    asked = [
        Asked(
            [{"role": "user", "content": [*[IMAGE] * len(images), {"type": "text", "text": "red " * (k + 1)}]}],
            images,
            "",
        )
        for k, images in enumerate(shown)
    ]
    for one, prompt in zip(asked, encode_all(loaded.processor, asked), strict=True):
        alone = encode(loaded.processor, one.messages, one.images, one.sample_id)
        assert alone.ids == prompt.ids and alone.image_keys == prompt.image_keys
        assert len(alone.image_keys) == len(one.images)


def test_of_prompts_encoded_together_the_wrong_one_is_named() -> None:
    loaded = tiny_loaded("qwen3_vl")
    content = [{"role": "user", "content": [IMAGE]}]
    asked = [Asked(content, [noise((56, 56), k)] * (1 + (k == 2)), f"s{k}") for k in range(4)]
    with pytest.raises(DataError, match="sample s2: 1 image placeholders for 2 images"):
        encode_all(loaded.processor, asked)


@given(st.lists(st.tuples(st.lists(st.integers(0, 6), max_size=3), st.integers(1, 5)), max_size=4))
def test_an_image_is_one_placeholder_collapsed_and_its_cells_otherwise(parts: list[tuple[list[int], int]]) -> None:
    image, before, after = 7, 8, 9

    def prompt(cells: list[int]) -> list[int]:
        shown = zip(parts, cells, strict=True)
        return [token for (text, _), n in shown for token in (*text, before, *[image] * n, after)]

    cells = [n for _, n in parts]
    assert collapsed(prompt(cells), image) == prompt([1] * len(parts))
    assert placeholder_runs(prompt(cells), image) == cells
