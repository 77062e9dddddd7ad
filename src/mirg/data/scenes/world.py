"""Scenes, how they are sampled, and how hard the world is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import Field, model_validator

from mirg.config import Section, checked, read_recipe
from mirg.data.compose.pixels import share_inside, within
from mirg.data.scenes.objects import (
    ALL_SHAPES,
    RGB,
    TILTS,
    Pairs,
    SceneObject,
    ShapeSet,
    names_of,
    similar_names,
    split_name,
)
from mirg.errors import ConfigError
from mirg.geometry import Box

T = TypeVar("T")
# Part of every seed: raise it when a change makes the same seed give another scene.
WORLD_VERSION = 1

BackgroundKind = Literal["plain", "gradient", "noise", "checks", "patch"]
Texture = Literal["plain", "striped", "dotted"]
_KINDS: tuple[BackgroundKind, ...] = ("plain", "gradient", "noise", "checks")
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
# The part of the smaller of two objects that the other one may cover.
_MAX_COVER = 0.12
_MAX_NEIGHBOUR = 0.4
# How much larger or smaller another view may show its objects.
_VIEW_SCALES = (0.75, 1.3)
# How often a scene is tried with an object at the place that it was given.
_ANCHORED = 20
# Width to height of a drawn object, over that of its shape.
_STRETCH = (0.87, 1.15)
# The least mean side of an object in pixels: below it, a narrow one is a single pixel wide.
_MIN_PIXELS = 2.5


@dataclass(frozen=True, slots=True)
class Background:
    """A muted backdrop; ``clutter`` is the number of grey strokes and specks on it.

    Of kind ``patch`` it looks like a piece of a photograph, or is one, where ``photos`` names a folder of them.
    """

    kind: BackgroundKind
    colours: tuple[RGB, RGB]
    seed: int
    clutter: int = 0
    photos: str | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """One image before it has pixels: objects in drawing order over a background.

    ``view`` is the part of the background that is seen; the objects' boxes are already relative to it (:func:`zoom`).
    ``fragments`` are parts of other objects that the edge cuts: they are drawn under the objects and not annotated.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    view: Box = _WHOLE
    fragments: tuple[SceneObject, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the objects, in drawing order."""
        return tuple(thing.name for thing in self.objects)


class WorldConfig(Section):
    """How hard the world is. Ranges are inclusive; lengths of objects are fractions of the image side."""

    side: int = Field(default=96, ge=32, le=4096, description="Width and height of every image, in pixels.")
    images: tuple[int, int] = Field(default=(2, 6), description="Images in one sample.")
    frames: tuple[int, int] = Field(default=(4, 6), description="Images in one tracking sample.")
    objects: tuple[int, int] = Field(default=(1, 4), description="Objects in one image.")
    object_side: tuple[float, float] = Field(default=(0.2, 0.5), description="Mean side of an object.")
    max_overlap: float = Field(default=0.05, ge=0.0, le=0.3, description="Largest IoU of two objects of one image.")
    similar: float = Field(default=0.4, ge=0.0, le=1.0, description="Share of distractors like the target.")
    same_place: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of the other images that hold a look-alike where the target is, as frames of a still camera "
        "do: there, a box says nothing about its image.",
    )
    clutter: int = Field(default=4, ge=0, le=64, description="Most grey strokes and specks in one image.")
    textures: tuple[Texture, ...] = Field(default=("plain", "striped", "dotted"), min_length=1)
    backgrounds: tuple[BackgroundKind, ...] = Field(default=_KINDS, min_length=1)
    change_background: bool = Field(default=False, description="Give the images of a pair or sequence own backgrounds.")
    shapes: ShapeSet = Field(default="basic", description="basic: ten shapes; all: sixteen.")
    pairs: Pairs = Field(
        default="all", description="seen: without the held-out pairs of colour and shape; held_out: ask for only those."
    )
    photos: str | None = Field(default=None, description="Folder whose photographs the backgrounds of kind patch show.")

    @model_validator(mode="after")
    def _ranges(self) -> WorldConfig:
        for name, low, high in (("images", 2, 12), ("frames", 2, 12), ("objects", 1, 6)):
            first, last = getattr(self, name)
            if not low <= first <= last <= high:
                raise ValueError(f"{name} = {(first, last)}: {low} <= first <= last <= {high} expected")
        first, last = self.object_side
        if not 0.04 <= first <= last <= 0.7:
            raise ValueError(f"object_side = {(first, last)}: 0.04 <= first <= last <= 0.7 expected")
        if first * self.side < _MIN_PIXELS:
            raise ValueError(f"objects of side {first} are under {_MIN_PIXELS} pixels in images of {self.side}")
        if self.objects[1] * first**2 > 0.4:
            raise ValueError(f"{self.objects[1]} objects of side {first} do not fit into one image")
        if self.photos is not None and "patch" not in self.backgrounds:
            raise ValueError("photos are shown by backgrounds of kind patch, which are not among the backgrounds")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that an image may show."""
        return names_of(self.shapes, "seen" if self.pairs == "seen" else "all")

    @property
    def subjects(self) -> tuple[str, ...]:
        """Every name that a question may be about."""
        return names_of(self.shapes, self.pairs)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every name that there is a word for, the held-out ones too."""
        return names_of(self.shapes)


EASY = WorldConfig(
    images=(2, 4), frames=(4, 4), objects=(1, 3), object_side=(0.25, 0.5), similar=0.2, clutter=0, textures=("plain",)
)
MEDIUM = WorldConfig()
HARD = WorldConfig(
    images=(3, 6), objects=(2, 5), object_side=(0.14, 0.36), similar=0.7, clutter=12, change_background=True
)
DIFFICULTIES: dict[str, WorldConfig] = {"easy": EASY, "medium": MEDIUM, "hard": HARD}


def scene_for(
    rng: np.random.Generator,
    config: WorldConfig,
    names: Sequence[str] | None,
    n_objects: int = 1,
    *,
    background: Background | None = None,
    anchor: tuple[int, Box] | None = None,
) -> Scene:
    """Place objects of the sizes and textures of ``config`` on a background, none of them hiding another.

    ``names`` fixes the objects and their order, otherwise ``n_objects`` different names of ``config`` are drawn. Boxes
    lie on the pixel grid, so they are exact there. ``anchor``: which object is to stand where, see :func:`place`.
    """
    if names is None:
        names = [str(config.names[k]) for k in rng.choice(len(config.names), n_objects, replace=False)]
    things = [SceneObject(*split_name(name), _WHOLE, pick(rng, config.textures), pick(rng, TILTS)) for name in names]
    boxes = place(rng, config, [thing.shape for thing in things], anchor)
    objects = tuple(replace(thing, box=box) for thing, box in zip(things, boxes, strict=True))
    return Scene(objects, background or background_for(rng, config))


def background_for(rng: np.random.Generator, config: WorldConfig) -> Background:
    """A backdrop of nearly grey colours, light or dark, with up to ``config.clutter`` strokes."""
    kind = pick(rng, config.backgrounds)
    # Mid-grey is left out: there, cyan, orange and green lose their contrast.
    base = int(rng.integers(20, 70)) if rng.random() < 0.35 else int(rng.integers(175, 240))
    tints = rng.integers(-9, 10, 6).tolist()
    step = int(rng.integers(10, 26)) * (1 if base < 120 else -1)
    first = (base + tints[0], base + tints[1], base + tints[2])
    second = (base + step + tints[3], base + step + tints[4], base + step + tints[5])
    seed, strokes = int(rng.integers(2**32)), int(rng.integers(config.clutter + 1))
    return Background(kind, (first, second), seed, strokes, config.photos if kind == "patch" else None)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of ``options``, uniformly."""
    return options[int(rng.integers(len(options)))]


def place(
    rng: np.random.Generator, config: WorldConfig, shapes: Sequence[str], anchor: tuple[int, Box] | None = None
) -> list[Box]:
    """Boxes (fractions on the pixel grid) for ``shapes``, of the sizes and with the overlap that ``config`` allows.

    ``anchor`` (k, box) places object k at ``box`` as its shape fills it (:func:`_standing_at`), or anywhere if this
    leaves no room for the others. An object without room shrinks towards the least side, and a scene without room is
    placed again. ConfigError if there is still no room.
    """
    for attempt in range(200):
        boxes: dict[int, Box] = {}
        if anchor is not None and attempt < _ANCHORED:
            boxes[anchor[0]] = _standing_at(anchor[1], shapes[anchor[0]], config.side)
        for k, shape in enumerate(shapes):
            if k not in boxes:
                box = _find_room(rng, config, tuple(boxes.values()), shape)
                if box is None:
                    break
                boxes[k] = box
        else:
            return [boxes[k] for k in range(len(shapes))]
    raise ConfigError(
        f"no room for {len(shapes)} objects of side {config.object_side[0]}", hint="ask for fewer or smaller ones"
    )


def fills(shape: str, box: Box) -> bool:
    """Whether ``box`` is one that an object of ``shape`` may have, wherever it stands."""
    low, high = _STRETCH
    ratio = (box[2] - box[0]) / (box[3] - box[1]) / ALL_SHAPES[shape]
    return low <= ratio <= high


def _standing_at(box: Box, shape: str, side: int) -> Box:
    """``box`` where ``shape`` fills it, or else ``shape`` undistorted around its centre, about as large.

    No part of it is outside the image.
    """
    if fills(shape, box):
        return box
    width, height = box[2] - box[0], box[3] - box[1]
    stretch = (ALL_SHAPES[shape] * height / width) ** 0.5
    wide, high = (min(round(length * side), side) for length in (width * stretch, height / stretch))
    left, top = (
        min(max(round((box[k] + box[k + 2]) / 2 * side - length / 2), 0), side - length)
        for k, length in enumerate((wide, high))
    )
    return grid_box(left, top, left + wide, top + high, side)


def _find_room(rng: np.random.Generator, config: WorldConfig, boxes: Sequence[Box], shape: str) -> Box | None:
    side = config.side
    length = rng.uniform(*config.object_side)
    stretch = (ALL_SHAPES[shape] * rng.uniform(*_STRETCH)) ** 0.5
    for attempt in range(30):
        if attempt % 5 == 4:
            length = max(config.object_side[0], 0.85 * length)
        width, height = round(length * stretch * side), round(length / stretch * side)
        x, y = rng.random(2).tolist()
        left, top = round(x * (side - width)), round(y * (side - height))
        box = grid_box(left, top, left + width, top + height, side)
        if has_room(box, boxes, config.max_overlap):
            return box
    return None


def grid_box(left: int, top: int, right: int, bottom: int, side: int) -> Box:
    """Whole pixels of an image of ``side`` pixels as fractions; six decimals, so that stored text stays short."""
    return (round(left / side, 6), round(top / side, 6), round(right / side, 6), round(bottom / side, 6))


def has_room(box: Box, boxes: Sequence[Box], max_overlap: float) -> bool:
    """Whether ``box`` overlaps none of ``boxes`` by more than ``max_overlap`` (IoU) or hides a part of one."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    for other in boxes:
        shared = max(min(box[2], other[2]) - max(box[0], other[0]), 0.0)
        shared *= max(min(box[3], other[3]) - max(box[1], other[1]), 0.0)
        if shared == 0.0:
            continue
        other_area = (other[2] - other[0]) * (other[3] - other[1])
        if shared > max_overlap * (area + other_area - shared) or shared > _MAX_COVER * min(area, other_area):
            return False
    return True


def zoom(scene: Scene, index: int, margin: float) -> Scene | None:
    """What a camera sees that comes close to object ``index``: a square crop, ``margin`` of its side left free around.

    The crop is a true one: background and neighbouring objects are those of ``scene``. None where more than
    ``_MAX_NEIGHBOUR`` of another object is in it: then it would be a crop of two objects.
    """
    box = scene.objects[index].box
    length = min(max(box[2] - box[0], box[3] - box[1]) * (1.0 + 2.0 * margin), 1.0)
    left = min(max((box[0] + box[2] - length) / 2, 0.0), 1.0 - length)
    top = min(max((box[1] + box[3] - length) / 2, 0.0), 1.0 - length)
    view = (left, top, left + length, top + length)
    seen = [replace(thing, box=within(thing.box, view)) for thing in scene.objects]
    cut = tuple(thing for k, thing in enumerate(seen) if k != index and share_inside(thing.box, _WHOLE) > 0.0)
    if any(share_inside(thing.box, _WHOLE) > _MAX_NEIGHBOUR for thing in cut):
        return None
    return Scene((seen[index],), scene.background, view, cut)


def another_view(rng: np.random.Generator, config: WorldConfig, scene: Scene) -> Scene:
    """``scene`` as a camera elsewhere sees it: its objects all shifted and scaled alike, before another background.

    No object leaves the image, and the smallest does not fall below the least side of ``config``.
    """
    side = config.side
    boxes = [thing.box for thing in scene.objects]
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    width, height = max(box[2] for box in boxes) - left, max(box[3] for box in boxes) - top
    smallest = min(((box[2] - box[0]) * (box[3] - box[1])) ** 0.5 for box in boxes)
    most = min(_VIEW_SCALES[1], 1.0 / width, 1.0 / height)
    least = min(max(_VIEW_SCALES[0], config.object_side[0] / smallest), most)
    scale = rng.uniform(least, most)
    x, y = (rng.uniform(0.0, max(1.0 - scale * length, 0.0)) for length in (width, height))

    def seen(box: Box) -> Box:
        edges = (x + scale * (box[0] - left), y + scale * (box[1] - top))
        x1, y1 = (round(edge * side) for edge in edges)
        wide, high = (max(round(scale * (box[k + 2] - box[k]) * side), 1) for k in (0, 1))
        return grid_box(min(x1, side - wide), min(y1, side - high), min(x1 + wide, side), min(y1 + high, side), side)

    objects = tuple(replace(thing, box=seen(thing.box)) for thing in scene.objects)
    return replace(scene, objects=objects, background=background_for(rng, config))


def distractors(
    rng: np.random.Generator, config: WorldConfig, count: int, target: str, avoid: Sequence[str] = ()
) -> list[str]:
    """``count`` different names, none of them ``target`` or in ``avoid``; a share ``config.similar`` is like it."""
    taken = {target, *avoid}
    chosen: list[str] = []
    alike = similar_names(target, config.names)
    while len(chosen) < count:
        pool = alike if rng.random() < config.similar else config.names
        name = pick(rng, pool)
        if name not in taken:
            chosen.append(name)
            taken.add(name)
    return chosen


class WorldRecipe(Section):
    """The part of a recipe that scenes are made by; the recipe may have further parts."""

    world: WorldConfig


def load_world(name: str | Path) -> WorldConfig:
    """The ``world`` block of a recipe, whatever else is in it. ConfigError if it has none."""
    world = read_recipe(name).get("world")
    if not isinstance(world, dict):
        raise ConfigError(f"recipe {name} has no world block", hint="tiny/world has one")
    return checked(WorldRecipe, {"world": world}, name).world
