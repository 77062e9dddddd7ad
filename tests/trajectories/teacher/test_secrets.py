"""Promise 28: a canary key in the environment is never written, whichever error occurs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes import teacher
from fakes.faulty_api import FaultyApi
from mirg.cli.main import app
from mirg.config import dump_recipe
from mirg.samples import DatasetFolder

CANARY = "sk-c4n4ry-5c1b77e0aa91"


def everything_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# What prints a traceback, or logs of the client library, is run as a separate process.
OWN_PROCESS = {"and in a traceback"}


def build(src: DatasetFolder, folder: Path, more: tuple[str, ...], own: bool, debug: bool) -> tuple[int, str]:
    """(exit code, everything that was printed)."""
    arguments = ["trajectories", "build", str(src.root), str(folder / "out"), "--writer", "teacher"]
    arguments += ["--recipe", str(folder / "recipe.yaml"), *more]
    environment = {"CANARY_KEY": CANARY, "OPENAI_LOG": "debug"} | ({"MIRG_DEBUG": "1"} if debug else {})
    if not own:
        done = CliRunner().invoke(app, arguments, env=environment)
        return done.exit_code, done.output
    ended = subprocess.run(
        [sys.executable, "-m", "mirg.cli.main", *arguments], env=os.environ | environment, capture_output=True,
        text=True, cwd=folder, timeout=120,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("why", "settings", "more", "code"),
    [
        ("all is well", {}, (), 0),
        ("the server quotes the key in a refusal", {"always": "401", "echo_key": True}, (), 2),
        ("and in a traceback", {"always": "401", "echo_key": True}, (), 1),
        ("the server quotes it in web pages", {"always": "HTML", "echo_key": True}, (), 2),
        ("in refusals of single samples", {"always": "400", "echo_key": True}, (), 2),
        ("in a chain", {"default": f"<think>{CANARY}</think><answer>none</answer>", "replies": {}}, (), 0),
        ("the key is put in the wrong place", {}, ("-s", f"key_env={CANARY}"), 2),
        ("and into the body", {}, ("-s", f"extra.api_key={CANARY}"), 2),
        ("a dry run", {}, ("--dry-run",), 0),
    ],
)
def test_the_key_is_nowhere(
    cases: DatasetFolder, api: FaultyApi, tmp_path: Path, why: str, settings: dict[str, Any], more: tuple[str, ...],
    code: int, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    recipe = teacher.recipe(api.url, key_env="CANARY_KEY", limits={"tries": 2, "max_wait": 0.05})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    api.settings = teacher.settings(cases, recipe)
    for name, value in settings.items():
        setattr(api.settings, name, value)
    got, printed = build(cases, tmp_path, more, why in OWN_PROCESS, debug="traceback" in why)
    assert got == code, printed
    assert CANARY not in printed and CANARY not in caplog.text, why
    assert CANARY.encode() not in everything_below(tmp_path), why
    if api.counts.requests:
        assert set(api.counts.authorization) == {f"Bearer {CANARY}"}, "only the endpoint gets it"
    if "traceback" in why:
        assert "Traceback" in printed
