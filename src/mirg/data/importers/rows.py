"""Fields of rows: texts, paths and boxes out of any JSON value, or a refusal that names the field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Literal, TypeGuard, TypeVar

from mirg.data.importers.raw import ImportOptions, Numbers, Outcome, Refusal
from mirg.storage import BadLine

_Part = TypeVar("_Part")
_LARGEST = 1e9  # of a coordinate


class Refused(Exception):
    """Raised if a row, or one question of it, cannot be used; readers turn it into its :class:`Refusal`."""

    def __init__(self, field: str, reason: str, hint: str = "", counts: Literal["", "0", "1"] = "") -> None:
        super().__init__(reason)
        self.refusal = Refusal(field, reason, hint, counts=counts)


def refusing(convert: Callable[[Any, ImportOptions], list[Outcome]]) -> Callable[[Any, ImportOptions], list[Outcome]]:
    """The ``convert`` of a format, with what it refuses as the only outcome of the row."""

    @wraps(convert)
    def converted(value: Any, options: ImportOptions) -> list[Outcome]:
        try:
            return convert(value, options)
        except Refused as refused:
            return [refused.refusal]

    return converted


def each(parts: Iterable[tuple[Any, _Part]], make: Callable[[Any, _Part], Outcome]) -> list[Outcome]:
    """``make(id, part)`` of every ``(id, part)``; what it refuses becomes a Refusal with the id, a text or None."""
    outcomes: list[Outcome] = []
    for name, part in parts:
        try:
            outcomes.append(make(name, part))
        except Refused as refused:
            outcomes.append(refused.refusal._replace(id=name))
    return outcomes


def mapping(value: Any, what: str = "row") -> dict[str, Any]:
    """``value`` as a JSON object. Refused if it is something else, or a line that is not JSON."""
    if isinstance(value, BadLine):
        raise Refused("line", value.reason, "every line is one JSON object")
    if not isinstance(value, dict):
        raise Refused(what, f"{short(value)} is not an object")
    return value


def text_of(value: Any, field: str) -> str:
    """``value`` as a text that can be written as UTF-8. Refused otherwise."""
    if not isinstance(value, str):
        raise Refused(field, "is missing" if value is None else f"{short(value)} is not a text")
    if not is_writable(value):
        raise Refused(field, "holds half of a surrogate pair", "the file was written wrongly")
    return value


def is_writable(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def paths_of(value: Any, field: str = "images") -> tuple[str, ...]:
    """Image paths: a list of them, or one; objects with a ``path`` count too. Refused if a value is not a path."""
    values = value if isinstance(value, list) else [value]
    found = []
    for k, item in enumerate(values):
        where = f"{field}.{k}" if isinstance(value, list) else field
        if isinstance(item, dict):
            item = item.get("path", item.get("image"))
        path = text_of(item, where)
        if not path.strip() or "\0" in path:
            raise Refused(where, f"{path!r} is not a path")
        found.append(path)
    if not found:
        raise Refused(field, "the row has no images")
    return tuple(found)


def box_of(value: Any, field: str) -> Numbers:
    """Four numbers. Refused otherwise, also for NaN and infinity."""
    if not is_box(value):
        raise Refused(field, f"{short(value)} is not a box of four numbers", "boxes are [x1, y1, x2, y2]")
    x1, y1, x2, y2 = (float(v) for v in value)
    return (x1, y1, x2, y2)


def is_box(value: Any) -> TypeGuard[Sequence[float]]:
    """Whether ``value`` is a list of four numbers that may be coordinates."""
    return isinstance(value, list | tuple) and len(value) == 4 and all(map(is_number, value))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether ``value`` may be a coordinate: a finite number below 10^9."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def whole(value: Any, field: str) -> int:
    """``value`` as an integer. Refused otherwise."""
    if not is_number(value) or value != int(value):
        raise Refused(field, f"{short(value)} is not a whole number")
    return int(value)


def name_or(value: Any, default: str) -> str:
    """``value`` if it is a short printable text, as the name of a task or a label is; else ``default``."""
    return value if isinstance(value, str) and value.isprintable() and 0 < len(value) < 80 else default


def row_id(row: dict[str, Any], kind: str, key: str = "id") -> str:
    """The row's own id, else a digest of its content, so that equal rows have equal ids in any file."""
    given = row.get(key)
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 10**18:
        return str(given)
    if isinstance(given, str) and given.strip():
        return text_of(given, key)
    told = json.dumps(row, sort_keys=True, default=str)  # ASCII: any text can be hashed
    return f"{kind}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def chosen(names: Sequence[str], key: str) -> str:
    """One of ``names``, decided by ``key``: every import of the same source makes the same choice."""
    return names[int(hashlib.sha256(key.encode()).hexdigest(), 16) % len(names)]


def short(value: Any) -> str:
    """``value`` for a message."""
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a very large number"
    shown = ascii(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
