"""Sampling scenes: placement, configuration, distractors."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mirg.data.scenes.drafts import Draft
from mirg.data.scenes.generate import generate, iter_samples
from mirg.data.scenes.objects import HELD_OUT, NAMES, SHAPES, SceneObject, split_name
from mirg.data.scenes.world import (
    DIFFICULTIES,
    EASY,
    HARD,
    Scene,
    WorldConfig,
    distractors,
    place,
    scene_for,
)
from mirg.errors import ConfigError
from mirg.geometry import box_problem, iou


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


def side_of(box: tuple[float, ...]) -> float:
    return ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5


def test_names_are_kept_in_order_or_drawn_different() -> None:
    rng = np.random.default_rng(0)
    names = ["red ring", "blue cross", "red ring"]
    config = WorldConfig(object_side=(0.2, 0.3))
    assert scene_for(rng, config, names).names == tuple(names)
    for _ in range(50):
        assert len(set(scene_for(rng, config, None, 4).names)) == 4


def test_no_room_is_an_error_and_not_a_loop() -> None:
    with pytest.raises(ConfigError, match="no room"):
        place(np.random.default_rng(0), WorldConfig(object_side=(0.5, 0.5), objects=(1, 1)), ["square"] * 9)


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


def drawn(config: WorldConfig, task: str = "group_grounding") -> list[Draft]:
    return [draft for _, draft in generate([task], 30, split="train", config=config)]


def scenes(config: WorldConfig, task: str = "group_grounding") -> list[Scene]:
    return [picture.scene for draft in drawn(config, task) for picture in draft.pictures]


def things(config: WorldConfig) -> list[SceneObject]:
    return [thing for scene in scenes(config) for thing in scene.objects]


def largest_overlap(config: WorldConfig) -> bool:
    pairs = [(a.box, b.box) for scene in scenes(config) for a, b in combinations(scene.objects, 2)]
    return max(iou(a, b) for a, b in pairs) > WorldConfig().max_overlap


def standing_there(config: WorldConfig) -> float:
    """The share of images without the target that show something where the target is."""
    found = []
    for draft in drawn(config):
        (target,) = draft.targets
        others = [picture.scene for k, picture in enumerate(draft.pictures, 1) if k != target.image]
        found += [any(iou(thing.box, target.box) > 0.7 for thing in scene.objects) for scene in others]
    return sum(found) / len(found)


def looks(config: WorldConfig, task: str) -> set[bool]:
    """Whether all images of a sample have one background."""
    return {len({picture.scene.background for picture in draft.pictures}) == 1 for draft in drawn(config, task)}


def asked_alike(config: WorldConfig) -> bool:
    """Whether every object has the colour or the shape of the subject."""
    words = [(str(draft.meta["subject"]), draft.pictures) for draft in drawn(config)]
    return all(
        set(subject.split()) & set(thing.name.split())
        for subject, pictures in words
        for picture in pictures
        for thing in picture.scene.objects
    )


def share_held_out(config: WorldConfig) -> float:
    return sum(str(draft.meta["subject"]) in HELD_OUT for draft in drawn(config)) / 30


# Key, value, what is found, what is expected there (else the value).
KEYS: list[tuple[Any, ...]] = [
    ("side", 64, lambda c: {ims[-1].size for _, ims in iter_samples(n=2, split="train", config=c)}, {(64, 64)}),
    ("side", 64, lambda c: {round(64 * edge, 3) % 1 for thing in things(c) for edge in thing.box}, {0.0}),
    ("images", (3, 3), lambda c: {len(draft.pictures) for draft in drawn(c)}, {3}),
    ("frames", (5, 5), lambda c: {len(draft.pictures) for draft in drawn(c, "object_tracking")}, {5}),
    ("objects", (2, 2), lambda c: {len(scene.objects) for scene in scenes(c)}, {2}),
    ("object_side", (0.3, 0.3), lambda c: {round(side_of(thing.box), 1) for thing in things(c)}, {0.3}),
    ("max_overlap", 0.3, largest_overlap, True),
    ("similar", 1.0, asked_alike, True),
    ("same_place", 1.0, lambda c: standing_there(c) > 0.8, True),
    ("clutter", 0, lambda c: {scene.background.clutter for scene in scenes(c)}, {0}),
    ("textures", ("dotted",), lambda c: {thing.texture for thing in things(c)}, {"dotted"}),
    ("backgrounds", ("checks",), lambda c: {scene.background.kind for scene in scenes(c)}, {"checks"}),
    ("change_background", True, lambda c: looks(c, "object_tracking") | looks(c, "difference"), {False}),
    ("shapes", "all", lambda c: {thing.shape for thing in things(c)} > SHAPES.keys(), True),
    ("pairs", "held_out", share_held_out, 1.0),
    ("pairs", "seen", lambda c: any(thing.name in HELD_OUT for thing in things(c)), False),
    ("photos", "photos", lambda c: {scene.background.photos for scene in scenes(c)}, {"photos"}),
]  # fmt: skip


@pytest.mark.parametrize("row", KEYS, ids=[row[0] for row in KEYS])
def test_a_key_arrives(row: tuple[Any, ...]) -> None:
    """With another value other scenes are made than with the default."""
    key, value, found, *expected = row
    beside = WorldConfig(backgrounds=("patch",)) if key == "photos" else WorldConfig()
    changed = WorldConfig.model_validate(beside.model_dump() | {key: value})
    assert found(changed) == (expected[0] if expected else value) != found(beside)


def test_every_key_has_a_row() -> None:
    assert WorldConfig.model_fields.keys() == {row[0] for row in KEYS}
