"""The quickstart's Python runs as printed, and its commands exist with the options that it uses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mirg.cli.main import app
from mirg.samples import DatasetFolder


def blocks(repository: Path, language: str) -> list[str]:
    text = (repository / "docs" / "quickstart.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(repository: Path) -> list[list[str]]:
    """Every ``mirg …`` line of the page, as arguments."""
    lines = "".join(blocks(repository, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("mirg ")]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_own_annotations(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shelf", "table"):
        Image.radial_gradient("L").resize((640, 480)).save(f"{name}.jpg")
    (code,) = blocks(repository, "python")
    exec(compile(code, "quickstart.md", "exec"), {})  # the page is this repository's own
    (sample,) = DatasetFolder.open("data/mine")
    assert sample.target_images == {2} and sample.images[1].objects[0].label == "blue mug"
    run("data", "check", "data/mine")
    run("trajectories", "build", "data/mine", "data/mine-reasoned")
    (reasoned,) = DatasetFolder.open("data/mine-reasoned")
    assert reasoned.trajectory is not None


def test_every_command_is_understood(repository: Path) -> None:
    found = commands(repository)
    assert len(found) >= 15
    for arguments in found:
        # The last word that is a command decides whose options they are.
        depth = 2 if arguments[0] in ("data", "trajectories", "score") else 1
        known = run(*arguments[:depth], "--help")
        options = {argument for argument in arguments[depth:] if re.fullmatch(r"-[a-z]|--[a-z-]+", argument)}
        assert options <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", known)), arguments


@pytest.mark.parametrize("stage", ["perception", "sft", "grpo"])
def test_the_overrides_of_the_recipes_are_keys(repository: Path, stage: str) -> None:
    for arguments in commands(repository):
        if arguments[0] == stage:
            kept = [a for k, a in enumerate(arguments) if "--output" not in arguments[max(k - 1, 0) : k + 1]]
            run(*kept, "--dry-run")
