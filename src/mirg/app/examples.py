"""The built-in examples: images and a question that a model can answer at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mirg.answers.markup import box_markup
from mirg.engines.base import Engine
from mirg.families import MIRG_TINY_PHOTO
from mirg.geometry import Box
from mirg.serve.server import served_name

if TYPE_CHECKING:
    from PIL.Image import Image

_TINY_NAMES = (("red ring", "blue cross"), ("yellow arrow",), ("green star", "purple moon"), ("cyan square",))
_SIDE = 448  # pixels of the drawn images for models other than the tiny ones


@dataclass(frozen=True)
class Example:
    """A question about ``images``; ``title`` is what the button says."""

    title: str
    question: str
    images: tuple[Image, ...]


def _perception() -> list[Example]:
    """What mirg-tiny was trained on: looking up, locating and naming objects (``docs/design/0004-perception.md``)."""
    import numpy as np

    from mirg.data.scenes.render import render
    from mirg.data.scenes.world import WorldConfig, scene_for

    world = WorldConfig(side=96, object_side=(0.25, 0.5), shapes="all")
    rng = np.random.default_rng(4)
    scenes = [scene_for(rng, world, names) for names in _TINY_NAMES]
    images = tuple(render(scene, (96, 96)) for scene in scenes)
    given = box_markup(3, scenes[2].objects[0].box)
    return [
        Example("Find one object", "Locate: yellow arrow.", images[:3]),
        Example("Find two objects", "Locate: green star, blue cross.", images),
        Example("Name what is in a box", f"Name: Image-3 {given}.", images),
    ]


def _photographs() -> list[Example]:
    """Tasks of photographs (``docs/how-to/photos.md``) on those that ship with mirg."""
    from mirg.data.compose.photos.pool import PHOTOGRAPHS
    from mirg.data.compose.photos.tasks import QUESTIONS
    from mirg.data.compose.pixels import shrink
    from mirg.images import open_image

    cat, coffee, rocket, stairs = (
        shrink(open_image(PHOTOGRAPHS / f"{name}.jpg"), 256) for name in ("cat", "coffee", "rocket", "stairs")
    )
    part, others = QUESTIONS["region"], (_part(stairs, (0.0, 0.0, 0.5, 0.5)), _part(rocket, (0.1, 0.4, 0.6, 0.9)))
    return [
        Example("A part of one image", part.format(k=2), (cat, _part(cat, (0.25, 0.1, 0.75, 0.6)))),
        Example(
            "A part of one of three",
            QUESTIONS["refer"],
            (_part(coffee, (0.3, 0.2, 0.8, 0.75)), rocket, coffee, stairs),
        ),
        Example("One of two parts", part.format(k=3), (rocket, *others)),
    ]


def _part(image: Image, box: Box) -> Image:
    return image.crop(tuple(round(v * side) for v, side in zip(box, image.size * 2, strict=True)))  # type: ignore[arg-type]


def _tasks(side: int) -> list[Example]:
    """Tasks of the procedural world (``docs/concepts/scenes.md``)."""
    from mirg.data.scenes.generate import iter_samples
    from mirg.data.scenes.world import WorldConfig

    titles = {"refer": "The same object", "difference": "The difference", "group_grounding": "One object in a group"}
    samples = iter_samples(list(titles), len(titles), split="test", seed=1, config=WorldConfig(side=side))
    return [Example(titles[sample.task], sample.question, tuple(images)) for sample, images in samples]


# By the name of the model, else by its family. Any other model gets the tasks in larger images.
EXAMPLES: dict[str, Callable[[], list[Example]]] = {
    "mirg-tiny": _perception,
    MIRG_TINY_PHOTO: _photographs,
    "family mirg-tiny": partial(_tasks, 96),
}


def examples_for(engine: Engine) -> list[Example]:
    """The examples for a model."""
    make = EXAMPLES.get(served_name(engine)) or EXAMPLES.get(f"family {engine.family.name}") or partial(_tasks, _SIDE)
    return make()


def write_examples(examples: list[Example], folder: Path) -> list[list[str]]:
    """Write the images of the examples as PNG files and return their paths, example by example."""
    paths = []
    for number, example in enumerate(examples, 1):
        files = [folder / f"example-{number}-{k}.png" for k in range(1, len(example.images) + 1)]
        for file, image in zip(files, example.images, strict=True):
            image.save(file)
        paths.append([str(file) for file in files])
    return paths
