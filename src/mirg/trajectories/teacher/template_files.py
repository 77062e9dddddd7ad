"""The template files of a teacher's prompts: those of the package, and those that a folder puts in their place.

Templates are rendered in a sandbox, as plain text. They are read once: a folder that changes later changes nothing in
a process that has used it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.errors import ConfigError
from mirg.storage import digest_bytes

if TYPE_CHECKING:
    from jinja2 import Environment

SHIPPED = Path(__file__).parent / "templates"
BLIND = "blind"
SYSTEM, REPAIR = "system.j2", "repair.j2"


class TemplateSet:
    """Templates by file name; make one with :func:`template_set`."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.sources = _read(SHIPPED) | (_read(folder) if folder else {})
        self._environment = _environment(self.sources)
        self._digests: dict[tuple[str, ...], str] = {}

    def path(self, name: str) -> str:
        """The file that ``name`` is read from, for messages."""
        own = self.folder is not None and (self.folder / name).is_file()
        return str(self.folder / name) if own and self.folder else name

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """The text of one template; ConfigError, with file and line, where it does not render."""
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            return self._environment.get_template(name).render(values)
        except TemplateSyntaxError as error:
            where = f"{self.path(error.name or name)}, line {error.lineno}"
            raise ConfigError(f"template {where}: {error.message}", hint="templates are written in jinja2") from error
        except (
            TemplateError,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as error:
            raise ConfigError(
                f"template {self.path(name)} does not render: {error}",
                hint="docs/concepts/trajectories.md lists the names that a template may use",
            ) from error

    def digest(self, names: tuple[str, ...]) -> str:
        """SHA-256 (hex) of the sources of ``names`` and of all templates that they include or extend."""
        if names not in self._digests:
            needed = sorted(self._with_parts(names))
            text = "\x01".join(f"{name}\x02{self.sources[name]}" for name in needed)
            self._digests[names] = digest_bytes(text.encode())
        return self._digests[names]

    def _with_parts(self, names: Iterable[str]) -> set[str]:
        from jinja2.meta import find_referenced_templates

        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.sources:
                continue
            found.add(name)
            tree = self._environment.parse(self.sources[name])
            waiting += [part for part in find_referenced_templates(tree) if part]
        return found


@lru_cache(maxsize=8)
def template_set(folder: Path | None = None) -> TemplateSet:
    """The templates of the package, those in ``folder`` in their place.

    ``blind`` names a set that ships with the package: the images and the question alone, for a teacher that was
    trained on such prompts and needs no notes. ConfigError where the folder is none, holds no template, or one cannot
    be read.
    """
    if folder is None:
        return TemplateSet(None)
    if folder == Path(BLIND) and not folder.is_dir():
        folder = SHIPPED / BLIND
    _check(folder)
    return TemplateSet(folder)


def _check(folder: Path) -> None:
    known = ", ".join(sorted(_read(SHIPPED)))
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder of templates", hint=f"it may hold any of {known}")
    if not any(folder.glob("*.j2")):
        raise ConfigError(f"{folder} holds no template", hint=f"it may hold any of {known}")


def _read(folder: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    for path in sorted(folder.glob("*.j2")):
        try:
            sources[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"template {path} cannot be read: {error}", hint="it must be UTF-8 text") from error
    return sources


def _environment(sources: Mapping[str, str]) -> Environment:
    from jinja2 import DictLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        loader=DictLoader(dict(sources)),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
