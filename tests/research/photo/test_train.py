"""The two stages on a few drawn photographs, at sizes that take a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mirg.errors import ConfigError
from mirg.models.load import load_model
from mirg.storage import read_json
from research.photo import train
from research.photo.recipe import PhotoRecipe
from research.photo.teacher import Teacher
from research.photo.tower import BINS, expected, nearest, soft_bins
from research.photo.train import train_photo

TINY = {
    "patch": 14, "image_side": 224, "least_side": 28, "width": 48, "layers": 5, "heads": 6, "kv_heads": 6,
    "mlp": 48, "vision_width": 48, "vision_layers": 2, "vision_heads": 6, "vision_mlp": 48,
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photographs with texture on which places are unique."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(6):
        rng = np.random.default_rng(k)
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((240 + 20 * k, 200), Image.Resampling.BICUBIC).save(folder / f"{k}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pair_loss", "language_loss"])
def test_a_run_that_was_stopped_ends_with_the_same_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """The model loads, both stages are logged, and a run that dies in the second step of a stage changes nothing."""
    recipe = PhotoRecipe(
        photos=(photos,), tiny=TINY, tower_steps=3, tower_batch=2, language_steps=3, language_batch=2, log_every=1,
        save_every=1, dtype="float32",
    )  # fmt: skip
    whole, loss, calls = train_photo(recipe, tmp_path / "whole"), getattr(train, stage), []

    def dies(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return loss(*given)

    monkeypatch.setattr(train, stage, dies)
    with pytest.raises(KeyboardInterrupt):
        train_photo(recipe, tmp_path / "stopped")
    folder = train_photo(recipe, tmp_path / "stopped")
    states = [load_model(str(path), device="cpu").model.state_dict() for path in (whole, folder)]
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    for run in ("whole", "stopped"):
        logged = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
        assert "hit" in logged[0] and "matched" in logged[-1]
    facts: Any = read_json(folder / "mirg.json")
    assert facts["family"] == "mirg-tiny" and train_photo(recipe, tmp_path / "whole") == whole


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    """The folder and the command that makes it are in the message."""
    with pytest.raises(ConfigError, match="none-here"):
        Teacher(tmp_path / "none-here")


def test_the_weights_of_a_place_are_bilinear() -> None:
    """The mean of the centres of the tokens, weighted, is the place itself (inside the outermost centres)."""
    rng = np.random.default_rng(0)
    rows, columns, start = 5, 7, 3
    points = rng.uniform((0.5 / columns, 0.5 / rows), (1 - 0.5 / columns, 1 - 0.5 / rows), (40, 2))
    weights = nearest(points, (rows, columns), start, start + rows * columns + 2).numpy()
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    centre = np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1)
    assert weights.sum(1) == pytest.approx(np.ones(40), abs=1e-5)
    assert weights[:, start : start + rows * columns] @ centre == pytest.approx(points, abs=1e-5)


def test_bins_are_least_costly_at_their_value() -> None:
    """Of all one-hot logits, those of the nearest bin cost least; the expected value of them is that bin."""
    value = torch.tensor([0.42])
    costs = [float(soft_bins(20 * torch.eye(BINS)[k][None], value)) for k in range(BINS)]
    best = int(np.argmin(costs))
    assert abs(best / (BINS - 1) - 0.42) <= 0.5 / (BINS - 1)
    assert float(expected(60 * torch.eye(BINS)[best])) == pytest.approx(best / (BINS - 1), abs=1e-4)
