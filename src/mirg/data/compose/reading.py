"""Reading the pool of a dataset: one image for all rows about it, with all notes, and the split of each image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from mirg.data.compose.pool import Pool, PoolImage, Thing
from mirg.data.compose.recipe import ComposeRecipe
from mirg.errors import DataError
from mirg.samples import DatasetFolder, ObjectNote, Rejection, Sample
from mirg.samples.card import SAMPLES_FILE
from mirg.samples.coverage import CROWD, Coverage, label_key
from mirg.samples.grouping import NoGroup
from mirg.samples.schema import EXIF_META


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
            rejected.append(_without_group(source, row, sample, problem))
            continue
        for image in _images_of(sample, groups):
            key = names.setdefault(image.ref.path, image.key)
            if not image.things and not image.coverage.annotated:
                unnoted.add(key)
            else:
                found[key] = _united(found[key], image) if key in found else image
    chosen = [image for image in _with_known(found.values()) if in_split(image.family, recipe)]
    usable = sorted((image for image in chosen if len(image.things) <= recipe.max_objects), key=lambda i: i.key)
    pool = Pool(
        usable,
        recipe.target_area,
        n_unnoted=len(unnoted - set(found)),
        n_crowded=len(chosen) - len(usable),
        n_other_split=len(found) - len(chosen),
        rejected=rejected,
    )
    if not any(image.things for image in usable):
        raise _empty(source, pool, recipe)
    return pool


def _united(first: PoolImage, other: PoolImage) -> PoolImage:
    """The image with the notes of both, each object once, and what is known of either; the fuller one comes first."""
    base, more = (first, other) if len(first.things) >= len(other.things) else (other, first)
    coverage = base.coverage.joined(more.coverage)
    held = {(thing.key, thing.box) for thing in base.things}
    new = tuple(thing for thing in more.things if (thing.key, thing.box) not in held)
    exif = base.exif or more.exif
    if not new and coverage == base.coverage and exif == base.exif:
        return base
    return replace(base, things=(*base.things, *new), coverage=coverage, exif=exif)


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


def _without_group(source: DatasetFolder, row: int, sample: Sample, problem: NoGroup) -> Rejection:
    return Rejection(
        file=str(source.root / SAMPLES_FILE), row=row, id=sample.id, field="group", reason=f"no group: {problem}",
        hint="it is not known which images are of the same scene: correct group_by, or the source",
    )  # fmt: skip


def _images_of(sample: Sample, groups: list[str]) -> Iterable[PoolImage]:
    """The images of a sample; ``groups`` holds the group of each one, or nothing."""
    named = sample.meta.get("image_set")
    joined = len(sample.images) > 1 or (isinstance(named, str) and bool(named))
    coverage, told = Coverage.of(sample), sample.meta.get(EXIF_META)
    for number, ref in enumerate(sample.images):
        key = ref.sha256 or ref.path
        things = tuple(_thing(note) for note in ref.objects)
        plain = ref.model_copy(update={"objects": (), "role": "candidate"})
        family = sample.image_set if joined else key
        exif = str(told[number] if isinstance(told, list) and number < len(told) else told or "")
        if groups:
            yield PoolImage(key, plain, things, f"group {groups[number]}", coverage, film=family, exif=exif)
        else:
            yield PoolImage(key, plain, things, family, coverage, exif=exif)


def _thing(note: ObjectNote) -> Thing:
    return Thing(note, label_key(note.label), bool(note.attributes.get(CROWD)))


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
    if pool.rejected and not pool.n_unnoted:
        return DataError(
            f"no row of {source.root} can be used; first: {pool.rejected[0]}", hint="correct the rows, or the recipe"
        )
    first = f"; first broken row: {pool.rejected[0]}" if pool.rejected else ""
    return DataError(
        f"no image of {source.root} has object notes: {pool.n_unnoted} images without{first}",
        hint="mirg data import coco writes them; for photographs without annotation there is mirg data photos",
    )
