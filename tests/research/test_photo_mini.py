"""photo-mini and its training sets: no photograph is in two of them, and the same folder gives the same files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fakes.photographs import folder_of_photographs
from mirg.data.compose.photos.pool import PHOTO_TASKS
from mirg.samples import DatasetFolder
from research.photo_mini import PHOTO_MINI_NAME, main


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photographs, which are wider than high, and a file that is no image."""
    root = folder_of_photographs(tmp_path_factory.mktemp("photos"), 12, size=(160, 120))
    (root / "broken.png").write_bytes(b"no image")
    return root


def made(photos: Path, out: Path, *words: str) -> dict[str, DatasetFolder]:
    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, [str(photos), str(out), "--train", "9", "--rl", "9", *words])
    assert done.exit_code == 0, done.output
    return {name: DatasetFolder.open(out / name) for name in ("train", "rl", "test")}


def photographs(folder: DatasetFolder) -> set[str]:
    return {name for sample in folder for name in sample.meta["photos"]}


def test_three_datasets(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = made(photos, tmp_path / "one", "--per-task", "2", "--seed", "3")
    used = {name: photographs(folder) for name, folder in found.items()}
    assert sum(map(len, used.values())) == len(set.union(*used.values())) and min(map(len, used.values())) > 1
    test = found["test"]
    assert Counter(sample.task for sample in test) == dict.fromkeys(PHOTO_TASKS, 2)
    assert test.card.name == PHOTO_MINI_NAME and not test.verify() and "broken.png" in caplog.text
    assert {max(image.width, image.height) for sample in test for image in sample.images} <= set(range(161))
    assert not {sample.id for sample in found["train"]} & {sample.id for sample in found["rl"]}

    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(photos.rglob("photo*.png"), reverse=True)):
        (renamed / f"{number}.png").write_bytes(path.read_bytes())
    again = made(renamed, tmp_path / "two", "--per-task", "2", "--seed", "3")
    assert {name: folder.card.digest for name, folder in again.items()} == {
        name: folder.card.digest for name, folder in found.items()
    }
    other = made(photos, tmp_path / "other", "--per-task", "2", "--seed", "4")
    assert other["test"].card.digest != test.card.digest
    assert not photographs(other["test"]) & (used["train"] | used["rl"]), "the seed does not decide the split"


def test_too_few_photographs(tmp_path: Path) -> None:
    photos = folder_of_photographs(tmp_path / "photos", 2, size=(160, 120))
    app = typer.Typer()
    app.command()(main)
    refused = CliRunner().invoke(app, [str(photos), str(tmp_path / "out")])
    assert refused.exit_code == 2 and "too few photographs: 2" in refused.stderr and "60 or more" in refused.stderr
