"""Promise 24 and the rules of the code, checked on the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

FORBIDDEN_CALLS = {"eval", "exec", "compile", "print", "breakpoint", "input", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pdb"}
FORBIDDEN_DOTTED = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
# Only these rooms may import the heavy libraries, also inside functions (docs/design/0001-layout.md).
HEAVY = {"torch", "transformers", "trl", "accelerate", "peft", "torchvision", "vllm"}
HEAVY_ROOMS = ("src/mirg/models/", "src/mirg/training/", "src/mirg/engines/transformers", "src/mirg/engines/vllm")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a chain of attributes, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def imported(node: ast.AST) -> list[str]:
    """Top-level names of the modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module.split(".")[0]]
    return []


def does_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def handler_problems(node: ast.ExceptHandler) -> Iterator[str]:
    if node.type is None:
        yield "bare except"
    elif "BaseException" in {dotted(t) for t in ast.walk(node.type)} and not any(
        isinstance(inner, ast.Raise) for inner in ast.walk(node)
    ):
        yield "except BaseException that does not raise again"
    if does_nothing(node.body):
        yield "an exception is swallowed: count it, report it, or use contextlib.suppress with a reason"


def call_problems(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func)
    if name in FORBIDDEN_CALLS:
        yield f"{name}()"
    if name in FORBIDDEN_DOTTED:
        yield f"{name}()"
    for keyword in node.keywords:
        value = keyword.value
        if keyword.arg == "trust_remote_code" and not (isinstance(value, ast.Constant) and value.value is False):
            yield "trust_remote_code"
        if keyword.arg == "shell" and not (isinstance(value, ast.Constant) and value.value is False):
            yield "shell=True"
        if keyword.arg == "allow_pickle" and not (isinstance(value, ast.Constant) and value.value is False):
            yield "allow_pickle"
    if name.endswith("suppress") and any(dotted(a) in {"Exception", "BaseException"} for a in node.args):
        yield "suppress(Exception)"


def rule_breaks(tree: ast.Module) -> Iterator[str]:
    """``line: what`` for everything in a file of src/ that the house forbids."""
    for node in ast.walk(tree):
        found: list[str] = []
        if isinstance(node, ast.ExceptHandler):
            found += handler_problems(node)
        if isinstance(node, ast.Call):
            found += call_problems(node)
        found += [f"imports {name}" for name in imported(node) if name in FORBIDDEN_MODULES]
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found += [f"imports {name}" for name in sorted(names & FORBIDDEN_DOTTED)]
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append("star import")
        yield from (f"{getattr(node, 'lineno', 0)}: {what}" for what in found)


def test_src_keeps_the_rules(shipped) -> None:
    broken = [f"{source.name}:{problem}" for source in shipped for problem in rule_breaks(source.tree)]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept ValueError:\n    pass",
        "try:\n    f()\nexcept ValueError:\n    ...",
        "try:\n    f()\nexcept ValueError:\n    'never mind'",
        "try:\n    f()\nexcept (ValueError, BaseException):\n    g()",
        "eval('1')",
        "exec(text)",
        "print(1)",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "yaml.load(text)",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "numpy.load(f, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "with contextlib.suppress(Exception):\n    f()",
        "from os.path import *",
    ],
)
def test_the_rules_catch(code: str) -> None:
    assert list(rule_breaks(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "try:\n    f()\nexcept ValueError as error:\n    log(error)",
        "try:\n    f()\nexcept BaseException:\n    clean()\n    raise",
        "yaml.safe_load(text)",
        "f(trust_remote_code=False)",
        "re.compile('x')",
        "console.print('x')",
        "with contextlib.suppress(OSError):\n    f()",
    ],
)
def test_the_rules_let_pass(code: str) -> None:
    assert list(rule_breaks(ast.parse(code))) == []


def test_heavy_libraries_stay_in_their_rooms(shipped) -> None:
    """Also inside functions: who needs torch asks models, training or an engine."""
    broken = [
        f"{source.name}:{getattr(node, 'lineno', 0)}: imports {name}"
        for source in shipped
        if not source.name.startswith(HEAVY_ROOMS)
        for node in ast.walk(source.tree)
        for name in imported(node)
        if name in HEAVY and not in_type_checking(source.tree, node)
    ]
    assert not broken, "\n".join(broken)


def in_type_checking(tree: ast.Module, node: ast.AST) -> bool:
    """Whether ``node`` lies below ``if TYPE_CHECKING:``, which never runs."""
    return any(
        isinstance(outer, ast.If) and dotted(outer.test).endswith("TYPE_CHECKING") and node in ast.walk(outer)
        for outer in tree.body
    )


def test_files_stay_short(all_python) -> None:
    lengths = {source.name: source.text.count("\n") + 1 for source in all_python}
    assert {name: length for name, length in lengths.items() if length > 600} == {}
