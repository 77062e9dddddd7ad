"""``mirg data`` on good input: what it writes and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.photographs import folder_of_photographs
from mirg.data.scenes.generate import write_scenes
from mirg.data.scenes.world import load_world
from mirg.samples import DatasetFolder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_photographs(tmp_path_factory.mktemp("photos"), 7)


def test_photos_check_build_check(mirg, photos: Path, tmp_path: Path) -> None:
    made = mirg("data", "photos", photos, tmp_path / "a", "--n", 12, "--side", 128)
    assert made.exit_code == 0
    assert "7 image files: 7 photographs, 0 copies, 0 rejected" in made.stdout
    assert "from 6 photographs of the train split" in made.stdout and "odd_one_out 1" in made.stdout
    checked = mirg("data", "check", tmp_path / "a")
    assert (checked.exit_code, checked.stdout) == (0, "12 rows: 12 accepted, 0 rejected\n")
    built = mirg("trajectories", "build", tmp_path / "a", tmp_path / "b")
    assert built.exit_code == 0 and "12 rows: 12 verified trajectories" in built.stdout
    again = mirg("trajectories", "check", tmp_path / "b")
    assert again.exit_code == 0 and "12 rows: 12 trajectories pass, 0 samples have none" in again.stdout


def test_photos_options_and_json(mirg, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "q"
    options = ["--n", "4", "--side", "96", "--square", "--tasks", "region", "--split", "test", "--json"]
    result = mirg("data", "photos", photos, out, *options)
    report = json.loads(result.stdout)
    assert report["samples"] == 4 and report["tasks"] == {"region": 4} and report["split"] == "test"
    assert report["photographs"]["files"] == 7 and report["rejected"] == 0
    assert {i.size for s in DatasetFolder.open(out).read() for i in s.images} == {(96, 96)}


def test_scenes(mirg, tmp_path: Path) -> None:
    options = ["--n", "6", "--split", "test", "--difficulty", "easy", "--tasks", "refer,none"]
    args = ("data", "scenes", tmp_path / "s", *options)
    result = mirg(*args)
    assert result.exit_code == 0 and "6 samples (none 3, refer 3)" in result.stdout
    assert mirg(*args).exit_code == 2, "an existing dataset is refused"
    assert mirg(*args, "--overwrite").exit_code == 0


def test_scenes_of_the_world_of_a_recipe(mirg, tmp_path: Path) -> None:
    """What ``mirg demo`` trains on can be made by hand."""
    by_hand = mirg("data", "scenes", tmp_path / "s", "--n", 20, "--world", "tiny/world")
    assert by_hand.exit_code == 0, by_hand.output
    world = load_world("tiny/world")
    demo = write_scenes(tmp_path / "demo", 20, split="train", config=world)
    assert DatasetFolder.open(tmp_path / "s").card.digest == demo.card.digest
    mine = tmp_path / "mine.yaml"
    mine.write_text("world: {side: 64, images: [2, 2]}\nanything: else\n")
    assert mirg("data", "scenes", tmp_path / "m", "--n", 4, "--tasks", "refer", "--world", mine).exit_code == 0
    assert {i.size for s in DatasetFolder.open(tmp_path / "m").read() for i in s.images} == {(64, 64)}


@pytest.mark.parametrize(
    ("args", "said", "why"),
    [
        (("--world", "tiny/wrld"), "did you mean 'tiny/world'?", "no such recipe"),
        (("--world", "tiny/sft"), "tiny/sft has no world block", "a recipe without a world"),
        (("--world", "bad.yaml"), "unknown recipe key world.sid", "a key that does not exist"),
        (("--world", "worse.yaml"), "world.side", "a value that cannot be"),
        (("--world", "tiny/world", "--difficulty", "medium"), "give one of them", "two worlds"),
        (("--difficulty", "harder"), "one of easy, medium, hard", "no such preset"),
    ],
)
def test_a_world_that_cannot_be(
    args: tuple[str, ...], said: str, why: str, mirg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("world: {sid: 64}\n")
    Path("worse.yaml").write_text("world: {side: 1}\n")
    result = mirg("data", "scenes", "out", "--n", 2, *args)
    assert result.exit_code == 2 and said in result.stderr, why
    assert not Path("out").exists()
