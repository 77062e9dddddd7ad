"""A label map: which labels of a source are renamed, merged into one, or dropped (``docs/how-to/your-own-data.md``).

A map is applied once, before questions are written about labels: a renamed label is not looked up again.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from mirg.errors import ConfigError, first_problem
from mirg.samples.labels import spelling_key
from mirg.text_files import parse_yaml


def _label(value: Any) -> str:
    """The form in which labels are compared: composed umlauts, single blanks."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text: put true, false and numbers into quotes")
    text = " ".join(unicodedata.normalize("NFC", value).split())
    if not text:
        raise ValueError("a label is empty")
    return text


@lru_cache(maxsize=10_000)
def _compared(label: str) -> str:
    return _label(label) if label.strip() else label


Label = Annotated[str, BeforeValidator(_label)]


class LabelMap(BaseModel):
    """``rename: {old: new}``, ``merge: {new: [old, ...]}``, ``drop: [old, ...]``; every old label has one place.

    The map remembers which of its old labels were looked up (:meth:`take_met`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rename: dict[Label, Label] = Field(default_factory=dict)
    merge: dict[Label, tuple[Label, ...]] = Field(default_factory=dict)
    drop: tuple[Label, ...] = ()
    _new: dict[str, str | None] = PrivateAttr(default_factory=dict)
    _met: set[str] = PrivateAttr(default_factory=set)

    @model_validator(mode="after")
    def _one_place_each(self) -> LabelMap:
        pairs = list(self._pairs())
        new = dict(pairs)
        if len(new) < len(pairs):
            twice = next(old for k, (old, _) in enumerate(pairs) if old in dict(pairs[:k]))
            raise ValueError(f"label {twice!r} is listed twice: it is renamed, merged or dropped once")
        if not new:
            raise ValueError("the map is empty: rename, merge or drop is expected")
        for old in self.drop:
            if old in self.merge or old in self.rename.values():
                raise ValueError(f"label {old!r} is dropped, and another label becomes {old!r}")
        self._new.update(new)
        return self

    def _pairs(self) -> Iterator[tuple[str, str | None]]:
        yield from self.rename.items()
        for new, olds in self.merge.items():
            if not olds:
                raise ValueError(f"merge: {new!r} has no labels")
            yield from ((old, new) for old in olds)
        yield from ((old, None) for old in self.drop)

    def of(self, label: str) -> str | None:
        """What ``label`` of the source becomes; None if its objects are dropped."""
        key = _compared(label)
        if key not in self._new:
            return label
        self._met.add(key)
        return self._new[key]

    def take_met(self) -> frozenset[str]:
        """The old labels that were looked up with :meth:`of` since the last call."""
        met = frozenset(self._met)
        self._met.clear()
        return met

    def unknown(self, met: Iterable[str], labels: Iterable[str]) -> list[str]:
        """A sentence for every old label that is not in ``met``; it names a label of the source that may be meant."""
        near = {spelling_key(label): label for label in sorted({*labels, *met})}
        found = []
        for old in sorted(set(self._new) - set(met)):
            other = near.get(spelling_key(old))
            meant = f"; did you mean {other!r}?" if other and other != old else ""
            found.append(f"label {old!r} of the label map is not in the source{meant}")
        return found


def load_label_map(path: str | Path) -> LabelMap:
    """The label map in a YAML file. ConfigError if it cannot be read, or has another content."""
    try:
        raw = parse_yaml(Path(path).read_bytes())  # YAML itself tells UTF-8 from UTF-16, also by byte order marks
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read label map {path}: {error}") from error
    hint = "rename: {old: new}, merge: {new: [old, old]}, drop: [old]"
    if not isinstance(raw, dict):
        raise ConfigError(f"label map {path} is not a mapping of rename, merge and drop", hint=hint)
    try:
        return LabelMap.model_validate(raw)
    except ValidationError as error:
        field, reason = first_problem(error)
        raise ConfigError(f"label map {path}: {field}: {reason}", hint=hint) from error
