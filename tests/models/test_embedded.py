"""The models that ship with mirg load by name, and mirg-tiny-photo sees photographs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from mirg.answers.prompts import messages
from mirg.answers.read import read
from mirg.cli.demo import PHOTOGRAPHS
from mirg.data.compose.photos.tasks import QUESTIONS
from mirg.engines.ask import question_sample
from mirg.engines.base import Generation, Request
from mirg.engines.load import load_engine
from mirg.errors import EngineError
from mirg.families import EMBEDDED_MODELS, MIRG_TINY_PHOTO
from mirg.geometry import Box, iou
from mirg.models import load
from mirg.storage import seal_problems

PHOTO_MODEL = load.EMBEDDED_FOLDERS[MIRG_TINY_PHOTO]
ITEMS, LARGEST_BYTES, MOST_PARAMETERS = 40, 20 * 10**6, 12e6
with_weights = pytest.mark.skipif(
    not (PHOTO_MODEL / "config.json").is_file(), reason="the weights of mirg-tiny-photo are not in the package yet"
)


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_a_folder_of_that_name_comes_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "EMBEDDED_FOLDERS", {name: tmp_path / "package" / name})
    with pytest.raises(EngineError, match=f"does not contain {name}"):
        load.resolve_model(name)
    for folder, expected in ((tmp_path / "package" / name, f"{tmp_path}/package/{name}"), (tmp_path / name, name)):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        assert load.resolve_model(name) == expected


@with_weights
def test_the_photo_model_is_small_whole_and_of_the_coordinate_family() -> None:
    assert seal_problems(PHOTO_MODEL) == []
    assert sum(path.stat().st_size for path in PHOTO_MODEL.iterdir()) < LARGEST_BYTES
    loaded = load.load_skeleton(MIRG_TINY_PHOTO)
    assert (loaded.family, loaded.instructions) == (EMBEDDED_MODELS[MIRG_TINY_PHOTO], "none")
    assert sum(weight.numel() for weight in loaded.model.parameters()) <= MOST_PARAMETERS


def easy_items() -> list[tuple[list[Image.Image], int, Box]]:
    """A large crop, then two of the photographs in the package: the images, which one holds the crop, and where."""
    rng = random.Random(5)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    items = []
    for _ in range(ITEMS):
        shown = rng.sample(photos, 2)
        number = rng.randint(2, 3)
        width, height = shown[number - 2].size
        side_x, side_y = rng.randint(width // 2, width * 2 // 3), rng.randint(height // 2, height * 2 // 3)
        x, y = rng.randint(0, width - side_x), rng.randint(0, height - side_y)
        crop = shown[number - 2].crop((x, y, x + side_x, y + side_y))
        box = (x / width, y / height, (x + side_x) / width, (y + side_y) / height)
        items.append(([crop, *shown], number, box))
    return items


@with_weights
def test_easy_questions_about_photographs_are_answered() -> None:
    """Which of two photographs a large crop is from, and where: image right and IoU at least 0.5."""
    engine, items = load_engine(MIRG_TINY_PHOTO), easy_items()
    requests = []
    for n, (images, _, _) in enumerate(items):
        sample = question_sample(["a", "b", "c"], images, QUESTIONS["refer"])
        asked = messages(sample, engine.family, engine.limits, "none")
        requests.append(Request(sample_id=str(n), messages=asked, images=images))
    said = engine.generate(requests, Generation(max_new_tokens=64, batch_size=ITEMS))
    right = 0
    for completion, (images, number, box) in zip(said, items, strict=True):
        found = read(completion.text, [image.size for image in images], engine.family).boxes
        right += len(found) == 1 and found[0].image == number and iou(found[0].box, box) >= 0.5
    assert right >= 0.8 * ITEMS, f"{right} of {ITEMS}"
