"""``mirg data split``, ``mix`` and ``filter`` at the command line: what they print, and how they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from fakes.commands import invoke
from mirg.samples import DatasetFolder

run = partial(invoke, "data")


@pytest.fixture
def source(dataset: Callable[..., DatasetFolder]) -> Path:
    rows = [{"images": (k, k + 50), "task": "region" if k % 2 else "refer"} for k in range(20)]
    return dataset("source", rows).root


def test_split(source: Path, tmp_path: Path) -> None:
    said = run("split", source, tmp_path / "out", "--parts", "train=0.5,test=0.5", "--seed", 2)
    assert said.exit_code == 0 and "% (50.0 % asked)" in said.stdout
    report = json.loads(
        run("split", source, tmp_path / "two", "--parts", "train=1,test=1", "--seed", 2, "--json").stdout
    )
    assert report["samples"] == 20 == sum(part["samples"] for part in report["parts"].values())
    for name, part in report["parts"].items():
        assert len(DatasetFolder.open(tmp_path / "out" / name)) == part["samples"]
    assert run("split", source, tmp_path / "out").exit_code == 2, "an existing folder is refused"


def test_split_warns(source: Path, tmp_path: Path) -> None:
    said = run("split", source, tmp_path / "out", "--parts", "train=1,tiny=0.0001")
    assert said.exit_code == 0 and "warning: the part 'tiny' is empty" in said.stderr


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    """Ten scenes of three cameras in separate folders, imported from COCO without a copy of the images."""
    images, notes = [], []
    for number in range(30):
        path = f"scenes/hall {number // 3}/cam{number % 3}.png"
        (tmp_path / "img" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 30), (8 * number, 90, 200)).save(tmp_path / "img" / path)
        images.append({"id": number, "file_name": path, "width": 40 + number, "height": 30})
        notes.append({"id": number, "image_id": number, "category_id": 1, "bbox": [2, 3, 20, 10], "iscrowd": 0})
    document = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "crate"}]}
    (tmp_path / "instances.json").write_text(json.dumps(document))
    assert (
        run("import", "coco", tmp_path / "instances.json", tmp_path / "coco", "--root", tmp_path / "img").exit_code == 0
    )
    return tmp_path / "coco"


@pytest.mark.parametrize("pattern", ["scenes/*/", r"scenes/([^/]+)/", r"^scenes/(hall \d+)/"])
def test_split_by_folders(cameras: Path, tmp_path: Path, pattern: str) -> None:
    args = ("split", cameras, tmp_path / "out", "--parts", "train=0.6,test=0.4", "--group-by", pattern)
    report = json.loads(run(*args, "--seed", 1, "--json").stdout)
    assert report["samples"] == 30 and report["group_by"] == pattern and report["largest_group"] == 3
    parts = {name: DatasetFolder.open(tmp_path / "out" / name) for name in ("train", "test")}
    scenes = {name: {s.images[0].path.split("/")[2] for s in part} for name, part in parts.items()}
    assert len(scenes["train"]) + len(scenes["test"]) == 10 and all(scenes.values())


def test_split_refuses_what_has_no_group(cameras: Path, tmp_path: Path) -> None:
    said = run("split", cameras, tmp_path / "out", "--group-by", "hall *[0-4]/")
    assert said.exit_code == 2 and "does not match hall" in said.stderr and "--group-by" in said.stderr
    said = run("split", cameras, tmp_path / "out", "--group-by", "(hall [0-4])/", "--parts", "a=1")
    assert said.exit_code == 0 and "15 samples" in said.stdout and "no group: the path of image" in said.stdout
    rows = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert len(rows) == 15 and json.loads(rows[0])["field"] == "group"
    kept = run("split", cameras, tmp_path / "kept", "--group-by", "(hall [0-4])/", "--ungrouped", "keep")
    assert kept.exit_code == 0 and "15 samples have no" in kept.stderr
    assert run("split", cameras, tmp_path / "no", "--ungrouped", "keep").exit_code == 2
    said = run("split", cameras, tmp_path / "no", "--group-by", "scene")
    assert said.exit_code == 2 and "exactly one is needed" in said.stderr


def test_mix(source: Path, tmp_path: Path) -> None:
    odd = source.rename(source.with_name("a=b"))
    said = run("mix", f"{odd}=2", f"{odd}=1", tmp_path / "out", "--n", 30)
    assert said.exit_code == 0
    assert said.stdout.startswith("a=b: 20 samples of 20 rows\na=b-2: 10 samples of 20 rows\n30 samples: ")
    assert run("check", tmp_path / "out").exit_code == 0
    source = odd.rename(source)
    report = json.loads(run("mix", source, tmp_path / "again", "--n", 25, "--epoch", 1, "--json").stdout)
    assert (report["samples"], report["repeated"], report["epoch"]) == (25, 5, 1)


def test_filter(source: Path, tmp_path: Path) -> None:
    said = run("filter", source, tmp_path / "out", "--task", "region", "--limit", 4, "--look", "header")
    assert said.exit_code == 0
    assert "dropped 10: task\ndropped 6: over the limit\n20 rows: 4 kept (region 4), 0 rejected" in said.stdout
    report = json.loads(run("filter", source, tmp_path / "two", "--not-task", "region", "--json").stdout)
    assert report["kept"] == 10 and report["dropped"] == {"task": 10}


def test_filter_leaves_out_what_a_benchmark_holds(
    source: Path, dataset: Callable[..., DatasetFolder], tmp_path: Path
) -> None:
    """Sample k of the source shows images k and k + 50."""
    one = dataset("one", [{"images": (3, 300)}, {"images": (52,)}]).root
    two = dataset("two", [{"images": (301, 59)}]).root
    args = ("filter", source, tmp_path / "out", "--without-leakage", one, "--without-leakage", two, "--near", -1)
    said = run(*args, "--not-task", "refer")
    assert said.exit_code == 0 and "20 rows: 8 kept (region 8), 0 rejected" in said.stdout
    assert "Image-1 (images/p3.png) is Image-1 (images/p3.png) of sample s0 of one" in said.stdout
    assert "dropped 1: leakage: shared with one\ndropped 1: leakage: shared with two" in said.stdout
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(r["id"], r["row"], r["field"]) for r in rows] == [("s3", 4, "images.0"), ("s9", 10, "images.1")]
    report = json.loads(run(*args, "--overwrite", "--json").stdout)
    assert report["kept"] == 17 and [leak["id"] for leak in report["leaks"]] == ["s2", "s3", "s9"]
    for benchmark in (one, two):
        clean = run("check", tmp_path / "out", "--against", benchmark, "--near", -1)
        assert clean.exit_code == 0 and "0 images shared" in clean.stdout
    dirty = run("check", source, "--against", one, "--near", -1)
    assert dirty.exit_code == 1 and "--without-leakage" in dirty.stdout


def test_samples_without_a_group_are_counted_for_each_dataset(source: Path, dataset: Callable, tmp_path: Path) -> None:
    one = dataset("one", [{"images": (300,)}, {"images": (301,), "meta": {"scene": "x"}}]).root
    said = run("filter", source, tmp_path / "out", "--without-leakage", one, "--group-by", "meta.scene")
    assert f"20 samples of {source} have no meta.scene" in said.stderr and f"1 samples of {one} have" in said.stderr


@pytest.mark.parametrize("option", [("--near", 2), ("--group-by", "meta.scene"), ("--workers", 2)])
def test_an_option_of_leakage_needs_a_benchmark(source: Path, tmp_path: Path, option: tuple) -> None:
    said = run("filter", source, tmp_path / "out", *option)
    assert said.exit_code == 2 and f"{option[0]} needs --without-leakage" in said.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--max-tokens", 5), "max_tokens needs a family"),
        (("--max-tokens", 5, "--family", "qwen2.5"), "unknown model family"),
        (("--min-size", 2), "--min-size 2.0: "),
        (("--pass-rate", "0.5"), "--pass-rate 0.5: "),
        (("--pass-rate", "a,b"), "--pass-rate a,b: "),
        (("--min-images", 3, "--max-images", 2), "images: the least"),
        (("--task", "other"), "no sample of"),
    ],
)
def test_filter_refuses(source: Path, tmp_path: Path, args: tuple, said: str) -> None:
    result = run("filter", source, tmp_path / "out", *args)
    assert result.exit_code == 2 and said in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("weight", "said"), [("=x", "is not a number"), ("=0", "is not positive"), ("/nowhere=1", "is not a folder")]
)
def test_mix_refuses(source: Path, tmp_path: Path, weight: str, said: str) -> None:
    result = run("mix", f"{source}{weight}", tmp_path / "out")
    assert result.exit_code == 2 and said in result.stderr
