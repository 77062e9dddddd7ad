"""What commands share: options, settings out of what was typed, a counter on a terminal, and printed results."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError
from typer import Argument, Option

from mirg.console import one_line, say
from mirg.errors import ConfigError, first_problem

Tell = Callable[[str, int, int], None]
S = TypeVar("S", bound=BaseModel)

SHOWN = 20  # rejections and warnings that are printed; --json lists more
_INTERVAL = 0.2  # seconds between two updates of the counter

ImageLook = Literal["none", "header", "decode"]
Dataset = Annotated[Path, Argument(help="A dataset folder.")]
Out = Annotated[Path, Argument(help="The dataset folder to write.")]
Copy = Annotated[bool, Option("--copy", help="Copy the images; without it the new rows refer to the original files.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace OUT if it exists.")]
Json = Annotated[bool, Option("--json", help="Print the result as JSON.")]
Executor = Annotated[
    Literal["local", "processes", "ray"],
    Option("--executor", help="Where rows are worked on; the result is the same."),
]
Workers = Annotated[int | None, Option(min=1, help="Processes; one per core unless given.")]


def listed(text: str) -> list[str]:
    """The parts of ``a, b``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def settings(kind: type[S], options: Mapping[str, Any], **named: str) -> S:
    """``options`` that are fields of ``kind`` as a ``kind``; a ConfigError names the option and its value.

    ``named`` are the names of options that differ from those of their fields.
    """
    values = {name: value for name, value in options.items() if name in kind.model_fields}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        field, reason = first_problem(error)
        name = field.partition(".")[0]
        given = values.get(name)
        text = ",".join(map(str, given)) if isinstance(given, list) else given
        option = f"--{named.get(name, name).replace('_', '-')} {text}: " if name in values else ""
        raise ConfigError(f"{option}{reason}") from error


def json_out(value: object) -> None:
    """Print ``value`` as one JSON document; control characters and everything beyond ASCII are escaped."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, indent=2) + "\n")
    sys.stdout.flush()


def say_listed(
    rows: Sequence[object],
    prefix: str = "",
    more: str = "",
    total: int | None = None,
    to: Callable[[str], None] = say,
) -> None:
    """Print the first of ``rows``, and how many more there are, of ``total`` or ``len(rows)``; ``more`` says where."""
    for row in rows[:SHOWN]:
        to(f"{prefix}{one_line(str(row), limit=400)}")
    left = (len(rows) if total is None else total) - min(len(rows), SHOWN)
    if left:
        to(f"… and {left:,} more {more}".rstrip())


def counted(counts: Mapping[str, int], form: str = "{} {}") -> str:
    """Each name with its number, in the order given and separated by commas."""
    return ", ".join(form.format(name, count) for name, count in counts.items())


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
