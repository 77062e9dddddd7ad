"""A file system that writes down what is asked of it, and fails or ends the process at any one call."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CALLS = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir", "chmod")
_RANDOM = re.compile(r"[a-z0-9_]{8}\.(tmp|old|new)$")


class Disk:
    """The calls below ``root`` in order, as ``("rename", ".out.*.tmp", "out")``: random parts of names are ``*``.

    Call number ``at`` (from 0) fails as on a full disk; with ``kill`` the process ends there, as by SIGKILL.
    """

    def __init__(self, root: Path, at: int | None = None, *, kill: bool = False) -> None:
        self.root, self.at, self.kill = root, at, kill
        self.calls: list[tuple[str, ...]] = []

    @contextmanager
    def watched(self) -> Iterator[Disk]:
        """Every call within the block is written down."""
        real = {name: getattr(os, name) for name in _CALLS}
        for name in _CALLS:
            setattr(os, name, self._instead_of(name, real[name]))
        try:
            yield self
        finally:
            for name in _CALLS:
                setattr(os, name, real[name])

    def _instead_of(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            named = args[:2] if name in ("replace", "rename") else args[:1]
            places = [self._name(arg, kwargs.get("dir_fd")) for arg in named]
            if None not in places:
                self.calls.append((name, *map(str, places)))
                if len(self.calls) - 1 == self.at:
                    if self.kill:
                        os._exit(9)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **kwargs)

        return call

    def _name(self, place: Any, folder: int | None) -> str | None:
        path = _of(place) if isinstance(place, int) else Path(os.fspath(place))
        path = path if folder is None else _of(folder) / path
        return _RANDOM.sub(r"*.\1", path.relative_to(self.root).as_posix()) if path.is_relative_to(self.root) else None


def _of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
