"""Adapters merged into a folder like a published one: names, types, settings and tokens; and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fakes.families import FAMILY_MODELS
from fakes.tiny import MODEL_TYPES, read_data, write_data
from mirg.errors import EngineError, StorageError
from mirg.families import PixelLimits
from mirg.models import merge
from mirg.models.load import load_model, model_facts, wrap
from mirg.models.merge import Agreement, Merged, merge_adapters
from mirg.storage import SEAL_FILE, seal_problems

# Where weights of the published checkpoints are (their model.safetensors.index.json).
PUBLISHED = {
    "qwen2_vl": ("model.layers.1.self_attn.q_proj.weight", "visual.blocks.1.attn.qkv.weight"),
    "qwen2_5_vl": ("model.layers.1.self_attn.q_proj.weight", "visual.blocks.1.attn.qkv.weight"),
    "qwen3_vl": ("model.language_model.layers.1.self_attn.q_proj.weight", "model.visual.blocks.1.attn.qkv.weight"),
}
LIMITS = PixelLimits(4096, 20_480)


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Four samples with their images, of two and three pictures."""
    return read_data(write_data(tmp_path_factory.mktemp("merge") / "data", 4))


def make_adapter(folder: Path, base: Path, seed: int = 0, modules: str = "all-linear") -> Path:
    """A LoRA folder with random weights over a base folder, with its processor and facts."""
    from peft import LoraConfig, get_peft_model

    loaded = load_model(str(base))
    wrap(loaded.model, loaded.processor, path=str(base), limits=LIMITS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tuned = get_peft_model(loaded.model, LoraConfig(r=2, target_modules=modules, init_lora_weights=False))
    for settings in tuned.peft_config.values():
        settings.base_model_name_or_path = str(base)
    tuned.save_pretrained(folder, save_embedding_layers=False)
    loaded.processor.save_pretrained(folder)
    (folder / "mirg.json").write_text(json.dumps({"stage": "grpo", "family": loaded.family.name, "steps": 3}))
    return folder


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Path:
    """An adapter of the Qwen3-VL model. Not to be written to."""
    return make_adapter(tmp_path_factory.mktemp("made") / "adapter", folders["qwen3_vl"])


@pytest.fixture
def adapter(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "adapter"))


def merged(name: Path, out: Path, shown: Sequence[Any]) -> Merged:
    return merge_adapters(str(name), out, shown, lambda work: (work / "README.md").write_text("card"), max_new_tokens=8)


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return {key: weight for file in folder.glob("*.safetensors") for key, weight in load_file(file).items()}


def narrow(base: Path, folder: Path) -> Path:
    """The model of ``base`` with weights in bfloat16, as checkpoints are published."""
    shutil.copytree(base, folder)
    save_file({k: v.bfloat16() for k, v in stored(base).items()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return folder


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "qwen2_5_vl")) for kind in MODEL_TYPES]
)
def test_a_merged_folder_is_like_a_published_one(
    kind: str, folders: dict[str, Path], shown: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and types of the base; its files to the byte but for the limits; weights by the formula of LoRA."""
    monkeypatch.setattr(merge, "SHARD", "200KB")
    base = narrow(folders[kind], tmp_path / "base")
    (base / "generation_config.json").write_text('{"do_sample": true, "temperature": 1e-06}')
    (base / "LICENSE").write_text("terms")
    for name in ("optimizer.pt", "README.md", "trainer_state.json"):
        (base / name).write_text("not of the model")
    adapter = make_adapter(tmp_path / "adapter", base)
    found = merged(adapter, tmp_path / "out", shown)
    assert (found.base, found.adapters) == (str(base), (str(adapter),)) and sum(vars(found.agreement).values()) == 4
    before, after, lora = stored(base), stored(tmp_path / "out"), load_file(adapter / "adapter_model.safetensors")
    assert {key: weight.dtype for key, weight in after.items()} == {key: weight.dtype for key, weight in before.items()}
    assert set(PUBLISHED[kind]) <= after.keys()
    text, vision = PUBLISHED[kind]
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert {text, vision} <= changed and len(changed) == sum("lora_A" in key for key in lora)
    for name, ending in ((text, "layers.1.self_attn.q_proj"), (vision, "visual.blocks.1.attn.qkv")):
        (a,), (b,) = ([v for k, v in lora.items() if f"{ending}.lora_{part}" in k] for part in "AB")
        by_hand = before[name].float() + (b @ a) * 8 / 2  # alpha / r of PEFT's defaults
        torch.testing.assert_close(after[name].float(), by_hand, rtol=2**-7, atol=1e-3)
    copied = {"config.json", "generation_config.json", "LICENSE", "tokenizer.json", "chat_template.jinja"}
    assert all((tmp_path / "out" / name).read_bytes() == (base / name).read_bytes() for name in copied)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert index.keys() == after.keys() and len(set(index.values())) > 1
    files = {file.name for file in (tmp_path / "out").iterdir()} - set(index.values())
    assert files == copied | {
        *("model.safetensors.index.json", "processor_config.json", "tokenizer_config.json"),
        *("README.md", "mirg.json", SEAL_FILE),
    }
    settings = [json.loads((folder / "processor_config.json").read_text()) for folder in (base, tmp_path / "out")]
    assert settings[1]["image_processor"].pop("size") == {"shortest_edge": 4096, "longest_edge": 20_480}
    settings[0]["image_processor"].pop("size")
    assert settings[0] == settings[1]
    facts = model_facts(str(tmp_path / "out"))
    assert facts["merged"] == {"base": str(base), "adapters": [str(adapter)]} and facts["steps"] == 3
    assert not seal_problems(tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text("edited by a person")
    assert load_model(str(tmp_path / "out")).limits == LIMITS


def test_an_adapter_on_an_adapter(folders: dict[str, Path], adapter: Path, shown: list[Any], tmp_path: Path) -> None:
    """RL on SFT, in float32: the tokens of both adapters, which neither of them writes without the other."""
    second = make_adapter(tmp_path / "rl", adapter, seed=2)
    found = merged(second, tmp_path / "out", shown)
    assert found.adapters == (str(adapter), str(second)) and found.agreement == Agreement(same=4, ties=0)
    for other, same in ((second, True), (adapter, False), (folders["qwen3_vl"], False)):
        one, two = stored(tmp_path / "out"), load_model(str(other)).model.state_dict()
        place = "model.language_model.layers.1.mlp.up_proj.weight"
        assert torch.allclose(one[place], two[place], atol=1e-5) == same


@pytest.mark.slow
def test_layers_that_cannot_be_packed(shown: list[Any], tmp_path: Path) -> None:
    base = FAMILY_MODELS["qwen3.5"](tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base, modules=r".*layers\.\d+\.mlp\..*_proj")
    assert merged(adapter, tmp_path / "out", shown[:2]).agreement == Agreement(same=2, ties=0)
    assert stored(base).keys() == stored(tmp_path / "out").keys()


def test_the_preprocessor_of_a_published_checkpoint(tmp_path: Path) -> None:
    """Qwen2.5-VL's has min_pixels and max_pixels, Qwen3-VL's edges; another kind is not changed."""
    cases = (
        ({"min_pixels": 3136, "max_pixels": 12_845_056, "patch_size": 14}, {"min_pixels": 4096, "max_pixels": 20_480}),
        ({"size": {"longest_edge": 9, "shortest_edge": 1}}, {"size": {"longest_edge": 20_480, "shortest_edge": 4096}}),
        ({"size": {"height": 448, "width": 448}}, {}),
    )
    for before, changes in cases:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(before))
        merge._set_limits(tmp_path, LIMITS)
        assert json.loads((tmp_path / "preprocessor_config.json").read_text()) == before | changes


def not_finite(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    weights[max(weights)][0, 0] = math.nan
    save_file(weights, adapter / "adapter_model.safetensors", {"format": "pt"})


def of_another_layout(adapter: Path) -> None:
    """PEFT loads such a file without an error, and leaves the adapter as it was initialised."""
    weights = load_file(adapter / "adapter_model.safetensors")
    renamed = {key.replace("language_model.layers", "layers"): weight for key, weight in weights.items()}
    save_file(renamed, adapter / "adapter_model.safetensors", {"format": "pt"})


def settings(**changes: Any) -> Callable[[Path], None]:
    def change(adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def quantised(adapter: Path) -> None:
    base = adapter.parent / "quantised"
    shutil.copytree(json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"], base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    settings(base_model_name_or_path=str(base))(adapter)


def another_tokenizer(adapter: Path) -> None:
    file = adapter / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_start|>user", "<|im_start|>person").replace("assistant", "model"))
    assert "assistant" not in file.read_text()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (not_finite, r"the weights of .*adapter are not finite \(base_model"),
        (of_another_layout, r"weights of the adapter .* have no place in its base"),
        (lambda adapter: (adapter / "adapter_model.safetensors").write_bytes(b"x" * 99), "cannot be read"),
        (lambda adapter: (adapter / "adapter_model.safetensors").unlink(), "cannot be read"),
        (settings(base_model_name_or_path="/no/base"), "the base model /no/base of .* does not exist"),
        (settings(base_model_name_or_path=None), "the base model  of .* does not exist"),
        (settings(peft_type="IA3"), "holds IA3 weights"),
        (quantised, "the base .*quantised is quantised"),
        (another_tokenizer, "makes other prompts"),
    ],
)
def test_what_is_refused(
    damage: Callable[[Path], object], words: str, adapter: Path, shown: list[Any], tmp_path: Path
) -> None:
    damage(adapter)
    with pytest.raises(EngineError, match=words):
        merged(adapter, tmp_path / "out", shown[:1])
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_a_whole_model_and_a_taken_name(
    folders: dict[str, Path], adapter: Path, shown: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="is a whole model: there is nothing to merge"):
        merged(folders["qwen3_vl"], tmp_path / "out", shown)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(StorageError, match="taken exists already"):
        merged(adapter, tmp_path / "taken", shown)
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def lose_merge(model: Any, work: Path) -> None:
    weights = load_file(work / "model.safetensors")
    place = "model.language_model.layers.0.mlp.down_proj.weight"
    save_file(weights | {place: -weights[place]}, work / "model.safetensors", {"format": "pt"})


def test_other_tokens_are_not_published(
    adapter: Path, shown: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that is not saved as it was merged; the message says in how many samples, and where."""
    save = merge._save
    monkeypatch.setattr(merge, "_save", lambda model, base, work: (save(model, base, work), lose_merge(model, work)))
    with pytest.raises(
        EngineError, match=r"other tokens than the adapters for \d of 4 samples; first in .* token \d+ is"
    ):
        merged(adapter, tmp_path / "out", shown)
    assert not (tmp_path / "out").exists()


def test_a_tie_is_no_difference(folders: dict[str, Path], shown: list[Any]) -> None:
    """Two tokens of the same score, whose order only rounding decides; and two that differ clearly."""
    loaded = load_model(str(folders["qwen3_vl"]))
    (prompt,) = merge._prompts(loaded, shown[:1])
    (best,) = merge._greedy(loaded, prompt, 1)
    head = loaded.model.get_output_embeddings()
    with torch.no_grad():
        head.weight[best - 1] = head.weight[best] * (1 + 1e-7)
    assert merge._is_tie(loaded, prompt, best, best - 1)
    with torch.no_grad():
        head.weight[best - 1] = head.weight[best] * 0.99
    assert not merge._is_tie(loaded, prompt, best, best - 1)
