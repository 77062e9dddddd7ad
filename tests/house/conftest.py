"""The files that the house rules are about."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = {".git", "__pycache__", "build", "dist", "runs", "node_modules"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, its text and its syntax tree."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.name)


def python_files(*folders: str) -> list[Source]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in paths
        if not SKIPPED & set(path.relative_to(ROOT).parts)
    ]


@pytest.fixture(scope="session")
def shipped() -> list[Source]:
    """What is installed: src/."""
    return python_files("src")


@pytest.fixture(scope="session")
def all_python() -> list[Source]:
    """Every Python file of the repository."""
    return python_files("src", "tests", "tools", "examples", "benchmarks", "integrations")


@pytest.fixture(scope="session")
def text_files() -> dict[str, str]:
    """Every text file of the tree that is kept under version control, by its path from the root."""
    folders = ["src", "tests", "tools", "examples", "benchmarks", "integrations", "docs", ".ci", ".github"]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    paths += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    files: dict[str, str] = {}
    for path in paths:
        if path.is_file() and not SKIPPED & set(path.parts) and not path.name.endswith((".pyc", ".png", ".jpg")):
            try:
                files[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # not text
    return files
