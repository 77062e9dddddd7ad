"""What mirg relies on inside TRL and transformers; an upgrade that changes it must fail here, not in a run."""

from __future__ import annotations

import functools
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fakes.training import rows
from mirg.training import grpo
from mirg.training.grpo import PackedGRPOTrainer, PlainGRPOTrainer, train_grpo
from mirg.training.trainer import ResumableTrainer

# (class, method, its parameters, why mirg depends on it)
SIGNATURES = [
    (
        "GRPOTrainer",
        "_calculate_rewards",
        "self inputs prompts completions completion_ids_list",
        "override: spreads of rewards, rollouts",
    ),
    ("GRPOTrainer", "_prepare_inputs", "self generation_batch", "override: the step"),
    ("Trainer", "_prepare_inputs", "self inputs", "override: sample ids and the check of a batch in SFT"),
    ("GRPOTrainer", "get_train_dataloader", "self", "override: the order of prompts"),
    (
        "Trainer",
        "_get_dataloader",
        "self dataset description batch_size sampler_fn is_training dataloader_key",
        "the order of prompts",
    ),
    (
        "RepeatSampler",
        "__init__",
        "self data_source mini_repeat_count batch_size repeat_count shuffle seed",
        "the order of prompts",
    ),
    (
        "GRPOTrainer",
        "_get_per_token_logps_and_entropies",
        "self model input_ids attention_mask logits_to_keep batch_size compute_entropy compute_aux_loss "
        "pixel_values image_grid_thw num_images pixel_attention_mask spatial_shapes num_tiles image_sizes "
        "token_type_ids mm_token_type_ids image_position_ids",
        "override: packed rows",
    ),
    ("GRPOTrainer", "training_step", "self model inputs num_items_in_batch", "inputs, then loss"),
    ("GRPOTrainer", "_generate", "self prompts", "it calls rollout_func"),
    (
        "Trainer",
        "_run_epoch",
        "self model epoch train_dataloader steps_in_epoch num_update_steps_per_epoch trial "
        "ignore_keys_for_eval start_time resume_from_checkpoint epochs_trained steps_trained_in_current_epoch",
        "override: no step after the last one",
    ),
    (
        "VLLMGeneration",
        "generate",
        "self prompts images num_generations profiler",
        "rollouts by vLLM: token ids with their images, and back come prompts, completions and log-probabilities",
    ),
    ("VLLMGeneration", "sync_weights", "self", "vLLM has the weights of the step"),
    ("VLLMGeneration", "_iter_named_params", "self", "replaced: adapters are merged into copies"),
    ("VLLMGeneration", "_fix_param_name_to_vllm", "self name extra_prefixes", "names of the copies"),
    ("VLLMClient", "image_features", "self images max_concurrent_requests", "how a server cuts images"),
    ("GRPOTrainer", "_generate_and_score_completions", "self inputs", "sampling, scoring and advantages"),
    ("GRPOTrainer", "_compute_loss", "self model inputs", "agreement of examples/tiny_grpo.py"),
    ("Trainer", "_load_from_checkpoint", "self resume_from_checkpoint model", "override: exact resuming"),
]


def classes() -> dict[str, Any]:
    from transformers import Trainer
    from trl.generation.vllm_client import VLLMClient
    from trl.generation.vllm_generation import VLLMGeneration
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.sft_trainer import SFTTrainer
    from trl.trainer.utils import RepeatSampler

    owners = (Trainer, GRPOTrainer, SFTTrainer, VLLMClient, VLLMGeneration, RepeatSampler)
    return {owner.__name__: owner for owner in owners}


@pytest.mark.parametrize(("owner", "name", "parameters"), [row[:3] for row in SIGNATURES])
def test_signatures(owner: str, name: str, parameters: str) -> None:
    assert list(inspect.signature(getattr(classes()[owner], name)).parameters) == parameters.split()


def overrides() -> dict[str, list[type]]:
    """Methods of TRL and transformers that the trainer of packed GRPO overrides, and the classes that do so."""
    found: dict[str, list[type]] = {}
    for cls in (ResumableTrainer, PlainGRPOTrainer, PackedGRPOTrainer):
        for name, value in vars(cls).items():
            if inspect.isfunction(value) and name != "__init__" and hasattr(classes()["GRPOTrainer"], name):
                found.setdefault(name, []).append(cls)
    return found


def test_every_override_is_in_the_table_and_its_signature_is_held() -> None:
    """Two of them are of transformers, four of TRL."""
    table = (grpo.__doc__ or "").partition("=====")[2].rpartition("=====")[0].replace("\n", "")
    listed = re.findall(r"``(?:GRPO)?Trainer\.(\w+?)(?:``| )", table)
    listed = [name if hasattr(classes()["GRPOTrainer"], name) else f"{name}_entropies" for name in listed]
    assert sorted(listed) == sorted(overrides()) and len(listed) <= 6
    assert set(listed) <= {name for _, name, *_ in SIGNATURES}


def test_trl_calls_every_override(tmp_path: Path, grpo_recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run of two steps, and one that is resumed after its last step. So does it call ``rollout_func``."""
    calls: list[str] = []

    def counted(cls: type, name: str) -> None:
        original = getattr(cls, name)

        @functools.wraps(original)
        def call(*args: Any, **keywords: Any) -> Any:
            # Called by TRL or transformers, not by a method of ours.
            calls.append(f"{name} from {inspect.stack()[1].frame.f_globals['__name__'].partition('.')[0]}")
            return original(*args, **keywords)

        monkeypatch.setattr(cls, name, call)

    for name in [*overrides(), "_sample"]:
        counted(PackedGRPOTrainer, name)
    recipe = grpo_recipe(max_new_tokens=8, steps=2, beta=0.1)
    train_grpo(recipe, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    assert train_grpo(recipe, tmp_path / "run").step == 2
    assert len(rows(tmp_path / "run" / "metrics.jsonl")) == 2
    expected = {name: ("trl", "transformers") for name in [*overrides(), "_sample"]}
    for name, callers in expected.items():
        assert any(f"{name} from {caller}" in calls for caller in callers), f"{name} is not called any more: {calls}"


def test_the_order_of_a_save_is_log_then_files_then_callback() -> None:
    """Resuming rewinds the metrics to the checkpoint, so its own row must be there before it."""
    from transformers import Trainer

    source = inspect.getsource(Trainer._maybe_log_save_evaluate)
    assert source.index("self.log(") < source.index("self._save_checkpoint(") < source.index("on_save(")


def test_default_callbacks_come_before_ours() -> None:
    """``RunCallback.on_step_end`` reads what the flow callback has decided about saving."""
    from transformers import Trainer

    source = inspect.getsource(Trainer.__init__)
    assert "default_callbacks + callbacks" in source or "default_callbacks if callbacks is None else" in source


def test_the_versions_of_vllm_are_those_of_trl() -> None:
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    from mirg.training.vllm import SUPPORTED

    theirs = [Requirement(line) for line in requires("trl") or () if line.startswith("vllm")]
    assert [need.specifier for need in theirs] == [Requirement(SUPPORTED).specifier]


def test_weights_are_sent_before_a_rollout() -> None:
    """TRL sends them before it calls ``rollout_func``; :func:`mirg.training.vllm.forget_images` relies on it."""
    source = inspect.getsource(classes()["GRPOTrainer"]._generate)
    assert 0 < source.index("self.vllm_generation.sync_weights()") < source.index("self.rollout_func(prompts, self)")
    # If this appears, mirg need not do it.
    assert "reset_encoder_cache" not in inspect.getsource(classes()["VLLMGeneration"])


def test_what_a_rollout_by_vllm_gives_back() -> None:
    source = inspect.getsource(classes()["VLLMGeneration"].generate)
    assert source.rstrip().endswith("return prompt_ids, completion_ids, logprobs, logprob_token_ids")
