"""Tiny models are of the real classes, deterministic, and come back from the disk as they were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from fakes.tiny import MODEL_TYPES, read_data, tiny_config, tiny_pair
from mirg.answers.prompts import messages
from mirg.families import FAMILIES
from mirg.frames import input_size
from mirg.models.load import load_model
from mirg.models.tiny import TinyConfig

CLASSES = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
}


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_class_and_size(kind: str) -> None:
    model, processor = tiny_pair(kind)
    assert type(model).__name__ == CLASSES[kind]
    assert type(processor).__name__ == CLASSES[kind].replace("ForConditionalGeneration", "Processor").replace(
        "_VL", "_VL"
    )
    assert sum(p.numel() for p in model.parameters()) < 200_000
    assert model.get_input_embeddings().weight is model.lm_head.weight


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_the_same_seed_gives_the_same_weights(kind: str) -> None:
    one, two, other = (tiny_pair(kind, seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_pair()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("kind", "family", "patch", "side"),
    [("qwen3_vl", "mirg-tiny", 16, 96), ("qwen2_5_vl", "qwen2.5-vl", 14, 84), ("qwen2_vl", "qwen2-vl", 14, 84)],
)
def test_family_and_sides(kind: str, family: str, patch: int, side: int) -> None:
    config = tiny_config(kind)
    assert (config.family, config.patch, config.image_side) == (family, patch, side)
    assert 2 * config.patch == FAMILIES[family].factor
    assert tiny_config(kind, patch=12, image_side=72).patch == 12


@pytest.mark.parametrize("keys", [{"width": 8}, {"model_type": "llama"}, {"layer": 2}])
def test_configurations_that_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TinyConfig.model_validate(keys)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_from_the_disk_it_says_the_same(kind: str, folders: dict[str, Any], data: Any) -> None:
    """Logits of a prompt of several images, to the last bit, from memory and from the folder."""
    model, processor = tiny_pair(kind)
    loaded = load_model(str(folders[kind]))
    assert (loaded.family.name, loaded.family.factor) == (tiny_config(kind).family, 2 * tiny_config(kind).patch)
    sample, images = read_data(data)[0]
    prompt = messages(sample, loaded.family, loaded.limits, "none")
    outs = []
    for m, p in ((model.eval(), processor), (loaded.model, loaded.processor)):
        text = p.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        inputs = p(text=[text], images=images, return_tensors="pt")
        outs.append(m(**inputs).logits)
    torch.testing.assert_close(outs[0], outs[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_the_limits_of_the_processor_are_those_that_boxes_are_written_in(kind: str, folders: dict[str, Any]) -> None:
    loaded = load_model(str(folders[kind]))
    side = tiny_config(kind).image_side
    assert input_size((200, 200), loaded.family, loaded.limits) == (side, side)
