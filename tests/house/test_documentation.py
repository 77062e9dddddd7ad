"""Public names are documented and typed; links, and tests named by a page, exist; no path of a machine is left."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
# Typer prints these docstrings as help, pydantic and protocols call these names: they are public too.
UNTYPED_FIRST = {"self", "cls"}


def public(name: str) -> bool:
    return not name.startswith("_")


def public_functions(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, FunctionNode]]:
    """Public functions of a module and public methods of its public classes."""
    for node in body:
        if isinstance(node, FunctionNode) and public(node.name):
            yield f"{owner}{node.name}", node
        if isinstance(node, ast.ClassDef) and public(node.name):
            yield from public_functions(node.body, f"{owner}{node.name}.")


def public_classes(body: list[ast.stmt]) -> Iterator[ast.ClassDef]:
    for node in body:
        if isinstance(node, ast.ClassDef) and public(node.name):
            yield node
            yield from public_classes(node.body)


def untyped(node: FunctionNode) -> list[str]:
    """Names of the parameters without annotation, and ``return``."""
    plain = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    names = [a.arg for a in plain if a is not None and a.annotation is None and a.arg not in UNTYPED_FIRST]
    return names + ([] if node.returns is not None or node.name == "__init__" else ["return"])


def decorators(node: FunctionNode) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].rpartition(".")[2] for decorator in node.decorator_list}


def test_every_public_name_is_documented(shipped) -> None:
    missing = []
    for source in shipped:
        if not ast.get_docstring(source.tree) and not source.name.endswith("__init__.py"):
            missing.append(f"{source.name}: module")
        missing += [
            f"{source.name}:{node.lineno}: {node.name}"
            for node in public_classes(source.tree.body)
            if not ast.get_docstring(node)
        ]
        missing += [
            f"{source.name}:{node.lineno}: {name}"
            for name, node in public_functions(source.tree.body)
            if not ast.get_docstring(node) and not decorators(node) & {"overload", "setter", "override"}
        ]
    assert not missing, "\n".join(missing)


def test_every_public_function_is_typed(shipped) -> None:
    missing = [
        f"{source.name}:{node.lineno}: {name}: {', '.join(untyped(node))}"
        for source in shipped
        for name, node in public_functions(source.tree.body)
        if untyped(node)
    ]
    assert not missing, "\n".join(missing)


# Written so that this file does not match itself.
MACHINE = re.compile(
    r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+|mnt/\w+)/[\w.]"
    r"|(?<![\w.])/(?:opt/pypi|opt/wheels|etc/xdg)"
    r"|[A-Z]:\\Users\\"
)


def test_no_path_of_a_machine(text_files: dict[str, str]) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for name, text in text_files.items()
        for match in MACHINE.finditer(text)
        if name != "tests/house/test_documentation.py"
    ]
    assert not found, "\n".join(found)


def test_every_link_leads_somewhere(repository: Path, load_script) -> None:
    check_links = load_script("tools/check_links.py")
    pages = [p for p in repository.glob("*.md")] + [repository / name for name in ("docs", "src", "examples")]
    dead = list(check_links.problems([page for page in pages if page.exists()]))
    assert not dead, "\n".join(dead)


def test_the_link_checker_sees_dead_links(load_script, tmp_path: Path, monkeypatch) -> None:
    check_links = load_script("tools/check_links.py")
    monkeypatch.setattr(check_links, "ROOT", tmp_path.resolve())
    (tmp_path / "other.md").write_text("# Some `heading` here\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#some-heading-here) [c](https://example.org/x) [d](#local)\n# Local\n"
        "`[code](nowhere.md)`\n```\n[fenced](nowhere.md)\n```\n"
        "[e](missing.md) [f](other.md#nothing) ![g](missing.png) [h](../outside.md)\n[i]: gone.md\n"
    )
    dead = [line.split(": ", 1)[1] for line in check_links.problems([page.resolve()])]
    assert dead == [
        "missing.md: no such file",
        "other.md#nothing: no such heading",
        "missing.png: no such file",
        "../outside.md: leaves the repository",
        "gone.md: no such file",
    ]


PROMISE = re.compile(r"^### Promise (\d+): .+$", re.MULTILINE)
MENTION = re.compile(r"\bpromises? (\d+(?:(?:, | and )\d+)*)", re.IGNORECASE)


@pytest.fixture(scope="module")
def promises(repository: Path) -> dict[int, str]:
    """The text of every section of docs/promises.md by its number."""
    _, *parts = PROMISE.split((repository / "docs" / "promises.md").read_text(encoding="utf-8"))
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def test_every_promise_names_tests_that_exist(promises: dict[int, str], repository: Path) -> None:
    assert list(promises) == list(range(1, 31))
    for number, text in promises.items():
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
        assert named or "**Not tested**" in text, f"promise {number} names no test"
        for file, name in named:
            tree = ast.parse((repository / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, FunctionNode)}, f"{file}::{name}"


def test_every_test_that_mentions_a_promise_is_listed_under_it(promises: dict[int, str], all_python) -> None:
    mentions = {
        (int(number), source.name)
        for source in all_python
        if source.name.startswith("tests/") and source.name != "tests/house/test_documentation.py"
        for found in MENTION.findall(source.text)
        for number in re.findall(r"\d+", found)
    }
    assert len(mentions) > 25
    unlisted = [f"{name}: promise {number}" for number, name in sorted(mentions) if name not in promises[number]]
    assert not unlisted, "\n".join(unlisted)
