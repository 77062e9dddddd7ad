"""Recipes: overrides, unknown keys, values of the wrong kind, and that printing loses nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from mirg.config import find_recipe, load_recipe
from mirg.data.scenes.world import WorldRecipe
from mirg.errors import ConfigError
from mirg.training.recipe import GrpoRecipe, SftRecipe

NEEDED = ["model=m", "data=d"]


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("optim.learning_rate=1e-4", "optim.learning_rate", 1e-4),  # YAML 1.1 reads it as text
        ("steps=12", "steps", 12),
        ("steps=null", "steps", None),
        ("reward.arm=gated", "reward.arm", "gated"),
        ("reward.arm=object_only", "reward.arm", "object_only"),
        ("lora.rank=8", "lora.rank", 8),
        ("gradient_checkpointing=true", "gradient_checkpointing", True),
        ("prompt.family=qwen2.5-vl", "prompt.family", "qwen2.5-vl"),
        ("prompt.max_pixels=784000", "prompt.max_pixels", 784000),
        ("model=a=b", "model", "a=b"),
    ],
)
def test_overrides(override: str, path: str, value: object) -> None:
    recipe: Any = load_recipe(GrpoRecipe, None, [*NEEDED, override])
    for part in path.split("."):
        recipe = getattr(recipe, part)
    assert recipe == value


@pytest.mark.parametrize(
    ("kind", "override", "message", "hint"),
    [
        (SftRecipe, "batchsize=2", "unknown recipe key batchsize", "did you mean batch_size?"),
        (SftRecipe, "optim.learning_rat=1", "unknown recipe key optim.learning_rat", "optim.learning_rate?"),
        (SftRecipe, "prompt.max_pixel=9", "unknown recipe key prompt.max_pixel", "prompt.max_pixels?"),
        (SftRecipe, "prompt.max_pixels=0", "prompt.max_pixels", "0"),
        (GrpoRecipe, "reward.armm=dual", "unknown recipe key reward.armm", "did you mean reward.arm?"),
        (GrpoRecipe, "batch_size=2", "unknown recipe key batch_size", ""),  # a key of another stage
        (GrpoRecipe, "zzzz=1", "unknown recipe key zzzz", "known keys: model, data"),
        (GrpoRecipe, "reward.arm=dul", "reward.arm", "dul"),
        (SftRecipe, "steps=0", "steps", "0"),
        (SftRecipe, "seed=abc", "seed", "abc"),
        (SftRecipe, "optim.learning_rate=-1", "optim.learning_rate", "-1"),
        (SftRecipe, "optim.learning_rate=.inf", "optim.learning_rate", "inf"),
        (SftRecipe, f"steps={'9' * 5000}", "is no YAML value", ""),
        (SftRecipe, "steps", "is not key=value", "-s optim.learning_rate=1e-5"),
        (SftRecipe, "=3", "is not key=value", ""),
        (SftRecipe, "model.path=3", "model is a value, not a section", ""),
        (SftRecipe, "seed=[", "is no YAML value", ""),
        (SftRecipe, "stage=grpo", "stage", "grpo"),
        (WorldRecipe, "world.sid=96", "unknown recipe key world.sid", "did you mean world.side?"),
    ],
)
def test_refusals(kind: type[BaseModel], override: str, message: str, hint: str) -> None:
    needed = [] if kind is WorldRecipe else NEEDED
    with pytest.raises(ConfigError) as caught:
        load_recipe(kind, None, [*needed, override])
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("missing", ["model", "data"])
def test_what_has_no_default_must_be_given(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"{missing}: Field required"):
        load_recipe(SftRecipe, None, [pair for pair in NEEDED if not pair.startswith(missing)])


def test_a_file_and_its_overrides(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: m\ndata: d\noptim: {learning_rate: 0.5, warmup_steps: 7}\n")
    recipe = load_recipe(SftRecipe, file, ["optim.learning_rate=0.25"])
    assert (recipe.optim.learning_rate, recipe.optim.warmup_steps) == (0.25, 7)


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b\n", "no mapping"),
        ("model: [\n", "expected the node content"),
        ("just text\n", "no mapping"),
        ("\x00", "special characters"),
        ("steps: 3\nsteps: 4\n", "the key 'steps' is listed twice"),
        ("optim: {beta2: 0.9, beta2: 0.8}\n", "the key 'beta2' is listed twice"),
        (f"steps: {'9' * 5000}\n", "4300 digits"),
        ("model: " + "[" * 5000, "nested too deeply"),
        (ALIASES, "more than 100,000 values"),
        (ALIASES.replace("[*", "{<<: [*").replace("]\n", "]}\n").replace("x]}", "x]"), "more than 100,000 values"),
        ("&a {model: *a}\n", "contains itself"),
        ("model: " + "x" * 2**21, "more than 1,048,576 bytes"),
        ("model: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_recipe(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load_recipe(SftRecipe, file, NEEDED)


def test_aliases_may_share_what_people_write(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim: &o {beta2: 0.5}\nprompt: {}\nlora: {rank: 1}\nheld_out: [&d some, *d]\n")
    assert load_recipe(SftRecipe, file, NEEDED).held_out == ("some", "some")


def test_a_recipe_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        find_recipe("tiny/stf")
    assert "did you mean 'tiny/sft'?" in caught.value.hint


def test_a_recipe_does_not_change() -> None:
    recipe = load_recipe(SftRecipe, None, NEEDED)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]
