"""Output of commands: a counter on a terminal while they work, and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator

Tell = Callable[[str, int, int], None]

_INTERVAL = 0.2  # seconds between two updates of the counter


def json_out(value: object) -> None:
    """Print ``value`` as one JSON document; control characters and everything beyond ASCII are escaped."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Iterator[Tell]:
    """Give ``tell(stage, done, total)``, which rewrites one line of a terminal; nothing is printed elsewhere."""
    live = sys.stderr.isatty() and not quiet
    last = 0.0

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if live and (now - last > _INTERVAL or done == total):
            last = now
            sys.stderr.write(f"\r\x1b[K{stage} {done}/{total}")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        if live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
