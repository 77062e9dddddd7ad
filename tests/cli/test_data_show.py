"""``mirg data show``: a page of a dataset, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.datasets import edit_rows, row, write_rows
from mirg.samples import DatasetFolder


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    return write_rows(tmp_path / "data", [row(f"s{k}", [k, k + 1], task="ab"[k % 2]) for k in range(6)])


def test_the_page_lies_in_the_dataset(mirg, dataset: DatasetFolder) -> None:
    result = mirg("data", "show", dataset.root)
    page = dataset.root / "sheet.html"
    assert result.exit_code == 0 and f"6 of 6 samples: {page}" in result.stdout
    html = page.read_text(encoding="utf-8")
    assert "Where is s3?" in html and str(dataset.root) not in html
    mirg("data", "show", dataset.root)
    assert page.read_text(encoding="utf-8") == html, "the same data give the same page"
    assert mirg("data", "check", dataset.root).exit_code == 0, "the dataset is still one"


def test_some_samples_elsewhere(mirg, dataset: DatasetFolder, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "p.html"
    result = mirg("data", "show", dataset.root, "--out", out, "--n", 2, "--task", "a", "--seed", 3)
    assert "2 of 3 samples" in result.stdout and not (dataset.root / "sheet.html").exists()
    assert "2 of 3 samples of the task a" in out.read_text(encoding="utf-8")


def test_an_unknown_task_names_those_there_are(mirg, dataset: DatasetFolder) -> None:
    result = mirg("data", "show", dataset.root, "--task", "c")
    assert result.exit_code == 2 and "no sample of the task 'c'" in result.stderr and "a, b" in result.stderr


def test_rows_that_cannot_be_read_are_said(mirg, dataset: DatasetFolder) -> None:
    edit_rows(dataset, lambda rows: rows[0].pop("question"))
    result = mirg("data", "show", dataset.root)
    assert "5 of 5 samples; 1 rows cannot be read" in result.stdout
    assert "1 rows cannot be read" in (dataset.root / "sheet.html").read_text(encoding="utf-8")
