"""What may leave this machine: values and texts without secrets and without the folders of their author."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mirg.evaluation.pages import SECRET_NAME

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*@|(?<=\w)[?#](?=\S*=)\S*")
_SECRET_VARIABLE = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)


def _last_part(path: str) -> str:
    return PurePosixPath(path).name


def public(value: Any, shorten: Callable[[str], str] = _last_part) -> Any:
    """A copy of ``value``, a recipe or another tree of plain data, without secrets.

    Keys that name a secret are left out. A path that leads out of the working folder (absolute, or with ``~`` or
    ``..``) is replaced by what ``shorten`` makes of it; texts are those of :func:`without_secrets`.
    """
    if isinstance(value, Mapping):
        return {str(k): public(v, shorten) for k, v in value.items() if not SECRET_NAME.search(str(k)) or not v}
    if isinstance(value, list | tuple):
        return [public(inner, shorten) for inner in value]
    if not isinstance(value, str):
        return value
    outside = PurePosixPath(value).is_absolute() or value.startswith("~") or ".." in PurePosixPath(value).parts
    if PureWindowsPath(value).drive:
        return PureWindowsPath(value).name
    return without_secrets(shorten(value) if outside else value)


def without_secrets(text: str) -> str:
    """``text`` without credentials of URLs, the home folder, and values of environment variables that hold secrets."""
    for name, secret in os.environ.items():
        if _SECRET_VARIABLE.search(name) and len(secret) >= 8:
            text = text.replace(secret, "(removed)")
    home = str(Path.home())
    return _CREDENTIALS.sub("", text.replace(home, "~") if len(home) > 1 else text)
