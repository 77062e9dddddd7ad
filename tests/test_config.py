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
