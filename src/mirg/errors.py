"""One exception tree. Each class names the boundary at which the trouble was met.

A message says what is wrong and where; ``hint`` says what to do about it. The command line prints both
and exits with ``exit_code``; a library user catches :class:`MirgError` or the class of one boundary.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class MirgError(Exception):
    """Base of every error that mirg raises on purpose."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(MirgError):
    """A recipe, an override or a command-line value is wrong."""


class StorageError(MirgError):
    """A file or folder cannot be read or written."""


class DataError(MirgError):
    """A dataset folder, an annotation file or a sample is wrong."""


class ImageError(DataError):
    """An image cannot be opened safely, or is not what its sample says."""


class AnswerError(MirgError):
    """An answer cannot be written (reading never raises: see ``mirg.answers.read``)."""


class EndpointError(MirgError):
    """A model endpoint cannot be reached, refuses a request, or would cost more than allowed."""


class EngineError(MirgError):
    """A text-generating engine cannot be loaded or cannot serve a prompt."""


class CheckpointError(MirgError):
    """A checkpoint or a run folder is missing, damaged, or belongs to another run."""


class PluginError(MirgError):
    """A plug-in, which is code of the user's, raised an exception. The message contains the plug-in's own traceback."""


class EvaluationError(MirgError):
    """A score cannot be computed."""


def first_problem(error: ValidationError) -> tuple[str, str]:
    """(field, reason) of the first thing that a schema refuses, and how many more there are.

    The field is dotted (``targets.0.box``), ``row`` where the whole value is wrong.
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "row"
    more = error.error_count() - 1
    return field, first["msg"].removeprefix("Value error, ") + (f" (and {more} more)" if more else "")


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float) -> str:
    """The beginning of a hint, "did you mean 'sft'? ", if one of ``known`` resembles ``name``; else "".

    ``cutoff`` is the least similarity, from 0 to 1 (see :func:`difflib.get_close_matches`).
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {found[0]!r}? " if found else ""
