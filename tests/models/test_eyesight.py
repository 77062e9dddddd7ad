"""mirg-tiny sees: a silent change of prompts, frames, images or loading that takes its eyesight fails here."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from mirg.data.scenes.render import render
from mirg.data.scenes.world import Scene, load_world
from mirg.engines.base import Generation, Request
from mirg.engines.load import load_engine
from mirg.families import MIRG_TINY
from mirg.frames import from_frame
from mirg.geometry import iou
from research.perception.exercises import Exercise, locate

ITEMS = 50
NUMBERS = re.compile(r"Box: Image-(\d+) ([a-z ]+) \D*(\d+),(\d+)\D+(\d+),(\d+)")


def easy_items() -> list[Exercise]:
    """Two images with a large object each; the question names one of them."""
    world = load_world("tiny/world").model_copy(update={"object_side": (0.35, 0.55), "clutter": 0})
    rng = np.random.default_rng(11)
    found: list[Exercise] = []
    while len(found) < ITEMS:
        item = locate(rng, 0, world, MIRG_TINY)
        if len(item.about) == 1 and item.completion.count("Found") == 1:
            found.append(item)
    return found


def test_simple_scenes_are_answered() -> None:
    items = easy_items()
    engine = load_engine("mirg-tiny")
    side = load_world("tiny/world").side
    requests = []
    for number, item in enumerate(items):
        content: list[dict[str, Any]] = [
            {"type": "image"} if isinstance(part, Scene) else {"type": "text", "text": part} for part in item.parts
        ]
        images = [render(scene, (side, side)) for scene in item.scenes]
        requests.append(Request(sample_id=str(number), messages=[{"role": "user", "content": content}], images=images))
    said = engine.generate(requests, Generation(max_new_tokens=48, batch_size=ITEMS))
    right = [answers(item, completion.text) for item, completion in zip(items, said, strict=True)]
    assert sum(right) >= 0.9 * ITEMS, [completion.text for completion in said if completion][:5]


def answers(item: Exercise, text: str) -> bool:
    """Whether ``text`` names the right image and a box there that overlaps the true one by half."""
    thing, expected = item.about[0], item.completion.split(".")[0]
    found = NUMBERS.search(text)
    if not text.strip().startswith(expected) or not found or f"Image-{found[1]}" not in expected:
        return False
    box = from_frame(tuple(float(v) for v in found.groups()[2:]), (1, 1), MIRG_TINY)
    return iou(box, thing.box) >= 0.5
