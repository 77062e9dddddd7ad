"""``python -m research.perception`` is the command that made mirg-tiny."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer
import yaml
from click.testing import Result
from typer.testing import CliRunner

from research.perception.__main__ import perception
from research.perception.recipe import PerceptionRecipe

STEPS = ("vision_steps=1", "point_steps=0", "lookup_steps=0", "locate_steps=0", "vision_batch=2")
SMALL = ("tiny={width: 32, layers: 1, mlp: 32, vision_width: 32, vision_layers: 1, vision_mlp: 32}", "dtype=float32")


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(perception)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit | click.exceptions.Exit):
        raise result.exception
    return result


@pytest.mark.parametrize(
    ("override", "words", "hint"),
    [
        ("tiny.widht=64", "unknown recipe key tiny.widht", "did you mean tiny.width?"),
        ("tiny.width=8", "tiny.width: Input should be greater than or equal to 16", "got 8"),
        ("tiny.layers=many", "tiny.layers: Input should be a valid integer", "got 'many'"),
        ("tiny=64", "tiny: Input should be a valid dictionary", "got 64"),
        ("world.sid=64", "unknown recipe key world.sid", "did you mean world.side?"),
    ],
)
def test_a_wrong_recipe_is_refused_before_a_run_folder_is_made(
    tmp_path: Path, override: str, words: str, hint: str
) -> None:
    result = run("--output", tmp_path / "run", "-s", override)
    assert result.exit_code == 2
    assert words in result.stderr and hint in result.stderr.partition("hint: ")[2]
    assert not (tmp_path / "run").exists()


def test_dry_run_prints_the_resolved_recipe() -> None:
    printed = yaml.safe_load(run("--dry-run", "-s", "seed=7").output)
    assert PerceptionRecipe.model_validate(printed).seed == 7


def test_an_output_folder_is_needed() -> None:
    assert "no output folder" in run().stderr


def test_a_run_leaves_a_model(tmp_path: Path) -> None:
    result = run("-o", tmp_path / "run", *(word for pair in (*STEPS, *SMALL) for word in ("-s", pair)))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
