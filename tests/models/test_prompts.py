"""A prompt says at once where its images and placeholders do not agree."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.trees import noise, tiny_loaded
from mirg.errors import DataError
from mirg.models.prompts import encode

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
