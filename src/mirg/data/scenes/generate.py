"""Samples of the procedural world: a dataset folder on disk, or an unlimited number of new samples in memory.

A sample is a pure function of (world version, split, task, seed, index) and the configuration: order, number of
workers and the choice of other tasks change nothing, and two splits never share a random stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mirg.data.scenes.render import render
from mirg.data.scenes.tasks import TASKS, Draft, Picture
from mirg.data.scenes.world import DIFFICULTIES, MEDIUM, WORLD_VERSION, WorldConfig
from mirg.errors import ConfigError
from mirg.geometry import clip
from mirg.samples.schema import ImageRef, ObjectNote, Sample

if TYPE_CHECKING:
    from PIL import Image

    from mirg.samples import DatasetFolder, DatasetWriter

Split = Literal["train", "test", "rl", "perception", "validation"]

# Part of every seed: a number is never used again for another split.
SPLITS: dict[str, int] = {"train": 0, "test": 1, "rl": 2, "perception": 3, "validation": 4}


@dataclass(frozen=True, slots=True)
class Key:
    """What a sample is a function of; ``index`` counts the samples of one task."""

    split: str
    task: str
    seed: int
    index: int

    @property
    def sample_id(self) -> str:
        """The id of the sample, unique over splits, seeds and tasks."""
        return f"scenes-{self.split}-{self.seed}-{self.task}-{self.index}"

    def entropy(self) -> tuple[int, ...]:
        """The numbers that seed the sample's random stream; different keys give different numbers."""
        # A checksum of the name, not its place in TASKS: a new task must not change the old ones.
        return (WORLD_VERSION, SPLITS[self.split], zlib.crc32(self.task.encode()), self.seed, self.index)

    def rng(self) -> np.random.Generator:
        """A new generator at the start of the sample's stream."""
        return np.random.default_rng(np.random.SeedSequence(self.entropy()))


def keys(
    tasks: Sequence[str] | None = None, n: int | None = None, *, split: Split | str, seed: int = 0, start: int = 0
) -> Iterator[Key]:
    """The keys of samples ``start`` … ``start + n - 1`` (unlimited if ``n`` is None), one of each task after another.

    ``tasks`` None means all. ConfigError for an unknown task or split, or a negative number.
    """
    chosen = _checked(tasks, split, n, seed, start)
    positions = count(start) if n is None else range(start, start + n)
    return (Key(split, chosen[k % len(chosen)], seed, k // len(chosen)) for k in positions)


def make_draft(key: Key, config: WorldConfig = MEDIUM) -> Draft:
    """The scenes, question and truth of one sample."""
    return TASKS[key.task](key.rng(), config)


def generate(
    tasks: Sequence[str] | None = None,
    n: int | None = None,
    *,
    split: Split | str,
    seed: int = 0,
    config: WorldConfig = MEDIUM,
    start: int = 0,
) -> Iterator[tuple[Key, Draft]]:
    """Drafts without pixels, in the order of :func:`keys`."""
    return ((key, make_draft(key, config)) for key in keys(tasks, n, split=split, seed=seed, start=start))


def iter_samples(
    tasks: Sequence[str] | None = None,
    n: int | None = None,
    *,
    split: Split | str,
    seed: int = 0,
    config: WorldConfig = MEDIUM,
    start: int = 0,
) -> Iterator[tuple[Sample, list[Image.Image]]]:
    """Samples with their images, nothing touches the disk. Paths of images are unique names without files."""
    for key, draft in generate(tasks, n, split=split, seed=seed, config=config, start=start):
        images = render_draft(draft, config)
        refs = [
            ImageRef(path=f"images/{key.sample_id}-{k}.png", width=image.width, height=image.height)
            for k, image in enumerate(images, 1)
        ]
        yield to_sample(key, draft, refs), images


def write_scenes(
    out: str | Path,
    n: int,
    *,
    split: Split | str,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    config: WorldConfig = MEDIUM,
    overwrite: bool = False,
) -> DatasetFolder:
    """Write ``n`` samples as a dataset folder and open it. Errors as :func:`keys`, and those of the writer."""
    from mirg.samples import DatasetFolder, DatasetWriter

    chosen = list(keys(tasks, n, split=split, seed=seed))
    about = f"Procedural scenes, split {split}, world version {WORLD_VERSION}. Settings: {config.model_dump_json()}"
    writer = DatasetWriter(
        out, name=f"scenes-{split}", description=about, created_by="mirg.scenes", seed=seed, overwrite=overwrite
    )
    with writer:
        for key in chosen:
            writer.add(add_scene(writer, key, config))
    return DatasetFolder.open(out)


def add_scene(writer: DatasetWriter, key: Key, config: WorldConfig = MEDIUM) -> Sample:
    """One sample whose images ``writer`` has taken; to be given to it as well."""
    draft = make_draft(key, config)
    images = render_draft(draft, config)
    refs = [writer.add_image(image, f"{key.sample_id}-{k}") for k, image in enumerate(images, 1)]
    return to_sample(key, draft, refs)


def render_draft(draft: Draft, config: WorldConfig = MEDIUM) -> list[Image.Image]:
    """The images of a draft, RGB, ``config.side`` pixels square."""
    return [render(picture.scene, (config.side, config.side)) for picture in draft.pictures]


def to_sample(key: Key, draft: Draft, refs: Sequence[ImageRef]) -> Sample:
    """The draft as a sample whose images are ``refs``, with both annotation levels."""
    return Sample(
        id=key.sample_id,
        task=key.task,
        images=tuple(_annotated(ref, picture) for ref, picture in zip(refs, draft.pictures, strict=True)),
        question=draft.question,
        targets=draft.targets,
        relation=draft.relation,
        image_hidden=draft.image_hidden,
        source=f"scenes/{WORLD_VERSION}",
        meta=dict(draft.meta),
    )


def difficulty(name: str) -> WorldConfig:
    """The preset called ``name``; ConfigError with the presets there are."""
    if name not in DIFFICULTIES:
        raise ConfigError(f"unknown difficulty {name!r}", hint=f"one of {', '.join(DIFFICULTIES)}")
    return DIFFICULTIES[name]


def _annotated(ref: ImageRef, picture: Picture) -> ImageRef:
    notes = tuple(
        ObjectNote(label=thing.name, box=clip(thing.box), attributes={"texture": thing.texture})
        for thing in picture.scene.objects
    )
    return ref.model_copy(
        update={"role": picture.role, "caption": picture.caption, "frame": picture.frame, "objects": notes}
    )


def _checked(tasks: Sequence[str] | None, split: str, n: int | None, seed: int, start: int) -> list[str]:
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}", hint=f"one of {', '.join(SPLITS)}")
    chosen = list(TASKS) if tasks is None else list(tasks)
    for task in chosen:
        if task not in TASKS:
            raise ConfigError(f"unknown task {task!r}", hint=f"any of {', '.join(TASKS)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError("name at least one task, and none twice", hint=f"any of {', '.join(TASKS)}")
    if min(n or 0, seed, start) < 0:
        raise ConfigError("n, seed and start are 0 or more", hint=f"given n={n}, seed={seed}, start={start}")
    return chosen
