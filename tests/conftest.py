"""Settings shared by every test: no network, few threads, reproducible examples."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from fakes.faulty_api import FaultyApi, serving

# Before anything imports torch or a Hugging Face library. As many workers as cores, or more: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Colours and widths of a terminal must not change what tests compare.
os.environ.setdefault("NO_COLOR", "1")
os.environ.setdefault("COLUMNS", "120")

# The everyday suite draws the same examples every time; HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile(
    "everyday",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))

Shared = Callable[[str, Callable[[Path], object]], Path]
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Training runs collect garbage, which would go through all of torch and all tests each time without freezing."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def load_script() -> Callable[[str | Path], ModuleType]:
    """``load_script("tools/check_links.py")``: the module in a file of no package, by its path from the root."""

    def load(file: str | Path) -> ModuleType:
        path = REPOSITORY / file
        spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # its dataclasses look themselves up there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def write_png(tmp_path: Path) -> Callable[..., Path]:
    """``write_png(name, size, colour)``: a plain PNG in the test's folder."""

    def write(name: str = "image.png", size: tuple[int, int] = (32, 24), colour: object = (200, 30, 30)) -> Path:
        from PIL import Image

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path)  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """``shared(name, make)``: a folder that ``make`` fills, once for all workers of a run. Not to be written to."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    root.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, part = root / name, root / f"{name}.part"
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                make(part)
                part.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def folders(shared: Shared) -> dict[str, Path]:
    """A random model folder of each type, for the rooms that need one."""
    from fakes.tiny import MODEL_TYPES, write_tiny  # imports torch

    root = shared("models", lambda folder: [write_tiny(folder / kind, kind) for kind in MODEL_TYPES])
    return {kind: root / kind for kind in MODEL_TYPES}


@pytest.fixture(scope="session")
def data(shared: Shared) -> Path:
    """A dataset folder with 12 samples."""
    from fakes.tiny import write_data

    return shared("data", lambda folder: write_data(folder, 12))


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    """A server that gives no useful answer until its settings are replaced."""
    with serving(FaultyApi()) as running:
        yield running


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Torch ignores OMP_NUM_THREADS if a plug-in imported it first; it is never imported from here."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
