"""vLLM itself against the local engine. It needs one GPU and vLLM: ``pytest -m gpu tests/engines/test_vllm_gpu.py``.

The variable MIRG_GPU_MODEL names another model than mirg-tiny.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.tiny import read_data
from mirg.answers.prompts import messages
from mirg.engines.base import Generation, Offline, Request, several
from mirg.engines.load import load_engine
from mirg.samples import DatasetFolder

SETTINGS = Generation(max_new_tokens=48, batch_size=16)
HOT = Generation(max_new_tokens=48, batch_size=16, temperature=1.0, seed=3)


@pytest.mark.gpu
def test_vllm_says_what_the_local_engine_says(data: Path) -> None:
    """Prompt lengths are equal, nearly all greedy texts are, and samples follow their seeds."""
    pytest.importorskip("vllm")
    model = os.environ.get("MIRG_GPU_MODEL", "mirg-tiny")
    dtype = "float32" if model == "mirg-tiny" else "bfloat16"
    local = load_engine(model, device="cuda", dtype=dtype)
    samples = DatasetFolder.open(data).read()
    fast = load_engine(model, dtype=dtype, offline=Offline({"gpu_memory_utilization": 0.5}, list(samples)))
    asked = [Request(s.id, messages(s, local.family, local.limits, "full"), im) for s, im in read_data(data)]
    ours, theirs = local.generate(asked, SETTINGS), fast.generate(asked, SETTINGS)
    assert [one.prompt_tokens for one in ours] == [one.prompt_tokens for one in theirs]
    # Rounding may decide between two tokens that are equally likely, and then the texts part.
    same = sum(one.text == two.text for one, two in zip(ours, theirs, strict=True))
    begun = sum(one.text[:20] == two.text[:20] for one, two in zip(ours, theirs, strict=True))
    assert same >= len(asked) // 2 and begun >= len(asked) - 2, (ours, theirs)
    assert fast.generate(asked, SETTINGS) == theirs
    groups = several(fast, asked, HOT, 3)
    assert several(fast, asked, HOT, 3) == groups
    assert len({one.text for group in groups for one in group}) > len(asked)
