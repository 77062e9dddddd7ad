"""What a task works with: its random stream, the pool, pixels, the draft that it returns, and shared steps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from mirg.data.compose.pixels import shrink
from mirg.data.compose.pool import Pool, PoolImage, Thing
from mirg.data.compose.recipe import ComposeRecipe
from mirg.geometry import Box
from mirg.images import image_size
from mirg.samples import DatasetFolder, ImageRef, ObjectNote, Relation, Role, Sample, Target

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

    def noted(self, ref: ImageRef) -> ImageRef:
        """The reference of the stored image with its role, notes and frame number."""
        return ref.model_copy(update={"role": self.role, "objects": self.notes, "frame": self.frame})


@dataclass(frozen=True)
class Draft:
    """The result of a task. ``kind`` and ``slots`` choose and fill the question (``questions.py``)."""

    images: tuple[Shown, ...]
    kind: str
    subject: str
    targets: tuple[Target, ...]
    relation: Relation
    image_hidden: bool
    slots: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    def sample(self, images: Sequence[ImageRef], **more: Any) -> Sample:
        """The sample that shows ``images``; ``more`` are its fields that are not part of the draft."""
        targets = {"targets": self.targets, "relation": self.relation, "image_hidden": self.image_hidden}
        return Sample(images=tuple(images), **targets, **more)

    @property
    def sources(self) -> list[int]:
        """The pool indices of all images that it contains, each once, in the order of the images."""
        return list(dict.fromkeys(i for shown in self.images for i in (shown.origin, shown.also) if i is not None))

    @property
    def choices(self) -> int:
        """The number of images that the answer may lie in, as far as the question says."""
        return sum(shown.role != "reference" for shown in self.images) if self.image_hidden else 1


_CACHE_BYTES = 128 * 2**20
_DRAWS = 40  # images drawn for one place of a sample


class Pixels:
    """A cache of the pixels of a pool. ImageError, naming the image, if one cannot be opened.

    ``full`` gives the source image of an index, ``photo`` the same with its long edge at most ``side`` pixels, which is
    what is edited and stored, and ``size`` the (width, height) of the source image in pixels.
    """

    def __init__(self, source: DatasetFolder, pool: Pool, side: int) -> None:
        self._source = source
        self._pool = pool
        self.full = lru_cache(maxsize=16)(self._full)
        self.photo = lru_cache(maxsize=max(8, _CACHE_BYTES // (3 * side**2)))(lambda i: shrink(self.full(i), side))
        self.size = lru_cache(maxsize=65536)(self._size)

    def _full(self, index: int) -> Image.Image:
        return self._source.open_image(self._pool.images[index].ref)

    def _size(self, index: int) -> tuple[int, int]:
        ref: ImageRef = self._pool.images[index].ref
        return ref.size if ref.measured else image_size(self._source.image_path(ref), limits=self._source.limits)


@dataclass
class Bench:
    """One attempt at one sample. ``turn`` in [0, 1) and ``cell`` are spread evenly over the samples of a task.

    The first chooses the place of the answer among the images, the second its cell inside the image; None: any cell.
    ``n_like`` and ``n_unlike`` count the images drawn that are, and are not, as like the subject as the recipe asks.
    """

    rng: random.Random
    pool: Pool
    pixels: Pixels
    recipe: ComposeRecipe
    turn: float
    cell: int | None
    n_like: int = 0
    n_unlike: int = 0

    def image(self, index: int) -> PoolImage:
        """An image of the pool."""
        return self.pool.images[index]

    def count(self, least: int = 2) -> int:
        """The number of images of the sample: from the recipe's range, and at least ``least``."""
        low = max(self.recipe.images[0], least)
        return self.rng.randint(low, max(low, self.recipe.images[1]))

    def subject(self, least: int = 1) -> tuple[int, Thing]:
        """An image and its only object of some label, which has such an object in ``least`` images or more.

        It lies in :attr:`cell`; labels are drawn evenly, so that none crowds out the rest.
        """
        singles = self.pool.singles
        found = singles if self.cell is None else self.pool.cells[self.cell]
        keys = [key for key in found if len(singles[key]) >= least]
        if not keys:
            if not any(len(spots) >= least for spots in singles.values()):
                images = "an image" if least == 1 else f"{least} images"
                raise Drop(f"no label occurs exactly once in {images} at an allowed size")
            raise Drop("no such object in this part of an image")
        image, number = self.rng.choice(found[self.rng.choice(keys)])
        return image, self.image(image).things[number]

    def others(self, count: int, key: str, used: Iterable[int], *avoid: str, noted: bool = False) -> list[int]:
        """``count`` images of other families than ``used`` that hold no object of label ``key`` or of ``avoid``.

        They are as like images with ``key`` as the recipe asks. The annotation of each says that these labels are not
        in it; ``noted``: it has objects of other labels. Drop if the pool has too few.
        """
        chosen = list(used)

        def allowed(index: int) -> bool:
            image = self.image(index)
            return (
                self.apart(index, chosen)
                and (bool(image.things) or not noted)
                and all(image.lacks(label) for label in (key, *avoid))
            )

        like = None
        if self.recipe.distractors != "random":
            like = (self.pool.kin if self.recipe.distractors == "same_category" else self.pool.together).get(key, [])
        n_used = len(chosen)
        for _ in range(count):
            index = self.drawn(like, allowed, key, *avoid)
            if index is None:
                raise Drop("too few images without the asked label")
            chosen.append(index)
        return chosen[n_used:]

    def apart(self, index: int, used: Iterable[int]) -> bool:
        """Whether an image is of another family than those ``used``."""
        family = self.image(index).family
        return all(self.image(other).family != family for other in used)

    def drawn(self, keys: list[str] | None, allowed: Callable[[int], bool], *without: str) -> int | None:
        """An image that is ``allowed`` and holds one of the labels ``keys`` if one is found, else any that is allowed.

        None after some attempts. ``keys`` is None if any image is as good. Images of which it is annotated one by one
        that they hold none of the labels ``without`` are tried last: they are few in a large pool.
        """
        rng, pool = self.rng, self.pool

        def tried(draw: Callable[[], int]) -> int | None:
            return next((index for _ in range(_DRAWS) if allowed(index := draw())), None)

        def anywhere() -> int:
            return rng.randrange(len(pool))

        index = tried(anywhere) if keys is None else None
        if keys:
            index = tried(lambda: rng.choice(pool.holders[rng.choice(keys)]))
        if index is not None:
            self.n_like += 1
            return index
        index = tried(anywhere)
        listed = [i for key in without for i in pool.negatives.get(key, ())] if index is None else []
        if listed:
            index = tried(lambda: rng.choice(listed))
        self.n_unlike += keys is not None
        return index

    def fits(self, width: int, height: int, size: tuple[int, int]) -> bool:
        """Whether a piece of an image of ``size``, in pixels, has an area that may be asked for."""
        low, high = self.recipe.target_area
        return low <= width * height / (size[0] * size[1]) <= high

    def point(self, size: tuple[int, int]) -> tuple[float, float]:
        """A point, in pixels of an image of ``size``, inside the cell where the answer is to lie."""
        if self.cell is None:
            return self.rng.uniform(0, size[0]), self.rng.uniform(0, size[1])
        row, column = divmod(self.cell, 3)
        return (column + self.rng.random()) / 3 * size[0], (row + self.rng.random()) / 3 * size[1]

    def original(self, index: int, role: Role = "candidate", *, frame: int | None = None) -> Shown:
        """An unchanged image of the pool, with all its notes."""
        return Shown(index, role, self.image(index).notes, frame=frame)

    def originals(self, indices: Iterable[int], role: Role = "distractor") -> list[Shown]:
        """Unchanged images of the pool."""
        return [self.original(index, role) for index in indices]

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

    def draft(
        self,
        kind: str,
        holder: Shown,
        rest: Sequence[Shown],
        label: str,
        boxes: Iterable[Box],
        relation: Relation,
        *,
        hidden: bool = True,
        first: Shown | None = None,
        slots: Mapping[str, str] | None = None,
        **meta: JsonValue,
    ) -> Draft:
        """The draft whose answer are the ``boxes`` in ``holder``; ``first`` is Image-1, before the arranged images.

        The question may use the label and the number of the holder, and ``slots`` beside them.
        """
        images, number = self.arranged(holder, rest)
        if first is not None:
            images, number = (first, *images), number + 1
        targets = tuple(Target(image=number, box=box, label=label) for box in boxes)
        filled = {"name": label, "k": str(number), **(slots or {})}
        return Draft(images, kind, label, targets, relation, hidden, filled, meta)
