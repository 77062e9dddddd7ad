"""Models whose layers cannot be packed: their own ``generate``, token for token what packed sampling says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from fakes.families import FAMILY_MODELS
from fakes.tiny import read_data
from fakes.trees import prompts, tiny_loaded
from mirg.answers.prompts import messages
from mirg.engines.base import Generation, Request, several
from mirg.engines.load import load_engine
from mirg.errors import EngineError
from mirg.families import PixelLimits
from mirg.models.load import LoadedModel, forbidden_tokens, load_model
from mirg.models.packing import enable_packed_forward
from mirg.models.sampling import Sampling, complete, complete_by_generate

KINDS = ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"]
COUNTS = (1, 3, 2, 2)


def tiny(kind: str) -> LoadedModel:
    if kind != "mirg-tiny":
        return tiny_loaded(kind)
    loaded = load_model("mirg-tiny", limits=PixelLimits(48 * 48, 160 * 160))
    enable_packed_forward(loaded.model)
    return loaded


@pytest.mark.parametrize("kind", ["mirg-tiny", *KINDS])
def test_greedy_tokens_are_those_of_packed_sampling(kind: str) -> None:
    """Ragged prompts with 2, 3, 1 and 0 images; the checkpoint's own generation settings change nothing."""
    loaded = tiny(kind)
    model: Any = loaded.model
    model.generation_config = GenerationConfig(
        do_sample=True, repetition_penalty=1.7, top_k=1, no_repeat_ngram_size=2, max_new_tokens=2, eos_token_id=40
    )
    shown, forbidden = prompts(loaded), forbidden_tokens(loaded.tokenizer, loaded.family)
    endless = complete(model, shown, (1,) * 4, Sampling(8, [], forbidden, temperature=0))
    stop = endless[0][0][3]  # one of the rows ends early, at least
    settings = Sampling(8, [stop], forbidden, temperature=0)
    packed = complete(model, shown, COUNTS, settings)
    assert complete_by_generate(model, shown, COUNTS, settings) == packed
    assert len({len(group[0]) for group in packed}) > 1 and model.generation_config.top_k == 1
    # A turn may end without a stop, here after a different number of tokens in each row.
    waiting = replace(settings, pauses=lambda ids: len(ids) == 2 + ids[0] % 4)
    paused = complete(model, shown, COUNTS, waiting)
    assert complete_by_generate(model, shown, COUNTS, waiting) == paused != packed
    assert len({len(group[0]) for group in paused}) > 1
    assert complete_by_generate(model, shown, (1,) * 4, Sampling(8, [], forbidden, temperature=0)) == endless


def test_samples_follow_the_generator_and_forbidden_tokens_are_never_taken() -> None:
    loaded = tiny("qwen3_vl")
    barred = [k for k in range(len(loaded.tokenizer)) if k not in (40, 41, 42)]
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(complete_by_generate(loaded.model, prompts(loaded), COUNTS, Sampling(8, [], barred, 2.0)))
    assert made[0] == made[1] != made[2]
    assert [len(group) for group in made[0]] == list(COUNTS)
    different = [len({tuple(ids) for ids in group}) for group in made[0]]
    assert different == list(COUNTS), "every completion is sampled separately"
    assert {token for group in made[0] for ids in group for token in ids} == {40, 41, 42}


def test_numbers_that_are_not_finite_are_no_completion() -> None:
    loaded = tiny("qwen3_vl")
    model: Any = loaded.model
    with torch.no_grad():
        model.model.language_model.norm.weight.fill_(3e38)
    with pytest.raises(EngineError, match="not finite"):
        complete_by_generate(model, prompts(loaded), (1,) * 4, Sampling(3, [], temperature=0))


def test_qwen35_is_completed_by_generate(data: Path, tmp_path: Path) -> None:
    """A real Qwen3.5 with a layer of linear attention: order, batches and draws as for any other model."""
    made: Any = load_engine(str(FAMILY_MODELS["qwen3.5"](tmp_path / "qwen35")))
    assert made.numerics == "float32 on cpu, generate" and made.family.name == "qwen3.5"
    asked = [Request(s.id, messages(s, made.family, made.limits, "none"), im) for s, im in read_data(data)[:4]]
    short = Generation(max_new_tokens=5, batch_size=3)
    together = made.generate(asked, short)
    assert [made.generate([one], short)[0] for one in asked] == together
    assert len({said.text for said in together}) > 1
    groups = several(made, asked, Generation(5, temperature=1.0, seed=2, batch_size=3), 2)
    assert [len(group) for group in groups] == [2] * 4
    with pytest.raises(EngineError, match="this model has linear_attention layers"):
        enable_packed_forward(made.loaded.model)
