"""The page about a run in training, which is written again as rows arrive."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mirg.console import logger
from mirg.errors import DataError
from mirg.evaluation.pages import METRICS_FILE, report_from_run
from mirg.evaluation.records import RECORDS_FILE
from mirg.storage import SEAL_FILE

SECONDS = 5.0
SHARE = 10  # a page that takes long to write is written less often: for a tenth of the time at most
_FILES = (
    *(f"{folder}{METRICS_FILE}" for folder in ("", "*/")),
    *(f"{at}{RECORDS_FILE}" for at in ("", "*/", "eval/*/")),
)


def watch(
    run: str | Path,
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    samples: int | None = None,
    megabytes: float | None = None,
    seconds: float = SECONDS,
) -> Path:
    """Write the page about ``run`` every ``seconds`` if its files changed, until the run is finished or Ctrl-C.

    A browser that shows the page loads it again by itself, until the last page is written. Returns the path of the
    page. Raises as :func:`mirg.evaluation.pages.report_from_run`, but waits for the first row of a run.
    """
    run = Path(run)
    write = partial(report_from_run, run, out=out, data=data, samples=samples, megabytes=megabytes)
    seen: object = None
    pause = seconds
    try:
        while run.is_dir() and not (run / "model" / SEAL_FILE).is_file():
            state = _state(run)
            if state and state != seen:
                seen, began = state, time.monotonic()
                with _waiting():
                    write(reload=math.ceil(pause))
                pause = max(seconds, SHARE * (time.monotonic() - began))
            time.sleep(pause)
    except KeyboardInterrupt:
        logger.info("stopped; the last page follows")
    return write()


@contextmanager
def _waiting() -> Iterator[None]:
    """A run whose first row is not whole yet has no page yet."""
    try:
        yield
    except DataError as error:
        logger.info("waiting: %s", error.message)


def _state(run: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of the files that a page shows; empty before the first row."""
    found = (path for pattern in _FILES for path in run.glob(pattern))
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found)
