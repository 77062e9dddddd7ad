"""Where a model is loaded to and in which numbers: names are looked at before anything large is read."""

from __future__ import annotations

import ctypes
import os

from mirg.errors import EngineError

DTYPES = ("auto", "float32", "bfloat16", "float16")
# Of glibc's malloc.h: which thresholds `mallopt` sets, and how far they go.
_TRIM, _TOP_PAD, _MMAP = -1, -2, -3
_MOST, _PAD = 2**31 - 1, 2**26  # bytes


def check_dtype(name: str) -> str:
    """``name`` where it is one of :data:`DTYPES` ("auto": the checkpoint's own); EngineError where it is not."""
    if name not in DTYPES:
        raise EngineError(f"unknown dtype {name!r}", hint=f"known: {', '.join(DTYPES)}")
    return name


def check_device(name: str) -> str:
    """``name`` (``cpu``, ``cuda``, ``cuda:1`` …) where torch can use it on this machine; EngineError where not."""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a build without CUDA asserts
        usable = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        reason = str(error).partition("\n")[0]
        raise EngineError(f"cannot use device {name!r}: {reason}", hint=f"here: {', '.join(usable)}") from error
    return name


def fast_dtype(device: str | None = None) -> str:
    """The number type in which ``device`` (None: the first GPU, or the CPU) multiplies matrices fastest.

    ``bfloat16`` where it has instructions for it, else ``float32``: a processor without them emulates it, up to 50
    times slower (measured on AVX2).
    """
    import torch

    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()  # AMX comes with it
    return "bfloat16" if fast else "float32"


def keep_freed_memory() -> bool:
    """Have glibc keep the large blocks that this process frees, up to 2 GiB, for the next that are asked for.

    By default those above 32 MiB go back to the system, which has to clear their pages again in every pass: without
    this a step of the study takes 1.3 times as long (docs/design/0007-packing.md). False, and nothing is changed, where
    there is no glibc, or where the environment (``MALLOC_…``, ``GLIBC_TUNABLES``) says how its malloc works.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    try:
        set_threshold = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return all(set_threshold(name, size) for name, size in ((_MMAP, _MOST), (_TRIM, _MOST), (_TOP_PAD, _PAD)))
