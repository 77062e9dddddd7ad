"""Words of a recipe that YAML 1.1 reads as Booleans: off, on, no, yes."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mirg.errors import ConfigError

_WORDS: dict[bool, frozenset[str]] = {
    False: frozenset({"off", "no", "false", "n"}),
    True: frozenset({"on", "yes", "true", "y"}),
}
_OTHER = "write the number, or null"
QUOTE = "YAML reads off, on, no and yes as Booleans: write the word in quotes"


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
