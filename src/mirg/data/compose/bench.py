"""What a task works with: its random stream, the pool, pixels, the draft that it returns, and shared steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mirg.data.compose.pixels import shrink
from mirg.data.compose.pool import CELLS, Pool, PoolImage, Spot, Thing
from mirg.data.compose.recipe import ComposeRecipe
from mirg.geometry import Box
from mirg.images import image_size
from mirg.samples import DatasetFolder, ImageRef, ObjectNote, Relation, Role, Target

if TYPE_CHECKING:
    from PIL import Image


class Drop(Exception):
    """A draft cannot be made; the message is the reason under which it is counted."""


@dataclass(frozen=True)
class Shown:
    """One image of a draft. ``pixels`` is None if the image of the pool is shown unchanged.

    ``origin`` is the pool index of the image, ``also`` the one of what was pasted into it.
    """

    origin: int
    role: Role
    notes: tuple[ObjectNote, ...]
    pixels: Image.Image | None = None
    frame: int | None = None
    also: int | None = None


@dataclass(frozen=True)
class Draft:
    """The result of a task. ``kind`` and ``slots`` choose and fill the question (``questions.py``)."""

    task: str
    images: tuple[Shown, ...]
    kind: str
    subject: str
    targets: tuple[Target, ...]
    relation: Relation
    image_hidden: bool
    choices: int
    slots: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def sources(self) -> list[int]:
        """The pool indices of all images that it contains, each once, in the order of the images."""
        return list(dict.fromkeys(i for shown in self.images for i in (shown.origin, shown.also) if i is not None))


def target(number: int, box: Box, label: str) -> Target:
    """A target in ``Image-{number}``."""
    return Target(image=number, box=box, label=label)


_CACHE_BYTES = 128 * 2**20
_DRAWS = 40  # images drawn for one place of a sample


class Pixels:
    """A cache of the pixels of a pool. ImageError, naming the image, if one cannot be opened."""

    def __init__(self, source: DatasetFolder, pool: Pool, side: int) -> None:
        self._source = source
        self._pool = pool
        self._side = side
        self.full = lru_cache(maxsize=16)(self._full)
        self.photo = lru_cache(maxsize=max(8, _CACHE_BYTES // (3 * side**2)))(self._photo)
        self.size = lru_cache(maxsize=65536)(self._size)

    def _full(self, index: int) -> Image.Image:
        return self._source.open_image(self._pool.images[index].ref)

    def _photo(self, index: int) -> Image.Image:
        """The image with its long edge at most ``side`` pixels: what is edited and stored."""
        return shrink(self.full(index), self._side)

    def _size(self, index: int) -> tuple[int, int]:
        """(width, height) of the source image, pixels."""
        ref: ImageRef = self._pool.images[index].ref
        return ref.size if ref.measured else image_size(self._source.image_path(ref), limits=self._source.limits)


class Bench:
    """One attempt at one sample. ``turn`` and ``cell_turn`` in [0, 1) are spread evenly over the samples of a task.

    The first chooses the place of the answer among the images, the second its place inside the image.
    """

    def __init__(
        self,
        rng: random.Random,
        pool: Pool,
        pixels: Pixels,
        recipe: ComposeRecipe,
        turn: float,
        cell_turn: float | None,
    ) -> None:
        self.rng = rng
        self.pool = pool
        self.pixels = pixels
        self.recipe = recipe
        self.turn = turn
        self.cell_turn = cell_turn
        self.n_like = self.n_unlike = 0

    def image(self, index: int) -> PoolImage:
        """An image of the pool."""
        return self.pool.images[index]

    def count(self, least: int = 2) -> int:
        """The number of images of the sample: from the recipe's range, and at least ``least``."""
        low = max(self.recipe.images[0], least)
        return self.rng.randint(low, max(low, self.recipe.images[1]))

    def draw(self, options: Sequence[int]) -> int:
        """One of ``options``; Drop if they are empty."""
        if not options:
            raise Drop("no image of this kind in the pool")
        return options[self.rng.randrange(len(options))]

    def subject(self, least: int = 1) -> tuple[int, Thing]:
        """An image and its only object of some label, which has such an object in ``least`` images or more.

        The cell of the answer is given by :attr:`cell_turn`; labels are drawn evenly, so that none crowds out the rest.
        """
        pool = self.pool
        found: dict[str, list[Spot]] = pool.singles
        if self.cell_turn is not None:
            found = pool.cells[int(self.cell_turn * CELLS)]
        keys = [key for key in found if len(pool.singles[key]) >= least]
        if not keys:
            if not any(len(spots) >= least for spots in pool.singles.values()):
                images = "an image" if least == 1 else f"{least} images"
                raise Drop(f"no label is alone in {images} at an allowed size")
            raise Drop("no such object in this part of an image")
        key = keys[self.rng.randrange(len(keys))]
        image, number = found[key][self.rng.randrange(len(found[key]))]
        return image, pool.images[image].things[number]

    def others(
        self, count: int, *, like: str, avoid: Collection[str], used: Iterable[int], noted: bool = False
    ) -> list[int]:
        """``count`` images of other families that hold none of the labels ``avoid``, as like as the recipe asks.

        The annotation of each says that these labels are not in it; ``noted``: it has objects of other labels. Drop if
        the pool has too few. How many were like the subject is counted.
        """
        families = {self.image(index).family for index in used}
        chosen: list[int] = []

        def allowed(image: PoolImage) -> bool:
            free = image.family not in families and (bool(image.things) or not noted)
            return free and all(image.lacks(key) for key in avoid)

        for _ in range(count):
            index = self.drawn(self._like(like), allowed, *avoid)
            if index is None:
                raise Drop("too few images without the asked label")
            families.add(self.image(index).family)
            chosen.append(index)
        return chosen

    def drawn(self, keys: list[str] | None, allowed: Callable[[PoolImage], bool], *without: str) -> int | None:
        """An image that is ``allowed`` and holds one of the labels ``keys`` if one is found, else any that is allowed.

        None after some attempts. ``keys`` is None if any image is as good. Images of which it is annotated one by one
        that they hold none of the labels ``without`` are tried last: they are few in a large pool.
        """
        index = self._other(keys, allowed)
        if index is not None:
            self.n_like += 1
            return index
        index = self._other(None, allowed)
        listed = [] if index is not None else [i for key in without for i in self.pool.negatives.get(key, ())]
        if listed:
            drawn = (listed[self.rng.randrange(len(listed))] for _ in range(_DRAWS))
            index = next((image for image in drawn if allowed(self.image(image))), None)
        self.n_unlike += keys is not None
        return index

    def _like(self, key: str) -> list[str] | None:
        """Labels that make an image like ``key``; None: any image is."""
        if self.recipe.distractors == "random":
            return None
        return (self.pool.kin if self.recipe.distractors == "same_category" else self.pool.together).get(key, [])

    def _other(self, keys: list[str] | None, allowed: Callable[[PoolImage], bool]) -> int | None:
        for _ in range(_DRAWS):
            if keys is None:
                index = self.rng.randrange(len(self.pool))
            elif not keys:
                return None
            else:
                held = self.pool.holders[keys[self.rng.randrange(len(keys))]]
                index = held[self.rng.randrange(len(held))]
            if allowed(self.image(index)):
                return index
        return None

    def point(self, size: tuple[int, int]) -> tuple[float, float]:
        """A point, in pixels of an image of ``size``, inside the cell where the answer is to lie."""
        if self.cell_turn is None:
            return self.rng.uniform(0, size[0]), self.rng.uniform(0, size[1])
        row, column = divmod(int(self.cell_turn * CELLS), 3)
        return (column + self.rng.random()) / 3 * size[0], (row + self.rng.random()) / 3 * size[1]

    def original(self, index: int, role: Role = "candidate", *, frame: int | None = None) -> Shown:
        """An unchanged image of the pool, with all its notes."""
        return Shown(index, role, notes_of(self.image(index)), frame=frame)

    def arranged(self, holder: Shown, rest: Sequence[Shown]) -> tuple[tuple[Shown, ...], int]:
        """The images in their order, and the number (from 1) of ``holder``.

        Shuffled, the holder's place is given by :attr:`turn`; otherwise it comes first.
        """
        if not self.recipe.shuffle:
            return (holder, *rest), 1
        order = self.rng.sample(list(rest), len(rest))
        place = int(self.turn * (len(rest) + 1))
        order.insert(place, holder)
        return tuple(order), place + 1

    def mixed(self, images: Sequence[Shown]) -> tuple[Shown, ...]:
        """The images in a random order, or in the given one if the recipe does not shuffle."""
        return tuple(self.rng.sample(list(images), len(images))) if self.recipe.shuffle else tuple(images)


def notes_of(image: PoolImage) -> tuple[ObjectNote, ...]:
    """The notes of an image."""
    return tuple(thing.note for thing in image.things)
