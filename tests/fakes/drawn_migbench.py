"""A small MIG-Bench as a downloaded folder: annotations in the published form, and drawn images under their paths.

The images show objects that mirg-tiny knows, and most questions are exercises it was trained on, so that it answers
with boxes and some of them are right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mirg.answers import ordinals
from mirg.data.importers.migbench import PAPER_NAMES
from mirg.data.scenes.render import render
from mirg.data.scenes.world import Scene, WorldConfig, distractors, load_world, scene_for

SIDES = ((96, 96), (128, 96), (96, 160), (160, 128))  # (width, height) in pixels; no two images of an item are alike
_IN_FIRST = ("diff", "region")
_IN_SECOND = ("view_diff", "refer_grounding", "reasoning", "correspondence")


def write_tree(root: Path, *, each: int = 3, seed: int = 0) -> Path:
    """``each`` items of every task, with both annotation files; one item of Common has an inverted box."""
    world = load_world("tiny/world").model_copy(update={"object_side": (0.35, 0.55), "clutter": 0})
    rows = list(_rows(root, world, each, np.random.default_rng(seed)))
    rows[2 * each]["answer"] = [rows[2 * each]["answer"][k] for k in (2, 1, 0, 3)]
    (root / "MIG_data.json").write_text(json.dumps(rows), encoding="utf-8")
    (root / "revised_MIG_bench.json").write_text(json.dumps([_revised(row) for row in rows]), encoding="utf-8")
    return root


def _rows(root: Path, world: WorldConfig, each: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for task in PAPER_NAMES:
        for k in range(each):
            count = 2 if task in (*_IN_SECOND, "diff") else 2 + (k + len(task)) % 3
            target = 2 if task in _IN_SECOND else 1 if task in _IN_FIRST else 1 + (k + 1) % count
            names = distractors(rng, world, count, world.subjects[0])
            scenes = [scene_for(rng, world, [name]) for name in names]
            paths = [f"./MIG-Bench/images/{task}/{k}-{n}.png" for n in range(1, count + 1)]
            for n, (scene, path) in enumerate(zip(scenes, paths, strict=True)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                render(scene, SIDES[(n + k) % len(SIDES)]).save(root / path)
            question, info = _texts(task, names[target - 1], count, target)
            yield {
                "task": task,
                "images": paths,
                "question": question,
                "answer": _answer(scenes[target - 1], rng),
                "additional_info": info,
                "need_format": True,
            }


def _texts(task: str, name: str, count: int, target: int) -> tuple[str, str]:
    """The question and the additional information."""
    where = f"It is in the {target}th image. "
    told = {
        "diff": "",
        "region": f"Please locate the {count - 1}th region picture in the source image. ",
        "group_grounding": "",
        "object_tracking": f"<|box_start|>(40,80),(400,520)<|box_end|> was in the first image. {where}",
    }.get(task, where)
    info = f"It is in the {ordinals.WORDS[target - 1]} image." if task == "group_grounding" else ""
    return f"{told}Locate: {name}.", info


def _answer(scene: Scene, rng: np.random.Generator) -> list[float]:
    """The box of the object, moved a little, so that a right answer has an IoU below 1."""
    x1, y1, x2, y2 = scene.objects[0].box
    return [float(np.clip(v + rng.uniform(-0.03, 0.03), 0, 1)) for v in (x1, y1, x2, y2)]


def _revised(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the revised version has it: thousandths, paths without ``./``, and Static names its image."""
    paths = [path.removeprefix("./") for path in row["images"]]
    question = f"It is in the 1th image. {row['question']}" if row["task"] == "diff" else row["question"]
    return row | {"images": paths, "question": question, "answer": [round(1000 * v) for v in row["answer"]]}
