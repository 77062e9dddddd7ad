"""The GPU proof: its driver, what is kept of its results, and a rehearsal of every part."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def proof(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from _module("gpu_proof", repository, monkeypatch)


@pytest.fixture
def keep(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from _module("keep_gpu_proof", repository, monkeypatch)


def _module(name: str, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for folder in ("benchmarks", "tools"):
        monkeypatch.syspath_prepend(str(repository / folder))
    module = __import__(name)
    yield module
    del sys.modules[name]


def result(part: str, **values: Any) -> dict[str, Any]:
    """The file of a part as the driver writes it."""
    versions = {"device": "NVIDIA H100", "commit": "0123456789abcdef"}
    return {"part": part, "rehearsal": False, "date": "2026-12-01", "versions": versions} | values


TRAINED = {
    "recipe": "mirg-rl-7b-lora/sft",
    "overrides": ["accumulation=4", "steps=4"],
    "shape": "qwen2.5-vl-7b",
    "estimate": {"peak_mib": 30 * 1024},
    "memory": {"measured_peak_mib": 40 * 1024, "goal": 0.15, "reached": False},
    "seconds": {"step": 12.0, "rollout": 0.0, "update": 11.5, "rest": 0.5},
    "tokens_per_second": {"trained": 6000.0, "generated": None},
    "update": {"utilisation": 0.41, "goal": 0.4, "reached": True, "ceiling_flops_per_second": 7.9e14},
    "finite": True,
    "model": {"loads": True, "finite": True, "again_from_checkpoint_equal": True},
}


def test_a_part_that_fails_keeps_what_it_measured(proof: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    def fails(job: Any) -> None:
        job.report.add(memory=17)
        raise ZeroDivisionError("no such thing")

    monkeypatch.setitem(proof.PARTS, "sft7b", proof.Part(fails))
    assert proof._run_here("sft7b", tmp_path, True) == 1
    found = json.loads((tmp_path / "sft7b.json").read_text())
    assert found["memory"] == 17 and found["error"][-1] == "ZeroDivisionError: no such thing"
    assert "done" not in found and found["rehearsal"] is True


def test_a_part_is_stopped_at_its_limit(proof: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    """The real process of a part, killed while it imports torch; the driver writes the file in its place."""
    monkeypatch.setattr(proof, "LEAST", 0.0)
    monkeypatch.setattr(proof, "LIMIT", 0.3)
    assert proof._run("environment", tmp_path, False, float("inf")) is False
    assert json.loads((tmp_path / "environment.json").read_text())["error"].startswith("stopped after ")


def test_a_part_without_time_left_is_not_started(proof: ModuleType, tmp_path: Path, capsys: Any) -> None:
    import time

    assert proof._run("environment", tmp_path, False, time.monotonic() + proof.LEAST - 5) is False
    assert "environment: not started, 40 s are left" in capsys.readouterr().out.replace("39 s", "40 s")
    assert not (tmp_path / "environment.json").exists()


def test_nothing_is_measured_without_a_gpu(proof: ModuleType, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is available")
    monkeypatch.setattr(sys, "argv", ["gpu_proof.py", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        proof.main()
    assert "--rehearse runs the same code on this CPU" in capsys.readouterr().err


def test_eight_files_come_back_at_most(proof: ModuleType) -> None:
    assert len([name for name, part in proof.PARTS.items() if not part.optional]) == 8


@pytest.fixture
def pages(keep: ModuleType, tmp_path: Path) -> Path:
    for page, marks in ((keep.PAGE, keep.TABLE), (keep.README, keep.SENTENCE)):
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text(f"before\n{marks[0]}old{marks[1]}\nafter\n")
    (tmp_path / "docs/results").mkdir()
    return tmp_path


def kept_from(keep: ModuleType, root: Path, *found: dict[str, Any]) -> dict[str, Any]:
    """Keep ``found`` below ``root``; what the file then holds."""
    folder = root / "found"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for part in found:
        (folder / f"{part['part']}.json").write_text(json.dumps(part))
    keep.main([folder], root)
    return json.loads((root / keep.RESULTS).read_text())


def test_results_become_a_table_and_a_sentence(keep: ModuleType, pages: Path) -> None:
    parts = kept_from(keep, pages, result("sft7b", **TRAINED))["parts"]
    assert list(parts) == ["sft7b"]
    table = (pages / keep.PAGE).read_text()
    assert table.startswith("before\n") and table.endswith("\nafter\n") and "old" not in table
    assert "| peak memory, GiB (estimate of `--dry-run`) | 40 (30) | within 15%: not reached |" in table
    assert "| model FLOPs utilisation of the update | 41% of 790 TFLOP/s | at least 40%: reached |" in table
    assert "Run on 2026-12-01 on NVIDIA H100, commit `0123456789`." in table
    assert "on NVIDIA H100: SFT (40 GiB at its peak)." in (pages / keep.README).read_text()


@pytest.mark.parametrize(
    ("before", "after", "expected", "why"),
    [
        (TRAINED, {"error": "no room"}, "finite", "a failure replaces nothing that was measured"),
        ({"error": "no room"}, TRAINED, "finite", "a success replaces a failure"),
        ({"error": "no room"}, {"error": "no time"}, "no time", "the newest failure is kept"),
        (TRAINED, TRAINED | {"finite": False}, "NOT finite", "a newer success replaces an older one"),
    ],
)
def test_what_replaces_what(
    before: dict[str, Any], after: dict[str, Any], expected: str, why: str, keep: ModuleType, pages: Path
) -> None:
    kept_from(keep, pages, result("sft7b", **before))
    kept_from(keep, pages, result("sft7b", **after))
    assert f"| {expected} |" in (pages / keep.PAGE).read_text(), why


def test_a_part_that_was_cut_off_says_how_far_it_came(keep: ModuleType, pages: Path) -> None:
    cut = {name: value for name, value in TRAINED.items() if name in ("recipe", "overrides", "shape", "estimate")}
    kept_from(keep, pages, result("sft7b", **cut))
    assert "| `sft7b` | not measured | the part ended before memory was known |  |" in (pages / keep.PAGE).read_text()


def test_a_rehearsal_is_refused(keep: ModuleType, pages: Path) -> None:
    with pytest.raises(SystemExit, match="its numbers mean nothing"):
        kept_from(keep, pages, result("sft7b", **TRAINED) | {"rehearsal": True})
    assert not (pages / keep.RESULTS).exists()


def test_the_pages_show_what_is_kept(keep: ModuleType, repository: Path) -> None:
    """The page and the README were rendered from docs/results/gpu_proof.json."""
    file = repository / keep.RESULTS
    parts = json.loads(file.read_text())["parts"] if file.is_file() else {}
    assert keep.TABLE[0] + keep.table(parts) + keep.TABLE[1] in (repository / keep.PAGE).read_text()
    assert keep.SENTENCE[0] + keep.sentence(parts) + keep.SENTENCE[1] in (repository / keep.README).read_text()


@pytest.mark.slow
def test_every_part_is_rehearsed(repository: Path, tmp_path: Path, keep: ModuleType, proof: ModuleType) -> None:
    """All parts run to their end on a CPU, and what they write can be shown."""
    command = [sys.executable, "tools/gpu_proof.py", str(tmp_path), "--rehearse"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in proof.PARTS}
    assert [name for name, part in found.items() if not part.get("done")] == []
    assert "not measured" not in keep.table(found) and "NOT" not in keep.table(found)
    for stages in (found, found["qwen3vl8b"]):
        for name in ("sft7b", "grpo7b", "sft", "grpo"):
            if name in stages:
                assert stages[name]["model"] == {"loads": True, "finite": True, "again_from_checkpoint_equal": True}
    for name in ("update3b", "update7b"):
        assert found[name]["float32_two_layers"]["gradient_difference"] < 1e-5
    assert found["evaluate7b"]["equal_answers"] == [True, True]
