"""``mirg data`` on good input: what it writes and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.photographs import folder_of_photographs
from mirg.samples import DatasetFolder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photographs(tmp_path_factory.mktemp("photos"), 7)


def test_photos_check_build_check(mirg, photos: Path, tmp_path: Path) -> None:
    made = mirg("data", "photos", photos, tmp_path / "a", "--n", 12, "--side", 128)
    assert made.exit_code == 0
    assert "7 image files: 7 photographs, 0 copies, 0 rejected" in made.stdout
    assert "12 samples (difference 4, refer 4, region 4)" in made.stdout
    checked = mirg("data", "check", tmp_path / "a")
    assert (checked.exit_code, checked.stdout) == (0, "12 rows: 12 accepted, 0 rejected\n")
    built = mirg("trajectories", "build", tmp_path / "a", tmp_path / "b")
    assert built.exit_code == 0 and "12 rows: 12 verified trajectories" in built.stdout
    again = mirg("trajectories", "check", tmp_path / "b")
    assert again.exit_code == 0 and "12 rows: 12 trajectories pass, 0 samples have none" in again.stdout


def test_photos_options_and_json(mirg, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "q"
    result = mirg(
        "data",
        "photos",
        photos,
        out,
        "--n",
        4,
        "--side",
        96,
        "--square",
        "--tasks",
        "region",
        "--split",
        "test",
        "--json",
    )
    report = json.loads(result.stdout)
    assert report["samples"] == 4 and report["tasks"] == {"region": 4} and report["split"] == "test"
    assert report["photographs"]["files"] == 7 and report["rejected"] == 0
    assert {i.size for s in DatasetFolder.open(out).read() for i in s.images} == {(96, 96)}


def test_scenes(mirg, tmp_path: Path) -> None:
    args = (
        "data",
        "scenes",
        tmp_path / "s",
        "--n",
        6,
        "--split",
        "test",
        "--difficulty",
        "easy",
        "--tasks",
        "refer,none",
    )
    result = mirg(*args)
    assert result.exit_code == 0 and "6 samples (none 3, refer 3)" in result.stdout
    assert mirg(*args).exit_code == 2, "an existing dataset is refused"
    assert mirg(*args, "--overwrite").exit_code == 0


def test_check_as_json(mirg, tmp_path: Path) -> None:
    mirg("data", "scenes", tmp_path / "s", "--n", 3)
    result = mirg("data", "check", tmp_path / "s", "--json")
    report = json.loads(result.stdout)
    assert (report["rows"], report["accepted"], report["rejected"], report["rejections"]) == (3, 3, 0, [])
