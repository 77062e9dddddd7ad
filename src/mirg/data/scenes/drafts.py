"""The draft of a sample (scenes, question, targets) and the steps that the tasks share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mirg.data.scenes.objects import similar_names, split_name
from mirg.data.scenes.world import Scene, WorldConfig, distractors, fills, pick, scene_for
from mirg.geometry import Box
from mirg.samples.schema import Relation, Role, Target

# The names of the objects of one image, before they have places.
Names = list[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of a draft with its image-level annotation."""

    scene: Scene
    role: Role = "candidate"
    frame: int | None = None


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
    """An integer from the inclusive range ``span``, whose lower end is raised to ``least`` if it is smaller."""
    low = max(span[0], least)
    return int(rng.integers(low, max(span[1], low) + 1))


def choose(rng: np.random.Generator, count: int, size: int) -> list[int]:
    """``size`` different numbers from 0 … ``count`` - 1 in rising order; every subset has the same probability."""
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
    """One picture for each list of names. Pictures with the subject are candidates, the others are distractors.

    A share ``config.same_place`` of the distractors has a look-alike, a name that is not in ``avoid``, at the box that
    the subject has in its first image. If no image has the subject, the look-alikes share a box as well, so that their
    places do not reveal it. If several images have the subject and only number ``asked`` is meant, the box is that of
    image ``asked``, and the others show the subject there.
    """
    scenes: dict[int, Scene] = {}
    first = next((k for k, names in enumerate(lists) if subject in names), 0) if asked is None else asked
    box: Box | None = None
    # The image that decides the place is made first. Without same_place, the images are made in their
    # order, because another order would change the scenes of every seed.
    for k in sorted(range(len(lists)), key=lambda k: k != first) if config.same_place else range(len(lists)):
        names, anchor = list(lists[k]), None
        words, holds = set(subject.split()), subject in names
        at = max(range(len(names)), key=lambda k: len(words & set(names[k].split())))  # the name most like the subject
        movable = not holds or (asked is not None and k != asked)
        if config.same_place and movable and rng.random() < config.same_place:
            if not holds:
                others = {*names[:at], *names[at + 1 :], *avoid}
                names[at] = look_alike(rng, config, subject, box, others) or names[at]
            anchor = (at, box) if box else None
        scenes[k] = scene_for(rng, config, names, anchor=anchor)
        box = box or scenes[k].objects[at].box
    return [Picture(scenes[k], "candidate" if subject in names else "distractor") for k, names in enumerate(lists)]


def look_alike(
    rng: np.random.Generator, config: WorldConfig, subject: str, box: Box | None, avoid: Collection[str] = ()
) -> str | None:
    """A name with the colour or the shape of ``subject`` whose shape fills ``box`` if given, or None."""
    alike = [name for name in similar_names(subject, config.names) if name not in avoid]
    fitting = [name for name in alike if box is None or fills(split_name(name)[1], box)]
    return pick(rng, fitting) if fitting else None


def targets_named(
    pictures: Sequence[Picture], subject: str, numbers: Collection[int] | None = None
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
    """``scene`` with only the objects ``indices``, in the same drawing order."""
    return replace(scene, objects=tuple(thing for k, thing in enumerate(scene.objects) if k in indices))


def at_least(config: WorldConfig, objects: int) -> WorldConfig:
    """``config`` with at least ``objects`` objects in an image."""
    low, high = config.objects
    return config.model_copy(update={"objects": (max(low, objects), max(high, objects))})
