"""A grouping key that the user names: cameras of one scene, frames of one film or crops of one picture belong together.

The key is a field of the sample (``meta.scene``) or a pattern for the paths of its images (``scenes/([^/]+)/``).
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from dataclasses import dataclass

from mirg.errors import ConfigError
from mirg.samples.roots import MARK
from mirg.samples.schema import Sample

_FIELD = re.compile(r"(?:meta(?:\.[^./*?()\[\]\\]+)+|source|task)")
_HINT = "use a field (meta.scene), a folder pattern with one * (scenes/*/), or an expression with one group"


class NoGroup(Exception):
    """Raised if the group of a sample cannot be found; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class GroupBy:
    """How samples are grouped; make one with :func:`parse_group_by`. Exactly one of the two is set."""

    text: str
    field: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None

    def keys(self, sample: Sample) -> list[str]:
        """The groups of ``sample``: one for a field, one or several for images of several folders, each once.

        NoGroup if the field is missing or holds no text or number, or if the path of an image does not match.
        """
        return list(dict.fromkeys(self.of_images(sample)))

    def of_images(self, sample: Sample) -> list[str]:
        """The group of every image of ``sample``; NoGroup as above."""
        return [self._of(sample, ref.path) for ref in sample.images]

    def known(self, sample: Sample) -> list[str]:
        """The groups of those images whose group can be found, each once; none is needed."""
        found: dict[str, None] = {}
        for ref in sample.images:
            with contextlib.suppress(NoGroup):
                found[self._of(sample, ref.path)] = None
        return list(found)

    def _of(self, sample: Sample, path: str) -> str:
        if self.pattern is not None:
            inside = path.partition("/")[2] if path.startswith(MARK) else path
            found = self.pattern.search(inside)
            if found is None or not found[1]:
                raise NoGroup(f"the path of image {inside} does not match {self.text}")
            return _spelled(found[1])
        value: object = sample.meta if self.field[0] == "meta" else getattr(sample, self.field[0])
        for name in self.field[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            words = "is missing" if value is None else f"holds no text or number: {value!r:.40}"
            raise NoGroup(f"{self.text} {words}")
        whole = isinstance(value, float) and value.is_integer()
        return _spelled(str(int(value) if whole else value))


def _spelled(key: str) -> str:
    """Files of other systems write an umlaut as two characters: it is the same scene."""
    return unicodedata.normalize("NFC", key).strip()


def parse_group_by(text: str) -> GroupBy:
    """A field, or a pattern for image paths, which are those of the rows without ``@NAME/``. ConfigError otherwise.

    A field is ``meta.NAME`` (any depth), ``source`` or ``task``. A pattern with a round bracket is a regular expression
    that is searched in the path; its only group is the key. Otherwise the pattern consists of whole folder or file
    names in which the only ``*`` matches the key, ``?`` any character and ``**`` any folders.

    >>> parse_group_by("meta.scene").field
    ('meta', 'scene')
    """
    if _FIELD.fullmatch(text):
        return GroupBy(text, field=tuple(text.split(".")))
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "([^/]+)", "?": "[^/]"}
    parts = re.split(r"(\*\*/?|\*|\?)", text.strip("/"))
    folders = "(?:^|/)" + "".join(words.get(part, re.escape(part)) for part in parts) + "(?:/|$)"
    try:
        pattern = re.compile(text if "(" in text else folders)
    except re.error as error:
        raise ConfigError(f"--group-by {text}: {error}", hint=_HINT) from error
    if pattern.groups != 1:
        raise ConfigError(f"--group-by {text}: {pattern.groups} groups, exactly one is needed", hint=_HINT)
    return GroupBy(text, pattern=pattern)
