"""Measure how well a tiny model sees: ``python -m research.perception.probe [MODEL] [N]``.

The model is asked to locate N names at every level on new scenes of the recipe's world: names that its training showed,
and pairs of colour and shape that were held out.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np

from mirg.data.scenes.render import render
from mirg.data.scenes.world import Scene, WorldConfig, load_world
from mirg.engines.base import Generation, Request
from mirg.engines.load import load_engine
from mirg.families import MIRG_TINY
from mirg.frames import from_frame
from mirg.geometry import iou
from research.perception.exercises import LEVELS, Exercise, locate

BOX = re.compile(r"Box: Image-(\d+) ([a-z ]+) \D*(\d+),(\d+)\D+(\d+),(\d+)")
SEED = 4242


def main(model: str = "mirg-tiny", n: int = 200) -> None:
    """Print the shares of names whose image is right, and whose box there overlaps the true one by half."""
    engine = load_engine(model)
    world = load_world("tiny/world")
    print("| images x objects | names | image right | IoU >= 0.5 in it |\n|---|---|---|---|")
    for level, (images, objects) in enumerate(LEVELS):
        for pairs in ("seen", "held_out"):
            asked = world.model_copy(update={"pairs": pairs})
            right, found, total = probe(engine, asked, level, n, pairs == "held_out")
            print(f"| {images} x {objects} | {pairs} | {right / total:.3f} | {found / total:.3f} |", flush=True)


def probe(engine: Any, world: WorldConfig, level: int, n: int, held_out: bool) -> tuple[int, int, int]:
    """Of ``n`` exercises: names whose image is right, names whose box is right too, and all names."""
    rng = np.random.default_rng(SEED + level)
    wanted = set(world.subjects)
    items: list[Exercise] = []
    while len(items) < n:
        item = locate(rng, level, world, MIRG_TINY)
        if any(thing.name in wanted for thing in item.about):
            items.append(item)
    said = engine.generate([request(k, item, world) for k, item in enumerate(items)], Generation(max_new_tokens=128))
    right = found = total = 0
    for item, completion in zip(items, said, strict=True):
        boxes = {name.strip(): (int(number), numbers) for number, name, *numbers in BOX.findall(completion.text)}
        for thing in item.about:
            if held_out and thing.name not in wanted:
                continue
            true = next(k for k, scene in enumerate(item.scenes, 1) if thing in scene.objects)
            number, numbers = boxes.get(thing.name, (0, []))
            total += 1
            right += number == true
            box = from_frame([float(v) for v in numbers], (1, 1), MIRG_TINY) if numbers else (0.0, 0.0, 0.0, 0.0)
            found += number == true and iou(box, thing.box) >= 0.5
    return right, found, total


def request(number: int, item: Exercise, world: WorldConfig) -> Request:
    """The exercise as a question about images."""
    content = [{"type": "image"} if isinstance(p, Scene) else {"type": "text", "text": p} for p in item.parts]
    images = [render(scene, (world.side, world.side)) for scene in item.scenes]
    return Request(sample_id=str(number), messages=[{"role": "user", "content": content}], images=images)


if __name__ == "__main__":
    asked = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    main(sys.argv[1] if len(sys.argv) > 1 else "mirg-tiny", asked)
