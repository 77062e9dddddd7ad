"""``mirg doctor``: what of this machine mirg can use, what is wrong with it, and the command that fixes it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

import mirg
from mirg.cli.output import Json, json_out
from mirg.console import one_line, say
from mirg.errors import EngineError, MirgError
from mirg.families import EMBEDDED_MODELS

Level = Literal["ok", "note", "warning", "error"]
NEEDED = ("", "train")  # extras without which a model cannot be trained or measured
LEAST_FREE = 20  # GB: a LoRA run of a 7B model with its checkpoints, and a merged copy of the model
SLOW_DISK = 50  # MB/s: a checkpoint of a 7B model with its optimiser would take more than ten minutes
SLOW_FILE = 0.1  # seconds for a small file with fsync: every row of a journal costs that
LEAST_SHARED = 1  # GB of /dev/shm: workers of a data loader and NCCL pass tensors through it
LEAST_FILES = 1024  # open files
_PROBE = 64 * 2**20  # bytes written to measure the disk
_GB = 10**9


class Finding(NamedTuple):
    """One line of the report; ``remedy`` is the command or the change that fixes a warning or an error."""

    level: Level
    topic: str
    text: str
    remedy: str = ""


def doctor(
    disk: Annotated[Path, typer.Option(help="Folder where runs are written; its disk is measured.")] = Path(),
    test: Annotated[bool, typer.Option("--test/--no-test", help="Run the embedded model for a few seconds.")] = True,
    as_json: Json = False,
) -> None:
    """Look at packages, torch, GPU, vLLM, disk and memory, run a short self-test, and say how to fix what is wrong.

    Ends with exit code 1 if there is an error.
    """
    checks: list[Callable[[], Iterable[Finding]]] = [
        python,
        packages,
        torch_state,
        torchvision_state,
        vllm_state,
        lambda: disk_state(disk),
        system,
        embedded_models,
        *([self_test] if test else []),
    ]
    found = []
    for check in checks:
        for finding in _guarded(check):
            found.append(finding)
            if not as_json:
                _show(finding)
    if as_json:
        json_out([finding._asdict() for finding in found])
    errors = sum(finding.level == "error" for finding in found)
    warnings = sum(finding.level == "warning" for finding in found)
    if not as_json:
        say(f"errors: {errors}, warnings: {warnings}" if errors or warnings else "nothing is wrong")
    if errors:
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    say(f"{finding.level:8} {finding.topic:12} {one_line(finding.text, limit=300)}")
    if finding.remedy:
        say(f"{'':8} {'':12} -> {finding.remedy}")


def _guarded(check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What ``check`` finds; an exception of a broken package becomes a finding, so that the other checks still run."""
    try:
        yield from check()
    except (MirgError, OSError, ImportError, RuntimeError, ValueError, AttributeError, TypeError, KeyError) as error:
        name = getattr(check, "__name__", "check").removesuffix("_state").replace("_", " ")
        yield Finding("error", name, f"{type(error).__name__}: {error}", getattr(error, "hint", ""))


def python() -> Iterator[Finding]:
    """The interpreter, and the mirg that it imports."""
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("ok", "mirg", f"{mirg.__version__} at {Path(mirg.__file__).parent}")


def packages(name: str = "mirg") -> Iterator[Finding]:
    """Whether each package that mirg asks for is installed in a version that it accepts."""
    from packaging.requirements import Requirement

    absent: dict[str, list[str]] = {}
    for requirement in map(Requirement, metadata.requires(name) or []):
        extra = _extra_of(str(requirement.marker))
        if extra == "dev":
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            if extra in NEEDED:
                yield Finding("error", requirement.name, "not installed", _pip(requirement))
            absent.setdefault(extra, []).append(requirement.name)
            continue
        if requirement.specifier.contains(version, prereleases=True):
            yield Finding("ok", requirement.name, version)
        else:
            text = f"{version}, but mirg is tested with {requirement.specifier}"
            yield Finding("error" if extra in NEEDED else "warning", requirement.name, text, _pip(requirement))
    for extra, names in absent.items():
        if extra not in NEEDED:
            listed = ", ".join(names)
            yield Finding("note", extra, f"not installed: {listed}", f"pip install 'mirg[{extra}]'")


def _extra_of(marker: str) -> str:
    found = re.search(r"extra == ['\"]([^'\"]+)", marker)
    return found[1] if found else ""


def _pip(requirement: object) -> str:
    wanted = str(requirement).partition(";")[0].strip()
    return f"pip install '{wanted}'"


def torch_state() -> Iterator[Finding]:
    """Which build of torch is installed, and whether it can compute on every GPU."""
    if _missing("torch"):
        return
    torch = importlib.import_module("torch")
    cuda = torch.version.cuda or torch.version.hip
    driver = Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None
    if cuda and torch.cuda.is_available():
        yield Finding("ok", "torch", f"built for CUDA {cuda}, {torch.cuda.device_count()} GPU(s)")
        for index in range(torch.cuda.device_count()):
            yield from _gpu(torch, index)
        if torch.cuda.device_count() > 1 and not torch.distributed.is_nccl_available():
            yield Finding(
                "error",
                "nccl",
                "this torch has no NCCL",
                "install the torch that https://pytorch.org names for this system",
            )
    elif os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        yield Finding("note", "torch", "CUDA_VISIBLE_DEVICES hides every GPU", "unset CUDA_VISIBLE_DEVICES")
    elif driver and not cuda:
        yield Finding(
            "error",
            "torch",
            f"{torch.__version__} is built for CPUs, but this machine has an NVIDIA driver",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130",
        )
    elif driver:
        yield Finding(
            "error",
            "torch",
            f"built for CUDA {cuda}, which cannot start on this driver",
            "nvidia-smi shows the newest CUDA of the driver: update the driver, or install a torch for that CUDA",
        )
    else:
        yield Finding("note", "torch", f"{torch.__version__}, no GPU: small models train here, large ones do not")


def _gpu(torch: object, index: int) -> Iterator[Finding]:
    """One GPU: its memory, whether this torch has code for it, and whether it multiplies rightly."""
    cuda = torch.cuda  # type: ignore[attr-defined]
    name, (major, minor) = cuda.get_device_name(index), cuda.get_device_capability(index)
    free, total = (value / _GB for value in cuda.mem_get_info(index))
    topic = f"GPU {index}"
    ones = torch.ones(256, 256, device=f"cuda:{index}")  # type: ignore[attr-defined]
    if float((ones @ ones).sum()) != 256.0**3:
        yield Finding("error", topic, f"{name} computes a matrix product wrongly", "nvidia-smi -q shows memory errors")
    fast = cuda.is_bf16_supported(including_emulation=False)
    yield Finding("ok", topic, f"{name}, compute {major}.{minor}, {free:.0f} of {total:.0f} GB free")
    if not fast:
        yield Finding("warning", topic, f"{name} has no bfloat16", "set dtype: float32 in the recipes")
    if free < 0.8 * total:
        used = f"{total - free:.0f} GB are in use by other processes"
        yield Finding("warning", topic, used, "nvidia-smi lists them; end them before a run")


def torchvision_state() -> Iterator[Finding]:
    """A torchvision of another torch makes transformers fail; none at all is fine."""
    if _missing("torchvision"):
        yield Finding("ok", "torchvision", "not installed; mirg processes images without it")
        return
    from mirg.models.processors import has_torchvision

    version = metadata.version("torchvision")
    if has_torchvision():
        yield Finding("ok", "torchvision", version)
        return
    remedy = "pip uninstall torchvision (images need none), or install the one made for your torch, from the same index"
    yield Finding("error", "torchvision", f"{version} does not fit the installed torch", remedy)


def vllm_state() -> Iterator[Finding]:
    """Whether an installed vLLM was built for the installed torch; importing it would take many seconds."""
    from packaging.requirements import Requirement

    if _missing("vllm"):
        return
    for requirement in map(Requirement, metadata.requires("vllm") or []):
        if requirement.name not in {"torch", "transformers"} or (
            requirement.marker and not requirement.marker.evaluate()
        ):
            continue
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                text = f"needs {requirement.name}{requirement.specifier}, but {version} is installed"
                yield Finding("error", "vllm", text, "pip install 'mirg[train,vllm]' in a new environment")


def disk_state(folder: Path) -> Iterator[Finding]:
    """Free space, speed of writing, and locks in ``folder``, or in its nearest parent that exists."""
    while not folder.exists():
        folder = folder.absolute().parent
    free = shutil.disk_usage(folder).free / _GB
    level: Level = "ok" if free >= LEAST_FREE else "warning"
    remedy = "" if level == "ok" else "free some space, or write runs to another disk (--disk measures it)"
    yield Finding(level, "disk", f"{free:,.0f} GB free at {folder.absolute()}", remedy)
    with tempfile.TemporaryDirectory(prefix=".mirg-doctor-", dir=folder) as temporary:
        probe = Path(temporary)
        speed, small = _disk_speed(probe)
        text = f"writes {speed:,.0f} MB/s, and a small file in {1000 * small:.1f} ms"
        slow = speed < SLOW_DISK or small > SLOW_FILE
        yield Finding("warning" if slow else "ok", "disk", text, "write runs to a local disk" if slow else "")
        yield from _locks(probe)
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    there = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    yield Finding("ok", "hub cache", f"{shutil.disk_usage(there).free / _GB:,.0f} GB free for {cache} (HF_HOME)")


def _disk_speed(folder: Path) -> tuple[float, float]:
    """Megabytes per second of a large file, and seconds for a small one, both on the disk and not in memory."""
    data = os.urandom(2**20)
    start = time.perf_counter()
    with (folder / "large").open("wb") as file:
        for _ in range(_PROBE // len(data)):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    large = time.perf_counter() - start
    start = time.perf_counter()
    for index in range(5):
        with (folder / f"small{index}").open("wb") as file:
            file.write(b"{}\n")
            file.flush()
            os.fsync(file.fileno())
    return _PROBE / 1e6 / large, (time.perf_counter() - start) / 5


def _locks(folder: Path) -> Iterator[Finding]:
    from mirg.locks import lock

    try:
        held = lock(folder)
    except OSError as error:
        text = f"no locks on this file system ({error.strerror}): two commands in a folder can collide"
        yield Finding("warning", "locks", text, "write runs to a local disk, or start one command for each folder")
        return
    try:
        lock(folder)
    except BlockingIOError:
        yield Finding("ok", "locks", "work")
    else:
        yield Finding("warning", "locks", "a held lock is not respected here", "write runs to a local disk")
    finally:
        os.close(held)


def system() -> Iterator[Finding]:
    """Memory, cores, shared memory and open files."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    known = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    memory = f", {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / _GB:.0f} GB memory" if known else ""
    yield Finding("ok", "machine", f"{platform.system()} {platform.machine()}, {cores} cores{memory}")
    shared = Path("/dev/shm")
    if shared.is_dir() and (size := shutil.disk_usage(shared).total / _GB) < LEAST_SHARED:
        text = f"/dev/shm has {size:.2f} GB; data loader workers and NCCL stop with a bus error"
        yield Finding("warning", "memory", text, "docker run --shm-size=16g (or --ipc=host), or workers: 0")
    with suppress(ImportError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < LEAST_FILES:
            yield Finding("warning", "open files", f"at most {soft}", "ulimit -n 65536")


def embedded_models() -> Iterator[Finding]:
    """Whether the models that ship with mirg are there, with the digests that they had when they were made."""
    if any(map(_missing, ("torch", "transformers"))):
        return
    from mirg.models.load import refuse_damaged, resolve_model

    for name in EMBEDDED_MODELS:
        try:
            refuse_damaged(resolve_model(name))
            yield Finding("ok", "model", f"{name} is complete")
        except EngineError as error:
            yield Finding("warning", "model", error.message, error.hint or "")


def self_test() -> Iterator[Finding]:
    """The embedded model answers two questions, packed and with ``generate``, and takes one packed gradient."""
    if any(map(_missing, ("torch", "transformers", "trl"))):
        return
    from mirg.training import quiet_libraries
    from mirg.training.self_test import compare_paths

    quiet_libraries()
    start = time.perf_counter()
    found = compare_paths()
    seconds = f"({time.perf_counter() - start:.1f} s on {found.device}, loading included)"
    remedy = "report it with this output; until then train with packed: false"
    if not found.same:
        yield Finding("error", "self-test", f"packed rows and generate disagree {seconds}", remedy)
    if not found.finite:
        yield Finding("error", "self-test", f"the gradient of a packed update is not finite {seconds}", remedy)
    if found.same and found.finite:
        yield Finding("ok", "self-test", f"packed rows and generate agree, gradients are finite {seconds}")


def _missing(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return True
    return False
