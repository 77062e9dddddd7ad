"""The mutation driver: its operators, its sample, and a run over a small repository."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def operators(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    import mutant_operators

    return mutant_operators


def mutants(operators: ModuleType, text: str) -> list[Any]:
    return operators.mutants_of("m", text.encode(), operators.parameters_of([ast.parse(text)]))


def written(operators: ModuleType, text: str) -> list[str]:
    return [mutant.apply(text.encode()).decode() for mutant in mutants(operators, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a < b", ["a <= b"]),
        ("a not in b", ["a in b"]),
        ("(a) == (b)", ["(a) != (b)"]),
        ("a and b", ["a or b", "True and b", "a and True"]),
        ("a + b // c", ["a - b // c", "a + b % c"]),
        ("'a' + b", []),
        ("a += b", ["a -= b", "pass"]),
        ("x = 7", ["x = 8", "x = 6"]),
        ("x = True", ["x = False"]),
        ("x = not a", ["x = bool(a)"]),
        ("x = [a for a in b if a]", ["x = [a for a in b if True]"]),
        ("if a:\n    b = c", ["if True:\n    b = c", "if False:\n    b = c"]),
        ("x[0]", ["x[1]", "x[-1]"]),
        ("x[-1]", ["x[0]"]),
        ("x[a:]", ["x[(a) + 1:]", "x[None:]"]),
        (
            "def f(width, height):\n    g(width)",
            ["def f(width, height):\n    g(height)", "def f(width, height):\n    pass"],
        ),
        ("x = f(limits=limits, strict=s)", ["x = f(strict=s)", "x = f(limits=limits)"]),
        ("x = f(a, b)", ["x = f(b, a)"]),
        ("x = min(a)", ["x = max(a)"]),
        ("x = sorted(a, key=k)", ["x = list(a)", "x = sorted(a)"]),
        ("x = math.floor(a)", ["x = math.ceil(a)"]),
        ("x = a.lower()", ["x = a"]),
        ("os.fsync(f)", ["pass"]),
        ("raise ValueError(f'{a + 1}' + b)", ["pass"]),
        ("self.a = b", ["pass"]),
        ("while a:\n    break", ["while a:\n    continue"]),
        ("def f() -> bool:\n    return a", ["def f() -> bool:\n    return False", "def f() -> bool:\n    return True"]),
        ("def f(a=B): pass", ["def f(a=None): pass"]),
    ],
)
def test_each_operator_writes_what_it_is_meant_to(operators: ModuleType, text: str, expected: list[str]) -> None:
    assert sorted(written(operators, text)) == sorted(expected)


@pytest.mark.parametrize(
    "text",
    [
        '"""Text of 3 lines."""',
        "def f(a: int | Literal[1]) -> tuple[int, 2]:\n    '''Up to 5.'''",
        "__all__ = ['a'] + b[0]",
        "if TYPE_CHECKING:\n    x = 1",
        "logger.warning('%d', a + 1)",
        "x: Field = f(description='at most ' + a[0])",
        "import a\nfrom b import c",
        "assert a is not None",
        "x = zip(a(), b, strict=True)",
    ],
)
def test_what_only_people_and_type_checkers_read_stays(operators: ModuleType, text: str) -> None:
    assert [m for m in mutants(operators, text) if m.operator not in ("argument",)] == []


def test_an_argument_that_is_required_is_not_left_out(operators: ModuleType) -> None:
    text = "def f(a, *, limits, seed=None): ...\nx = f(a=y, limits=z, seed=u)"
    assert written(operators, text) == ["def f(a, *, limits, seed=None): ...\nx = f(a=y, limits=z)"]


def test_ids_do_not_depend_on_other_lines_and_differ(operators: ModuleType) -> None:
    text = "def f(a, b):\n    if a < b:\n        return a + 1\n    return a < b\n"
    before, after = mutants(operators, text), mutants(operators, "import os\n\nX = 5\n\n\n" + text)
    assert {m.id for m in before} < {m.id for m in after}
    assert len({m.id for m in after}) == len(after)
    assert len({m.id for m in mutants(operators, "x = a < b, a < b\n")}) == 2


SOURCE = """
LIMIT = 3


def larger(a: int, b: int) -> int:
    return a if a > b else b


def within(x: int) -> bool:
    return x < LIMIT


def unused(x: int) -> int:
    return -x


def hardly_tested(x: int) -> int:
    return len(x)
"""
TESTS = """
import os, subprocess, sys
import pytest
from mirg.geometry import hardly_tested, larger, within

@pytest.fixture(scope="module")
def small():
    return within(2)

def test_larger():
    assert larger(1, 2) == larger(2, 1) == 2

def test_small(small):
    assert small

def test_limit_in_another_process():
    code = "from mirg.geometry import within; raise SystemExit(within(3))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

def test_that_passes_only_while_it_is_traced():
    assert hardly_tested([]) == 0 and "COVERAGE_PROCESS_START" in os.environ

def test_that_always_fails():
    assert larger(1, 2) == 3
"""
# The heavy imports are left out, and the limit of time is shown to end a job with what it started.
RUN = """
import sys, time
sys.path.insert(0, "tools")
import mutant_tests, mutants
mutant_tests.HEAVY = []
if len(sys.argv) > 1:
    mutants.main()
else:
    slot = mutant_tests.Slot(mutants.ROOT / "build" / "slow")
    slot.fill()
    ended = []
    mutant_tests.run_jobs([mutant_tests.Job(lambda s: time.sleep(60), lambda *a: ended.append(a), 0.2)], [slot])
    assert ended[0][0] is None and ended[0][2] and ended[0][1] < 30, ended
"""


@pytest.mark.slow
def test_a_run_finds_what_no_test_notices(repository: Path, tmp_path: Path) -> None:
    """Tests in this and another process, a shared fixture, tests that are broken, and an equivalent fault."""
    (tmp_path / "src" / "mirg").mkdir(parents=True)
    (tmp_path / "src" / "mirg" / "__init__.py").touch()
    (tmp_path / "src" / "mirg" / "geometry.py").write_text(SOURCE)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_geometry.py").write_text(TESTS)
    (tmp_path / "tools").mkdir()
    for path in (repository / "tools").glob("mutant*.py"):
        shutil.copy(path, tmp_path / "tools")
    equal = {"module": "mirg.geometry", "function": "larger", "operator": "compare", "change": "> -> >="}
    entry = {**equal, "text": "return a if a > b else b", "reason": "equal numbers are the same number"}
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in entry.items())
    (tmp_path / "tools" / "mutants_equivalent.toml").write_text(f"[[equivalent]]\n{table}\n")
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / ".gitignore").write_text("build\n")
    settings = {**os.environ, "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t", "GIT_COMMITTER_NAME": "t"}
    settings |= {"GIT_COMMITTER_EMAIL": "t", "PYTHONDONTWRITEBYTECODE": ""}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("git", "init", "-q")
    run("git", "add", ".")
    run("git", "commit", "-q", "-m", "all")
    mutate = (sys.executable, "run.py", "--module", "mirg.geometry", "--budget", "30", "--json", "found.json")
    assert "tests/test_geometry.py::test_that_always_fails" in run(sys.executable, "run.py", "--map")
    assert "[1/" in run(*mutate)
    assert "[1/" not in run(*mutate), "the second run takes every result from the first"
    found = json.loads((tmp_path / "found.json").read_text())
    survivors = {(one["function"], one["operator"], tuple(one["diff"][1:])) for one in found["survivors"]}
    assert survivors == {
        ("unused", "arithmetic", ("-    return -x", "+    return (+x)")),
        ("unused", "return", ("-    return -x", "+    return 0")),
        ("hardly_tested", "return", ("-    return len(x)", "+    return 0")),
    }
    assert found["all"]["equivalent"] == 1
    assert found["operators"]["constant"] == {
        "caught": 2,
        "timeout": 0,
        "survived": 0,
        "equivalent": 0,
        "percent": 100.0,
    }
    run(sys.executable, "run.py")
