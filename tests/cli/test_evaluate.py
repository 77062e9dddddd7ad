from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.samples import DatasetWriter, Sample, Target

Mirg = Callable[..., Any]
RIGHT = "<think>hm</think><answer>Image-1: (100,100),(500,500)</answer>"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path / "data", name="small") as writer:
        for k in range(12):
            image = writer.add_image(Image.new("RGB", (32, 32), (k, 0, 0)), str(k))
            writer.add(
                Sample(
                    id=f"s{k}",
                    task="xy"[k % 2],
                    images=(image,),
                    question="Where?",
                    targets=(Target(image=1, box=(0.1, 0.1, 0.5, 0.5)),),
                )
            )
    return tmp_path / "data"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine that ``mirg evaluate`` loads, whatever model is named; ``good-N`` is right on N samples."""
    fake = ScriptedEngine(lambda request, settings: RIGHT)

    def load_engine(model: str, **options: object) -> ScriptedEngine:
        right = int(model.rpartition("-")[2])
        fake.name = fake.fingerprint = model
        fake.script = lambda request, settings: RIGHT if int(request.sample_id[1:]) < right else "hm"
        return fake

    monkeypatch.setattr("mirg.engines.load.load_engine", load_engine)
    return fake


def test_evaluate_and_compare(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def size(record, sample):\n    return 7.5\n")
    for right, metric in ((2, ()), (12, ("--metric", f"{tmp_path / 'mine.py'}:size"))):
        result = mirg("evaluate", f"good-{right}", data, "--out", tmp_path / f"e{right}", "--batch-size", 5, *metric)
        assert result.exit_code == 0, result.output
        assert "joint Acc@0.5" in result.output and "12/12" in result.stderr
        assert ("7.5 [7.5, 7.5]" in result.output) == bool(metric)
    assert json.loads((tmp_path / "e12" / "summary.json").read_text())["n"] == 12
    shown = mirg("compare", tmp_path / "e2", tmp_path / "e12")
    assert shown.exit_code == 0 and "e12 - e2" in shown.output and "chance" in shown.output
    assert "+83.3" in shown.output and "by task" in shown.output and "worse" not in shown.output
    assert mirg("compare", tmp_path / "e12", tmp_path / "e2").output.count("worse") == 5
    found = json.loads(mirg("compare", tmp_path / "e2", tmp_path / "e12", "--json").stdout)
    assert found["differences"][0]["overall"]["joint_accuracy"]["mean"] == pytest.approx(10 / 12)
    out = tmp_path / "table.json"
    assert mirg("compare", tmp_path / "e2", "--out", out).exit_code == 0
    assert json.loads(out.read_text())["differences"] == []


def test_sides_of_several_seeds(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    for name, right in (("a-0", 2), ("a-1", 3), ("b-0", 8), ("b-1", 12)):
        assert mirg("evaluate", f"m-{right}", data, "--out", tmp_path / name).exit_code == 0
    sides = [tmp_path / "a-0", tmp_path / "a-1", "--with", tmp_path / "b-0", tmp_path / "b-1"]
    shown = mirg("compare", *sides)
    assert "second - first" in shown.output and "pairs: b-0 - a-0; b-1 - a-1" in shown.output
    out = tmp_path / "sides.json"
    by_pattern = mirg("compare", tmp_path / "a-*", "--with", tmp_path / "b-*", "--json", "--out", out)
    assert json.loads(by_pattern.stdout) == json.loads(mirg("compare", "--json", *sides).stdout)
    assert json.loads(out.read_text())["sides"][1]["seeds"] == 2


def test_variants_are_evaluated_and_compared(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    arguments = ("evaluate", "good-7", data, "--out", tmp_path / "out")
    found = mirg(*arguments, "--permute", "--rescale", 0.5)
    assert found.exit_code == 0 and "rescale-0.5 - original" in found.stdout and "+0.0 [+0.0, +0.0]" in found.stdout
    assert "rescale-0.5: evaluated 12/12" in found.stderr and "it has one image" in found.stderr
    engine.asked.clear()
    again = mirg(*arguments)
    assert again.exit_code == 0 and "rescale-0.5 - original" in again.stdout and not engine.asked
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["robustness"]["differences"][0]["n"] == 12
    wrong = mirg(*arguments, "--rescale", 1)
    assert wrong.exit_code == 2 and "not 1" in wrong.stderr and not engine.asked


def test_again_is_resumed_and_another_is_refused(
    mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path
) -> None:
    arguments = ("evaluate", "good-3", data, "--out", tmp_path / "out", "--limit", 6, "--tasks", "x,y")
    assert mirg(*arguments).exit_code == 0
    engine.asked.clear()
    again = mirg(*arguments)
    assert again.exit_code == 0 and not engine.asked and "6 kept from before" in again.stderr
    other = mirg("evaluate", "good-4", data, "--out", tmp_path / "out", "--limit", 6, "--tasks", "x,y")
    assert other.exit_code == 2 and "another evaluation" in other.stderr
    forced = mirg("evaluate", "good-4", data, "--out", tmp_path / "out", "--limit", 6, "--tasks", "x,y", "--overwrite")
    assert forced.exit_code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tasks", "z"], "no sample of task z"),
        (["--batch-size", "0"], "--batch-size"),
        (["--limit", "0"], "limit"),
        (["--temperature", "-1"], "temperature"),
        (["--instructions", "loud"], "instructions"),
    ],
)
def test_errors(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path, options: list[str], says: str) -> None:
    result = mirg("evaluate", "good-1", data, "--out", tmp_path / "out", *options)
    assert result.exit_code == 2 and says in result.stderr
    assert not (tmp_path / "out").exists()


def test_folders_that_are_something_else(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    assert mirg("evaluate", "good-1", tmp_path, "--out", tmp_path / "out").exit_code == 2
    assert mirg("compare", data).exit_code == 2
    blocked = mirg("evaluate", "good-1", data, "--out", data / "card.json")
    assert blocked.exit_code == 2 and "card.json" in blocked.stderr


def test_a_broken_image_is_said(mirg: Mirg, data: Path, engine: ScriptedEngine, tmp_path: Path) -> None:
    next(iter(sorted((data / "images").iterdir()))).write_bytes(b"not an image")
    result = mirg("evaluate", "good-1", data, "--out", tmp_path / "out")
    assert result.exit_code == 0 and "1 samples could not be asked" in result.stderr
    assert "1 samples could not be asked" in mirg("compare", tmp_path / "out").stderr
