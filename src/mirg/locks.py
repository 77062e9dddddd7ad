"""Locks on files and folders, which the operating system releases when the process ends, however it ends.

They are ``flock`` locks on open descriptors, and a lock is released by ``os.close``. The package filelock covers lock
files only: it cannot lock a folder, which a renamed temporary folder needs, and on a file system without ``flock`` it
leaves marker files behind that outlive a killed process.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def lock(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor that holds the file or folder ``path`` for this process.

    BlockingIOError if another process holds it, another OSError if it cannot be opened or the system has no locks.
    """
    if os.name == "nt":
        raise OSError(errno.ENOLCK, "no locks on this system")
    import fcntl

    descriptor = os.open(path, flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def lock_file(path: Path) -> int:
    """A descriptor that holds the lock file ``path``, created if it does not exist; errors as of :func:`lock`."""
    while True:
        descriptor = lock(path, os.O_RDWR | os.O_CREAT)
        with contextlib.suppress(FileNotFoundError):  # its last holder removed it between the two calls
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)
