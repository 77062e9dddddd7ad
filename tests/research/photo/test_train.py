"""The two stages on a few drawn photographs, at sizes that take a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mirg.errors import ConfigError
from mirg.models.load import load_model
from mirg.storage import read_json
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
def test_a_run_ends_with_a_model_and_is_repeatable(photos: Path, tmp_path: Path) -> None:
    """The model loads, is trained in both stages, logs the held-out photographs, and a repeated run is the same."""
    recipe = PhotoRecipe(
        photos=(photos,), held_out=(photos,), tiny=TINY, tower_steps=2, tower_batch=2, language_steps=2,
        language_batch=2, log_every=1, dtype="float32",
    )  # fmt: skip
    folders = [train_photo(recipe, tmp_path / name) for name in ("one", "two")]
    states = [load_model(str(folder), device="cpu").model.state_dict() for folder in folders]
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    logged = (tmp_path / "one" / "metrics.jsonl").read_text()
    assert '"held_out/hit"' in logged and '"held_out/matched"' in logged
    facts: Any = read_json(tmp_path / "one" / "model" / "mirg.json")
    assert facts["family"] == "mirg-tiny"
    assert train_photo(recipe, tmp_path / "one") == folders[0]


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
