"""Training of models whose chat template opens the thinking: a completion begins inside of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.families import FAMILY_MODELS
from fakes.tiny import read_data, write_thinking
from fakes.training import rows
from mirg.answers.prompts import messages, write_completion
from mirg.engines.load import load_engine
from mirg.models.load import LoadedModel, load_model
from mirg.models.prompts import opening, taught
from mirg.rewards import RewardConfig
from mirg.rewards.trl import reward_functions
from mirg.training import grpo
from mirg.training.recipe import GrpoRecipe
from mirg.training.sft import train_sft

Make = Callable[..., Any]
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def thinking(folders: dict[str, Path], shared: Callable[..., Path]) -> Path:
    """The random Qwen3-VL model with the end of Qwen3.5's template."""
    return shared("thinking", lambda folder: write_thinking(folder, folders["qwen3_vl"]))


def target(loaded: LoadedModel, sample: Any, switch: bool | None) -> tuple[str, str]:
    """What SFT on a correct answer to ``sample`` shows and what it teaches."""
    asked = messages(sample, loaded.family, loaded.limits, "none")
    answer = write_completion("Target: red ring.", sample.targets, sample.sizes, loaded.family, limits=loaded.limits)
    return taught(loaded.processor, asked, answer, len(sample.images), sample.id, thinking=switch)


@pytest.mark.parametrize(
    ("switch", "begun", "begins"),
    [(None, "<think>\n", "Target: red ring."), (True, "<think>\n", "Target: red ring."), (False, EMPTY, "<answer>")],
    ids=["as the template does", "on", "off"],
)
def test_the_target_begins_where_the_template_ends(
    switch: bool | None, begun: str, begins: str, thinking: Path, data: Path
) -> None:
    """Prompt and target together are one turn with format reward 1, also as TRL hands completions over."""
    loaded = load_model(str(thinking))
    sample, _ = read_data(data)[0]
    shown, learnt = target(loaded, sample, switch)
    assert opening(loaded.processor, switch) == begun and shown.endswith(f"<|im_start|>assistant\n{begun}")
    assert learnt.startswith(begins) and learnt.endswith("</answer><|im_end|>")
    said = [[{"role": "assistant", "content": learnt.removesuffix("<|im_end|>")}]]
    made = reward_functions(RewardConfig(), loaded.family, loaded.limits, opened=begun)
    form, image, box = [function(completions=said, sample=[sample])[0] for function in made.functions]
    assert (form, image) == (1.0, 1.0) and box > 0.6
    bare = reward_functions(RewardConfig(), loaded.family, loaded.limits)
    assert bare.functions[0](completions=said, sample=[sample]) == [0.0], "without what the template wrote"


def test_a_correct_rollout_gets_the_reward_of_its_form(
    thinking: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through TRL: completions that are what SFT teaches have format reward 1, and the log shows whole turns."""
    loaded = load_model(str(thinking))
    samples = {sample.id: sample for sample, _ in read_data(data)}

    def correct(trainer: Any, *_: Any) -> dict[str, Any]:
        batch = trainer.batch
        texts = [target(loaded, samples[row["id"]], None)[1] for row in batch.rows]
        completions = [loaded.tokenizer(text.rstrip())["input_ids"] for text in texts]
        ids = [list(batch.prompts[number].ids) for number in batch.groups]
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    monkeypatch.setattr(grpo.PackedGRPOTrainer, "_sample", lambda trainer, *_: correct(trainer))
    keys = {"model": str(thinking), "data": str(data), "steps": 1, "prompts_per_step": 2, "group_size": 2}
    recipe = GrpoRecipe.model_validate(keys | {"prompt": {"instructions": "none"}, "log_rollouts_every": 1})
    grpo.train_grpo(recipe, tmp_path / "run")
    assert rows(tmp_path / "run" / "metrics.jsonl")[0]["rewards/format/mean"] == 1.0
    said = [row["completion"] for row in rows(tmp_path / "run" / "rollouts.jsonl")]
    assert len(said) == 4 and all(text.startswith("<think>\nTarget: red ring.") for text in said)


def test_a_model_is_asked_as_it_was_trained(thinking: Path, data: Path, sft_recipe: Make, tmp_path: Path) -> None:
    """``prompt.thinking`` is stored with the model, and an evaluation may still choose."""
    recipe = sft_recipe(model=str(thinking), steps=1, prompt={"instructions": "none", "thinking": False})
    train_sft(recipe, tmp_path / "run")
    chosen: list[Any] = [load_engine(str(tmp_path / "run"), thinking=switch) for switch in (None, True)]
    assert [engine.thinking for engine in chosen] == [False, True]
    assert load_model(str(thinking)).thinking is None
    assert replace(chosen[0].loaded, thinking=None).thinking is None


@pytest.mark.slow
def test_qwen35_learns_the_form_and_grpo_rewards_it(
    shared: Callable[..., Path], data: Path, sft_recipe: Make, tmp_path: Path
) -> None:
    """A real Qwen3.5 class, unpacked: rollouts of a model that knows the form have format rewards above 0."""
    base = shared("family-qwen3.5", FAMILY_MODELS["qwen3.5"])
    train_sft(sft_recipe(model=str(base), steps=150, batch_size=4, save_every=150), tmp_path / "sft")
    keys = {"model": str(tmp_path / "sft"), "data": str(data), "steps": 1, "packed": False, "temperature": 0.5}
    keys |= {"prompts_per_step": 2, "group_size": 4, "max_new_tokens": 96, "prompt": {"instructions": "none"}}
    grpo.train_grpo(GrpoRecipe.model_validate(keys), tmp_path / "grpo")
    assert rows(tmp_path / "grpo" / "metrics.jsonl")[0]["rewards/format/mean"] > 0.3
