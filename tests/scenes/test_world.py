"""Sampling scenes: placement, configuration, distractors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mirg.errors import ConfigError
from mirg.geometry import box_problem, iou
from mirg.scenes.objects import NAMES, split_name
from mirg.scenes.world import DIFFICULTIES, EASY, HARD, WorldConfig, distractors, place, sample_scene, scene_for


def covered(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The part of the smaller box that the other one covers."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / smaller


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(DIFFICULTIES)), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_objects_are_in_the_image_and_hide_nothing(seed: int, difficulty: str, count: int) -> None:
    config = DIFFICULTIES[difficulty]
    count = min(count, config.objects[1])
    rng = np.random.default_rng(seed)
    scene = scene_for(rng, config, [NAMES[k] for k in rng.choice(80, count)])
    boxes = [thing.box for thing in scene.objects]
    for k, box in enumerate(boxes):
        assert box_problem(box) is None
        assert np.allclose(np.multiply(box, config.side), np.round(np.multiply(box, config.side)), atol=1e-4), (
            "on the pixel grid"
        )
        for other in boxes[:k]:
            assert iou(box, other) <= config.max_overlap + 1e-9
            assert covered(box, other) <= 0.12 + 1e-9


def test_sides_follow_the_configuration() -> None:
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(400):
        x1, y1, x2, y2 = sample_scene(rng, min_side=0.2, max_side=0.4).objects[0].box
        sides.append(((x2 - x1) * (y2 - y1)) ** 0.5)
    assert min(sides) > 0.18
    assert max(sides) < 0.42
    assert 0.28 < float(np.mean(sides)) < 0.32


def test_names_are_kept_in_order_or_drawn_different() -> None:
    rng = np.random.default_rng(0)
    names = ["red ring", "blue cross", "red ring"]
    assert sample_scene(rng, names, max_side=0.3).names == tuple(names)
    for _ in range(50):
        assert len(set(sample_scene(rng, n_objects=4, max_side=0.3).names)) == 4


def test_the_same_generator_state_gives_the_same_scene() -> None:
    first, second = (sample_scene(np.random.default_rng(9), n_objects=3, clutter=5) for _ in range(2))
    assert first == second


def test_no_room_is_an_error_and_not_a_loop() -> None:
    with pytest.raises(ConfigError, match="no room"):
        place(np.random.default_rng(0), ["square"] * 9, 0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": (3, 2)}, "images"),  # inverted
        ({"images": (1, 2)}, "images"),  # one image is no multi-image sample
        ({"objects": (0, 2)}, "objects"),  # an image without an object
        ({"object_side": (0.6, 0.9)}, "object_side"),  # would not fit when stretched
        ({"objects": (1, 6), "object_side": (0.4, 0.5)}, "do not fit"),
        ({"colour": "red"}, "Extra"),  # unknown key
        ({"side": 8}, "side"),  # unrecognisable
        ({"textures": ()}, "textures"),  # nothing to draw with
    ],
)
def test_wrong_configurations_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        WorldConfig.model_validate(change)


def test_distractors_avoid_and_resemble_the_target() -> None:
    rng = np.random.default_rng(2)
    share = {}
    for name, config in (("easy", EASY), ("hard", HARD)):
        alike = 0
        for _ in range(300):
            drawn = distractors(rng, config, 3, "red ring", avoid=["blue ring"])
            assert len(set(drawn)) == 3
            assert not {"red ring", "blue ring"} & set(drawn)
            alike += sum("red" in split_name(other) or "ring" in split_name(other) for other in drawn)
        share[name] = alike / 900
    assert share["easy"] < 0.5 < share["hard"]
