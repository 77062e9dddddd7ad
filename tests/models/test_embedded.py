"""The models that ship with mirg load by name, and mirg-tiny-photo sees photographs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from mirg.answers.prompts import messages
from mirg.answers.read import read
from mirg.data.compose.photos.pool import PHOTOGRAPHS
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
SIDE = 256  # pixels of the long side, as in the demo
ITEMS, LARGEST_BYTES, MOST_PARAMETERS = 40, 20 * 10**6, 12e6


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


def test_the_photo_model_is_small_whole_and_of_the_coordinate_family() -> None:
    assert seal_problems(PHOTO_MODEL) == []
    assert sum(path.stat().st_size for path in PHOTO_MODEL.iterdir()) < LARGEST_BYTES
    loaded = load.load_skeleton(MIRG_TINY_PHOTO)
    assert (loaded.family.name, loaded.instructions) == (EMBEDDED_MODELS[MIRG_TINY_PHOTO].name, "none")
    assert sum(weight.numel() for weight in loaded.model.parameters()) <= MOST_PARAMETERS


def easy_items() -> list[tuple[str, list[Image.Image], int, Box]]:
    """A large crop of a photograph of the package: the question, the images, which one holds the crop, and where.

    The items take turns: is the crop found in one photograph (region), and in one of two (refer)?
    """
    rng = random.Random(5)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    for photo in photos:
        photo.thumbnail((SIDE, SIDE))
    items = []
    for k in range(ITEMS):
        shown = rng.sample(photos, 1 + k % 2)
        holder = rng.choice(shown)
        (width, height), (share_x, share_y) = holder.size, (rng.uniform(0.5, 0.67), rng.uniform(0.5, 0.67))
        side_x, side_y = round(width * share_x), round(height * share_y)
        x, y = rng.randint(0, width - side_x), rng.randint(0, height - side_y)
        crop = holder.crop((x, y, x + side_x, y + side_y))
        box = (x / width, y / height, (x + side_x) / width, (y + side_y) / height)
        if k % 2:
            items.append((QUESTIONS["refer"], [crop, *shown], 2 + shown.index(holder), box))
        else:
            items.append((QUESTIONS["region"].format(k=2), [*shown, crop], 1, box))
    return items


def test_easy_questions_about_photographs_are_answered() -> None:
    """Right: the image, and a box with an IoU of at least 0.5 in it. No answer is unreadable."""
    engine, items = load_engine(MIRG_TINY_PHOTO), easy_items()
    requests = []
    for n, (question, images, _, _) in enumerate(items):
        sample = question_sample(["a", "b", "c"][: len(images)], images, question)
        asked = messages(sample, engine.family, engine.limits, "none")
        requests.append(Request(sample_id=str(n), messages=asked, images=images))
    said = engine.generate(requests, Generation(max_new_tokens=64, batch_size=ITEMS))
    right = 0
    for completion, (_, images, number, box) in zip(said, items, strict=True):
        answer = read(completion.text, [image.size for image in images], engine.family)
        assert answer.failure is None, completion.text
        found = answer.boxes
        right += len(found) == 1 and found[0].image == number and iou(found[0].box, box) >= 0.5
    assert right >= 0.8 * ITEMS, f"{right} of {ITEMS}"
