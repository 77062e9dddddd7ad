"""docs/how-to/your-own-data.md, command by command: boxes, photographs and MIG-Bench to a short SFT."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fakes.photographs import folder_of_photographs
from mirg.cli.main import app
from mirg.samples import DatasetFolder

pytestmark = pytest.mark.slow

STEPS = re.compile(r"```\n(.*?)```", re.DOTALL)


def commands(repository: Path, section: str, **values: str) -> list[list[str]]:
    """The commands of the first block of a section, comments left out, placeholders filled in."""
    text = (repository / "docs" / "how-to" / "your-own-data.md").read_text(encoding="utf-8")
    found = STEPS.search(text.split(f"## {section}")[1].split("\n## ")[0])
    assert found, section
    lines = [shlex.split(line, comments=True) for line in found[1].splitlines()]
    return [[values.get(word, word) for word in line] for line in lines if line]


def run(line: list[str]) -> str:
    assert line[0] == "mirg", line
    result = CliRunner().invoke(app, line[1:], catch_exceptions=False)
    assert result.exit_code == 0, (line, result.output)
    return result.output


def finished(run_folder: Path, steps: int = 20) -> bool:
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    return rows[-1]["step"] == steps


def test_coco(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy
    import sys

    first, *rest = commands(repository, "Boxes on single images (COCO)")
    monkeypatch.setattr(sys, "argv", [str(repository / first[1]), str(tmp_path / first[2])])
    runpy.run_path(str(repository / first[1]), run_name="__main__")
    monkeypatch.chdir(tmp_path)
    said = "".join(run(line) for line in rest)
    assert "2,000 rows: 2,000 used, 0 refused" in said
    assert len(DatasetFolder.open("data/composed")) == 2000
    reasoned = DatasetFolder.open("data/reasoned")
    assert len(reasoned) >= 0.95 * 2000
    assert len(reasoned.card.tasks) == 12
    assert finished(Path("runs/own"))


def test_photographs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of_photographs(tmp_path / "photos", 40)
    monkeypatch.chdir(tmp_path)
    for line in commands(repository, "Photographs without labels", PHOTOS=str(folder)):
        run(line)
    assert len(DatasetFolder.open("data/photos-reasoned")) > 200
    assert finished(Path("runs/photos"))


def test_migbench(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real annotations; coloured images replace those of the benchmark, which are not there."""
    file = repository.parent / "shared" / "data" / "mig_bench" / "MIG_data.json"
    if not file.is_file():
        pytest.skip("MIG-Bench's annotations are not on this machine")
    rng = np.random.default_rng(0)
    for path in sorted({path for row in json.loads(file.read_text()) for path in row["images"]}):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        kind = "PNG" if path.endswith(".png") else "JPEG"
        Image.fromarray(pixels).resize((96, 72)).save(tmp_path / path, kind)
    monkeypatch.chdir(tmp_path)
    names = {"MIG_data.json": str(file), "FOLDER": str(tmp_path)}
    said = "".join(run(line) for line in commands(repository, "A benchmark's annotations (MIG-Bench)", **names))
    assert "4,295 rows: 4,286 used, 9 refused" in said
    assert len(DatasetFolder.open("data/migbench")) == 4286
    assert finished(Path("runs/migbench"))
