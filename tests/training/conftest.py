"""Small runs for the tests of training: a random model, its dataset, and a model that knows the form of an answer."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fakes.tiny import LOOK, write_data
from mirg.config import dump_recipe
from mirg.models.load import LoadedModel, load_model
from mirg.training import quiet_libraries
from mirg.training.recipe import GrpoRecipe, SftRecipe

Recipe = Callable[..., Any]
SKILL = {"qwen2_5_vl": 80}  # steps until the form is learnt, 40 for the others; JSON takes longer


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    quiet_libraries()


@pytest.fixture(scope="session")
def loaded(folders: dict[str, Path]) -> LoadedModel:
    """The random Qwen3-VL model."""
    return load_model(str(folders["qwen3_vl"]))


@pytest.fixture(scope="session")
def sft_recipe(folders: dict[str, Path], data: Path) -> Recipe:
    """``sft_recipe(kind="qwen3_vl", **keys)``: three steps of SFT."""

    def make(kind: str = "qwen3_vl", **keys: Any) -> SftRecipe:
        common = {
            "model": str(folders[kind]),
            "data": str(data),
            "steps": 3,
            "batch_size": 2,
            "save_every": 2,
            "prompt": {"instructions": "none"},
            "optim": {"learning_rate": 1e-2, "warmup_steps": 1},
        }
        return SftRecipe.model_validate(common | keys)

    return make


@pytest.fixture(scope="session")
def skilled(shared: Callable[..., Path], sft_recipe: Recipe) -> Callable[[str], Path]:
    """``skilled(kind)``: an SFT run after which some of the answers have the right form, so that rewards differ.

    The kind "looking" is a Qwen3-VL that looks again up to twice before it answers.
    """
    from mirg.training.sft import train_sft

    def run(kind: str = "qwen3_vl") -> Path:
        if kind == "looking":
            seen = shared("looking-data", lambda out: write_data(out, 12, looks=2))
            settings = sft_recipe(data=str(seen), look=LOOK, steps=60, batch_size=8, save_every=60)
            return shared("skilled-looking", lambda out: train_sft(settings, out))
        settings = sft_recipe(kind, steps=SKILL.get(kind, 40), batch_size=4, save_every=40)
        return shared(f"skilled-{kind}", lambda out: train_sft(settings, out))

    return run


@pytest.fixture(scope="session")
def whole(shared: Callable[..., Path]) -> Callable[[Any], Path]:
    """``whole(recipe)``: the run of ``recipe`` that nothing disturbed, to compare others with."""
    from mirg.training.grpo import train_grpo
    from mirg.training.sft import train_sft

    def run(settings: Any) -> Path:
        name = sha256(dump_recipe(settings).encode()).hexdigest()[:16]
        train = {SftRecipe: train_sft, GrpoRecipe: train_grpo}[type(settings)]
        return shared(f"whole-{name}", lambda out: train(settings, out))

    return run


@pytest.fixture(scope="session")
def grpo_recipe(skilled: Callable[[str], Path], data: Path) -> Recipe:
    """``grpo_recipe(kind="qwen3_vl", **keys)``: two steps of GRPO."""

    def make(kind: str = "qwen3_vl", **keys: Any) -> GrpoRecipe:
        common = {
            "model": str(skilled(kind)),
            "data": str(data),
            "steps": 2,
            "prompts_per_step": 2,
            "group_size": 4,
            "max_new_tokens": 48,
            "temperature": 0.6,
            "save_every": 2,
            "log_rollouts_every": 1,
            "prompt": {"instructions": "none"},
            "optim": {"learning_rate": 1e-3, "warmup_steps": 0, "schedule": "constant"},
        } | ({"look": LOOK, "max_new_tokens": 96} if kind == "looking" else {})
        return GrpoRecipe.model_validate(common | keys)

    return make
