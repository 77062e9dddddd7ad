"""Models that see images as tiles: what their processors make, counted, joined, padded and limited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model

from fakes.families import FAMILY_MODELS, NEED_TORCHVISION
from fakes.tiny import read_data
from fakes.training import make_trainer as make_grpo_trainer
from fakes.training import rows
from fakes.trees import noise, one_by_one
from mirg.answers.prompts import messages
from mirg.engines.vllm import require_grid
from mirg.errors import ConfigError, DataError
from mirg.families import PixelLimits
from mirg.models.images import image_features, joined, pixel_limits
from mirg.models.load import LoadedModel, load_model
from mirg.models.packing import pack, rope_positions
from mirg.models.processors import has_torchvision
from mirg.models.prompts import Prompt, encode, render
from mirg.models.sampling import Sampling, complete_by_generate
from mirg.training import launch
from mirg.training.data import image_tokens, length_of, sft_rows
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.training.run import RunFolder
from mirg.training.sft import make_trainer
from mirg.training.trainer import check_image_tokens

TILED = ("internvl3", "internvl3.5", "smolvlm2")
NAMES = pytest.mark.parametrize("name", TILED)
SIZES = ((40, 40), (300, 50), (56, 170), (90, 91), (5, 200))
Load = Callable[[str], LoadedModel]


@pytest.fixture
def load(shared: Callable[..., Path]) -> Load:
    return lambda name: load_model(str(shared(f"family-{name}", FAMILY_MODELS[name])))


def prompt(loaded: LoadedModel, sizes: Any, seed: int = 0) -> Prompt:
    content: list[dict[str, Any]] = [{"type": "image", "text": None} for _ in sizes]
    content.append({"type": "text", "text": "red ring " * (1 + seed)})
    images = [noise(size, seed + k / 10) for k, size in enumerate(sizes)]
    return encode(loaded.processor, [{"role": "user", "content": content}], images, "p")


@NAMES
def test_the_features_are_those_of_the_model(name: str, load: Load) -> None:
    """Counted for single prompts, for several joined, and for none."""
    loaded = load(name)
    model: Any = loaded.model
    shown = [prompt(loaded, SIZES[:2]), prompt(loaded, ()), prompt(loaded, SIZES[2:])]
    together = joined([one.inputs for one in shown], "cpu")
    features = model.get_image_features(**together).pooler_output.flatten(0, 1)
    assert len(features) == image_features(loaded.processor, together) == sum(image_tokens(s, loaded) for s in SIZES)
    parts = [model.get_image_features(**one.inputs).pooler_output.flatten(0, 1) for one in shown if one.inputs]
    torch.testing.assert_close(features, torch.cat(parts))
    assert image_features(loaded.processor, shown[1].inputs) == 0 == len(joined([{}], "cpu"))


@pytest.mark.parametrize("name", (*TILED, "gemma-4-e2b", *NEED_TORCHVISION))
def test_lengths_are_those_of_the_prompt(name: str, load: Load, data: Path) -> None:
    """With the tokens that the processor writes around images, tiles and rows of tiles."""
    if name in NEED_TORCHVISION and not has_torchvision():
        pytest.skip("the image processor needs torchvision")
    loaded = load(name)
    for sample, images in read_data(data)[:4]:
        asked = messages(sample, loaded.family, loaded.limits, "none")
        shown = encode(loaded.processor, asked, images, sample.id)
        text = render(loaded.processor, asked, len(images), sample.id).text
        assert length_of(sample, text, loaded).tokens == len(shown.ids)


@NAMES
def test_a_prompt_of_another_number_of_features_is_refused(
    name: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(name)
    monkeypatch.setattr(type(loaded.processor), "replace_image_token", lambda self, *_, **__: self.image_token * 3)
    with pytest.raises(DataError, match="6 image tokens and"):
        prompt(loaded, SIZES[:2])


@pytest.mark.parametrize("name", ["internvl3", pytest.param("smolvlm2", marks=pytest.mark.slow)])
def test_samples_of_one_prompt_see_its_images(name: str, load: Load) -> None:
    """Several draws of prompts with 2, 0 and 3 images: each is as likely as the model says."""
    loaded = load(name)
    shown = [prompt(loaded, sizes, k) for k, sizes in enumerate((SIZES[:2], (), SIZES[2:]))]
    barred = [k for k in range(len(loaded.tokenizer)) if k not in (100, 101)]
    torch.manual_seed(0)
    drawn = complete_by_generate(loaded.model, shown, (32,) * 3, Sampling(1, [], barred, 1.0))
    for one, said in zip(shown, drawn, strict=True):
        with torch.no_grad():
            a, b = one_by_one(loaded, [one], [[[100], [101]]]).exp().tolist()
        share, expected = sum(ids == [100] for ids in said) / 32, a / (a + b)
        assert abs(share - expected) < 4 * (expected * (1 - expected) / 32) ** 0.5


@NAMES
def test_positions_have_no_rows_and_columns(name: str, load: Load) -> None:
    loaded = load(name)
    shown = prompt(loaded, SIZES[:2])
    assert rope_positions(loaded.model, shown).tolist() == [list(range(len(shown.ids)))]
    packed = pack(loaded.model, [shown, prompt(loaded, ())], [[[1, 2]], [[3]]])
    assert packed.inputs["position_ids"].shape == (1, 1, packed.inputs["input_ids"].shape[1])


@pytest.mark.parametrize(
    ("name", "wanted", "found"),
    [
        ("internvl3", PixelLimits(1, 56 * 56 * 3 + 5), PixelLimits(56 * 56, 56 * 56 * 3)),
        ("internvl3", PixelLimits(56 * 56 * 2 - 1, 1), PixelLimits(56 * 56 * 2, 56 * 56 * 2)),
        ("smolvlm2", PixelLimits(1, 130 * 130), PixelLimits(64 * 64, 128 * 128)),
        ("smolvlm2", PixelLimits(1, 10), PixelLimits(64 * 64, 64 * 64)),
        ("smolvlm2", PixelLimits(1, 10**9), PixelLimits(64 * 64, 4096 * 4096)),
    ],
)
def test_limits_are_whole_tiles(name: str, wanted: PixelLimits, found: PixelLimits, load: Load) -> None:
    processor: Any = load(name).processor
    assert pixel_limits(processor.image_processor, wanted) == found == pixel_limits(processor.image_processor)


@NAMES
def test_lower_limits_make_fewer_tokens(name: str, load: Load, shared: Callable[..., Path]) -> None:
    path = str(shared(f"family-{name}", FAMILY_MODELS[name]))
    whole = load(name)
    tile = whole.limits.min_pixels
    small = load_model(path, limits=PixelLimits(tile, 4 * tile))
    for size in SIZES:
        assert list(prompt(small, [size]).ids).count(small.processor.image_token_id) == image_tokens(size, small)  # type: ignore[attr-defined]
        assert image_tokens(size, small) <= image_tokens(size, whole)
    assert image_tokens((300, 50), small) < image_tokens((300, 50), whole)


def test_smolvlm_without_splitting_sees_one_tile(load: Load, tmp_path: Path) -> None:
    loaded = load("smolvlm2")
    processor: Any = loaded.processor
    processor.image_processor.do_image_splitting = False
    loaded.model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = load_model(str(tmp_path))
    assert again.limits == PixelLimits(64 * 64, 64 * 64)
    assert list(prompt(again, [(300, 50)]).ids).count(processor.image_token_id) == 4 == image_tokens((300, 50), again)


@pytest.mark.parametrize("name", ["internvl3", "smolvlm2"])
def test_a_batch_of_sft_is_checked(name: str, load: Load, data: Path, tmp_path: Path) -> None:
    """SmolVLM's batches are padded with empty tiles, which are no features."""
    loaded = load(name)
    keys = {"model": loaded.path, "data": str(data), "steps": 1, "batch_size": 3, "prompt": {"instructions": "none"}}
    recipe = SftRecipe.model_validate(keys)
    prepared = sft_rows(recipe.data, loaded, recipe.prompt, recipe.max_tokens)
    trainer = make_trainer(recipe, RunFolder(tmp_path, "sft"), loaded, prepared, 1)
    batch = next(iter(trainer.get_train_dataloader()))
    check_image_tokens(batch, loaded.processor)
    ids, processor = batch["input_ids"], trainer.processing_class
    ids[0, (ids[0] == processor.image_token_id).nonzero()[0]] = processor.tokenizer.eos_token_id
    with pytest.raises(DataError, match=r"a batch has \d+ image tokens and"):
        check_image_tokens(batch, loaded.processor)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["internvl3", "smolvlm2"])
@pytest.mark.parametrize("micro", [None, 3])
def test_a_first_step_of_grpo_is_the_same_without_packing(
    name: str, micro: int | None, load: Load, data: Path, tmp_path: Path
) -> None:
    """TRL's own step, which samples, splits and pads tiles itself, moves the weights as packed groups do."""
    from mirg.training.grpo import train_grpo

    (tmp_path / "reward.py").write_text("def score(text, sample):\n    return len(text) % 5 / 4\n")
    norms = []
    for packed in (False, True):
        recipe = GrpoRecipe.model_validate(
            {
                **{"model": load(name).path, "data": str(data), "steps": 1, "packed": packed, "micro_batch": micro},
                **{"prompts_per_step": 2, "group_size": 3, "max_new_tokens": 8, "prompt": {"instructions": "none"}},
                "reward": {"function": f"{tmp_path / 'reward.py'}:score"},
            }
        )
        assert train_grpo(recipe, tmp_path / f"{packed}").step == 1
        norms.append(rows(tmp_path / f"{packed}" / "metrics.jsonl")[0]["grad_norm"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4) and norms[0] > 0


@NAMES
def test_a_frozen_tower_is_frozen_with_its_projection(name: str, load: Load, data: Path) -> None:
    keys = {"model": load(name).path, "data": str(data), "freeze_vision": True, "lora": {"rank": 2}}
    recipe = SftRecipe.model_validate(keys)
    model: Any = launch.prepare_model(recipe).model
    assert all(of_vision(key) != weight.requires_grad for key, weight in model.named_parameters())
    adapted = [key for key, _ in get_peft_model(model, launch.lora(recipe)).named_parameters() if "lora" in key]
    assert adapted and not any(map(of_vision, adapted))


def of_vision(key: str) -> bool:
    return any(part in key for part in ("vision", "projector", "connector"))


def test_features_that_cannot_be_kept_are_refused(load: Load, data: Path, tmp_path: Path) -> None:
    keys = {"model": load("internvl3").path, "data": str(data), "freeze_vision": True, "steps": 1}
    recipe = GrpoRecipe.model_validate(keys | {"vision_cache": 1})
    with pytest.raises(ConfigError, match="features of internvl models cannot be kept"):
        make_grpo_trainer(recipe, tmp_path)
    assert make_grpo_trainer(recipe.model_copy(update={"vision_cache": None}), tmp_path).features is None


@NAMES
def test_vllm_is_refused(name: str, load: Load) -> None:
    with pytest.raises(ConfigError, match="vLLM is not prepared here for models of the family"):
        require_grid(load(name))
