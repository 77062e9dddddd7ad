"""Every executor gives the same dataset, and memory does not grow with the rows (a benchmark measures promise 13)."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.annotated import write_objects
from fakes.imports import write_case
from mirg.data.compose.build import compose
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.executors import ExecutorName, executor
from mirg.samples.ids import TextSet
from mirg.storage import folder_manifest


def made(case: Path, out: Path, name: ExecutorName, look: str) -> tuple[dict[str, bytes], ImportReport]:
    options = ImportOptions(root=str(case.parent), look=look)  # type: ignore[arg-type]
    with executor(name, workers=2) as workers:
        report = import_dataset("mgrounding", case, out, options, executor=workers, listed=100)
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}, report


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hundred rows, more than two parts of work; some are broken, some name an image that is not there."""
    path = write_case(tmp_path_factory.mktemp("in"), rows=30, images=2)
    rows = json.loads(path.read_text())
    many = [{**row, "id": f"{row['id']}-{k}"} for k in range(20) for row in rows]
    many[7]["images"] = ["photos/absent.png", "photos/0-1.png"]
    many[300] = {"id": "broken"}
    many[301]["id"] = many[5]["id"]
    path.write_text(json.dumps(many))
    return path


@pytest.mark.parametrize(
    "name",
    [
        "processes",
        pytest.param(
            "ray",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: mirg[ray]"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("look", ["none", "hash"])
def test_executors_give_the_same_dataset(case: Path, tmp_path: Path, name: ExecutorName, look: str) -> None:
    local, report = made(case, tmp_path / "local" / "data", "local", look)
    other, again = made(case, tmp_path / "other" / "data", name, look)
    assert other["samples.jsonl"] == local["samples.jsonl"]
    assert other["rejected.jsonl"] == local["rejected.jsonl"]
    assert json.loads(other["card.json"])["digest"] == json.loads(local["card.json"])["digest"]
    ours, theirs = (told.as_dict() | {"out": ""} for told in (report, again))
    assert (
        ours == theirs and report.rows == 600 and report.renamed == 1 and report.refused == (2 if look == "hash" else 1)
    )


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: mirg[ray]")
def test_composing_on_ray_gives_the_same_files(tmp_path: Path) -> None:
    source = write_objects(tmp_path / "objects", 20)
    recipe = ComposeRecipe(source=str(source.root), n=24, side=96)
    compose(recipe, tmp_path / "local" / "data")
    with executor("ray", 2) as workers:
        compose(recipe, tmp_path / "ray" / "data", executor=workers)
    assert folder_manifest(tmp_path / "ray" / "data") == folder_manifest(tmp_path / "local" / "data")


@pytest.mark.slow
def test_hash_seeds_change_nothing(case: Path, tmp_path: Path) -> None:
    found = set()
    for seed in ("1", "2"):
        out = tmp_path / seed / "data"
        out.parent.mkdir()
        command = [sys.executable, "-m", "mirg.cli.main", "data", "import", "mgrounding", str(case), str(out)]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([*command, "--look", "none"], capture_output=True, text=True, check=True, env=environment)
        said = done.stdout.replace(str(out), "")
        found.add((said, (out / "samples.jsonl").read_bytes(), (out / "rejected.jsonl").read_bytes()))
    assert len(found) == 1


@given(st.lists(st.text(max_size=4), max_size=40))
def test_a_set_of_texts(texts: list[str]) -> None:
    ours, known = TextSet(), set[str]()
    for text in texts:
        assert (text in ours) == (text in known)
        assert ours.add(text) == (text not in known)
        known.add(text)
        assert text in ours and len(ours) == len(known)


def test_a_set_of_texts_is_small() -> None:
    import tracemalloc

    tracemalloc.start()
    ours = TextSet()
    for k in range(200_000):
        ours.add(f"group_grounding_{k:07d}-3")
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(ours) == 200_000
    assert grown < 200_000 * 8 + 65_536 * 260, "a bucket of eight bytes a text, 65,536 buckets at most"


PEAK = r"""
import pathlib, re, sys
sys.path.insert(0, sys.argv[1])
from data_rows import write_rows
from mirg.data.importers.run import import_dataset
from mirg.data.importers.raw import ImportOptions
folder = pathlib.Path(sys.argv[2])
def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
for count in (2_000, 12_000):
    write_rows(folder / "rows.json", count)
    options = ImportOptions(root=str(folder), look="none")
    import_dataset("mgrounding", folder / "rows.json", folder / "data", options, overwrite=True)
    print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, repository: Path) -> None:
    """Ten thousand rows more, 22 MB: a few megabytes for ids and the names of images."""
    command = [sys.executable, "-c", PEAK, str(repository / "benchmarks"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = (float(line) for line in done.stdout.split())
    assert many - few < 25 and many < 200, done.stdout


@pytest.mark.slow
def test_the_benchmark_runs(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/data_scale.py", "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert {"ratio", "unit", "ours", "theirs", "n", "spread", "settings", "versions"} <= result.keys()
    assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"])
    assert result["compared"]["same_lines"] and result["whole"]["samples"] > result["whole"]["rows"] == 4000
    assert result["whole"]["rss_mib"] < 1024
