"""Names of devices and dtypes, checked before anything large is read."""

from __future__ import annotations

from mirg.errors import EngineError

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_dtype(name: str) -> str:
    """``name`` if it is one of :data:`DTYPES` ("auto": the checkpoint's dtype), else EngineError."""
    if name not in DTYPES:
        raise EngineError(f"unknown dtype {name!r}", hint=f"known: {', '.join(DTYPES)}")
    return name


def check_device(name: str) -> str:
    """``name`` (``cpu``, ``cuda``, ``cuda:1`` …) if torch can use it on this machine, else EngineError."""
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # a build without CUDA asserts
        usable = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
        reason = str(error).partition("\n")[0]
        raise EngineError(f"cannot use device {name!r}: {reason}", hint=f"here: {', '.join(usable)}") from error
    return name


def fast_dtype(device: str | None = None) -> str:
    """The dtype in which ``device`` (None: the first GPU, or the CPU) multiplies matrices fastest.

    ``bfloat16`` if the device supports it natively, else ``float32``: a processor without support emulates bfloat16 and
    is up to 50 times slower (measured on AVX2).
    """
    import torch

    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()  # AMX comes with it
    return "bfloat16" if fast else "float32"
