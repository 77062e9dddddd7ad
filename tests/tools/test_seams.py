"""tools/seams.py: altered places of photographs are hardly found by their border, and a plain paste is."""

from __future__ import annotations

import importlib.util
import os
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from fakes.photographs import photograph
from mirg.data.compose.photos import alter
from mirg.data.compose.photos.pool import PhotoConfig, PhotoPool, find_photos
from mirg.data.compose.pixels import Place, as_pixels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seams() -> ModuleType:
    spec = importlib.util.spec_from_file_location("seams", ROOT / "tools" / "seams.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_depths_are_those_of_a_place_that_is_not_square(seams: ModuleType) -> None:
    depth, _ = seams.depths((8, 12), (3, 2, 6, 4))
    assert (depth >= 0).sum() == 24 and depth[2, 3] == 0 and depth[3, 5] == 1 and depth[1, 5] == -1
    assert depth[0, 0] == -3 and depth.max() == 1


def test_a_hard_edge_is_found_and_noise_is_not(seams: ModuleType) -> None:
    features, labels, groups = [], [], []
    for k in range(30):
        image, place = photograph(k, (80, 60)), (20 + k % 9, 15, 28, 20)
        spoilt = image.copy()
        spoilt.paste(photograph(100 + k, (28, 20)), place[:2])
        features += [seams.statistics(as_pixels(spoilt), place), seams.statistics(as_pixels(image), place)]
        labels += [1, 0]
        groups += [str(k)] * 2
    right = seams.accuracy(np.array(features), np.array(labels), groups)
    assert right.mean() > 0.8
    shuffled = np.random.default_rng(0).permutation(labels)
    assert seams.accuracy(np.array(features), shuffled, groups).mean() < 0.7


def plainly(_rng: random.Random, photo: Image.Image, piece: Image.Image, place: Place, match: float = 0) -> Image.Image:
    result = photo.copy()
    result.paste(piece, place[:2])
    return result


@pytest.mark.slow
def test_seams_of_photographs(seams: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ.get("MIRG_PHOTOS", ROOT.parent / "shared" / "data" / "coco128" / "images"))
    if not folder.is_dir():
        pytest.skip("no folder of photographs: name one by MIRG_PHOTOS")
    config = PhotoConfig(test_share=0, side=320)
    pool = PhotoPool(find_photos(folder, config).photos, config)
    found = {}
    for name in ("blended", "plain"):
        if name == "plain":
            monkeypatch.setattr("mirg.data.compose.photos.alter.blended", plainly)
            monkeypatch.setattr("mirg.data.compose.photos.blend.blended", plainly)
        features, labels, groups = [], [], []
        for k in range(150):
            rng = random.Random(f"{k}")
            index = rng.randrange(len(pool))
            if pair := alter.altered(rng, pool, index):
                features += [seams.statistics(as_pixels(image), pair.place) for image in (pair.after, pair.before)]
                labels += [1, 0]
                groups += [str(index)] * 2
        border = np.array(features)[:, : 3 * len(seams.PIXELS)]
        found[name] = seams.accuracy(border, np.array(labels), groups).mean()
    assert found["blended"] < 0.6 and found["plain"] > 0.75
