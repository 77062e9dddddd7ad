"""Samples of the procedural world: a dataset folder on disk, or an unlimited number of new samples in memory.

A sample is a pure function of (world version, split, task, seed, index) and the configuration: order, number of
workers and the choice of other tasks change nothing, and two splits never share a random stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mirg.data.scenes.drafts import Draft
from mirg.data.scenes.render import render
from mirg.data.scenes.tasks import TASKS
from mirg.data.scenes.world import DIFFICULTIES, MEDIUM, WORLD_VERSION, WorldConfig
from mirg.errors import ConfigError
from mirg.geometry import clip
from mirg.samples.schema import ImageRef, ObjectNote, Sample

if TYPE_CHECKING:
    from PIL import Image

    from mirg.samples import DatasetFolder, DatasetWriter

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


def keys(
    tasks: Sequence[str] | None = None, n: int | None = None, *, split: str, seed: int = 0, start: int = 0
) -> Iterator[Key]:
    """The keys of samples ``start`` … ``start + n - 1`` (unlimited if ``n`` is None), one of each task after another.

    ``tasks`` None means all. ConfigError for an unknown task or split, or a negative number.
    """
    chosen = list(TASKS) if tasks is None else list(tasks)
    for name, known, word in ((split, SPLITS, "split"), *((task, TASKS, "task") for task in chosen)):
        if name not in known:
            raise ConfigError(f"unknown {word} {name!r}", hint=f"one of {', '.join(known)}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError("name at least one task, and none twice", hint=f"any of {', '.join(TASKS)}")
    if min(n or 0, seed, start) < 0:
        raise ConfigError("n, seed and start are 0 or more", hint=f"given n={n}, seed={seed}, start={start}")
    positions = count(start) if n is None else range(start, start + n)
    return (Key(split, chosen[k % len(chosen)], seed, k // len(chosen)) for k in positions)


def make_draft(key: Key, config: WorldConfig = MEDIUM) -> Draft:
    """The scenes, question and truth of one sample."""
    return TASKS[key.task](np.random.default_rng(np.random.SeedSequence(key.entropy())), config)


def generate(
    tasks: Sequence[str] | None = None,
    n: int | None = None,
    *,
    split: str,
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
    split: str,
    seed: int = 0,
    config: WorldConfig = MEDIUM,
    start: int = 0,
) -> Iterator[tuple[Sample, list[Image.Image]]]:
    """Samples with their images, nothing touches the disk. Paths of images are unique names without files."""

    def named(image: Image.Image, name: str) -> ImageRef:
        return ImageRef(path=f"images/{name}.png", width=image.width, height=image.height)

    return (_rendered(key, config, named) for key in keys(tasks, n, split=split, seed=seed, start=start))


def _rendered(
    key: Key, config: WorldConfig, store: Callable[[Image.Image, str], ImageRef]
) -> tuple[Sample, list[Image.Image]]:
    draft = make_draft(key, config)
    images = [render(picture.scene, (config.side, config.side)) for picture in draft.pictures]
    return to_sample(key, draft, [store(image, f"{key.sample_id}-{k}") for k, image in enumerate(images, 1)]), images


def write_scenes(
    out: str | Path,
    n: int,
    *,
    split: str,
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
    return _rendered(key, config, writer.add_image)[0]


def to_sample(key: Key, draft: Draft, refs: Sequence[ImageRef]) -> Sample:
    """The draft as a sample whose images are ``refs``, with both annotation levels."""
    images = []
    for ref, picture in zip(refs, draft.pictures, strict=True):
        notes = tuple(
            ObjectNote(label=thing.name, box=clip(thing.box), attributes={"texture": thing.texture})
            for thing in picture.scene.objects
        )
        caption = ", ".join(picture.scene.names)
        added = {"role": picture.role, "caption": caption, "frame": picture.frame, "objects": notes}
        images.append(ref.model_copy(update=added))
    return Sample(
        id=key.sample_id,
        task=key.task,
        images=tuple(images),
        question=draft.question,
        targets=draft.targets,
        relation=draft.relation,
        image_hidden=draft.image_hidden,
        source=f"scenes/{WORLD_VERSION}",
        meta=dict(draft.meta),
    )


def corpus(
    seed: int = 0,
    n: int = 1000,
    *,
    split: str = "train",
    config: WorldConfig = MEDIUM,
    tasks: Sequence[str] | None = None,
) -> Iterator[str]:
    """The questions and the reasoning of ``n`` samples as texts with box markup, for a tokenizer. Nothing is drawn."""
    from mirg.trajectories.writer import write_thinking

    for key, draft in generate(tasks, n, split=split, seed=seed, config=config):
        refs = [ImageRef(path=f"{k}.png", width=config.side, height=config.side) for k in range(len(draft.pictures))]
        sample = to_sample(key, draft, refs)
        yield sample.question
        yield write_thinking(sample)


def names(config: WorldConfig = MEDIUM) -> list[str]:
    """Every object name, ``"red circle"`` … ``"pink moon"``, also those that a corpus does not contain."""
    return list(config.vocabulary)


def difficulty(name: str) -> WorldConfig:
    """The preset called ``name``; ConfigError with the presets there are."""
    if name not in DIFFICULTIES:
        raise ConfigError(f"unknown difficulty {name!r}", hint=f"one of {', '.join(DIFFICULTIES)}")
    return DIFFICULTIES[name]
