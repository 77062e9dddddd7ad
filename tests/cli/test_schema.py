"""The page of all keys, and the schema that editors use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.commands import invoke
from fakes.recipes import leaves
from mirg.cli.schema import KINDS
from mirg.config import RECIPES
from mirg.training.recipe import GrpoRecipe, SftRecipe


def test_the_page_is_current(load_script: Callable[[str], Any], repository: Path) -> None:
    tool, text = load_script("tools/recipe_page.py"), (repository / "docs/reference/recipes.md").read_text()
    assert text == tool.page(), "run python tools/recipe_page.py"
    for kind in (SftRecipe, GrpoRecipe):
        assert [key for key, _ in leaves(kind) if f"| `{key}` |" not in text] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_takes_the_shipped_recipes(kind: str, tmp_path: Path) -> None:
    result = invoke("schema", kind, "--out", tmp_path / "r.schema.json")
    assert result.exit_code == 0 and "# yaml-language-server: $schema=r.schema.json" in result.stdout
    schema = json.loads((tmp_path / "r.schema.json").read_text())
    assert json.loads(invoke("schema", kind).stdout) == schema
    assert schema["additionalProperties"] is False and "required" not in schema
    pattern = {"teacher": "teacher/*", "compose": "compose/*", "demo": "tiny/demo", "study": "study/study"}.get(
        kind, f"*/{kind}"
    )
    files = sorted(RECIPES.glob(f"{pattern}.yaml"))
    assert files
    for file in files:
        assert yaml.safe_load(file.read_text()).keys() <= schema["properties"].keys()


def test_a_schema_refuses_what_a_recipe_must_not_say() -> None:
    """With the validator that is the reference for the standard."""
    jsonschema = pytest.importorskip("jsonschema", reason="not installed: pip install jsonschema")
    for kind in ("sft", "grpo"):
        check = jsonschema.Draft202012Validator(json.loads(invoke("schema", kind).stdout))
        for file in RECIPES.glob(f"*/{kind}.yaml"):
            assert list(check.iter_errors(yaml.safe_load(file.read_text()))) == [], file
        for bad in ({"lora": {"rnak": 4}}, {"dtype": "float8"}, {"steps": 0}, {"optim": {"learning_rate": "fast"}}):
            assert list(check.iter_errors(bad)), bad


def test_an_unknown_kind() -> None:
    result = invoke("schema", "grop")
    assert result.exit_code != 0 and "did you mean 'grpo'" in result.stderr.replace("\n", " ")
