"""Importing is cheap: everything but models, training and the local engines, without torch and in half a second."""

from __future__ import annotations

import ast
import json
import os
import pkgutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mirg
from fakes.speed import slowness

BUDGET_SECONDS = 0.5
# What may be slow: rooms that are allowed to hold torch, and the file that wires Gradio (extra app).
HEAVY_ROOMS = ("mirg.models", "mirg.training", "mirg.engines.transformers", "mirg.engines.vllm", "mirg.app.page")
FORBIDDEN = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "pandas", "pyarrow", "torchvision")


def modules() -> list[str]:
    """Every module of the package by name, without importing any (files may lie in folders without __init__)."""
    root = Path(mirg.__file__).parent
    names = ["mirg"]
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names.append(".".join(["mirg", *(part for part in parts if part != "__init__")]))
    return [name for name in dict.fromkeys(names) if not name.startswith(HEAVY_ROOMS) and "__main__" not in name]


PROBE = """
import importlib, json, sys, time
start = time.process_time()
for name in sys.argv[2:]:
    importlib.import_module(name)
seconds = time.process_time() - start
json.dump({"seconds": seconds, "loaded": [m for m in json.loads(sys.argv[1]) if m in sys.modules]}, sys.stdout)
"""


def probe(*names: str) -> dict:
    """Import ``names`` in a fresh interpreter: seconds of importing, and which of the forbidden modules came along."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(FORBIDDEN), *names],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{names}: {done.stderr}"
    return json.loads(done.stdout)


def packages() -> list[str]:
    """One entry per room: its own module when it is one file, else the package."""
    return [
        f"mirg.{info.name}" for info in pkgutil.iter_modules(mirg.__path__) if info.name not in ("models", "training")
    ]


def test_no_light_module_brings_torch_along() -> None:
    """All of them in one interpreter; if that fails, each in its own interpreter, to name the module."""
    names = modules()
    assert len(names) > 8
    if probe(*names)["loaded"]:
        guilty = {name: loaded for name in names if (loaded := probe(name)["loaded"])}
        assert not guilty


@pytest.mark.parametrize("name", packages())
def test_import_budget(name: str) -> None:
    """Processor time, best of three: the budget is about the code, not about a busy machine."""
    seconds = []
    for _ in range(3):
        seconds.append(probe(name)["seconds"])
        if seconds[-1] < BUDGET_SECONDS * slowness():
            return
    pytest.fail(f"import {name} takes {min(seconds):.2f} s, the budget is {BUDGET_SECONDS} s")


def test_no_module_imports_itself_through_others() -> None:
    """Imports inside functions count too."""
    root = Path(mirg.__file__).parent
    files = {".".join(("mirg", *path.relative_to(root).with_suffix("").parts)): path for path in root.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    imports: dict[str, set[str]] = {}
    for name, path in files.items():
        named = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom))
        found = {f"{node.module}.{alias.name}" for node in named for alias in node.names}
        modules = {target if target in files else target.rpartition(".")[0] for target in found}
        imports[name] = (modules & files.keys()) - {name}
    assert sum(map(len, imports.values())) > 1000
    TopologicalSorter(imports).prepare()  # CycleError names the modules
