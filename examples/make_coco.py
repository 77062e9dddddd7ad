"""Write a set in COCO's format to try `mirg data import coco` on: JPEG files and instances.json, nothing downloaded.

Each picture has two to six objects before a backdrop that looks like a piece of a photograph, in sizes and shapes that
photographs have. A category is an object's name ("red ring"), its supercategory the shape.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from mirg.data.scenes.objects import split_name
from mirg.data.scenes.render import render
from mirg.data.scenes.world import WorldConfig, scene_for

SIZES = [(320, 240), (240, 320), (400, 300), (300, 300), (480, 320)]  # (width, height) in pixels
WORLD = WorldConfig(shapes="all", objects=(2, 6), backgrounds=("patch",), textures=("plain", "striped", "dotted"))


def make(out: Path, count: int, seed: int = 0) -> Path:
    """Write ``count`` pictures and ``instances.json`` below ``out``; returns the annotation file."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    numbers = {name: number for number, name in enumerate(WORLD.names, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(count):
        rng = np.random.default_rng([seed, image_id])
        width, height = SIZES[int(rng.integers(len(SIZES)))]
        names = [str(name) for name in rng.choice(WORLD.names, int(rng.integers(2, 7)))]
        scene = scene_for(rng, WORLD, names)
        file = f"images/{image_id:06d}.jpg"
        render(scene, (width, height)).save(out / file, quality=90)
        images.append({"id": image_id, "file_name": file, "width": width, "height": height})
        for thing in scene.objects:
            x1, y1, x2, y2 = (v * side for v, side in zip(thing.box, (width, height) * 2, strict=True))
            box = [round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]
            annotations.append(
                {"id": len(annotations), "image_id": image_id, "category_id": numbers[thing.name], "bbox": box}
                | {"area": round(box[2] * box[3], 2), "iscrowd": 0}
            )
    categories = [
        {"id": number, "name": name, "supercategory": split_name(name)[1]} for name, number in numbers.items()
    ]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (out / "instances.json").write_text(json.dumps(whole), encoding="utf-8")
    return out / "instances.json"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    made = make(chosen.out, chosen.count, chosen.seed)
    print(f"{chosen.count} pictures: {made}")
