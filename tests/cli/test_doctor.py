"""``mirg doctor`` names what is wrong with a machine and how to fix it, and continues if a check itself fails."""

from __future__ import annotations

import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from mirg.cli import doctor
from mirg.cli.main import app
from mirg.locks import lock
from mirg.models import load, packing
from mirg.training import self_test
from mirg.training.self_test import SelfTest


def levels(found: Any) -> list[tuple[str, str]]:
    return [(finding.level, finding.topic) for finding in found]


def test_the_command_on_this_machine(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json", "--disk", str(tmp_path)])
    assert result.exit_code == 0, result.output
    found = {row["topic"]: row for row in json.loads(result.stdout)}
    assert found["self-test"]["level"] == "ok"
    assert found["locks"]["level"] == "ok"
    assert found["pydantic"] == {"level": "ok", "topic": "pydantic", "text": metadata.version("pydantic"), "remedy": ""}
    assert list(tmp_path.iterdir()) == []


def test_every_remedy_is_printed_and_an_error_sets_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        yield doctor.Finding("ok", "first", "seen")
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "torchvision_state", broken)
    monkeypatch.setattr(doctor, "_missing", lambda name: name in {"torch", "vllm"})
    result = CliRunner().invoke(app, ["doctor", "--no-test"])
    assert result.exit_code == 1
    assert "torchvision::nms" in result.stdout
    assert "machine" in result.stdout  # a check after the failed one
    assert "self-test" not in result.stdout
    assert "errors: 1" in result.stdout


@pytest.mark.parametrize(
    ("version", "needs", "level", "remedy"),
    [
        ("5.30.0", "transformers>=5.10.4,<5.24; extra == 'train'", "error", "pip install 'transformers<5.24,>=5.10.4"),
        (None, "transformers>=5.10.4,<5.24; extra == 'train'", "error", "pip install 'transformers<5.24,>=5.10.4"),
        ("5.17.0", "transformers>=5.10.4,<5.24; extra == 'train'", "ok", ""),
        (None, "pillow>=11", "error", "pip install 'pillow>=11"),
        (None, 'openai>=1.60; extra == "teacher"', "note", "pip install 'mirg[teacher]'"),
        ("0.9", 'openai>=1.60; extra == "teacher"', "warning", "pip install 'openai"),
        (None, 'pytest>=8; extra == "dev"', None, ""),
    ],
)
def test_versions(
    monkeypatch: pytest.MonkeyPatch, version: str | None, needs: str, level: str | None, remedy: str
) -> None:
    def installed(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "requires", lambda name: [needs])
    monkeypatch.setattr(metadata, "version", installed)
    found = list(doctor.packages())
    assert [f.level for f in found] == ([level] if level else [])
    assert all(f.remedy.startswith(remedy) for f in found)


def test_a_vllm_for_another_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"vllm": "0.31.0", "torch": "2.12.0", "transformers": "5.17.0"}
    monkeypatch.setattr(metadata, "version", installed.__getitem__)
    needs = ["torch==2.13.0", "transformers>=5.10.4,<5.18", "torch==2.1; sys_platform == 'none'", "numba"]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    (found,) = doctor.vllm_state()
    assert found.level == "error"
    assert "torch==2.13.0, but 2.12.0" in found.text


def cuda(**changes: Any) -> Any:
    """As much of ``torch.cuda`` as a machine with two GPUs shows, computed on the CPU."""
    facts = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_name": lambda index: f"card {index}",
        "get_device_capability": lambda index: (9, 0),
        "mem_get_info": lambda index: ((80 - 40 * index) * 10**9, 80 * 10**9),
        "is_bf16_supported": lambda including_emulation: True,
    }
    return SimpleNamespace(**facts | changes)


def fake_torch(built: str | None, **changes: Any) -> Any:
    return SimpleNamespace(
        __version__="2.13.0",
        version=SimpleNamespace(cuda=built, hip=None),
        cuda=cuda(**changes),
        ones=lambda *size, device: torch.ones(*size),
        distributed=SimpleNamespace(is_nccl_available=lambda: False),
    )


@pytest.mark.parametrize(
    ("made", "driver", "hidden", "expected"),
    [
        (fake_torch("13.0"), True, None, [("ok", "GPU 0"), ("warning", "GPU 1"), ("error", "nccl")]),
        (
            fake_torch("13.0", is_bf16_supported=lambda including_emulation: False),
            True,
            None,
            [("warning", "GPU 0"), ("error", "nccl")],
        ),
        (fake_torch(None, is_available=lambda: False), True, None, [("error", "torch")]),
        (fake_torch("13.0", is_available=lambda: False), True, None, [("error", "torch")]),
        (fake_torch("13.0", is_available=lambda: False), True, "", [("note", "torch")]),
        (fake_torch(None, is_available=lambda: False), False, None, [("note", "torch")]),
    ],
)
def test_torch_and_gpus(
    monkeypatch: pytest.MonkeyPatch, made: Any, driver: bool, hidden: str | None, expected: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: made)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi" if driver else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    found = levels(doctor.torch_state())
    assert set(expected) <= set(found)
    assert [row for row in found if row[0] == "error"] == [row for row in expected if row[0] == "error"]


def test_a_gpu_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fake_torch("13.0")
    made.ones = lambda *size, device: torch.full(size, 1.01)
    monkeypatch.setattr(doctor.importlib, "import_module", lambda name: made)
    assert ("error", "GPU 0") in levels(doctor.torch_state())


def test_a_slow_and_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    monkeypatch.setattr(doctor, "_disk_speed", lambda folder: (12.0, 0.2))
    found = list(doctor.disk_state(tmp_path / "runs" / "not made yet"))
    assert levels(found)[:2] == [("warning", "disk"), ("warning", "disk")]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("refusal", "level"), [(None, "warning"), (OSError(95, "Operation not supported"), "warning")])
def test_locks_that_do_not_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: OSError | None, level: str
) -> None:
    def opens(path: Path) -> int:
        if refusal:
            raise refusal
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr("mirg.locks.lock", opens)
    (found,) = doctor._locks(tmp_path)
    assert found.level == level
    monkeypatch.undo()
    os.close(lock(tmp_path))  # nothing is left locked


@pytest.mark.parametrize("outcome", [SelfTest(False, True, "cpu"), SelfTest(True, False, "cpu")])
def test_a_failed_self_test_is_an_error(monkeypatch: pytest.MonkeyPatch, outcome: SelfTest) -> None:
    monkeypatch.setattr(self_test, "compare_paths", lambda: outcome)
    assert levels(doctor.self_test()) == [("error", "self-test")]


def test_the_self_test_notices_wrong_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = packing.rope_positions
    monkeypatch.setattr(packing, "rope_positions", lambda model, prompt: 3 * positions(model, prompt))
    assert not self_test.compare_paths().same


def test_embedded_models_that_are_absent_or_damaged_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(load.SHIPPED, tmp_path / "mirg-tiny")
    (tmp_path / "mirg-tiny" / "recipe.yaml").write_text("stage: other")
    names = ("mirg-tiny", "another")
    monkeypatch.setattr(doctor, "EMBEDDED_MODELS", names)
    monkeypatch.setattr(load, "EMBEDDED_FOLDERS", {name: tmp_path / name for name in names})
    damaged, absent = doctor.embedded_models()
    assert (damaged.level, absent.level) == ("warning", "warning")
    assert "recipe.yaml" in damaged.text and "does not contain another" in absent.text and absent.remedy
