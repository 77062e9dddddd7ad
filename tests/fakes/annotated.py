"""A dataset of single annotated images, as an importer writes it: drawn objects over picture-like backgrounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fakes.photographs import photograph
from mirg.data.scenes.objects import COLOURS
from mirg.data.scenes.render import render
from mirg.data.scenes.world import Background, WorldConfig, scene_for
from mirg.geometry import clip
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, ObjectNote, Sample, write_card

# A label says the shape and not the colour: a recoloured object keeps its label.
SHAPES = ("ring", "star", "heart", "cross", "moon", "arrow", "diamond", "triangle", "hourglass", "arch")
KINDS = {shape: "round" if shape in ("ring", "heart", "moon", "arch") else "pointed" for shape in SHAPES}


def scene_with(rng: np.random.Generator, names: list[str], side: int) -> tuple[Image.Image, tuple[ObjectNote, ...]]:
    """An image of ``names``, ``side`` pixels wide and three quarters as high, and its notes."""
    flat = Background("plain", ((1, 2, 3), (1, 2, 3)), 0)
    world = WorldConfig(object_side=(0.16, 0.3), max_overlap=0.0, textures=("plain",), side=side)
    scene = scene_for(rng, world, names, background=flat)
    size = (side, side * 3 // 4)
    drawn = np.asarray(render(scene, size))
    # What is drawn over the flat colour lies over the picture instead.
    mask = (drawn != np.array(flat.colours[0])).any(axis=2)
    under = np.asarray(photograph(int(rng.integers(2**31)), size)) // 2 + 96
    # Objects of one name look the same, so that a name can be the id of one object that several images show.
    notes = tuple(
        ObjectNote(label=o.shape, box=clip(o.box), attributes={"supercategory": KINDS[o.shape], "instance_id": o.name})
        for o in scene.objects
    )
    return Image.fromarray(np.where(mask[..., None], drawn, under).astype(np.uint8)), notes


def write_objects(out: Path, count: int = 80, *, seed: int = 0, side: int = 160) -> DatasetFolder:
    """``count`` images with one to five objects; one image in four holds several of one label."""
    rng = np.random.default_rng(seed)
    with DatasetWriter(out, name="objects", created_by="test") as writer:
        for k in range(count):
            shapes = [SHAPES[i] for i in rng.choice(len(SHAPES), int(rng.integers(1, 5)), replace=False)]
            names = [f"{list(COLOURS)[int(rng.integers(len(COLOURS)))]} {shape}" for shape in shapes]
            if k % 4 == 0:
                names = names[:2] + [names[0]] * int(rng.integers(1, 3))
            image, notes = scene_with(rng, names, side)
            ref = writer.add_image(image, f"image-{k}")
            ref = ref.model_copy(update={"objects": notes, "caption": ", ".join(names)})
            writer.add(Sample(id=f"o{k}", task="objects", images=(ref,), question="Objects?", source="test"))
    return DatasetFolder.open(out)


def rewritten(dataset: DatasetFolder, change) -> DatasetFolder:
    """The dataset with every row changed by ``change(row) -> row | None``; its card is written again."""
    file = dataset.root / "samples.jsonl"
    rows = [change(json.loads(line)) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows if row is not None))
    write_card(dataset.root, name=dataset.card.name)
    return DatasetFolder.open(dataset.root)


def write_film(out: Path, frames: int = 8, *, films: int = 3, side: int = 96) -> DatasetFolder:
    """Films as single images with frame numbers and a shared image set; two objects move in each."""
    config = WorldConfig(object_side=(0.2, 0.3), clutter=0, side=side)
    with DatasetWriter(out, name="films") as writer:
        for film in range(films):
            rng = np.random.default_rng(film)
            scene = scene_for(rng, config, [f"red {SHAPES[film]}", f"blue {SHAPES[film + 5]}"])
            for frame in range(1, frames + 1):
                moved = [
                    ObjectNote(label=o.shape, box=clip(tuple(v + 0.005 * frame for v in o.box))) for o in scene.objects
                ]
                ref: ImageRef = writer.add_image(render(scene, (side, side + frame)), f"film-{film}-{frame}")
                ref = ref.model_copy(update={"objects": tuple(moved), "frame": frame})
                writer.add(
                    Sample(
                        id=f"f{film}-{frame}", task="frames", images=(ref,), question="?",
                        meta={"image_set": f"film {film}"},
                    )
                )  # fmt: skip
    return DatasetFolder.open(out)
