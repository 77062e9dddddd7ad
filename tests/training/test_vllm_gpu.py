"""A step through a real vLLM server. It needs two GPUs, vLLM, and a server on the first of them:

CUDA_VISIBLE_DEVICES=0 <the command that the skip reason of this test gives>
CUDA_VISIBLE_DEVICES=1 pytest -m gpu tests/training/test_vllm_gpu.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows
from mirg.errors import ConfigError
from mirg.models.load import load_model
from mirg.training.grpo import train_grpo
from mirg.training.recipe import RolloutConfig
from mirg.training.vllm import require_vllm


@pytest.mark.gpu
def test_a_step_through_a_server(tmp_path: Path, grpo_recipe: Callable[..., Any]) -> None:
    rollouts = {"backend": "vllm", "timeout": 0}
    try:
        require_vllm(RolloutConfig.model_validate(rollouts), load_model("mirg-tiny"))
    except ConfigError as error:
        pytest.skip(str(error))
    recipe = grpo_recipe(model="mirg-tiny", rollouts=rollouts, dtype="bfloat16")
    assert train_grpo(recipe, tmp_path / "run").step == 2
    metrics = rows(tmp_path / "run" / "metrics.jsonl")
    assert all(row["sampling/sampling_logp_difference/mean"] < 0.1 for row in metrics)
