"""What was run, for the report: configuration, versions and settings files as lists of facts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mirg.errors import MirgError
from mirg.evaluation.store import SETTINGS_FILE
from mirg.report.data import Fact, Section
from mirg.storage import read_json
from mirg.text_files import parse_yaml

FILES = {
    "config.yaml": "configuration",
    "environment.json": "versions and machine",
    "demo.json": "stages and times",
    SETTINGS_FILE: "settings",
}
MAX_FACTS = 250
MAX_VALUE = 500  # characters
# The last line of defence: run folders are written without secrets, and a page is made to be passed on.
_SECRET = re.compile(r"(?:api_?key|secret|passw|credential|token$|access_?key)", re.IGNORECASE)


def folder_sections(name: str, folder: Path) -> list[Section]:
    """One section for each known file of a run folder; a file that cannot be read says so."""
    sections = []
    for file, title in FILES.items():
        if (folder / file).is_file():
            sections.append(Section(f"{name}: {title}", _facts(folder / file)))
    return sections


def _facts(path: Path) -> tuple[Fact, ...]:
    try:
        value = _load(path)
    except MirgError as error:
        return (Fact(path.name, f"cannot be read: {error.message}"),)
    facts = []
    for name, text in _flat(value, ""):
        if len(facts) == MAX_FACTS:
            facts.append(Fact("…", f"more than {MAX_FACTS} values; see {path.name}"))
            break
        facts.append(Fact(name, "(not shown)" if _SECRET.search(name) and text not in ("", "null") else text))
    return tuple(facts)


def _load(path: Path) -> object:
    if path.suffix == ".json":
        return read_json(path)
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MirgError(str(error)) from error


def _flat(value: object, name: str) -> Iterator[tuple[str, str]]:
    """Leaves of nested mappings as ``a.b.c`` and text; short lists stay on one line."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
        return
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, list | tuple):
        text = ", ".join(str(item) for item in value)
    else:
        text = str(value)
    yield name or "value", text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + " …"
