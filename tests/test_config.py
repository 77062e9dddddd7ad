"""off, on, no and yes are Booleans in YAML 1.1: a recipe that expects the word gets it, or says to quote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from mirg.config import dump_recipe, load_recipe, restore_words
from mirg.errors import ConfigError
from mirg.training.recipe import GrpoRecipe, SftRecipe

NEEDED = "stage: grpo\nmodel: m\ndata: d\n"


@pytest.mark.parametrize(
    ("text", "path", "value", "why"),
    [
        ("admission:\n  policy: off\n", "admission.policy", "off", "the word of the documentation"),
        ("admission: {policy: no}\n", "admission.policy", "off", "only one word is read so"),
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
    ("override", "message"),
    [
        ("admission.policy=on", "admission.policy is the Boolean True, one of off, skip, resample is expected"),
        ("optim.schedule=no", "optim.schedule is the Boolean False"),
        ("model=off", "model is the Boolean False, a text is expected"),
        ("prompt.family=no", "prompt.family is the Boolean False"),
        ("loss=yes", "loss is the Boolean True"),
        ("held_out=[no]", "held_out.0"),
    ],
)
def test_what_cannot_be_told_says_to_quote_it(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(GrpoRecipe, None, ["model=m", "data=d", override])
    assert message in caught.value.message and "in quotes" in caught.value.hint


@pytest.mark.parametrize("override", ["steps=yes", "lora.dropout=off", "vision_cache=no"])
def test_a_boolean_is_no_number(override: str) -> None:
    with pytest.raises(ConfigError, match="is the Boolean") as caught:
        load_recipe(GrpoRecipe, None, ["model=m", "data=d", override])
    assert "write the number" in caught.value.hint


def test_overrides_of_both_stages() -> None:
    assert load_recipe(GrpoRecipe, None, ["model=m", "data=d", "admission.policy=off"]).admission.policy == "off"
    assert load_recipe(SftRecipe, None, ["model='no'", "data='on'"]).model == "no"


class Ambiguous(BaseModel):
    mode: Literal["off", "no", "auto"] = "auto"
    either: Literal["on"] | bool = False


def test_two_words_that_are_read_alike_are_not_guessed() -> None:
    with pytest.raises(ConfigError, match="one of off, no, auto"):
        restore_words(Ambiguous, {"mode": False})
    assert restore_words(Ambiguous, {"either": True}) == {"either": True}
