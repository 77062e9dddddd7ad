"""A mismatch of images and placeholders is an error at once; placeholders are collapsed and counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.trees import noise, tiny_loaded
from mirg.errors import DataError
from mirg.models.prompts import collapsed, encode, placeholder_runs

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


@given(st.lists(st.tuples(st.lists(st.integers(0, 6), max_size=3), st.integers(1, 5)), max_size=4))
def test_an_image_is_one_placeholder_collapsed_and_its_cells_otherwise(parts: list[tuple[list[int], int]]) -> None:
    image, before, after = 7, 8, 9

    def prompt(cells: list[int]) -> list[int]:
        shown = zip(parts, cells, strict=True)
        return [token for (text, _), n in shown for token in (*text, before, *[image] * n, after)]

    cells = [n for _, n in parts]
    assert collapsed(prompt(cells), image) == prompt([1] * len(parts))
    assert placeholder_runs(prompt(cells), image) == cells
