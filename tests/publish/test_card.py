"""Model cards: from runs, from merged folders, with evaluations; read back by huggingface_hub's own classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.commands import invoke
from fakes.hub import problems_of
from fakes.tiny import write_data
from mirg.errors import EvaluationError
from mirg.publish.card import hub_name, write_card
from mirg.storage import write_json_atomic

HOSTILE = "it`s | <script>\n# no\x1b[31m"
CACHE = "hub/models--Qwen--Qwen2.5-VL-7B-Instruct/snapshots/abc"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A GRPO run with adapters on an SFT run with adapters on a model in the hub's cache, and their data."""
    base = tmp_path / CACHE
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "README.md").write_text("---\nlicense: apache-2.0\ntags: [x]\n---\n# Qwen\n")
    data = write_data(tmp_path / "data", 3)
    card = json.loads((data / "card.json").read_text())
    told = {"name": "me/rings", "description": HOSTILE, "license": "cc-by-4.0", "tasks": {HOSTILE: 3}}
    (data / "card.json").write_text(json.dumps(card | told))
    below = base
    for stage, steps in (("sft", 40), ("grpo", 7)):
        model = tmp_path / stage / "model"
        model.mkdir(parents=True)
        write_json_atomic(model / "adapter_config.json", {"base_model_name_or_path": str(below)})
        facts = {"stage": stage, "steps": steps, "samples": 3, "family": "qwen2.5-vl", "start": str(below)}
        write_json_atomic(model / "mirg.json", facts)
        recipe = {"stage": stage, "model": str(below), "data": str(data), "held_out": [str(tmp_path)], "seed": 1}
        (tmp_path / stage / "config.yaml").write_text(yaml.safe_dump(recipe))
        below = model
    return tmp_path / "grpo"


def evaluation(folder: Path, model: Path) -> Path:
    from mirg.models.load import fingerprint

    folder.mkdir()
    settings = {"model": str(model), "dataset": "bench", "fingerprint": fingerprint(str(model))}
    write_json_atomic(folder / "evaluation.json", settings)
    cell = {"mean": 0.625, "low": 0.5, "high": 0.75}
    names = ("joint_accuracy", "image_accuracy", "acc_50", "mean_iou", "parse_failures")
    overall = {"n": 40, "n_sets": 20, **dict.fromkeys(names, cell)}
    write_json_atomic(folder / "summary.json", {"metrics": {"overall": overall}})
    (folder / "records.jsonl").write_text("")
    return folder


def test_the_card_of_adapters(run: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    evals = [evaluation(tmp_path / "e1", run / "model"), evaluation(tmp_path / "e2", tmp_path / "sft" / "model")]
    text = write_card(run / "model", run=run, evaluations=evals).read_text()
    found = ModelCard.load(run / "model" / "README.md").data.to_dict()
    assert found == {
        "library_name": "peft",
        "pipeline_tag": "image-text-to-text",
        "license": "apache-2.0",
        "base_model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "base_model_relation": "adapter",
        "datasets": ["me/rings"],
        "tags": ["mirg", "multi-image", "visual-grounding", "sft", "grpo"],
    }
    assert problems_of(text) == []
    assert "- `sft`: sft, 40 steps, 3 samples\n- `Qwen/Qwen2.5-VL-7B-Instruct`\n" in text
    assert "| `bench` | 40 | 62.5 [50.0, 75.0] |" in text and "| `bench`, evaluated as `sft` | 40 |" in text
    assert str(tmp_path) not in text, "no path of this machine"
    assert "\x1b" not in text and "`it's / <script> # no` 3" in text
    assert json.loads((tmp_path / "data" / "card.json").read_text())["digest"] in text
    (block,) = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]
    assert yaml.safe_load(block)["data"] == "…/data" and yaml.safe_load(block)["seed"] == 1


def test_no_secret_of_a_recipe_is_in_a_card(run: Path) -> None:
    held = yaml.safe_load((run / "config.yaml").read_text())
    held |= {"rollouts": {"server": "http://ann:pass@gpu7:8000"}, "held_out": ["../../ann/bench"], "api_key": "abc"}
    (run / "config.yaml").write_text(yaml.safe_dump(held))
    (block,) = [part.split("```")[0] for part in write_card(run / "model", run=run).read_text().split("```yaml\n")[1:]]
    shown = yaml.safe_load(block)
    assert (shown["rollouts"], shown["held_out"]) == ({"server": "http://gpu7:8000"}, ["…/bench"])
    assert "api_key" not in shown


def test_a_card_says_what_is_known(run: Path, tmp_path: Path) -> None:
    """Without the data, the run below and the base there is still a card; a folder is no name for the hub."""
    for gone in ("data", "sft", "hub"):
        shutil.rmtree(tmp_path / gone)
    text = write_card(run / "model", run=run).read_text()
    assert yaml.safe_load(text.split("---\n")[1]).keys() == {"library_name", "pipeline_tag", "tags"}
    assert "- `sft`\n" in text and "## Data" not in text and "## Results" not in text
    (run / "config.yaml").write_text("a: [")
    assert "## Recipe" not in write_card(run / "model", run=run).read_text()


def test_an_unfinished_evaluation_is_refused(run: Path, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", run / "model")
    (folder / "summary.json").unlink()
    with pytest.raises(EvaluationError, match="is not finished"):
        write_card(run / "model", run=run, evaluations=[folder])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3-VL-8B-Instruct"),
        (f"/data/me/.cache/{CACHE}", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("/data/me/model", None),
        ("model", None),
        ("src/mirg", None),
    ],
)
def test_names_of_the_hub(path: str, name: str | None, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    assert hub_name(path) == name


@pytest.mark.slow
def test_a_run_is_merged_with_its_card(tmp_path: Path, folders: dict[str, Path]) -> None:
    """``mirg sft`` with adapters, ``mirg merge``, and the merged folder evaluated like any model."""
    from mirg.models.load import fingerprint, load_model
    from mirg.training.recipe import SftRecipe
    from mirg.training.sft import train_sft

    data = write_data(tmp_path / "data", 4)
    keys: dict[str, Any] = {"model": str(folders["qwen3_vl"]), "data": str(data), "steps": 2, "batch_size": 2}
    keys |= {"lora": {"rank": 2}, "prompt": {"instructions": "none"}, "optim": {"learning_rate": 1e-2}}
    train_sft(SftRecipe.model_validate(keys), tmp_path / "run")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "library_name: peft" in card and "LoRA adapters" in card and "rank: 2" in card
    (tmp_path / "run" / "model" / "README.md").write_text(card + "edited")
    done = evaluation(tmp_path / "eval", tmp_path / "run" / "model")
    command: Callable[..., Any] = invoke
    options = ("--max-new-tokens", 6, "--evaluation", done, "--device", "cpu")
    result = command("merge", tmp_path / "run", tmp_path / "out", *options)
    assert result.exit_code == 0, result.stderr
    assert "loaded again: 4 of 4 completions have the same tokens" in result.stdout
    text = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: transformers" in text and "merged into its base" in text and "vllm serve" in text
    assert "| `bench` | 40 |" in text and "evaluated as" not in text
    assert load_model(str(tmp_path / "out")).instructions == "none"
    assert f"`{fingerprint(str(tmp_path / 'out'))}`" in text, "the digest of the finished folder"
    again = command("merge", tmp_path / "out", tmp_path / "two")
    assert again.exit_code == 2 and "there is nothing to merge" in again.stderr
