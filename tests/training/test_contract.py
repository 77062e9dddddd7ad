"""What mirg relies on inside TRL and transformers; an upgrade that changes it must fail here, not in a run."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch

from mirg.training.grpo import trainer_class
from mirg.training.trainer import ResumableTrainer

# (class, method, its parameters, why mirg depends on it)
SIGNATURES = [
    (
        "GRPOTrainer",
        "_calculate_rewards",
        ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        "rollouts",
    ),
    (
        "GRPOTrainer",
        "_generate_single_turn",
        ["self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images"],
        "rollouts of shared prompts, by ourselves or by vLLM",
    ),
    ("GRPOTrainer", "_get_train_sampler", ["self", "dataset"], "the order of prompts"),
    (
        "VLLMGeneration",
        "generate",
        ["self", "prompts", "images", "num_generations", "profiler"],
        "rollouts by vLLM: token ids with their images, and back come prompts, completions and log-probabilities",
    ),
    ("VLLMGeneration", "sync_weights", ["self"], "vLLM has the weights of the step"),
    ("VLLMClient", "image_features", ["self", "images", "max_concurrent_requests"], "how a server cuts images"),
    ("GRPOTrainer", "_generate_and_score_completions", ["self", "inputs"], "tests of what is sampled"),
    ("GRPOTrainer", "_compute_loss", ["self", "model", "inputs"], "agreement of examples/tiny_grpo.py"),
    ("GRPOTrainer", "compute_loss", ["self", "model", "inputs", "return_outputs", "num_items_in_batch"], "batch check"),
    ("SFTTrainer", "compute_loss", ["self", "model", "inputs", "return_outputs", "num_items_in_batch"], "batch check"),
    ("GRPOTrainer", "training_step", ["self", "model", "inputs", "num_items_in_batch"], "sample ids"),
    ("SFTTrainer", "training_step", ["self", "args", "kwargs"], "sample ids, passed by position"),
    ("Trainer", "training_step", ["self", "model", "inputs", "num_items_in_batch"], "sample ids"),
    ("Trainer", "_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"], "exact resuming"),
]


def classes() -> dict[str, Any]:
    from transformers import Trainer
    from trl.generation.vllm_client import VLLMClient
    from trl.generation.vllm_generation import VLLMGeneration
    from trl.trainer.grpo_trainer import GRPOTrainer
    from trl.trainer.sft_trainer import SFTTrainer

    return {owner.__name__: owner for owner in (Trainer, GRPOTrainer, SFTTrainer, VLLMClient, VLLMGeneration)}


@pytest.mark.parametrize(("owner", "name", "parameters"), [row[:3] for row in SIGNATURES])
def test_signatures(owner: str, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(classes()[owner], name)).parameters) == parameters


def test_each_override_overrides_something() -> None:
    own = [name for name, value in vars(ResumableTrainer).items() if inspect.isfunction(value)]
    assert own
    for name in own:
        assert all(hasattr(classes()[owner], name) for owner in ("SFTTrainer", "GRPOTrainer")), name
    for name in ("_calculate_rewards", "_get_train_sampler"):
        assert name in vars(trainer_class()) and hasattr(classes()["GRPOTrainer"], name)


def test_what_the_sampler_is_made_of() -> None:
    from trl.trainer.utils import RepeatSampler

    assert isinstance(RepeatSampler(range(3), 2, seed=1).generator, torch.Generator)


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


def test_where_weights_are_known_to_be_new() -> None:
    """``mirg.training.vllm_rollouts.sync`` does what this does, and forgets the images."""
    source = inspect.getsource(classes()["GRPOTrainer"]._generate_single_turn)
    assert "self.state.global_step != self._last_loaded_step" in source
    assert "self.vllm_generation.sync_weights()" in source
    # Where this appears, mirg need not do it.
    assert "reset_encoder_cache" not in inspect.getsource(classes()["VLLMGeneration"])


def test_what_a_rollout_by_vllm_gives_back() -> None:
    source = inspect.getsource(classes()["VLLMGeneration"].generate)
    assert source.rstrip().endswith("return prompt_ids, completion_ids, logprobs, logprob_token_ids")
