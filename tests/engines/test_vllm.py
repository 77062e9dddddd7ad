"""Offline generation by vLLM, against a fake of its module that checks what it is given; nothing here needs a GPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes import offline
from fakes.tiny import read_data
from mirg.answers.prompts import messages
from mirg.engines.base import Engine, Generation, Offline, Request, Sampler, Streaming, several
from mirg.engines.load import Remote, load_engine
from mirg.errors import ConfigError, EngineError
from mirg.families import PixelLimits
from mirg.models.load import load_model
from mirg.models.prompts import encode
from mirg.samples import DatasetFolder

SHORT = Generation(max_new_tokens=6, batch_size=4)
HOT = replace(SHORT, temperature=1.0, seed=3)


@pytest.fixture
def model(folders: dict[str, Path]) -> str:
    return str(folders["qwen2_5_vl"])


@pytest.fixture
def requests(model: str, data: Path) -> list[Request]:
    """Four samples of two and three images; the answers of Qwen2.5-VL are in pixels of the resized images."""
    made = load_model(model)
    return [Request(s.id, messages(s, made.family, made.limits, "none"), im) for s, im in read_data(data)[:4]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> offline.Started:
    return offline.install(monkeypatch)


def test_greedy_completions_are_those_of_the_local_engine(
    model: str, requests: list[Request], started: offline.Started
) -> None:
    """Texts, token counts and prompt lengths, with a prefix too: pixel limits, tokens and stops are the same."""
    limits = PixelLimits(56 * 56, 112 * 112)
    asked = [*requests, replace(requests[1], prefix="<think>Target: red ring.</think>")]
    made = load_engine(model, offline=Offline(), limits=limits)
    assert isinstance(made, Engine) and isinstance(made, Sampler) and not isinstance(made, Streaming)
    local = load_engine(model, limits=limits)
    assert made.generate(asked, SHORT) == local.generate(asked, SHORT)
    assert several(made, asked[:1], SHORT, 2) == [[one] * 2 for one in local.generate(asked[:1], SHORT)]
    assert started.calls == ["reset_prefix_cache", len(asked), "reset_prefix_cache", 1], "greedy ones are computed once"
    assert made.generate([], SHORT) == []
    assert (made.fingerprint, made.family, made.limits) == (local.fingerprint, local.family, local.limits)


def test_samples_follow_seed_and_request(model: str, requests: list[Request], started: offline.Started) -> None:
    made = load_engine(model, offline=Offline())
    groups = several(made, requests, HOT, 2)
    assert len({said.text for group in groups for said in group}) > 6
    assert several(made, requests[2:0:-1], HOT, 2) == groups[2:0:-1], "other requests of the call change nothing"
    assert made.generate(requests[:2], HOT) == [group[0] for group in groups[:2]]
    assert several(made, requests[:2], replace(HOT, seed=4), 2) != groups[:2]


def test_the_extent_of_the_data_is_what_vllm_reserves_memory_for(
    model: str, data: Path, started: offline.Started
) -> None:
    """The longest prompt with its chain and answer, the most images; what the user gives wins."""
    samples = list(DatasetFolder.open(data).read())
    load_engine(model, offline=Offline({}, samples, "short", new_tokens=50))
    local = load_model(model)
    chain = len(local.tokenizer("Target: red ring.")["input_ids"]) + 16
    lengths = [
        len(encode(local.processor, messages(s, local.family, local.limits, "short"), images, s.id).ids)
        for s, images in read_data(data)
    ]
    (arguments,) = started.arguments
    assert arguments["limit_mm_per_prompt"] == {"image": 3, "video": 0}
    assert arguments["max_model_len"] == max(lengths) + chain + 50
    assert arguments["mm_processor_kwargs"]["size"] == {
        "shortest_edge": local.limits.min_pixels,
        "longest_edge": local.limits.max_pixels,
    }
    given = {"max_model_len": 999, "tensor_parallel_size": 2}
    made = load_engine(model, dtype="bfloat16", offline=Offline(given, samples))
    assert started.arguments[1].items() >= (given | {"dtype": "bfloat16", "generation_config": "vllm"}).items()
    assert getattr(made, "numerics", "") == "vllm 0.31.0, bfloat16, max_model_len=999, tensor_parallel_size=2"


def test_adapters_are_merged_into_a_folder_that_goes_with_the_engine(
    folders: dict[str, Path], requests: list[Request], started: offline.Started, tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model

    loaded = load_model(str(folders["qwen2_5_vl"]))
    torch.manual_seed(0)
    tuned = get_peft_model(loaded.model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "lora")
    made = load_engine(str(tmp_path / "lora"), offline=Offline())
    local = load_engine(str(tmp_path / "lora"))
    assert made.generate(requests, SHORT) == local.generate(requests, SHORT)
    assert made.fingerprint == local.fingerprint and made.name == str(tmp_path / "lora")
    served = Path(started.arguments[0]["model"])
    assert (served / "model.safetensors").is_file() and not (served / "adapter_config.json").exists()
    del made
    assert not served.exists()


def test_a_processor_without_video_gets_settings_of_one(started: offline.Started) -> None:
    """vLLM loads the whole processor; mirg's own models are saved without a video processor."""
    made = load_engine("mirg-tiny", offline=Offline())
    served = Path(started.arguments[0]["model"])
    settings = json.loads((served / "video_preprocessor_config.json").read_text())
    assert settings["video_processor_type"] == "Qwen3VLVideoProcessor" and settings["patch_size"] == 12
    assert (served / "model.safetensors").is_symlink() and made.family.name == "mirg-tiny"


@pytest.mark.parametrize(
    ("faults", "changes", "words"),
    [
        (["pixel limits"], {}, r"vLLM made \[36, 36\] tokens of the images, and the model's processor makes \[9, 9\]"),
        (["deaf to logit_bias"], {"shout": True}, r"vLLM drew token \d+, which is forbidden"),
        ([], {"finish": "abort"}, "vLLM ended the completion with 'abort'"),
        ([], {"temperature": 2.5}, r"did not complete 2 prompts \(.*\): temperature must be in \[0, 2\]"),
        ([], {"max_model_len": 20}, "is longer than the maximum model length"),
        ([], {"prefix": "<|image_pad|>"}, "the beginning of the answer holds '<|image_pad|>'"),
    ],
)
def test_what_goes_wrong_is_said(
    faults: list[str], changes: dict[str, Any], words: str, model: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = offline.install(monkeypatch, *faults)
    started.finish = changes.get("finish")
    given = {name: changes[name] for name in ("max_model_len",) if name in changes}
    made: Any = load_engine(model, offline=Offline(given))
    if "shout" in changes:
        shout(made._llm.engine)
    asked = [
        Request(s.id, messages(s, made.family, made.limits, "none"), images, changes.get("prefix", ""))
        for s, images in read_data(data)
        if len(images) == 2
    ][:2]
    with pytest.raises(EngineError, match=words.replace("|", r"\|")):
        made.generate(asked, replace(SHORT, temperature=changes.get("temperature", 0.0)))


def shout(engine: Any) -> None:
    """Let the model prefer a special token to everything else."""
    token = engine.processor.tokenizer.convert_tokens_to_ids("<|object_ref_start|>")

    def louder(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor([token]), 1e4)

    engine.model.lm_head.register_forward_hook(louder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"offline": Offline(), "remote": Remote("http://h/v1")}, "choose two engines"),
        ({"offline": Offline(), "device": "cuda:1"}, "--device cuda:1 does not apply .*CUDA_VISIBLE_DEVICES"),
        ({"offline": Offline(), "thinking": True}, "no switch for thinking .*leave --thinking out"),
        ({"offline": Offline({"model": "other"})}, "--vllm model is not possible .*MODEL"),
        ({"offline": Offline({"gpu_memory_utilization": 1.5})}, "vLLM cannot start .*must be less than 1.0"),
        ({"offline": Offline({"max_modl_len": 5})}, "vLLM cannot start .*unexpected keyword argument 'max_modl_len'"),
    ],
)
def test_what_cannot_start_is_said(options: dict[str, Any], words: str, model: str, started: offline.Started) -> None:
    with pytest.raises((ConfigError, EngineError), match=words):
        load_engine(model, **options)


def test_without_the_package_its_command_is_said(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it was not installed
    with pytest.raises(ConfigError, match=r"needs the package vllm.*pip install 'mirg\[vllm\]'"):
        load_engine(model, offline=Offline())


def test_a_command_uses_it_and_its_rows_are_not_mixed_with_others(
    model: str, data: Path, started: offline.Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fakes.commands import invoke

    mirg: Callable[..., Any] = invoke
    vllm = ("--engine", "vllm", "--vllm", "enforce_eager=true", "--max-new-tokens", 6)
    result = mirg("evaluate", model, data, "--out", tmp_path / "e", *vllm)
    assert result.exit_code == 0, result.output
    settings = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert settings["numerics"] == "vllm 0.31.0, auto, enforce_eager=True"
    assert settings["generation"]["batch_size"] == 256 and started.calls == ["reset_prefix_cache", 12]
    assert started.arguments[0]["limit_mm_per_prompt"] == {"image": 3, "video": 0}
    other = mirg("evaluate", model, data, "--out", tmp_path / "e", "--max-new-tokens", 6, "--batch-size", 256)
    assert other.exit_code == 2 and "numerics differ" in other.stderr
    again = mirg("evaluate", model, data, "--out", tmp_path / "e", *vllm)
    assert again.exit_code == 0 and len(started.calls) == 2, "nothing is asked again"
    picture = next((data / "images").iterdir())
    result = mirg("ground", picture, "--model", model, "-q", "Where?", *vllm)
    assert "Completion" in result.stdout and started.arguments[-1]["limit_mm_per_prompt"]["image"] == 1
    for words, options in (
        ("is not KEY=VALUE", ("--engine", "vllm", "--vllm", "eager")),
        ("--vllm needs --engine vllm", ("--vllm", "a=1")),
    ):
        result = mirg("evaluate", model, data, "--out", tmp_path / "f", *options)
        assert result.exit_code == 2 and words in result.stderr
