"""``mirg data check``: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mirg as package
from fakes.datasets import edit_rows, row, write_rows
from mirg.samples import DatasetFolder

TOKENIZER = Path(package.__file__).parent / "models" / "mirg-tiny" / "tokenizer.json"


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    return write_rows(tmp_path / "data", [row(f"s{k}", [k, k + 1]) for k in range(4)])


@pytest.fixture
def benchmark(tmp_path: Path) -> DatasetFolder:
    return write_rows(tmp_path / "bench", [row("b", [2, 50])])


def warned(dataset: DatasetFolder) -> DatasetFolder:
    return edit_rows(dataset, lambda rows: rows[1]["targets"][0].update(box=[0, 0, 1, 1]))


def test_a_good_dataset_in_one_line(mirg, dataset: DatasetFolder) -> None:
    result = mirg("data", "check", dataset.root)
    assert (result.exit_code, result.stdout) == (0, "4 rows: 4 accepted, 0 rejected\n")


def test_rejections_end_with_1(mirg, dataset: DatasetFolder) -> None:
    edit_rows(dataset, lambda rows: rows[2].update(question="Where is <image>?"))
    result = mirg("data", "check", dataset.root)
    assert result.exit_code == 1
    assert "samples.jsonl:3 (sample s2): question: holds '<image>'" in result.stdout
    assert "4 rows: 3 accepted, 1 rejected" in result.stdout


def test_warnings_end_with_1_only_where_strict(mirg, dataset: DatasetFolder) -> None:
    warned(dataset)
    plain = mirg("data", "check", dataset.root)
    assert plain.exit_code == 0
    assert "warning: row 2 (sample s1): targets.0.box: is 100.0 % of images/p2.png" in plain.stdout
    assert "1 warnings: whole_image_box 1" in plain.stdout
    assert mirg("data", "check", dataset.root, "--strict").exit_code == 1
    assert mirg("data", "check", dataset.root, "--strict", "--max-area", 1.0).exit_code == 0


def test_leakage_ends_with_1_unless_allowed(mirg, dataset: DatasetFolder, benchmark: DatasetFolder) -> None:
    args = ("data", "check", dataset.root, "--against", benchmark.root)
    result = mirg(*args)
    assert result.exit_code == 1
    assert "sample s1: Image-2 (images/p2.png) is Image-1 (images/p2.png) of sample b of bench" in result.stdout
    assert "against bench: 1 images shared, 0 pairs look alike" in result.stdout
    assert mirg(*args, "--allow-leakage").exit_code == 0
    assert "looks were not compared" in mirg(*args, "--look", "none").stdout
    assert "looks were not compared" in mirg(*args, "--near", -1).stdout
    assert "looks were not compared" not in mirg(*args, "--near", 0).stdout
    free = mirg("data", "check", benchmark.root, "--against", dataset.root, "--against", benchmark.root, "--json")
    assert {shared["dataset"] for shared in json.loads(free.stdout)["shared_images"]} == {"data", "bench"}


def test_processes_print_the_same(mirg, dataset: DatasetFolder, benchmark: DatasetFolder) -> None:
    edit_rows(warned(dataset), lambda rows: rows[2].update(id="s0"))
    args = ("data", "check", dataset.root, "--against", benchmark.root, "--family", "qwen3-vl")
    local, spread = (mirg(*args, "--executor", name, "--workers", 2) for name in ("local", "processes"))
    assert (spread.exit_code, spread.stdout) == (local.exit_code, local.stdout) and local.exit_code == 1
    assert "id was used by an earlier row" in local.stdout


@pytest.mark.parametrize("look", ["none", "header", "hash", "decode"])
def test_levels_of_looking(mirg, dataset: DatasetFolder, look: str) -> None:
    """A file cut in its middle: its header is good, its digest and its pixels are not."""
    path = dataset.root / "images" / "p2.png"
    path.write_bytes(path.read_bytes()[:400])
    result = mirg("data", "check", dataset.root, "--look", look)
    assert result.exit_code == (0 if look in ("none", "header") else 1)


def test_lengths(mirg, dataset: DatasetFolder) -> None:
    args = ("data", "check", dataset.root, "--look", "none", "--family", "qwen2.5-vl,glm-v")
    result = mirg(*args)
    assert result.exit_code == 0 and "Tokens per sample, text estimated" in result.stdout
    assert "qwen2.5-vl" in result.stdout and "glm-v" in result.stdout
    report = json.loads(mirg(*args, "--tokenizer", TOKENIZER, "--max-tokens", 64, "--json").stdout)
    assert [found["family"] for found in report["lengths"]] == ["qwen2.5-vl", "glm-v"]
    assert report["lengths"][0]["text"] == "counted by tokenizer.json" and report["warned_by"] == {"too_long": 8}
    assert len(report["lengths"][0]["longest"]) == 4 and report["lengths"][0]["max"] >= report["lengths"][0]["p50"] > 64


def test_json_keeps_what_scripts_read(mirg, dataset: DatasetFolder) -> None:
    warned(dataset)
    report = json.loads(mirg("data", "check", dataset.root, "--json").stdout)
    assert (report["rows"], report["accepted"], report["rejected"], report["tasks"]) == (4, 4, 0, {"refer": 4})
    assert report["rejections"] == [] and report["warned"] == 1
    assert report["warnings"][0]["kind"] == "whole_image_box" and report["warnings"][0]["hint"]
    assert report["histograms"]["all"]["images_per_sample"] == {"2": 4} and report["shared_images"] == []


def test_the_page(mirg, dataset: DatasetFolder, benchmark: DatasetFolder, tmp_path: Path) -> None:
    warned(dataset)
    page = tmp_path / "page.html"
    args = ("data", "check", dataset.root, "--against", benchmark.root, "--family", "qwen3-vl", "--page", page)
    result = mirg(*args)
    assert result.exit_code == 1 and f"page: {page}" in result.stdout
    html = page.read_text(encoding="utf-8")
    for words in ("Check of data", "1 images are shared with a benchmark", "whole image box", "qwen3-vl", "√"):
        assert words in html, words
    assert str(tmp_path) not in html, "a page may be passed on"
    mirg(*args, "--json")
    assert page.read_text(encoding="utf-8") == html, "the same data give the same page"
    edit_rows(dataset, lambda rows: (rows[0]["images"][0].pop("width"), rows[0]["images"][0].pop("height")))
    edit_rows(dataset, lambda rows: rows[3]["images"][0].update(width=9000, height=10))
    mirg(*args, "--look", "none")
    assert "<td>0</td><td>2</td></tr>" in page.read_text(encoding="utf-8"), "none is too long, two are not counted"


@pytest.mark.parametrize(
    ("args", "words", "why"),
    [
        (("--family", "qwen4"), "unknown model family 'qwen4'", "no such family"),
        (("--family", "mirg-tiny"), "its recipe sets them", "no published processor"),
        (("--max-tokens", "9"), "--max-tokens needs a model family", "would do nothing"),
        (("--max-pixels", "9"), "--max-pixels needs a model family", "would do nothing"),
        (("--family", "qwen3-vl", "--max-pixels", "9"), "at least 65536 pixels", "no image can be so small"),
        (("--family", "qwen3-vl", "--tokenizer", "no.json"), "no tokenizer no.json", "no such file"),
        (("--against", "nowhere"), "nowhere is not a folder", "a wrong path is no proof"),
        (("--near", "9"), "Invalid value for '--near'", "too far to search"),
        (("--look", "pixels"), "Invalid value for '--look'", "no such level"),
        (("--executor", "threads"), "Invalid value for '--executor'", "no such executor"),
    ],
)
def test_options_that_cannot_be(mirg, dataset: DatasetFolder, args: tuple[str, ...], words: str, why: str) -> None:
    result = mirg("data", "check", dataset.root, *args)
    assert result.exit_code == 2, why
    assert words in " ".join(result.stderr.replace("│", " ").split()), why


def test_what_is_printed_is_bounded_and_clean(mirg, tmp_path: Path) -> None:
    rows = [row(f"s{k}\x1b[31m", [1], targets=[{"image": 1, "box": (0, 0, 1, 1), "label": "x"}]) for k in range(30)]
    folder = write_rows(tmp_path / "d", rows)
    result = mirg("data", "check", folder.root)
    assert result.stdout.count("warning: ") == 20 and "… and 10 more" in result.stdout
    assert "\x1b" not in result.stdout
