"""The keys of a recipe, for tables that have a row for each of them, and what functions are given."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import BaseModel


def leaves(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The dotted keys of a recipe with their defaults; every section of it refuses unknown keys and changes."""
    assert (kind.model_config["extra"], kind.model_config["frozen"]) == ("forbid", True)
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.get_default(call_default_factory=True)


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """The mapping that a recipe is read from, out of values by dotted key."""
    raw: dict[str, Any] = {}
    for key, value in values.items():
        *path, last = key.split(".")
        part = raw
        for step in path:
            part = part.setdefault(step, {})
        part[last] = value
    return raw


def record(patch: pytest.MonkeyPatch, seen: Mapping[str, list[Any]], path: str, result: Any) -> None:
    """Replace the function at ``path`` by one that adds its arguments, by name, to ``seen`` and gives ``result``."""
    module, _, name = path.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))

    def call(*args: Any, **keywords: Any) -> Any:
        bound = signature.bind(*args, **keywords)
        bound.apply_defaults()
        seen[name].append(bound.arguments)
        return result

    patch.setattr(path, call)
