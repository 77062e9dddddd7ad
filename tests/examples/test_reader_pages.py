"""The Python code of the pages for readers runs as printed, and their commands exist with the options that they use."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mirg.cli.main import app
from mirg.samples import DatasetFolder

HOW_TO = "how-to/your-own-data.md"
PAGES = ["read-the-code.md", "measure.md", HOW_TO]


def blocks(repository: Path, page: str, language: str) -> list[str]:
    text = (repository / "docs" / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def commands(repository: Path, page: str) -> list[list[str]]:
    """Every ``mirg …`` line of the page, as arguments."""
    lines = "".join(blocks(repository, page, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mirg ")]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_own_annotations(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("counter", "table"):
        Image.radial_gradient("L").resize((640, 480)).save(f"{name}.jpg")
    (code,) = blocks(repository, HOW_TO, "python")
    exec(compile(code, HOW_TO, "exec"), {})  # the page is this repository's own
    (sample,) = DatasetFolder.open("data/mine")
    assert sample.target_images == {2} and sample.images[1].objects[0].label == "blue mug"
    run("data", "check", "data/mine")
    run("trajectories", "build", "data/mine", "data/mine-reasoned")
    (reasoned,) = DatasetFolder.open("data/mine-reasoned")
    assert reasoned.trajectory is not None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page: str, repository: Path) -> None:
    found = commands(repository, page)
    assert len(found) >= 5
    for arguments in found:
        # The last word that is a command decides whose options they are.
        depth = 2 if arguments[0] in ("data", "trajectories", "score") else 1
        known = run(*arguments[:depth], "--help")
        options = {argument for argument in arguments[depth:] if re.fullmatch(r"-[a-z]|--[a-z-]+", argument)}
        assert options <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", known)), arguments


@pytest.mark.parametrize("page", PAGES)
def test_the_overrides_of_the_recipes_are_keys(page: str, repository: Path) -> None:
    for arguments in commands(repository, page):
        if arguments[0] in ("perception", "sft", "grpo"):
            kept = [
                a for k, a in enumerate(arguments) if not {"--output", "-o"} & set(arguments[max(k - 1, 0) : k + 1])
            ]
            run(*kept, "--dry-run")
