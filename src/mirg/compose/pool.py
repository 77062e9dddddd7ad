"""The distinct images of a dataset with their objects, and the lists that tasks draw from.

A label stands for everything that is called so in an image: the annotation is taken to be complete. Where it says that
it is not (``attributes.iscrowd``), the label is not asked for in that image.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from mirg.compose.recipe import ComposeRecipe
from mirg.errors import DataError
from mirg.geometry import Box, iou
from mirg.samples import DatasetFolder, ImageRef, ObjectNote, Rejection, Sample

MAX_EQUAL_OVERLAP = 0.5  # IoU from which two objects of one label may be one object annotated twice
CELLS = 9
Spot = tuple[int, int]  # (image, object), both from 0


@dataclass(frozen=True, slots=True)
class Thing:
    """One annotated object; ``key`` is its label in lower case with single spaces, empty where it has none."""

    note: ObjectNote
    key: str
    crowd: bool

    @property
    def label(self) -> str:
        """The label as it is annotated."""
        return self.note.label

    @property
    def box(self) -> Box:
        """Fractions of the image."""
        return self.note.box

    @property
    def area(self) -> float:
        """Share of the image."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True)
class PoolImage:
    """One distinct image. ``family`` is shared by images that show the same place (frames, pairs, crops)."""

    key: str
    ref: ImageRef
    things: tuple[Thing, ...]
    family: str

    @cached_property
    def by_label(self) -> dict[str, tuple[int, ...]]:
        """The numbers of the objects of each label."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, thing in enumerate(self.things):
            found[thing.key].append(number)
        return {key: tuple(numbers) for key, numbers in found.items()}

    def holds(self, key: str) -> bool:
        """Whether anything of this label is annotated, crowds too."""
        return key in self.by_label

    def named(self, key: str) -> list[Thing]:
        """The objects of this label, from left to right."""
        found = [self.things[number] for number in self.by_label.get(key, ())]
        return sorted(found, key=lambda thing: thing.box)

    def countable(self, key: str) -> bool:
        """Whether the objects of this label can be told apart and counted: no crowd, none twice."""
        things = self.named(key)
        if any(thing.crowd for thing in things):
            return False
        # From left to right: only few boxes reach each other, and IoU costs more than a look at their sides.
        pairs = ((a.box, b.box) for k, a in enumerate(things) for b in things[k + 1 :] if b.box[0] < a.box[2])
        return all(iou(a, b) < MAX_EQUAL_OVERLAP for a, b in pairs if a[1] < b[3] and b[1] < a[3])


def cell_of(box: Box) -> int:
    """The cell of a 3 x 3 grid, row by row from 0, that the centre of ``box`` lies in."""
    column, row = (min(int(3 * (box[k] + box[k + 2]) / 2), 2) for k in (0, 1))
    return 3 * row + column


@dataclass
class Pool:
    """Images by index, in the order of their keys; every list below is sorted, so nothing depends on a hash seed."""

    images: list[PoolImage]
    area: tuple[float, float]
    n_unnoted: int = 0
    n_crowded: int = 0
    n_other_split: int = 0
    rejected: list[Rejection] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def fits(self, thing: Thing) -> bool:
        """Whether an object is of a size that may be asked for."""
        return self.area[0] <= thing.area <= self.area[1]

    def single(self, image: int, key: str) -> Thing | None:
        """The only object of a label in an image, where it may be asked for by its label."""
        numbers = self.images[image].by_label.get(key, ())
        if not key or len(numbers) != 1:
            return None
        thing = self.images[image].things[numbers[0]]
        return None if thing.crowd or not self.fits(thing) else thing

    @cached_property
    def holders(self) -> dict[str, list[int]]:
        """The images that hold a label at all."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, image in enumerate(self.images):
            for key in image.by_label:
                if key:
                    found[key].append(index)
        return {key: found[key] for key in sorted(found)}

    @cached_property
    def singles(self) -> dict[str, list[Spot]]:
        """The objects that may be asked for by label in their image."""
        found: dict[str, list[Spot]] = {}
        for key, indices in self.holders.items():
            spots = [(i, self.images[i].by_label[key][0]) for i in indices if self.single(i, key) is not None]
            if spots:
                found[key] = spots
        return found

    @cached_property
    def cells(self) -> list[dict[str, list[Spot]]]:
        """:attr:`singles` by the cell that they lie in."""
        found: list[dict[str, list[Spot]]] = [{} for _ in range(CELLS)]
        for key, spots in self.singles.items():
            for image, number in spots:
                found[cell_of(self.images[image].things[number].box)].setdefault(key, []).append((image, number))
        return found

    @cached_property
    def counted(self) -> dict[str, dict[int, list[int]]]:
        """Images by label and by how many of its objects they hold, where those can be counted and asked for."""
        found: dict[str, dict[int, list[int]]] = {}
        for key, indices in self.holders.items():
            counts: dict[int, list[int]] = defaultdict(list)
            for i in indices:
                things = self.images[i].named(key)
                if all(self.fits(thing) for thing in things) and self.images[i].countable(key):
                    counts[len(things)].append(i)
            if counts:
                found[key] = dict(sorted(counts.items()))
        return found

    @cached_property
    def together(self) -> dict[str, list[str]]:
        """The labels that are seen in one image with a label."""
        found: dict[str, set[str]] = defaultdict(set)
        for image in self.images:
            keys = [key for key in image.by_label if key]
            for key in keys:
                found[key].update(keys)
        return {key: sorted(others - {key}) for key, others in sorted(found.items())}

    @cached_property
    def kin(self) -> dict[str, list[str]]:
        """The other labels of a label's supercategory; where none is annotated, those that end in the same word."""
        kinds: dict[str, str] = {}
        for image in self.images:
            for thing in image.things:
                said = thing.note.attributes.get("supercategory")
                if thing.key:
                    kinds.setdefault(thing.key, f"={said}" if isinstance(said, str) and said else thing.key.split()[-1])
        groups: dict[str, list[str]] = defaultdict(list)
        for key in sorted(kinds):
            groups[kinds[key]].append(key)
        return {key: [other for other in groups[kind] if other != key] for key, kind in kinds.items()}

    @cached_property
    def films(self) -> list[list[int]]:
        """Images with frame numbers, one list in the order of time per family that has two or more."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for index, image in enumerate(self.images):
            if image.ref.frame is not None:
                found[image.family].setdefault(image.ref.frame, index)
        films = ([frames[number] for number in sorted(frames)] for _, frames in sorted(found.items()))
        return [film for film in films if len(film) > 1]


def read_pool(source: DatasetFolder, recipe: ComposeRecipe) -> Pool:
    """The images of ``source`` that have object notes and are in the recipe's split; broken rows are in ``rejected``.

    An image that several samples use is taken once, with the most complete of its notes. DataError where none is left.
    """
    rejected: list[Rejection] = []
    best: dict[str, PoolImage] = {}
    names: dict[str, str] = {}
    unnoted: set[str] = set()
    for sample in source.read(rejected.append):
        for image in _images_of(sample):
            key = names.setdefault(image.ref.path, image.key)
            if not image.things:
                unnoted.add(key)
            elif key not in best or len(image.things) > len(best[key].things):
                best[key] = image
    chosen = [image for image in best.values() if in_split(image.family, recipe)]
    usable = sorted((image for image in chosen if len(image.things) <= recipe.max_objects), key=lambda i: i.key)
    pool = Pool(
        usable,
        recipe.target_area,
        n_unnoted=len(unnoted - set(best)),
        n_crowded=len(chosen) - len(usable),
        n_other_split=len(best) - len(chosen),
        rejected=rejected,
    )
    if not usable:
        raise _empty(source, pool, recipe)
    return pool


def in_split(family: str, recipe: ComposeRecipe) -> bool:
    """Whether an image belongs to the recipe's split: a function of its family alone, so new images move no old one."""
    if recipe.split == "all":
        return True
    place = int(hashlib.sha256(family.encode()).hexdigest()[:13], 16) / 16**13
    return (place < recipe.test_share) == (recipe.split == "test")


def _images_of(sample: Sample) -> Iterable[PoolImage]:
    named = sample.meta.get("image_set")
    joined = len(sample.images) > 1 or (isinstance(named, str) and bool(named))
    for ref in sample.images:
        key = ref.sha256 or ref.path
        things = tuple(_thing(note) for note in ref.objects)
        plain = ref.model_copy(update={"objects": (), "role": "candidate"})
        yield PoolImage(key, plain, things, sample.image_set if joined else key)


def _thing(note: ObjectNote) -> Thing:
    crowd = note.attributes.get("iscrowd")
    return Thing(note, " ".join(note.label.casefold().split()), bool(crowd))


def _empty(source: DatasetFolder, pool: Pool, recipe: ComposeRecipe) -> DataError:
    if pool.n_crowded:
        return DataError(
            f"every image of {source.root} has more than {recipe.max_objects} objects", hint="raise max_objects"
        )
    if pool.n_other_split:
        return DataError(
            f"the {recipe.split} split of {source.root} has no image: {pool.n_other_split} are in the other one",
            hint="add images, or change test_share",
        )
    first = f"; first broken row: {pool.rejected[0]}" if pool.rejected else ""
    return DataError(
        f"no image of {source.root} has object notes: {pool.n_unnoted} images without{first}",
        hint="mirg data import coco writes them; for photographs without annotation there is mirg data photos",
    )
