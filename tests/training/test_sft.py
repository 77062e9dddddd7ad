"""SFT end to end on tiny models of the real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.tiny import read_data
from fakes.training import answer, assert_same_run, rows
from mirg.config import dump_recipe
from mirg.engines.load import load_engine
from mirg.errors import StorageError
from mirg.storage import seal_problems, sole_writer
from mirg.training.data import grpo_rows, sft_rows
from mirg.training.recipe import PromptConfig
from mirg.training.run import RunFolder
from mirg.training.sft import train_sft


def test_what_carries_loss_is_the_completion_alone(loaded: Any, data: Path) -> None:
    """The snapshot of what the model sees: prompt without loss, completion and end of turn with it, images in order."""
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    prepared = sft_rows(str(data), loaded, PromptConfig(instructions="none"), 4096)
    examples = [prepared.rows[k] for k in range(3)]
    prompts = [example["prompt"] for example in grpo_rows(str(data), loaded, PromptConfig(instructions="none")).rows]
    batch = DataCollatorForVisionLanguageModeling(loaded.processor, completion_only_loss=True)(examples)
    for row, prompt in enumerate(prompts[:3]):
        ids, labels = batch["input_ids"][row], batch["labels"][row]
        told = loaded.tokenizer.decode(ids[labels != -100])
        assert told.startswith("<think>Target: red ring.</think><answer>Image-")
        assert told.endswith("</answer><|im_end|>\n")
        before = loaded.tokenizer.decode(ids[: int((labels != -100).nonzero()[0])])
        asked = loaded.processor.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        assert before.replace("<|image_pad|>" * 9, "<|image_pad|>") == asked
    assert torch.equal(batch["input_ids"] == loaded.processor.image_token_id, batch["mm_token_type_ids"] == 1)


@pytest.mark.parametrize("kind", ["qwen3_vl", "qwen2_5_vl"])
def test_sft_learns_and_its_model_answers(kind: str, skilled: Callable[[str], Path], data: Path) -> None:
    out = skilled(kind)
    metrics = rows(out / "metrics.jsonl")
    steps = {"qwen3_vl": 40, "qwen2_5_vl": 80}[kind]
    assert [row["step"] for row in metrics] == list(range(1, steps + 1))
    assert metrics[-1]["loss"] < 0.5 * metrics[0]["loss"]
    assert {"loss", "grad_norm", "learning_rate", "mean_token_accuracy"} <= metrics[0].keys()
    facts = json.loads((out / "model" / "mirg.json").read_text())
    assert facts["family"] == {"qwen3_vl": "mirg-tiny", "qwen2_5_vl": "qwen2.5-vl"}[kind]
    assert (facts["stage"], facts["steps"], facts["instructions"]) == ("sft", steps, "none")
    assert (facts["samples"], facts["rejected_samples"], facts["skipped_steps"]) == (12, 0, 0)
    engine = load_engine(str(out))
    assert engine.family.name == facts["family"]
    assert engine.instructions == "none"  # type: ignore[attr-defined]
    sample, images = read_data(data)[0]
    assert answer(engine, sample, images).text.startswith("<think>")


def test_a_lora_run_keeps_adapters_and_loads_merged(
    tmp_path: Path, sft_recipe: Callable[..., Any], folders: dict[str, Path]
) -> None:
    from mirg.models.load import load_model

    train_sft(sft_recipe(lora={"rank": 4}, steps=2), tmp_path / "run")
    folder = tmp_path / "run" / "model"
    assert (folder / "adapter_model.safetensors").is_file()
    assert not (folder / "model.safetensors").exists()
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(folders["qwen3_vl"].resolve())
    merged, base = (load_model(str(name)).model.state_dict() for name in (tmp_path / "run", folders["qwen3_vl"]))
    assert merged.keys() == base.keys()
    assert any(not torch.equal(merged[name], base[name]) for name in base)


def test_the_same_recipe_again_returns_at_once(skilled: Callable[[str], Path], sft_recipe: Callable[..., Any]) -> None:
    out = skilled("qwen3_vl")
    before = (out / "metrics.jsonl").read_bytes()
    outcome = train_sft(sft_recipe(steps=40, batch_size=4, save_every=40), out)
    assert (outcome.model, outcome.step) == (out / "model", 40)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_run_is_trained_by_one_process(tmp_path: Path, sft_recipe: Callable[..., Any]) -> None:
    for model, folder in (("nowhere", tmp_path / "unread"), (sft_recipe().model, tmp_path / "run")):
        with sole_writer(folder), pytest.raises(StorageError, match="another process"):
            train_sft(sft_recipe(steps=2, model=model), folder)  # said before a model is loaded
    assert train_sft(sft_recipe(steps=2), tmp_path / "run").step == 2


def test_the_model_says_how_it_was_made(tmp_path: Path, sft_recipe: Callable[..., Any], data: Path) -> None:
    recipe = sft_recipe(steps=1, seed=7, max_tokens=64)
    shutil.copytree(data, tmp_path / "data")
    lines = (data / "samples.jsonl").read_text().splitlines()
    short = [json.dumps(json.loads(line) | {"question": "Where?"}) for line in lines[:3]]
    long = [json.dumps(json.loads(line) | {"question": "Where? " * 200}) for line in lines[3:5]]
    (tmp_path / "data" / "samples.jsonl").write_text("\n".join([*short, *long]) + "\n")
    recipe = recipe.model_copy(update={"data": str(tmp_path / "data"), "max_tokens": 200})
    run = RunFolder(tmp_path / "run", "sft")
    run.path.mkdir()
    (run.path / "config.yaml").write_text(dump_recipe(recipe))
    (run.path / "skipped.jsonl").write_text('{"step": -1}\n')  # before what a new start removes
    train_sft(recipe, run.path)
    facts = json.loads((run.model / "mirg.json").read_text())
    assert seal_problems(run.model) == []
    assert facts == {
        "stage": "sft", "seed": 7, "steps": 1, "family": "mirg-tiny", "instructions": "none", "start": recipe.model,
        "samples": 3, "rejected_samples": 2, "skipped_steps": 1,
    }  # fmt: skip


def test_another_process_than_the_first_writes_no_file_of_the_run(
    tmp_path: Path, sft_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no lock either, and leaves the model to the first."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("accelerate.Accelerator.is_main_process", False)
    with sole_writer(tmp_path / "run"):
        outcome = train_sft(sft_recipe(steps=1), tmp_path / "run")
    assert outcome.step == 1 and not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "rejected.jsonl").exists()


def test_accumulation_and_loader_workers_change_nothing(tmp_path: Path, sft_recipe: Callable[..., Any]) -> None:
    """Promises 3 and 21: the number of loader workers is exact, the split into micro-batches within rounding."""
    split = {"batch_size": 2, "accumulation": 2}
    for name, keys in {"plain": {"batch_size": 4}, "split": split, "workers": split | {"workers": 2}}.items():
        train_sft(sft_recipe(steps=2, **keys), tmp_path / name)
    plain, halves = (rows(tmp_path / name / "metrics.jsonl") for name in ("plain", "split"))
    assert [row["loss"] for row in halves] == pytest.approx([row["loss"] for row in plain], abs=1e-5)
    assert_same_run(tmp_path / "split", tmp_path / "workers")


def test_bfloat16_and_checkpointing_run(tmp_path: Path, sft_recipe: Callable[..., Any]) -> None:
    keys = {"dtype": "bfloat16", "gradient_checkpointing": True, "freeze_vision": True, "log_every": 2}
    assert train_sft(sft_recipe(steps=2, **keys), tmp_path / "run").step == 2
    assert [row["step"] for row in rows(tmp_path / "run" / "metrics.jsonl")] == [2]
