"""Datasets whose questions carry a case number, and what a good, a bad and a hopeless teacher write about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from fakes.faulty_api import Settings
from mirg.answers import write_completion
from mirg.engines.endpoint import Reply
from mirg.families import family
from mirg.samples import DatasetFolder, DatasetWriter, ObjectNote, Sample, Target
from mirg.trajectories.teacher.recipe import TeacherRecipe
from mirg.trajectories.teacher.requests import as_sent
from mirg.trajectories.writer import build

BOX = (0.2, 0.25, 0.6, 0.75)


def dataset(path: Path, n: int, size: tuple[int, int] = (64, 48)) -> DatasetFolder:
    """``n`` samples of two images; the second one holds a red ring. All of them share three files."""
    with DatasetWriter(path, name="cases", description="Cases.") as writer:
        refs = [writer.add_image(Image.new("RGB", size, (40 * k, 90, 120)), f"image-{k}") for k in range(3)]
        notes = (ObjectNote(label="red ring", box=BOX),)
        for k in range(n):
            images = (refs[k % 2], refs[2].model_copy(update={"objects": notes}))
            writer.add(
                Sample(
                    id=f"sample-{k:05d}", task="multi_target" if k % 3 else "refer", images=images,
                    question=f"Where is the red ring of case-{k}?", meta={"subject": "red ring"},
                    targets=(Target(image=2, box=BOX, label="red ring"),),
                )
            )  # fmt: skip
    return DatasetFolder.open(path)


def good(sample: Sample, recipe: TeacherRecipe) -> str:
    """A reply that passes every check, in the frame of the images that are sent."""
    chain = build(sample.model_copy(update={"task": "multi_target"}))
    thinking = f"Image-1 shows nothing of the kind. {chain.thinking}"
    shown = as_sent(sample, recipe.images)
    return write_completion(thinking, chain.answer, shown.sizes, family(recipe.family))


def wrong(sample: Sample, recipe: TeacherRecipe) -> str:
    """A readable reply that names the wrong image."""
    return good(sample, recipe).replace("Image-2", "Image-1").replace('"image": 2', '"image": 1')


def settings(src: DatasetFolder, recipe: TeacherRecipe, **more: Any) -> Settings:
    """A server that knows the right reply to every case, except that every fifth is wrong before it is repaired,
    and every tenth also then.
    """
    replies, repaired = {}, {}
    for k, sample in enumerate(src.read()):
        replies[str(k)] = (wrong if k % 5 == 3 else good)(sample, recipe)
        repaired[str(k)] = (wrong if k % 10 == 3 else good)(sample, recipe)
    return Settings(replies=replies, repaired=repaired, **more)


def recipe(url: str, **more: Any) -> TeacherRecipe:
    """A recipe without a key whose pauses are short."""
    limits = {"concurrency": 8, "timeout": 5, **more.pop("limits", {})}
    return TeacherRecipe(**{"model": "teacher-1", "url": url, "key_env": None, "limits": limits, **more})


class Scripted:
    """An endpoint without sockets. ``write`` makes a reply out of a body, or raises; ``delays`` spread the order."""

    def __init__(self, write: Callable[[dict[str, Any]], Reply], delays: list[int] | None = None) -> None:
        self.write = write
        self.bodies: list[dict[str, Any]] = []
        self._delays = delays or [0]

    async def ask(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(body)
        for _ in range(self._delays[len(self.bodies) % len(self._delays)]):
            await asyncio.sleep(0)
        return self.write(body)


def reply(text: str, tokens: int = 100) -> Reply:
    return Reply(text, "stop", None, tokens, 10)
