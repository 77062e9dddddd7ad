"""The top of the command line: fast, lazy, and expected errors end as a message and a hint."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import mirg as package
from fakes.speed import slowness
from mirg.cli import main
from mirg.cli.main import COMMANDS
from mirg.cli.output import progress
from mirg.errors import ConfigError, DataError, MirgError


def test_version(mirg) -> None:
    result = mirg("--version")
    assert (result.exit_code, result.stdout) == (0, f"mirg {package.__version__}\n")


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys, time; start = time.process_time()\n"
        "from mirg.cli.main import app\n"
        "taken = time.process_time() - start\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "names = ('torch', 'transformers', 'datasets', 'scipy', 'PIL.Image', 'mirg.cli.data')\n"
        "heavy = [m for m in names if m in sys.modules]\n"
        "print('TAKEN', taken); print('HEAVY', heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    for name in COMMANDS:
        assert f" {name} " in done.stdout
    assert "HEAVY []" in done.stdout
    assert float(done.stdout.split("TAKEN")[1].split()[0]) < 0.5 * slowness()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_listed_command_loads_and_has_help(mirg, name: str) -> None:
    result = mirg(name, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_a_mistyped_command_gets_the_nearest_name(mirg) -> None:
    result = mirg("trajectory")
    assert result.exit_code == 2 and "trajectories" in result.stderr


@pytest.mark.parametrize("quiet", [False, True])
def test_the_counter_is_for_people_at_a_terminal(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(quiet=quiet) as tell:
        tell("rows", 3, 3)
    assert ("rows 3/3" in terminal.getvalue()) is not quiet


def test_no_command_shows_the_help(mirg) -> None:
    assert "Commands" in mirg().output


def broken(error: BaseException):
    def command() -> None:
        """Fails."""
        raise error

    return command


@pytest.mark.parametrize(
    ("why", "error", "code", "words"),
    [
        ("message and hint", DataError("no rows", hint="add some"), 2, "error: no rows\nhint: add some\n"),
        ("no hint", ConfigError("bad value"), 2, "error: bad value\n"),
        ("control sequences", DataError("\x1b[31mred\x1b[0m\x07"), 2, "error: red\n"),
        (
            "no permission",
            PermissionError(errno.EACCES, "Permission denied", "/out"),
            2,
            "error: Permission denied: /out\nhint: choose a folder you may write to, or change its permissions\n",
        ),
        ("full disk", OSError(errno.ENOSPC, "No space left"), 2, "error: No space left\nhint: free"),
        ("a reader that has gone", BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        ("interrupted", KeyboardInterrupt(), 130, ""),
    ],
)  # fmt: skip
def test_expected_errors_have_no_traceback(
    mirg, monkeypatch: pytest.MonkeyPatch, why: str, error: BaseException, code: int, words: str
) -> None:
    monkeypatch.setattr(main, "load", lambda name: typer.main.get_command(_app(broken(error))))
    result = mirg("demo")
    assert result.exit_code == code and result.stderr.startswith(words) and result.stdout == ""


def _app(function) -> typer.Typer:
    one = typer.Typer()
    one.command()(function)
    return one


def test_debugging_shows_the_traceback(mirg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "load", lambda name: typer.main.get_command(_app(broken(DataError("x")))))
    monkeypatch.setitem(os.environ, "MIRG_DEBUG", "1")
    with pytest.raises(DataError):
        mirg("demo")


def test_a_missing_extra_is_named(mirg, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str):
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

    monkeypatch.setattr(main.importlib, "import_module", missing)
    result = mirg("sft")
    assert result.exit_code == 2
    assert (
        "'mirg sft' needs the package 'torch'" in result.stderr and "hint: pip install 'mirg[train]'" in result.stderr
    )


def test_every_error_class_exits_with_2() -> None:
    assert MirgError("x").exit_code == 2


def test_completion_is_offered_at_the_top_level(tmp_path: Path) -> None:
    """``mirg --install-completion`` as every typer application has it; options of lazy commands are completed too."""
    shell = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]} | (
        {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    )
    shell["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"  # the shell that runs the tests may be another one
    mirg = [sys.executable, "-c", "import sys; sys.argv[0] = 'mirg'; from mirg.cli.main import app; app()"]
    done = subprocess.run([*mirg, "--install-completion", "bash"], env=shell, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "_MIRG_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "mirg.sh").read_text()
    asked = shell | {"_MIRG_COMPLETE": "complete_bash", "COMP_WORDS": "mirg data import --ex", "COMP_CWORD": "3"}
    found = subprocess.run(mirg, env=asked, capture_output=True, text=True)
    assert {"--exif", "--executor"} <= set(found.stdout.split())
