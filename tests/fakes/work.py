"""Functions for other processes, which can import this module and no test file."""

from __future__ import annotations

import os


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def fail_at_seven(n: int) -> int:
    if n == 7:
        raise ValueError("seven")
    return n
