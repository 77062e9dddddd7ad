"""Recipes: closed, typed, printable configuration of a command, used by every stage.

A recipe is a YAML file; ``-s key=value`` overrides a dotted key. ``extends: NAME`` starts from another recipe, whose
keys the file replaces. An unknown key is refused with the nearest name that exists.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.errors import ConfigError, did_you_mean
from mirg.text_files import parse_yaml

R = TypeVar("R", bound=BaseModel)
RECIPES = Path(__file__).parent / "recipes"


class Section(BaseModel):
    """Base of every part of a recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_recipe(kind: type[R], name: str | Path | None, overrides: Sequence[str] = ()) -> R:
    """Read a recipe file (or one that ships with mirg, by name such as ``tiny/sft``), apply ``key=value`` overrides."""
    raw = read_recipe(name) if name is not None else {}
    for override in overrides:
        _apply(raw, override)
    return checked(kind, raw, name)


def find_recipe(name: str | Path) -> Path:
    """The path of a recipe file, or of a shipped one by its name without ``.yaml``."""
    for candidate in (Path(name), RECIPES / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    shipped = sorted(str(path.relative_to(RECIPES).with_suffix("")) for path in RECIPES.rglob("*.yaml"))
    near = did_you_mean(str(name), shipped, cutoff=0.3)
    raise ConfigError(f"no recipe {str(name)!r}", hint=f"{near}give a YAML file, or one of: {', '.join(shipped)}")


def dump_recipe(recipe: BaseModel) -> str:
    """The resolved recipe as YAML: what ``--dry-run`` prints and a run folder keeps."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def read_recipe(name: str | Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys and values of a recipe file or a shipped recipe, not checked. ConfigError if it cannot be read.

    With the key ``extends``, they are those of the recipe named there (beside this file, or shipped), changed by this
    one: sections are merged, values and lists are replaced. ``below`` are the recipes that extend this one.
    """
    path = find_recipe(name)
    if path.resolve() in below:
        raise ConfigError(f"recipe {path} extends itself", hint="remove `extends` from one of the files")
    try:
        raw = parse_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {path} is no mapping of keys to values")
    base = raw.pop("extends", None)
    if base is None:
        return raw
    beside = path.parent / str(base)
    return _merged(read_recipe(beside if beside.is_file() else str(base), (*below, path.resolve())), raw)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        old = base.get(key)
        base[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return base


def recipe_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a recipe file of ``kind``, for editors.

    No key is required, because a recipe may extend another or get the rest by ``-s``.
    """
    schema = kind.model_json_schema()
    schema.pop("required", None)
    told = "Start from this recipe: a file beside this one, or a shipped recipe by its name."
    schema["properties"] = {"extends": {"type": "string", "description": told}} | schema["properties"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def checked(kind: type[R], raw: dict[str, Any], name: str | Path | None) -> R:
    """``raw`` as a configuration of ``kind``. ConfigError names the key that is wrong and the recipe ``name``."""
    refuse_unknown(kind, raw, "")
    try:
        recipe = kind.model_validate(raw)
    except ValidationError as error:
        where, message, given = first_error(error)
        # A check of several keys names them in its message.
        hint = "" if isinstance(given, dict) else f"got {given!r}"
        place = f"{where}: " if where else ""
        raise ConfigError(f"recipe {name or '(overrides)'}: {place}{message}", hint=hint) from error
    _refuse_booleans(recipe, raw, "")
    return recipe


def _refuse_booleans(recipe: BaseModel, raw: dict[str, Any], prefix: str) -> None:
    """ConfigError if a number of ``recipe`` was written as true or false, which pydantic reads as 1 and 0."""
    for key, value in raw.items():
        read = getattr(recipe, key)
        if isinstance(value, bool) and isinstance(read, int | float) and not isinstance(read, bool):
            raise ConfigError(f"recipe: {prefix}{key} is the Boolean {value}", hint="write the number, or null")
        if isinstance(value, dict) and isinstance(read, BaseModel):
            _refuse_booleans(read, value, f"{prefix}{key}.")


def first_error(error: ValidationError) -> tuple[str, str, Any]:
    """The dotted key, what is wrong with it, and its value."""
    first = error.errors()[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, "), first.get("input")


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not key=value", hint="for example -s optim.learning_rate=1e-5")
    *path, last = key.split(".")
    for part in path:
        raw = raw.setdefault(part, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"override {override!r}: {part} is a value, not a section")
    try:
        raw[last] = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"override {override[:200]!r} is no YAML value") from error
    # YAML 1.1 reads 1e-4 as a string; a recipe means the number.
    if isinstance(raw[last], str):
        try:
            raw[last] = float(raw[last])
        except ValueError:
            return


def refuse_unknown(kind: type[BaseModel], raw: dict[str, Any], prefix: str) -> None:
    """ConfigError if ``raw`` has a key that ``kind`` does not have; ``prefix`` is the dotted place of ``raw``."""
    for key, value in raw.items():
        if key not in kind.model_fields:
            near = difflib.get_close_matches(str(key), kind.model_fields, n=1, cutoff=0.5)
            known = ", ".join(kind.model_fields)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known keys: {known}"
            raise ConfigError(f"unknown recipe key {prefix}{key}", hint=hint)
        annotation = kind.model_fields[key].annotation
        if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            refuse_unknown(annotation, value, f"{prefix}{key}.")
