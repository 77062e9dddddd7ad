"""Rendering: boxes against pixels, determinism, and the speed that training on fresh scenes needs."""

from __future__ import annotations

import numpy as np
import pytest

from fakes.speed import takes_at_most
from mirg.data.scenes.objects import COLOURS, NAMES, SHAPES, TEXTURES, TILTS, SceneObject, similar_names, split_name
from mirg.data.scenes.render import render
from mirg.data.scenes.world import DIFFICULTIES, HARD, Background, Scene, WorldConfig, scene_for, zoom
from mirg.errors import DataError
from mirg.geometry import iou

GREY = Background("plain", ((128, 128, 128), (128, 128, 128)), 0)
BOX = (0.2, 0.3, 0.65, 0.7)


def drawn_box(changed: np.ndarray) -> tuple[int, int, int, int]:
    """Extent of the true pixels of a (height, width) mask: left, top, right, bottom (exclusive)."""
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_of(shape: str, box: tuple[float, float, float, float], side: int) -> np.ndarray:
    """How much of each pixel an object covers, 0 to 255: the red of yellow on black."""
    black = Background("plain", ((0, 0, 0), (0, 0, 0)), 0)
    drawn = np.asarray(render(Scene((SceneObject("yellow", shape, box),), black), (side, side)))
    return drawn[..., 0].astype(float) * 255 / COLOURS["yellow"][0]


@pytest.mark.parametrize("size", [(96, 96), (72, 72), (160, 120), (500, 500)])
@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_box_is_the_extent_of_the_drawn_pixels(shape: str, texture: str, size: tuple[int, int]) -> None:
    for tilt in TILTS:
        scene = Scene((SceneObject("blue", shape, BOX, texture, tilt),), GREY)
        pixels = np.asarray(render(scene, size)).astype(int)
        drawn = drawn_box(np.abs(pixels - 128).max(axis=2) > 12)
        expected = (BOX[0] * size[0], BOX[1] * size[1], BOX[2] * size[0], BOX[3] * size[1])
        # Tips of stars and tilted corners fade out over a part of the object's size.
        slack = max(1.5, 0.012 * max(size))
        assert np.abs(np.subtract(drawn, expected)).max() <= slack, (shape, tilt, drawn, expected)


def test_boxes_of_sampled_scenes_match_pixels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        scene = scene_for(rng, WorldConfig(object_side=(0.14, 0.5)), None, background=GREY)
        pixels = np.asarray(render(scene)).astype(int)
        drawn = drawn_box(np.abs(pixels - 128).max(axis=2) > 8)
        assert np.abs(np.subtract(drawn, np.multiply(scene.objects[0].box, 96))).max() <= 1.5, scene.objects


def test_mask_is_inside_the_box_and_smooth() -> None:
    mask = mask_of("circle", BOX, 96)
    assert drawn_box(mask > 0) == (19, 29, 62, 67)
    assert ((mask > 20) & (mask < 235)).sum() > 30, "edges are anti-aliased"


@pytest.mark.parametrize("kind", ["plain", "gradient", "noise", "checks"])
def test_backgrounds_are_muted(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        scene = scene_for(rng, WorldConfig.model_validate({"clutter": 8, "backgrounds": [kind]}), [])
        pixels = np.asarray(render(scene)).astype(int)
        assert (pixels.max(axis=2) - pixels.min(axis=2)).max() <= 30


def test_colours_are_distinct_and_the_fill_has_the_named_colour() -> None:
    values = np.array(list(COLOURS.values()), dtype=float)
    apart = np.linalg.norm(values[:, None] - values[None], axis=2)
    assert apart[~np.eye(len(values), dtype=bool)].min() > 75
    for colour, rgb in COLOURS.items():
        image = render(Scene((SceneObject(colour, "square", (0.25, 0.25, 0.75, 0.75)),), GREY))
        assert image.getpixel((48, 48)) == rgb


def test_shapes_are_distinct() -> None:
    masks = {shape: mask_of(shape, (0, 0, 1, 1), 32) > 127 for shape in SHAPES}
    for first in SHAPES:
        for second in SHAPES:
            if first < second:
                union = (masks[first] | masks[second]).sum()
                assert (masks[first] & masks[second]).sum() / union < 0.9, (first, second)


def test_zoom_shows_the_same_pixels_larger() -> None:
    rng = np.random.default_rng(8)
    compared = 0
    for _ in range(40):
        scene = scene_for(rng, HARD, ["red ring", "blue cross", "green star"])
        near = zoom(scene, 0, 0.2)
        if near is None:
            continue
        compared += 1
        x1, y1, x2, y2 = (value * 960 for value in near.view)
        large = render(scene, (960, 960)).crop((round(x1), round(y1), round(x2), round(y2))).resize((96, 96))
        off = np.abs(np.asarray(large).astype(int) - np.asarray(render(near)).astype(int)).mean()
        assert off < 8.0, "a crop is what the source shows there"
        assert iou(near.objects[0].box, (0, 0, 1, 1)) > 0.2
    assert compared > 20


def test_names() -> None:
    assert len(NAMES) == len(set(NAMES)) == 80
    assert split_name("red ring") == ("red", "ring")
    assert len(similar_names("red ring")) == 16
    assert "red ring" not in similar_names("red ring")
    with pytest.raises(DataError, match="mauve"):
        split_name("mauve ring")


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_speed(name: str) -> None:
    """Fresh images for training: about 3,000 per second are measured, a slow or busy core gets a wide margin."""
    rng = np.random.default_rng(0)
    config = DIFFICULTIES[name]
    lists = [[NAMES[k] for k in rng.choice(80, config.objects[1], replace=False)] for _ in range(100)]
    scenes = [scene_for(rng, config, names) for names in lists]
    for scene in scenes:  # fills the caches of masks
        render(scene)
    assert takes_at_most(len(scenes) / 300, lambda: [render(scene) for scene in scenes])
