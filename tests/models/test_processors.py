"""Each image of a call is prepared once, and the result is the same to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mirg.models.processors import once_per_image

PLAIN = Qwen2VLImageProcessorPil(size={"shortest_edge": 3136, "longest_edge": 28 * 28 * 40})
ONCE = once_per_image(PLAIN)
RNG = np.random.default_rng(0)
POOL = [
    Image.fromarray(RNG.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in ((30, 90), (64, 64), (200, 41), (9, 9))
]


@settings(max_examples=25)
@given(
    groups=st.lists(st.lists(st.sampled_from(range(len(POOL))), min_size=1, max_size=4), min_size=1, max_size=5),
    kind=st.sampled_from([None, "np", "pt"]),
)
def test_the_result_is_the_same_to_the_bit(groups: list[list[int]], kind: str | None) -> None:
    images = [[POOL[k] for k in group] for group in groups]
    plain, once = (processor(images=images, return_tensors=kind) for processor in (PLAIN, ONCE))
    assert plain.keys() == once.keys()
    for key in plain:
        assert type(plain[key]) is type(once[key])
        assert plain[key].dtype == once[key].dtype
        np.testing.assert_array_equal(np.asarray(plain[key]), np.asarray(once[key]))


def test_one_image_alone() -> None:
    np.testing.assert_array_equal(ONCE(images=POOL[0])["pixel_values"], PLAIN(images=POOL[0])["pixel_values"])


def test_work_is_done_once_per_object(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    work = Qwen2VLImageProcessorPil._preprocess

    def counting(self: Any, images: list[Any], **keywords: Any) -> Any:
        counts.append(len(images))
        return work(self, images, **keywords)

    monkeypatch.setattr(Qwen2VLImageProcessorPil, "_preprocess", counting)
    ONCE(images=[[POOL[0], POOL[1]]] * 8)
    ONCE(images=[[POOL[0], POOL[0].copy()]])
    assert counts == [2, 2], "a copy is another object: only the caller knows that it is equal"


def test_it_saves_and_loads_as_the_public_class(tmp_path: Any) -> None:
    assert once_per_image(ONCE) is ONCE
    assert ONCE.to_dict() == PLAIN.to_dict()
    ONCE.save_pretrained(tmp_path)
    assert Qwen2VLImageProcessorPil.from_pretrained(tmp_path).to_dict() == PLAIN.to_dict()
