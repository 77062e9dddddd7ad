"""Loading by path and by run folder, with adapters, without torchvision, and the messages if nothing loads."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fakes.tiny import MODEL_TYPES
from fakes.training import hurt
from mirg.errors import ConfigError, EngineError
from mirg.families import PixelLimits
from mirg.models import processors
from mirg.models.load import fingerprint, load_model, load_skeleton, model_facts, resolve_model
from mirg.storage import SEAL_FILE, seal_folder


@pytest.fixture
def adapter(tmp_path: Path, folders: dict[str, Path]) -> Path:
    """A LoRA folder over the Qwen3-VL model, with adapters that change something."""
    from peft import LoraConfig, get_peft_model

    loaded = load_model(str(folders["qwen3_vl"]))
    tuned = get_peft_model(loaded.model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return tmp_path / "adapter"


def test_a_run_folder_stands_for_its_model(tmp_path: Path, folders: dict[str, Path]) -> None:
    shutil.copytree(folders["qwen3_vl"], tmp_path / "run" / "model")
    assert resolve_model(str(tmp_path / "run")) == str(tmp_path / "run" / "model")
    assert resolve_model(str(folders["qwen3_vl"])) == str(folders["qwen3_vl"])
    assert resolve_model("Qwen/Qwen3-VL-8B-Instruct") == "Qwen/Qwen3-VL-8B-Instruct"


@pytest.mark.parametrize(("name", "message"), [("nothing", "does not exist"), (".", "does not contain a model")])
def test_what_cannot_be_a_model(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=message):
        resolve_model(str(tmp_path / name))


@pytest.mark.parametrize("damage", ["config.json", "tokenizer.json", "processor_config.json", "model.safetensors"])
def test_a_folder_with_a_file_missing(damage: str, tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen3_vl"], folder)
    (folder / damage).unlink()
    with pytest.raises(EngineError):
        load_model(str(folder))


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def lose_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "layers.1.mlp" in name)]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["hidden_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "a download that broke off"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "a full disk"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 500), "no safetensors at all"),
        (lose_a_weight, "a conversion that left something out"),
        (widen, "weights of another shape than the configuration says"),
    ],
)
def test_damaged_weights(damage: Callable[[Path], object], why: str, tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen3_vl"], folder)
    damage(folder)
    with pytest.raises(EngineError, match=f"cannot load the weights of {folder}") as caught:
        load_model(str(folder))
    assert "fetch them again" in caught.value.hint


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite(value: float, tmp_path: Path, folders: dict[str, Path]) -> None:
    """Large finite ones, whose sum overflows, are no reason."""
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen3_vl"], folder)
    weights = load_file(folder / "model.safetensors")
    place = next(name for name in weights if name.endswith("layers.1.mlp.down_proj.weight"))
    weights[place][:] = 3e38
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    load_model(str(folder))
    weights[place][-1, -1] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(EngineError, match=f"the weights of {folder} are not finite .*{place.removeprefix('model.')}"):
        load_model(str(folder))


JSON_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[(name, damage) for name in JSON_FILES for damage in (b"", b"null", b"[]", b'{"a": ', b"\xff" * 99)],
        *[("chat_template.jinja", damage) for damage in (b"", b"{% for", b"{{ x", b"no message", b"\xff" * 99)],
    ],
)
def test_a_damaged_file_is_named(name: str, damage: bytes, tmp_path: Path, folders: dict[str, Path]) -> None:
    """transformers raises whatever its code runs into, mostly without the name of the file."""
    folder = tmp_path / "model"
    shutil.copytree(folders["qwen3_vl"], folder)
    (folder / name).write_bytes(damage)
    with pytest.raises(EngineError, match=f"{folder}.*{name}"):
        load_model(str(folder))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_no_byte_of_a_sealed_model_changes_unnoticed(damage: str, tmp_path: Path, folders: dict[str, Path]) -> None:
    """Also of one that adapters are made for; a file that somebody adds is no damage."""
    folder, adapter = tmp_path / "model", tmp_path / "adapter"
    shutil.copytree(folders["qwen3_vl"], folder)
    seal_folder(folder)
    (folder / "notes.txt").write_text("mine")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    load_model(str(folder))
    names = [path.name for path in folder.iterdir() if path.name not in {"notes.txt", SEAL_FILE}]
    assert {*JSON_FILES, "model.safetensors", "chat_template.jinja"} <= set(names)
    for name in names:
        whole = (folder / name).read_bytes()
        hurt(folder / name, damage)
        for model in (folder, adapter):
            lost = name == "config.json" and damage == "missing"
            why = (
                f"{folder}.*(does not contain a model|does not exist)"
                if lost
                else f"the model {folder} is damaged: {name} is"
            )
            with pytest.raises(EngineError, match=why):
                load_model(str(model))
        (folder / name).write_bytes(whole)
    load_model(str(folder))


def test_a_model_of_an_unknown_type_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    for load in (load_model, load_skeleton):
        with pytest.raises(ConfigError, match="no family of models of the type 'llama'.*docs/how-to/models.md"):
            load(str(tmp_path))
    with pytest.raises(EngineError, match="cannot load"):
        load_model(str(tmp_path), family_name="qwen3-vl")


def test_an_unknown_family_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="unknown model family"):
        load_model(str(folders["qwen3_vl"]), family_name="qwen-9")


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_prompts_are_padded_on_the_left(kind: str, folders: dict[str, Path]) -> None:
    """The saved side is not restored, and prompts padded on the right break generation."""
    loaded = load_model(str(folders[kind]))
    assert loaded.tokenizer.padding_side == "left"
    ids = loaded.processor(text=["a b c d", "a"], padding=True, return_tensors="pt")["input_ids"]  # type: ignore[operator]
    assert ids[1, 0] == loaded.tokenizer.pad_token_id


@pytest.mark.parametrize(
    "limits", [PixelLimits(4096, 8192), {"mirg-tiny": PixelLimits(4096, 8192), "qwen2-vl": PixelLimits(1, 2)}]
)
def test_limits_reach_the_processor(folders: dict[str, Path], limits: PixelLimits | dict[str, PixelLimits]) -> None:
    loaded = load_model(str(folders["qwen3_vl"]), limits=limits)
    assert loaded.limits == PixelLimits(4096, 8192)
    size = loaded.processor.image_processor.size  # type: ignore[attr-defined]
    assert (size["shortest_edge"], size["longest_edge"]) == (4096, 8192)
    assert load_model(str(folders["qwen3_vl"])).limits == PixelLimits(96 * 96, 96 * 96), "no other load is touched"


def test_adapters_are_merged_and_nothing_stays_frozen(adapter: Path, folders: dict[str, Path]) -> None:
    base, merged = (load_model(str(name)) for name in (folders["qwen3_vl"], adapter))
    a, b = base.model.state_dict(), merged.model.state_dict()
    assert a.keys() == b.keys()
    assert any(not torch.equal(a[name], b[name]) for name in a)
    assert all(p.requires_grad for p in merged.model.parameters()), "the next stage trains all weights"
    assert merged.family == base.family


def test_adapters_over_adapters(adapter: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(adapter, second)
    settings = json.loads((second / "adapter_config.json").read_text())
    (second / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(adapter)}))
    once, twice = (load_model(str(name)).model.state_dict() for name in (adapter, second))
    name = next(name for name in once if name.endswith("language_model.layers.0.mlp.up_proj.weight"))
    assert not torch.equal(once[name], twice[name])
    assert fingerprint(str(adapter)) != fingerprint(str(second))


def test_a_base_that_is_gone_is_named(adapter: Path, tmp_path: Path) -> None:
    settings = json.loads((adapter / "adapter_config.json").read_text())
    gone = str(tmp_path / "gone")
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": gone}))
    with pytest.raises(EngineError, match=f"the base model {gone} of .* does not exist"):
        load_model(str(adapter))


@pytest.mark.parametrize("largest", [2**30, 1000], ids=["read completely", "read in samples to its end"])
def test_the_fingerprint_knows_the_weights(
    largest: int, tmp_path: Path, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirg.models.load._WHOLE_FILE", largest)
    monkeypatch.setattr("mirg.models.load._SAMPLE_BYTES", 16)
    copy = tmp_path / "copy"
    shutil.copytree(folders["qwen3_vl"], copy)
    found = {fingerprint(str(copy)), fingerprint(str(folders["qwen3_vl"]))}
    weights = (copy / "model.safetensors").rename(copy / "model2.safetensors")
    found.add(fingerprint(str(copy)))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert len(found) == 2 and fingerprint(str(copy)) not in found, "equal folders, another name, another weight"
    assert fingerprint("Qwen/Qwen3-VL-8B-Instruct") == "Qwen/Qwen3-VL-8B-Instruct"


def test_facts_of_training(tmp_path: Path, folders: dict[str, Path]) -> None:
    shutil.copytree(folders["qwen3_vl"], tmp_path / "model")
    assert model_facts(str(tmp_path / "model")) == {} == model_facts("Qwen/Qwen3-VL-8B-Instruct")
    assert load_model(str(tmp_path / "model")).instructions == "full"
    (tmp_path / "model" / "mirg.json").write_text('{"instructions": "none", "stage": "sft"}')
    assert load_model(str(tmp_path)).instructions == "none"


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_the_saved_processor_has_its_public_name(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """So the folder loads anywhere, and what loads here without torchvision saves the same again."""
    names = {"qwen3_vl": "Qwen3VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen2_vl": "Qwen2VLProcessor"}
    loaded = load_model(str(folders[kind]))
    loaded.processor.save_pretrained(tmp_path)
    for folder in (folders[kind], tmp_path):
        saved = json.loads((folder / "processor_config.json").read_text())
        assert saved["processor_class"] == names[kind]
        assert saved["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
        assert "video_processor" not in saved


@pytest.mark.parametrize(
    ("torchvision", "video_file", "whole"),
    [(False, False, False), (False, True, False), (True, False, False), (True, True, True)],
)
def test_a_video_processor_is_loaded_if_there_is_one_and_torchvision(
    torchvision: bool, video_file: bool, whole: bool, folders: dict[str, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """A folder that mirg saved without a video processor is loaded without one on every machine."""
    from transformers import AutoProcessor

    folder = shutil.copytree(folders["qwen2_5_vl"], tmp_path / "model")
    if video_file:
        (folder / "video_preprocessor_config.json").write_text("{}")
    monkeypatch.setattr(processors, "has_torchvision", lambda: torchvision)
    monkeypatch.setattr(processors, "_check_template", lambda *_: None)
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda *_: None)
    made: Any = processors.load_processor(str(folder), "qwen2_5_vl")
    assert (made is None) is whole
    assert whole or (made.chat_template and made.image_token == "<|image_pad|>")
    with pytest.raises(EngineError, match="transformers has no processor for the model type 'qwen9_vl'"):
        processors.image_only("qwen9_vl")


def test_a_torchvision_that_does_not_fit_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("torchvision") is None:
        assert not processors.has_torchvision()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    assert not processors.has_torchvision()
