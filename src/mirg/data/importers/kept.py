"""Fields of a row that are kept in ``Sample.meta``: the scene, the camera, the film that an image belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mirg.data.importers.raw import RawSample
from mirg.data.importers.rows import Refused, is_number, short, text_of
from mirg.errors import ConfigError

IMAGE_SET = "image_set"
# Keys of ``meta`` that importers write and other stages read.
_RESERVED = {"subject", "annotated", "incomplete", "categories", "vocabulary", "index", "either_image", "exif"}


def parse_fields(text: str) -> dict[str, str]:
    """``scene,image_set=film`` as key of ``meta`` -> field of the row. ConfigError for a key that has a meaning.

    >>> parse_fields("scene, image_set=film")
    {'scene': 'scene', 'image_set': 'film'}
    """
    found: dict[str, str] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, equals, field = (piece.strip() for piece in part.partition("="))
        field = field if equals else name
        if not name or not field or name in found:
            raise ConfigError(f"--meta {text}: {part!r} is no field", hint="FIELD or KEY=FIELD, with commas")
        if name in _RESERVED:
            raise ConfigError(f"--meta {text}: meta.{name} has a meaning already", hint=f"rename it: my_{name}={field}")
        found[name] = field
    return found


def with_fields(raw: RawSample, value: Any, wanted: Mapping[str, str], met: set[str]) -> RawSample:
    """``raw`` with the fields of its row, or of the row's image entry; ``met`` gets the fields that are there.

    Refused if a field holds no text, number or truth value, or if the importer wrote another value under its key.
    """
    row = value if isinstance(value, Mapping) else {}
    entry = row.get("image")
    entry = entry if isinstance(entry, Mapping) else {}
    meta = dict(raw.meta)
    for name, field in wanted.items():
        found = row.get(field, entry.get(field))
        if found is None:
            continue
        if not (isinstance(found, str | bool) or is_number(found)):
            raise Refused(field, f"holds no text or number: {short(found)}", "--meta keeps plain values")
        met.add(field)
        found = text_of(found, field) if isinstance(found, str) else found
        if name != IMAGE_SET and meta.get(name, found) != found:
            raise Refused(
                field, f"would replace meta.{name}: {short(meta[name])}", f"rename it: --meta my_{name}={field}"
            )
        meta[name] = str(found) if name == IMAGE_SET else found
    return replace(raw, meta=meta)
