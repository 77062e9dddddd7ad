"""Promise 15: a run stops before a model is loaded if training data and a held-out benchmark share an image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirg.config import load_recipe
from mirg.errors import CheckpointError, DataError, MirgError
from mirg.samples import DatasetWriter, Sample, Target
from mirg.training.grpo import train_grpo
from mirg.training.launch import refuse_leakage
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.training.sft import train_sft

NO_MODEL = "no-such-folder/model"


def write_dataset(folder: Path, colours: list[int]) -> Path:
    """One sample per colour, each with one image of it."""
    with DatasetWriter(folder, name=folder.name) as out:
        for colour in colours:
            ref = out.add_image(Image.new("RGB", (24, 24), (colour, 90, 10)), f"{folder.name}-{colour}")
            target = Target(image=1, box=(0.1, 0.1, 0.6, 0.6))
            out.add(Sample(id=f"{folder.name}-{colour}", task="refer", images=(ref,), question="?", targets=(target,)))
    return folder


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "train", [1, 2, 3])


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "bench", [3, 4])


def recipes(train: Path, held_out: list[Path], **keys: Any) -> list[tuple[Callable[..., Any], Any]]:
    common = {"model": NO_MODEL, "data": str(train), "held_out": [str(path) for path in held_out], **keys}
    return [
        (train_sft, SftRecipe.model_validate(common)),
        (train_grpo, GrpoRecipe.model_validate(common)),
    ]


def test_a_shared_image_stops_both_stages_before_anything_is_made(train: Path, benchmark: Path, tmp_path: Path) -> None:
    for number, (start, recipe) in enumerate(recipes(train, [benchmark])):
        out = tmp_path / f"run{number}"
        with pytest.raises(DataError, match="share 1 images") as caught:
            start(recipe, out)
        assert "train-3" in caught.value.message and "bench-3" in caught.value.message, "both samples are named"
        assert "allow_leakage" in caught.value.hint
        assert not out.exists(), "the folder stays free for the same run with another recipe"


def test_without_a_shared_image_or_where_it_is_allowed_the_model_is_loaded(
    train: Path, benchmark: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The model does not exist, and that is what stops these runs."""
    other = write_dataset(tmp_path / "other", [7])
    for number, (start, recipe) in enumerate(recipes(train, [other])):
        with pytest.raises(MirgError, match="no-such-folder"):
            start(recipe, tmp_path / f"free{number}")
    assert "share" not in caplog.text
    with caplog.at_level(logging.WARNING, logger="mirg"):
        for number, (start, recipe) in enumerate(recipes(train, [other, benchmark], allow_leakage=True)):
            with pytest.raises(MirgError, match="no-such-folder"):
                start(recipe, tmp_path / f"allowed{number}")
    assert caplog.text.count("share 1 images") == 2, "what is allowed is still said"


def test_rows_without_digests_are_compared_by_their_files(train: Path, benchmark: Path) -> None:
    """Rows written by hand have no sha256: the promise must not depend on it."""
    for folder in (train, benchmark):
        rows = (folder / "samples.jsonl").read_text().replace('"sha256"', '"caption"')
        (folder / "samples.jsonl").write_text(rows)
    recipe = recipes(train, [benchmark])[0][1]
    with pytest.raises(DataError, match="share 1 images"):
        refuse_leakage(recipe, "run")


def test_a_finished_run_is_not_looked_at_again(train: Path, benchmark: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    (done / "model").mkdir(parents=True)
    (done / "model" / "config.json").write_text("{}")
    recipe = recipes(train, [benchmark])[0][1]
    refuse_leakage(recipe, done)
    with pytest.raises(DataError):
        refuse_leakage(recipe, tmp_path / "fresh")


def test_a_held_out_folder_that_is_no_dataset_is_an_error(train: Path, tmp_path: Path) -> None:
    """A wrong path must not pass for a benchmark without shared images."""
    recipe = recipes(train, [tmp_path / "nowhere"])[0][1]
    with pytest.raises(DataError, match="nowhere"):
        refuse_leakage(recipe, "run")


def test_the_keys_are_part_of_both_recipes(train: Path, benchmark: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: m\ndata: {train}\nheld_out: [{benchmark}]\n")
    for kind in (SftRecipe, GrpoRecipe):
        recipe = load_recipe(kind, file)
        assert recipe.held_out == (str(benchmark),) and recipe.allow_leakage is False
        assert load_recipe(kind, file, ["allow_leakage=true"]).allow_leakage is True


def test_another_setting_is_another_recipe(train: Path, benchmark: Path, tmp_path: Path) -> None:
    """Whether leakage was allowed is kept in the run folder, and a run cannot be taken up with the other answer."""
    other = write_dataset(tmp_path / "other", [7])
    (start, recipe), _ = recipes(train, [other])
    with pytest.raises(MirgError, match="no-such-folder"):
        start(recipe, tmp_path / "run")
    assert "held_out" in (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(CheckpointError, match="another recipe"):
        start(recipe.model_copy(update={"allow_leakage": True}), tmp_path / "run")
