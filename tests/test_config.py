"""off, on, no and yes are words in a recipe, and Booleans only for a key that takes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mirg.config import dump_recipe, load_recipe
from mirg.errors import ConfigError
from mirg.training.recipe import GrpoRecipe, SftRecipe

NEEDED = "stage: grpo\nmodel: m\ndata: d\n"


@pytest.mark.parametrize(
    ("text", "path", "value", "why"),
    [
        ("admission:\n  policy: off\n", "admission.policy", "off", "the word of the documentation"),
        ("held_out: [no]\n", "held_out", ("no",), "a list of texts"),
        ("admission: {policy: 'off'}\n", "admission.policy", "off", "quoted"),
        ("packed: off\n", "packed", False, "a Boolean is meant"),
        ("gradient_checkpointing: yes\n", "gradient_checkpointing", True, "a Boolean is meant"),
        ("scale_rewards: none\n", "scale_rewards", "none", "not one of these words"),
        ("steps: 12.0\n", "steps", 12, "a whole number written as a float"),
    ],
)
def test_words_of_a_file(tmp_path: Path, text: str, path: str, value: object, why: str) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + (NEEDED + text).replace("\n", "\r\n").encode())
    recipe: Any = load_recipe(GrpoRecipe, tmp_path / "r.yaml")
    written = tmp_path / "written.yaml"
    written.write_text(dump_recipe(recipe))
    assert load_recipe(GrpoRecipe, written) == recipe, "printing and reading loses nothing"
    for part in path.split("."):
        recipe = getattr(recipe, part)
    assert recipe == value and type(recipe) is type(value), why


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("admission.policy=on", "admission.policy: Input should be 'off', 'skip' or 'resample'", "got 'on'"),
        ("optim.schedule=true", "optim.schedule: Input should be", "got True"),
        ("model=true", "model: Input should be a valid string", "got True"),
        ("packed=maybe", "packed: Input should be a valid boolean", "got 'maybe'"),
        ("steps=yes", "steps: Input should be a valid integer", "got 'yes'"),
        ("steps=true", "steps is the Boolean True", "write the number"),
        ("lora.dropout=false", "lora.dropout is the Boolean False", "write the number"),
        ("vision_cache=true", "vision_cache is the Boolean True", "write the number"),
    ],
)
def test_another_value_is_refused(override: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(GrpoRecipe, None, ["model=m", "data=d", override])
    assert message in caught.value.message and hint in caught.value.hint


def test_overrides_of_both_stages() -> None:
    assert load_recipe(GrpoRecipe, None, ["model=m", "data=d", "admission.policy=off"]).admission.policy == "off"
    assert load_recipe(SftRecipe, None, ["model=no", "data='on'"]).model == "no"


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    """The base is beside the file, or ships; sections are merged, lists and values replaced, overrides come last."""
    base = "extends: tiny/grpo\nheld_out: [a, b]\nmicro_batch: 4\noptim: {weight_decay: 0.5}\n"
    (tmp_path / "base.yaml").write_text(NEEDED + base)
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nheld_out: [c]\nmicro_batch: null\noptim: {beta2: 0.9}\n")
    recipe = load_recipe(GrpoRecipe, tmp_path / "top.yaml", ["optim.warmup_steps=3"])
    shipped = load_recipe(GrpoRecipe, "tiny/grpo")
    assert (recipe.model, recipe.held_out, recipe.group_size) == ("m", ("c",), shipped.group_size)
    assert recipe.micro_batch is None, "null is a value, too"
    optim = recipe.optim
    assert (optim.weight_decay, optim.beta2, optim.warmup_steps) == (0.5, 0.9, 3)
    assert optim.learning_rate == shipped.optim.learning_rate
    copy = tmp_path / "resolved.yaml"
    copy.write_text(dump_recipe(recipe))
    assert load_recipe(GrpoRecipe, copy) == recipe and "extends" not in copy.read_text()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: a.yaml\n"}, "extends itself"),
        ({"a": "extends: b.yaml\n", "b": "extends: a.yaml\n"}, "extends itself"),
        ({"a": "extends: nothing\n"}, "no recipe 'nothing'"),
        ({"a": "extends: [b, c]\n"}, "no recipe"),
    ],
)
def test_a_base_that_cannot_be_had(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(GrpoRecipe, tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lora.quantize=4bit"], "needs adapters: set rank"),
        (["lora.quantize=4bit", "lora.rank=4", "sharding=zero3"], "cannot be combined"),
        (["lora.quantize=4bit", "lora.rank=4", "rollouts.backend=vllm"], "cannot be combined"),
        (["processes=7", "nodes=2"], "processes = 7 is no multiple of nodes = 2"),
        (["sharding=zero4"], "sharding"),
    ],
)
def test_what_does_not_go_together(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe(GrpoRecipe, "tiny/grpo", overrides)
