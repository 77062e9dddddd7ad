"""The distinct images of a dataset with their objects, and the lists that tasks draw from.

A label denotes all objects of this name in an image. If the annotation of an image is not complete for a label
(``mirg.samples.coverage``), the image is not used for questions in which a missing object of that label would matter:
none of its objects is taken for the only one, they are not counted, and the label is not taken to be absent.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from pydantic import JsonValue

from mirg.data.compose.recipe import ComposeRecipe
from mirg.errors import DataError
from mirg.geometry import Box, iou
from mirg.samples import DatasetFolder, ImageRef, ObjectNote, Rejection, Sample
from mirg.samples.coverage import CROWD, Coverage, coverage_meta, instance_of, label_key, region_reasons
from mirg.samples.grouping import NoGroup
from mirg.samples.schema import EXIF_META

MAX_EQUAL_OVERLAP = 0.5  # IoU from which two objects of one label may be one object annotated twice
CELLS = 9
SOME_CATEGORIES = "some_categories"  # why an image is not complete: it was annotated for some labels of the pool only
Identity = tuple[str, str, str]  # scope and instance id of an object, and its label key
Spot = tuple[int, int]  # (image, object), both from 0
_Name = TypeVar("_Name", str, Identity)


@dataclass(frozen=True, slots=True)
class Thing:
    """One annotated object; ``key`` is its label in lower case with single spaces, empty if it has no label."""

    note: ObjectNote
    key: str
    crowd: bool

    @property
    def label(self) -> str:
        """The annotated label."""
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

    @property
    def identity(self) -> Identity | None:
        """Which object it is, equal in all images that show the object; None if that is not annotated."""
        found = None if self.crowd else instance_of(self.note)
        return None if found is None else (*found, self.key)


@dataclass(frozen=True)
class PoolImage:
    """One distinct image. ``family`` is shared by images that show the same place (frames, pairs, crops).

    ``film`` is shared by the frames of one film if the family is more than that, as a scene with several cameras.
    ``exif`` says how the boxes of an image that EXIF rotates were read (:data:`mirg.samples.schema.EXIF_META`).
    ``known`` are the labels that it was annotated for, as far as ``coverage`` and the whole pool say; None: all.
    """

    key: str
    ref: ImageRef
    things: tuple[Thing, ...]
    family: str
    coverage: Coverage = field(default_factory=Coverage)
    known: frozenset[str] | None = None
    film: str = ""
    exif: str = ""

    @property
    def notes(self) -> tuple[ObjectNote, ...]:
        """The notes of all objects."""
        return tuple(thing.note for thing in self.things)

    @cached_property
    def reasons(self) -> frozenset[str]:
        """Why objects of any label may be missing from the notes; empty if they are complete."""
        return self.coverage.incomplete | region_reasons(thing.note for thing in self.things)

    def complete(self, key: str) -> bool:
        """Whether every object of this label is annotated."""
        return not self.reasons and (self.known is None or key in self.known)

    def lacks(self, key: str) -> bool:
        """Whether the annotation says that nothing of this label is in the image."""
        return self.complete(key) and key not in self.by_label

    @cached_property
    def by_label(self) -> dict[str, tuple[int, ...]]:
        """The numbers of the objects of each label, crowds too."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, thing in enumerate(self.things):
            found[thing.key].append(number)
        return {key: tuple(numbers) for key, numbers in found.items()}

    @cached_property
    def identities(self) -> dict[Identity, int | None]:
        """The number of the object of each identity; None if the image shows it twice, under any label."""
        found: dict[Identity, int | None] = {}
        times = Counter(thing.identity[:2] for thing in self.things if thing.identity)
        for number, thing in enumerate(self.things):
            if thing.identity and thing.key:
                found[thing.identity] = number if times[thing.identity[:2]] == 1 else None
        return found

    def lacks_instance(self, identity: Identity) -> bool:
        """Whether the annotation says that this very object is not in the image.

        Every object of its label is annotated, and each is identified as another one in the same scope.
        """
        scope, name, key = identity
        if not self.complete(key) or any((t.identity or ())[:2] == (scope, name) for t in self.things):
            return False
        return all(thing.identity is not None and thing.identity[0] == scope for thing in self.named(key))

    def named(self, key: str) -> list[Thing]:
        """The objects of this label, from left to right."""
        found = [self.things[number] for number in self.by_label.get(key, ())]
        return sorted(found, key=lambda thing: thing.box)

    def countable(self, key: str) -> bool:
        """Whether the objects of this label can be counted: none is a crowd, none is missing, none is listed twice."""
        things = self.named(key)
        if not self.complete(key):
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

    @cached_property
    def incomplete(self) -> dict[str, int]:
        """How many images are not used if it matters that no object is missing, by reason; "images" counts each once.

        An image that was annotated for some labels of the pool only is used for these.
        """
        found: Counter[str] = Counter()
        labels = frozenset(self.holders)
        for image in self.images:
            partly = image.known is not None and not labels <= image.known
            found.update([*image.reasons, *([SOME_CATEGORIES] if partly else [])])
            found["images"] += bool(image.reasons or partly)
        return {reason: found[reason] for reason in sorted(found) if found[reason]}

    def __len__(self) -> int:
        return len(self.images)

    def fits(self, thing: Thing) -> bool:
        """Whether an object is of a size that may be asked for."""
        return self.area[0] <= thing.area <= self.area[1]

    def single(self, image: int, key: str) -> Thing | None:
        """The only object of a label in an image, None if it cannot be asked for by its label."""
        numbers = self.images[image].by_label.get(key, ())
        if not key or len(numbers) != 1:
            return None
        thing = self.images[image].things[numbers[0]]
        return thing if self.fits(thing) and self.images[image].complete(key) else None

    @cached_property
    def holders(self) -> dict[str, list[int]]:
        """The images that hold a label at all."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, image in enumerate(self.images):
            for key in image.by_label:
                if key:
                    found[key].append(index)
        return {key: found[key] for key in sorted(found)}

    def possible(self, image: int) -> set[str]:
        """The labels that may be in an image: those that it holds, and those that are not known to be absent."""
        found = self.images[image]
        if found.reasons:
            return {*found.by_label, *self.holders}
        if found.known is None:
            return set(found.by_label)
        return {*found.by_label, *(self.holders.keys() - found.known)}

    @cached_property
    def singles(self) -> dict[str, list[Spot]]:
        """The objects that may be asked for by label in their image."""
        found = {
            key: [(i, self.images[i].by_label[key][0]) for i in indices if self.single(i, key) is not None]
            for key, indices in self.holders.items()
        }
        return {key: spots for key, spots in found.items() if spots}

    @cached_property
    def cells(self) -> list[dict[str, list[Spot]]]:
        """:attr:`singles` by the cell that they lie in."""
        return self._by_cell(self.singles)

    @cached_property
    def instances(self) -> dict[Identity, list[Spot]]:
        """Objects that are annotated as the same one, each once in two images or more, of a size that may be asked for.

        An image that shows an object twice, as a mirror does, is not among them, nor is an id that two labels share:
        such numbers may be counted from 1 in every image.
        """
        found: dict[Identity, list[Spot]] = defaultdict(list)
        labels: dict[tuple[str, str], set[str]] = defaultdict(set)
        for image in self.images:
            for thing in image.things:
                if thing.identity:
                    labels[thing.identity[:2]].add(thing.key)
        for index, image in enumerate(self.images):
            for identity, number in image.identities.items():
                if number is None or len(labels[identity[:2]]) > 1:
                    continue
                if self.fits(image.things[number]):
                    found[identity].append((index, number))
        return {identity: found[identity] for identity in sorted(found) if len(found[identity]) > 1}

    @cached_property
    def instance_cells(self) -> list[dict[Identity, list[Spot]]]:
        """:attr:`instances` by the cell that they lie in."""
        return self._by_cell(self.instances)

    def _by_cell(self, found: Mapping[_Name, list[Spot]]) -> list[dict[_Name, list[Spot]]]:
        cells: list[dict[_Name, list[Spot]]] = [{} for _ in range(CELLS)]
        for name, spots in found.items():
            for image, number in spots:
                cells[cell_of(self.images[image].things[number].box)].setdefault(name, []).append((image, number))
        return cells

    @cached_property
    def counted(self) -> dict[str, dict[int, list[int]]]:
        """Images by label and by their number of its objects, if those can be counted and asked for."""
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
    def negatives(self) -> dict[str, list[int]]:
        """The images that lack a label, if the categories of an image are listed one by one, as in LVIS."""
        found: dict[str, list[int]] = defaultdict(list)
        for index, image in enumerate(self.images):
            for key in sorted(image.coverage.categories or ()):
                if image.lacks(key):
                    found[key].append(index)
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
        """The other labels of a label's supercategory; if none is annotated, those that end in the same word."""
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
        """Images with frame numbers, one list in the order of time per film that has two or more."""
        found: dict[str, dict[int, int]] = defaultdict(dict)
        for index, image in enumerate(self.images):
            if image.ref.frame is not None:
                found[image.film or image.family].setdefault(image.ref.frame, index)
        films = ([frames[number] for number in sorted(frames)] for _, frames in sorted(found.items()))
        return [film for film in films if len(film) > 1]


def coverage_of(images: Sequence[PoolImage]) -> dict[str, JsonValue]:
    """The meta data about the annotation of a sample that shows ``images``: what holds for each of them."""
    reasons = {reason for image in images for reason in image.coverage.incomplete}
    said = {(image.coverage.categories, image.coverage.vocabularies) for image in images}
    listed = [image.known for image in images if image.known is not None]
    if len(said) == 1 and images[0].coverage.categories is None and len(images[0].coverage.vocabularies) == 1:
        return coverage_meta(reasons, None, min(images[0].coverage.vocabularies))
    return coverage_meta(reasons, frozenset.intersection(*listed) if listed else None, "")


def read_pool(source: DatasetFolder, recipe: ComposeRecipe) -> Pool:
    """The annotated images of ``source`` that are in the recipe's split; broken rows are in ``rejected``.

    An image that several samples use is taken once, with the notes of all of them. One without objects is annotated if
    its sample says so (``meta.annotated``). ``rejected`` also has samples without a group. DataError if no
    image with objects is left.
    """
    by = recipe.grouping
    rejected: list[Rejection] = []
    found: dict[str, PoolImage] = {}
    names: dict[str, str] = {}
    unnoted: set[str] = set()
    for row, sample in source.numbered(rejected.append):
        try:
            groups = by.of_images(sample) if by else []
        except NoGroup as problem:
            hint = "it is not known which images are of the same scene: correct group_by, or the source"
            rejected.append(source.rejection(row, sample, "group", f"no group: {problem}", hint))
            continue
        for image in _images_of(sample, groups):
            key = names.setdefault(image.ref.path, image.key)
            if not image.things and not image.coverage.annotated:
                unnoted.add(key)
            else:
                found[key] = _united(found[key], image) if key in found else image
    chosen = [image for image in _with_known(found.values()) if in_split(image.family, recipe)]
    usable = sorted((image for image in chosen if len(image.things) <= recipe.max_objects), key=lambda i: i.key)
    counts = (len(unnoted - set(found)), len(chosen) - len(usable), len(found) - len(chosen))
    pool = Pool(usable, recipe.target_area, *counts, rejected)
    if not any(image.things for image in usable):
        raise _empty(source, pool, recipe)
    return pool


def _united(first: PoolImage, other: PoolImage) -> PoolImage:
    """The image with the notes of both, each object once, and what is known of either; the fuller one comes first."""
    base, more = (first, other) if len(first.things) >= len(other.things) else (other, first)
    coverage = base.coverage.joined(more.coverage)
    held = {(thing.key, thing.box) for thing in base.things}
    new = tuple(thing for thing in more.things if (thing.key, thing.box) not in held)
    return replace(base, things=(*base.things, *new), coverage=coverage, exif=base.exif or more.exif)


def _with_known(images: Iterable[PoolImage]) -> list[PoolImage]:
    """The images with the labels that each was annotated for.

    A vocabulary holds the labels that are met in any of its images: whether others were annotated is not known.
    """
    images = list(images)
    labels: dict[str, set[str]] = defaultdict(set)
    for image in images:
        for vocabulary in image.coverage.vocabularies:
            labels[vocabulary].update(image.by_label)
    shared: dict[frozenset[str], frozenset[str]] = {}  # most images have one of a few sets of vocabularies
    result = []
    for image in images:
        names, known = image.coverage.vocabularies, image.coverage.categories
        if names and names not in shared:
            shared[names] = frozenset().union(*(labels[name] for name in names))
        if names:
            known = shared[names] if known is None else known | shared[names]
        result.append(image if known is None else replace(image, known=known))
    return result


def in_split(family: str, recipe: ComposeRecipe) -> bool:
    """Whether an image belongs to the recipe's split: its family decides, so new images do not move others."""
    if recipe.split == "all":
        return True
    place = int(hashlib.sha256(family.encode()).hexdigest()[:13], 16) / 16**13
    return (place < recipe.test_share) == (recipe.split == "test")


def _images_of(sample: Sample, groups: list[str]) -> Iterable[PoolImage]:
    """The images of a sample; ``groups`` holds the group of each one, or nothing."""
    named = sample.meta.get("image_set")
    joined = len(sample.images) > 1 or (isinstance(named, str) and bool(named))
    coverage, told = Coverage.of(sample), sample.meta.get(EXIF_META)
    for number, ref in enumerate(sample.images):
        key = ref.sha256 or ref.path
        things = tuple(Thing(note, label_key(note.label), bool(note.attributes.get(CROWD))) for note in ref.objects)
        plain = ref.model_copy(update={"objects": (), "role": "candidate"})
        family, film = sample.image_set if joined else key, ""
        if groups:
            family, film = f"group {groups[number]}", family
        exif = str(told[number] if isinstance(told, list) and number < len(told) else told or "")
        yield PoolImage(key, plain, things, family, coverage, film=film, exif=exif)


def _empty(source: DatasetFolder, pool: Pool, recipe: ComposeRecipe) -> DataError:
    first = f"; first broken row: {pool.rejected[0]}" if pool.rejected else ""
    reason = f"no image of {source.root} has object notes: {pool.n_unnoted} images without{first}"
    hint = "mirg data import coco writes them; for photographs without annotation there is mirg data photos"
    if pool.n_crowded:
        reason, hint = f"every image of {source.root} has more than {recipe.max_objects} objects", "raise max_objects"
    elif pool.n_other_split:
        others = f"{pool.n_other_split} are in the other one"
        reason = f"the {recipe.split} split of {source.root} has no image: {others}"
        hint = "add images, or change test_share"
    elif pool.rejected and not pool.n_unnoted:
        reason = f"no row of {source.root} can be used; first: {pool.rejected[0]}"
        hint = "correct the rows, or the recipe"
    return DataError(reason, hint=hint)
