"""Examples are files to run, not modules: they are loaded by their path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def load_example(repository: Path) -> Callable[[str], ModuleType]:
    """``load_example("tiny_grpo")``: the module in examples/tiny_grpo.py."""

    def load(name: str) -> ModuleType:
        path = repository / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"example_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    return load
