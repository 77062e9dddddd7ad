"""What perception feeds the model is what the processor would feed it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from research.perception.batches import IGNORED, Vocabulary, pixel_values, token_batch


@settings(max_examples=20)
@given(
    patch=st.sampled_from([8, 12, 16]),
    cells=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    count=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_patches_equal_those_of_the_processor(patch: int, cells: tuple[int, int], count: int, seed: int) -> None:
    shape = (count, cells[0] * 2 * patch, cells[1] * 2 * patch, 3)
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    processor = Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        size={"shortest_edge": shape[1] * shape[2], "longest_edge": shape[1] * shape[2]},
    )  # fmt: skip
    expected = processor(images=[Image.fromarray(image) for image in images], return_tensors="pt")
    pixels, grid = pixel_values(images, patch)
    assert torch.equal(grid, expected["image_grid_thw"])
    torch.testing.assert_close(pixels, expected["pixel_values"], atol=1e-6, rtol=0)


def test_labels_cover_the_completion_alone() -> None:
    made = token_batch([[1, 9, 9], [1]], [[4, 5], [6, 7, 8]], Vocabulary(pad=0, image=9))
    assert made["input_ids"].tolist() == [[1, 9, 9, 4, 5], [1, 6, 7, 8, 0]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert made["mm_token_type_ids"].tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    skip = IGNORED
    assert made["labels"].tolist() == [[skip, skip, skip, 4, 5], [skip, 6, 7, 8, skip]]


@pytest.mark.parametrize("kind", ["input_ids", "labels", "attention_mask", "mm_token_type_ids"])
def test_everything_is_integer(kind: str) -> None:
    assert token_batch([[1]], [[2]], Vocabulary(0, 9))[kind].dtype == torch.long
