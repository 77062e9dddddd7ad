"""The benchmarks run and say what they measured; how fast anything is, is no test."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHAPE = "packed_update --shape qwen2.5-vl-3b --checkpointing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "n"),
    [
        ("packed_update", 3),
        (SHAPE, 3),
        ("grpo_step", 3),
        ("vision_cache", 3),
        ("sweep packed_update", 1),
        ("demo_rl", 1),
    ],
)
def test_the_quick_run_writes_its_ratio(script: str, n: int, repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    name, *told = script.split()
    command = [sys.executable, f"benchmarks/{name}.py", *told, "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert {"ratio", "unit", "ours", "theirs", "n", "spread", "tokens", "settings", "versions"} <= result.keys()
    assert result["n"] == n and result["ratio"] == pytest.approx(result["theirs"] / result["ours"])
    assert result["spread"][0] <= result["spread"][1]
    if script in ("packed_update", SHAPE):
        assert result["gradient_difference"] < 1e-5, "both sides compute the same"
        assert result["tokens"]["ratio"] > 1


# Numbers of parameters of the published checkpoints, from their model cards.
PUBLISHED = {"qwen2.5-vl-3b": 3_754_622_976, "qwen2.5-vl-7b": 8_292_166_656, "qwen3-vl-8b": 8_767_123_696}


def test_the_shapes_are_those_of_the_published_models(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted on the meta device, so that no weight is made."""
    import torch

    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    shapes = importlib.import_module("shapes")
    models = {
        name: shapes.create(shapes.configuration(shape, 868)[0], "meta", torch.bfloat16)
        for name, shape in shapes.SHAPES.items()
    }
    assert {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()} == PUBLISHED


@pytest.mark.slow
def test_a_published_size_is_not_measured_without_a_gpu(repository: Path) -> None:
    command = [sys.executable, "benchmarks/packed_update.py", "--shape", "qwen2.5-vl-7b"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1 and "no GPU is available: qwen2.5-vl-7b was not measured" in done.stderr


@pytest.mark.slow
def test_the_estimate_of_memory_is_close(repository: Path, tmp_path: Path) -> None:
    """Of the model that the benchmarks use, whose activations weigh most: no timing, so it may fail a build."""
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/memory_estimate.py", "--repeat", "1", "--threads", "1", "--json", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert {"ratio", "unit", "ours", "theirs", "n", "spread", "tokens", "settings", "versions"} <= result.keys()
    assert result["ratio"] == pytest.approx(result["ours"] / result["theirs"])
    assert result["ratio"] == pytest.approx(1, abs=0.15)
