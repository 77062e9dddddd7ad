"""Loading a file of the user's: what is wrong with its name is a sentence, what is wrong inside shows its own line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirg.errors import ConfigError, PluginError
from mirg.plugins import is_plugin, load_plugin, plugin_errors

CODE = """
from dataclasses import dataclass

@dataclass
class Point:
    x: int

def double(value):
    return 2 * value

def inner(value):
    return 1 / value

def fails(value):
    return inner(value)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


def test_an_object_is_loaded_and_its_file_runs_once(file: Path) -> None:
    assert load_plugin(f"{file}:double")(4) == 8
    assert load_plugin(f"{file}:Point")(3).x == 3
    assert load_plugin(f"{file}:double") is load_plugin(f"{file}:double")


def test_two_files_of_one_name_are_two_modules(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text("def double(value): return 'other'")
    assert [load_plugin(f"{path}:double")(4) for path in (file, other)] == [8, "other"]


@pytest.mark.parametrize(
    ("name", "message", "hint", "why"),
    [
        ("mine.py", "does not name a reward", "FILE.py:NAME", "no name"),
        ("mine:double", "does not name a reward", "FILE.py:NAME", "no file"),
        ("mine.py:a b", "does not name a reward", "FILE.py:NAME", "no identifier"),
        ("absent.py:double", "there is no file", "check the path", "wrong path"),
        ("mine.py:duoble", "does not define 'duoble'", "mine.py:double?", "a slip of the keyboard"),
        ("mine.py:zzz", "does not define 'zzz'", "Point, double", "what there is"),
    ],
)
def test_a_wrong_name_is_a_sentence(
    name: str, message: str, hint: str, why: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(ConfigError) as caught:
        load_plugin(name, what="reward")
    assert message in caught.value.message and hint in caught.value.hint, why


def test_an_error_inside_shows_its_own_lines_and_none_of_ours(file: Path) -> None:
    name = f"{file}:fails"
    function = load_plugin(name)
    with pytest.raises(PluginError) as caught, plugin_errors(name, what="reward"):
        function(0)
    message = caught.value.message
    assert f"the reward {name} raised ZeroDivisionError" in message
    lines = CODE.splitlines()
    assert f'"{file}", line {lines.index("    return inner(value)") + 1}, in fails' in message
    assert f'"{file}", line {lines.index("    return 1 / value") + 1}, in inner' in message
    assert "plugins.py" not in message and "test_plugins.py" not in message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import no_such_package", "line 1, in <module>"),
        ("x = 1\ndef f(:\n", "line 2"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_an_error_while_loading_shows_the_line_and_a_mended_file_loads(
    code: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(PluginError) as caught:
        load_plugin(f"{path}:f")
    assert expected in caught.value.message and str(path) in caught.value.message
    path.write_text("def f(): return 'it works now'")
    assert load_plugin(f"{path}:f")() == "it works now"


def test_a_call_that_does_not_fit_is_reported_without_a_traceback_of_ours(file: Path) -> None:
    with pytest.raises(PluginError) as caught, plugin_errors(f"{file}:double"):
        load_plugin(f"{file}:double")(1, 2)
    assert "takes 1 positional argument but 2 were given" in caught.value.message
    assert "test_plugins.py" not in caught.value.message


@pytest.mark.parametrize(("name", "expected"), [("a/b.py:C", True), ("coco", False), ("a.py", False), ("a.py:", False)])
def test_the_form_of_a_name(name: str, expected: bool) -> None:
    assert is_plugin(name) is expected
