"""``mirg evaluate MODEL --bench NAME --root DIR``: one command from a folder of images to the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.faulty_api import FaultyApi, Settings
from fakes.migbench_tree import ROWS, WHOLE, Knowing, draw, revised, write_tree
from mirg.data.importers.migbench import load_annotations

Mirg = Callable[..., Any]
FILES = {"migbench": "MIG_data.json", "migbench-revised": "revised_MIG_bench.json"}


def table(out: Path) -> dict[str, Any]:
    return json.loads((out / "bench.json").read_text())


def asked(mirg: Mirg, api: FaultyApi, name: str, root: Path, out: Path, *options: object) -> Any:
    served = ("--endpoint", api.url, "--family", "qwen3-vl", "--concurrency", 8)
    return mirg("evaluate", "m", "--bench", name, "--root", root, "--out", out, *served, *options)


@pytest.mark.parametrize("name", ["migbench", pytest.param("migbench-revised", marks=pytest.mark.slow)])
def test_a_served_model_that_knows_the_truth(mirg: Mirg, api: FaultyApi, tmp_path: Path, name: str) -> None:
    """Over HTTP, with faults on the way: the server finds the item by the pictures and words that it is sent."""
    rows = ROWS if name == "migbench" else revised()
    root = write_tree(tmp_path / "tree", rows, FILES[name])
    api.settings = Settings(share=0.1, faults=("500", "half JSON"))
    api.reply = Knowing(load_annotations(root / FILES[name], revised=None).items)
    result = asked(mirg, api, name, root, tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "out")
    version = "original" if name == "migbench" else "revised"
    assert f"MIG-Bench ({version}), strict, percent" in result.output and "published for MIG-Bench" in result.output
    tasks = {task: row["acc@0.5"] for task, row in found["strict"]["tasks"].items()}
    inverted = 80.0 if name == "migbench" else 100.0  # one Common row of the original can never score
    assert tasks == {task: inverted if task == "common_object" else 100.0 for task in tasks} and len(tasks) == 10
    before = (tmp_path / "out" / "bench.json").read_bytes(), api.counts.requests
    assert asked(mirg, api, name, root, tmp_path / "out").exit_code == 0
    assert ((tmp_path / "out" / "bench.json").read_bytes(), api.counts.requests) == before
    page = mirg("report", tmp_path / "out")
    assert page.exit_code == 0 and f"MIG-Bench ({version}): strict, Acc@0.5" in (
        tmp_path / "out" / "report.html"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either a DATASET or --bench"),
        (["data", "--bench", "migbench"], "give either a DATASET or --bench"),
        (["data", "--root", "x", "--mode", "all"], "--root, --mode without --bench"),
        (["--bench", "mig-bench", "--root", "."], "no benchmark 'mig-bench'"),
        (["--bench", "migbench"], "needs --root"),
        (["--bench", "migbench", "--root", "."], "holds no MIG_data.json"),
    ],
)
def test_errors(mirg: Mirg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = mirg("evaluate", "mirg-tiny", *arguments, "--out", "out")
    assert result.exit_code == 2 and says in result.stderr and "hint:" in result.stderr


@pytest.mark.slow
def test_a_real_model_through_both_modes(mirg: Mirg, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "tree")
    for mode in ("poll", "all"):
        result = mirg(
            *("evaluate", "mirg-tiny", "--bench", "migbench", "--root", root, "--mode", mode, "--max-new-tokens", 40),
            *("--out", tmp_path / mode, *(("--against", tmp_path / "poll") if mode == "all" else ())),
        )
        assert result.exit_code == 0, result.output
        assert table(tmp_path / mode)["responses"]["used"] == len(ROWS)
    assert "against" in result.output


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_published_annotations(repository: Path, mirg: Mirg, api: FaultyApi, tmp_path: Path, name: str) -> None:
    """Drawn images under all published paths, and the published annotations, which are no part of the project."""
    folder = "mig_bench" if name == "migbench" else "mig_bench_revised"
    file = repository.parent / "shared" / "data" / folder / FILES[name]
    if not file.is_file():
        pytest.skip(f"{FILES[name]} is not beside the repository (it is not part of it)")
    rows = json.loads(file.read_text())
    draw(tmp_path, rows)
    truth = load_annotations(file, revised=None)
    api.reply = Knowing(truth.items)
    result = asked(mirg, api, name, tmp_path, tmp_path / "out", "--annotations", file)
    assert result.exit_code == 0, result.output
    found = table(tmp_path / "out")
    assert found["responses"]["used"] == found["items"] == len(truth.items)
    inverted = [defect.index for defect in truth.defects if defect.kind == "inverted_box"]
    assert inverted == ([7, 105, 126, 163, 512] if name == "migbench" else [])
    for protocol in ("strict", "strict-box"):
        for task, row in found[protocol]["tasks"].items():
            lost = len(inverted) if task == "common_object" else 0
            assert row["acc@0.5"] == pytest.approx(100 * (row["items"] - lost) / row["items"]), (protocol, task)
    api.reply = lambda body: WHOLE
    options = ("--annotations", file, "--prompts", "published", "--against", tmp_path / "out")
    assert asked(mirg, api, name, tmp_path, tmp_path / "whole", *options).exit_code == 0
    whole = table(tmp_path / "whole")
    if name == "migbench":
        assert round(whole["official"]["mean"]["acc@0.5"], 2) == 5.82
    assert whole["strict"]["mean"]["acc@0.5"] == 0.0 and whole["against"][0]["strict"]["mean"]["high"] < -90
