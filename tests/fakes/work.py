"""Functions for other processes, which can import this module and no test file."""

from __future__ import annotations

import os


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def fail_at_seven(n: int) -> int:
    if n == 7:
        raise ValueError("seven")
    return n


def end_at_seven(n: int) -> int:
    """What the kernel does to a process when memory runs out."""
    if n == 7:
        os._exit(9)
    return n


def as_it_is(value: object) -> object:
    return value
