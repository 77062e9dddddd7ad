"""Recipes: closed, typed, printable configuration of a command, used by every stage.

A recipe is a YAML file; ``-s key=value`` overrides a dotted key. An unknown key is refused with the nearest name that
exists. YAML 1.1 reads the words off, on, no and yes as Booleans; if a key takes one of these words, the word is
restored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.errors import ConfigError, did_you_mean
from mirg.text_files import parse_yaml

R = TypeVar("R", bound=BaseModel)
RECIPES = Path(__file__).parent / "recipes"
QUOTE = "YAML reads off, on, no and yes as Booleans: write the word in quotes"
_WORDS: dict[bool, frozenset[str]] = {
    False: frozenset({"off", "no", "false", "n"}),
    True: frozenset({"on", "yes", "true", "y"}),
}
_OTHER = "write the number, or null"


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


def read_recipe(name: str | Path) -> dict[str, Any]:
    """The keys and values of a recipe file or a shipped recipe, not checked. ConfigError if it cannot be read."""
    path = find_recipe(name)
    try:
        raw = parse_yaml(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read recipe {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {path} is no mapping of keys to values")
    return raw


def checked(kind: type[R], raw: dict[str, Any], name: str | Path | None) -> R:
    """``raw`` as a configuration of ``kind``. ConfigError names the key that is wrong and the recipe ``name``."""
    refuse_unknown(kind, raw, "")
    try:
        return kind.model_validate(restore_words(kind, raw))
    except ValidationError as error:
        where, message, given = first_error(error)
        whole = isinstance(given, dict)  # a check of several keys names them in its message
        hint = "" if whole else f"got {given!r}" + (f"; {QUOTE}" if isinstance(given, bool) else "")
        place = f"{where}: " if where else ""
        raise ConfigError(f"recipe {name or '(overrides)'}: {place}{message}", hint=hint) from error


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


def restore_words(kind: type[BaseModel], raw: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``raw`` with a Boolean replaced by the word of ``kind`` that it must have been.

    A field that takes one of several words gets the only one among them that YAML reads so. ConfigError, which says to
    quote it, if no word or several fit, and for a number: True is not 1.

    >>> class Recipe(BaseModel):
    ...     policy: Literal["off", "skip"] = "skip"
    >>> restore_words(Recipe, {"policy": False})
    {'policy': 'off'}
    """
    found = dict(raw)
    for key, value in raw.items():
        field = kind.model_fields.get(key)
        if field is None:
            continue
        options = list(_options(field.annotation))
        if isinstance(value, bool):
            found[key] = _word(f"{prefix}{key}", value, options)
        elif isinstance(value, dict):
            inner = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
            found[key] = restore_words(inner[0], value, f"{prefix}{key}.") if inner else value
    return found


def _word(key: str, value: bool, options: list[Any]) -> Any:
    if any(option in (bool, Any, object) or isinstance(option, bool) for option in options):
        return value
    fitting = [option for option in options if isinstance(option, str) and option.lower() in _WORDS[value]]
    if len(fitting) == 1:
        return fitting[0]
    words = [option for option in options if isinstance(option, str)]
    if not words and str not in options:
        raise ConfigError(
            f"recipe: {key} is the Boolean {value}, which YAML reads for off, on, no and yes", hint=_OTHER
        )
    wanted = f"one of {', '.join(words)}" if words else "a text"
    raise ConfigError(f"recipe: {key} is the Boolean {value}, {wanted} is expected", hint=QUOTE)


def _options(annotation: Any) -> Iterator[Any]:
    """The types and literal values that a field takes."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _options(part)
    elif origin is Literal:
        yield from get_args(annotation)
    else:
        yield annotation
