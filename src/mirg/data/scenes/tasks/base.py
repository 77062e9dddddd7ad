"""What every task is made of: a draft (scenes, question, truth) and the steps that tasks share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mirg.data.scenes.objects import similar_names, split_name
from mirg.data.scenes.world import Scene, WorldConfig, distractors, fills, scene_for
from mirg.geometry import Box
from mirg.samples.schema import Relation, Role, Target

# What one image is to show, before anything has a place.
Names = list[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a draft with its image-level annotation."""

    scene: Scene
    role: Role = "candidate"
    frame: int | None = None

    @property
    def caption(self) -> str:
        """The objects by name, in annotation order."""
        return ", ".join(self.scene.names)


@dataclass(frozen=True, slots=True)
class Draft:
    """A sample before its images have pixels and paths; fields as in :class:`mirg.samples.schema.Sample`."""

    pictures: tuple[Picture, ...]
    question: str
    targets: tuple[Target, ...]
    relation: Relation
    image_hidden: bool
    meta: Mapping[str, str | int] = field(default_factory=dict)


Make = Callable[[np.random.Generator, WorldConfig], Draft]


def draw(rng: np.random.Generator, span: tuple[int, int], least: int = 1) -> int:
    """An integer of the inclusive range ``span``, raised to ``least`` where the range starts lower."""
    low = max(span[0], least)
    return int(rng.integers(low, max(span[1], low) + 1))


def pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of ``options``, uniformly."""
    return options[int(rng.integers(len(options)))]


def any_name(rng: np.random.Generator, config: WorldConfig) -> str:
    """A name to ask for, uniformly."""
    return pick(rng, config.subjects)


def choose(rng: np.random.Generator, count: int, size: int) -> list[int]:
    """``size`` different numbers out of 0 … ``count`` - 1, in rising order, every subset alike."""
    return sorted(rng.choice(count, size, replace=False).tolist())


def fill(rng: np.random.Generator, config: WorldConfig, subject: str, copies: int, avoid: Sequence[str] = ()) -> Names:
    """Names for one image: ``copies`` times the subject among distractors, in random order."""
    count = draw(rng, config.objects, least=max(copies, 1))
    names = [subject] * copies + distractors(rng, config, count - copies, subject, avoid)
    return [names[k] for k in rng.permutation(len(names))]


def holder_pictures(
    rng: np.random.Generator,
    config: WorldConfig,
    lists: Sequence[Names],
    subject: str,
    avoid: Collection[str] = (),
    asked: int | None = None,
) -> list[Picture]:
    """One picture per list of names; those that hold the subject are candidates, the others distractors.

    In a share ``config.same_place`` of the others a look-alike, none of ``avoid``, stands where the subject does in the
    first of its images. Where no image holds the subject they stand at one place too, or it would be told by that.
    Of several holders only number ``asked`` may be meant: then its place counts, and the others show the subject there.
    """
    scenes: dict[int, Scene] = {}
    first = next((k for k, names in enumerate(lists) if subject in names), 0) if asked is None else asked
    box: Box | None = None
    # The place has to be known first; without one the order is that of the images, which no seed's scene may lose.
    for k in sorted(range(len(lists)), key=lambda k: k != first) if config.same_place else range(len(lists)):
        names, anchor = list(lists[k]), None
        at, holds = _most_alike(names, subject), subject in names
        movable = not holds or (asked is not None and k != asked)
        if config.same_place and movable and rng.random() < config.same_place:
            if not holds:
                others = {*names[:at], *names[at + 1 :], *avoid}
                names[at] = look_alike(rng, config, subject, box, others) or names[at]
            anchor = (at, box) if box else None
        scenes[k] = scene_for(rng, config, names, anchor=anchor)
        box = box or scenes[k].objects[at].box
    return [Picture(scenes[k], "candidate" if subject in names else "distractor") for k, names in enumerate(lists)]


def beside_pictures(
    rng: np.random.Generator, config: WorldConfig, subject: str, marks: Sequence[Names], asked: int
) -> list[Picture]:
    """One picture per list of ``marks``: each shows the subject, those names, and none of the other pictures' marks.

    Only number ``asked`` may be meant; ``config`` has to allow for one object more than the longest list.
    """
    known = sorted({name for names in marks for name in names})
    lists = [fill(rng, config, subject, 1, avoid=known) for _ in marks]
    for names, shown in zip(lists, marks, strict=True):
        others = [k for k, name in enumerate(names) if name != subject]
        for k, name in zip(others, shown, strict=False):
            names[k] = name
    return holder_pictures(rng, config, lists, subject, asked=asked)


def _most_alike(names: Names, subject: str) -> int:
    """The number of the name that shares most words with ``subject``: itself, its colour or shape, or anything."""
    words = set(subject.split())
    return max(range(len(names)), key=lambda k: len(words & set(names[k].split())))


def look_alike(
    rng: np.random.Generator, config: WorldConfig, subject: str, box: Box | None, avoid: Collection[str] = ()
) -> str | None:
    """A name with the colour or the shape of ``subject`` that fills ``box`` if given; None where there is none."""
    alike = [name for name in similar_names(subject, config.names) if name not in avoid]
    fitting = [name for name in alike if box is None or fills(split_name(name)[1], box)]
    return pick(rng, fitting) if fitting else None


def targets_named(
    pictures: Sequence[Picture], subject: str, numbers: Sequence[int] | None = None
) -> tuple[Target, ...]:
    """Every object called ``subject`` in the images ``numbers`` (from 1; None: all), sorted by image, then x1."""
    found = [
        Target(image=number, box=thing.box, label=subject)
        for number, picture in enumerate(pictures, 1)
        if numbers is None or number in numbers
        for thing in picture.scene.objects
        if thing.name == subject
    ]
    return tuple(sorted(found, key=lambda target: (target.image, target.box)))


def showing(scene: Scene, indices: Collection[int]) -> Scene:
    """``scene`` with the objects ``indices`` alone, in its own drawing order."""
    return replace(scene, objects=tuple(thing for k, thing in enumerate(scene.objects) if k in indices))


def without(scene: Scene, index: int) -> Scene:
    """``scene`` with object ``index`` taken away."""
    return showing(scene, [k for k in range(len(scene.objects)) if k != index])


def at_least(config: WorldConfig, objects: int) -> WorldConfig:
    """``config`` with no fewer than ``objects`` objects in an image."""
    low, high = config.objects
    return config.model_copy(update={"objects": (max(low, objects), max(high, objects))})
