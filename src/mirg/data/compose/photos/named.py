"""Tasks about things with a name: cut-outs that are pasted onto the photographs, and the boxes of a COCO file.

The annotated photographs become a dataset folder, from which the tasks of ``mirg data compose`` are made.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from mirg.data.compose.edits import pasted
from mirg.data.compose.photos.places import free_place
from mirg.data.compose.photos.pool import PhotoPool
from mirg.data.compose.pixels import Place, change, fraction_box, share_inside
from mirg.data.compose.pool import read_pool
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.compose.worker import Workshop
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import DataError, ImageError
from mirg.images import image_size
from mirg.samples import DatasetFolder, DatasetWriter, ObjectNote, Sample
from mirg.samples.coverage import ANNOTATED, CATEGORIES, INCOMPLETE, VOCABULARY

if TYPE_CHECKING:
    from PIL import Image

_EDITIONS = 3  # of each photograph, with other cut-outs
_MOST = 4  # cut-outs on one photograph
_SIDES = (0.2, 0.45)  # of the longer side of a cut-out, as a share of the shorter side of the photograph
_OPAQUE = 128  # least alpha, of 255, of the pixels that the box of a cut-out encloses
_OPAQUE_ONLY = [0] * _OPAQUE + [255] * (256 - _OPAQUE)  # a table of Image.point
_MAX_HIDDEN = 0.15  # share of an annotated object that a cut-out may cover
_NAME = re.compile(r"(?:an?|the|some) (?=\w)", re.IGNORECASE)
_MOST_WORDS = 4
_AREA = (0.003, 0.7)  # least and greatest area of a target, as a share of its photograph


@dataclass(frozen=True)
class Cutout:
    """A thing without background: RGBA, and its name in lower case."""

    name: str
    image: Image.Image


def workshop(pool: PhotoPool, photos: str | Path, scratch: Path) -> Workshop:
    """What composes the tasks by name, from the photographs of ``pool`` with the things that its settings name.

    ``photos`` is the folder that the file names of the COCO file are relative to; ``scratch`` is an empty folder for
    intermediate datasets, which must exist as long as samples are made. DataError if there is no named thing.
    """
    config = pool.config
    notes = _coco_notes(Path(config.boxes), Path(photos), scratch) if config.boxes else None
    cutouts = read_cutouts(config.cutouts, config.side) if config.cutouts else []
    source = scratch / "annotated"
    with DatasetWriter(source, name="photographs", created_by="mirg data photos") as writer:
        for k, (index, image, things, meta) in enumerate(_annotated(pool, cutouts, notes)):
            digest = pool.photos[index].digest[:16]
            ref = writer.add_image(image, digest).model_copy(update={"objects": tuple(things)})
            more = {**meta, "image_set": digest}
            writer.add(Sample(id=f"{k}", task="annotated", images=(ref,), question="?", meta=more))
    images = (2, config.max_images)
    recipe = ComposeRecipe(source=str(source), seed=config.seed, images=images, target_area=_AREA)
    folder = DatasetFolder.open(source)
    return Workshop(recipe, folder, read_pool(folder, recipe))


def read_cutouts(folder: str | Path, side: int) -> list[Cutout]:
    """The PNG files below ``folder`` that have transparent pixels, in the order of their paths, at most ``side`` wide.

    The name of one is the first line of the text file beside it, without article and full stop, if it has at most four
    words, else its file name without digits. DataError if no file is one.
    """
    root, found = Path(folder), list[Cutout]()
    for path in sorted(root.rglob("*.png")) if root.is_dir() else ():
        image, name = _transparent(path, side), _name_of(path)
        if image is not None and name:
            found.append(Cutout(name, image))
    if not found:
        raise DataError(
            f"{root} holds no PNG file with transparent pixels",
            hint="pass a folder of cut-outs, for example that of the Debian package tuxpaint-stamps-default",
        )
    return found


def _transparent(path: Path, side: int) -> Image.Image | None:
    from PIL import Image

    try:
        image_size(path)  # refuses what is too large, or is not an image, by its header
        with Image.open(path, formats=["PNG"]) as opened:
            image = opened.convert("RGBA")
    except (ImageError, OSError, ValueError, SyntaxError):
        return None
    image.thumbnail((side, side))
    box = image.getchannel("A").point(_OPAQUE_ONLY).getbbox()
    transparent = any(image.getchannel("A").histogram()[:_OPAQUE])
    return image.crop(box) if box and transparent else None


def _name_of(path: Path) -> str:
    beside = path.with_suffix(".txt")
    line = ""
    if beside.is_file():
        line = beside.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    name = _NAME.sub("", line.strip().rstrip("."), count=1).casefold()
    words = name.split()
    if words and len(words) <= _MOST_WORDS and all(re.fullmatch(r"[^\W\d_]+(?:['’-]+[^\W\d_]+)*", w) for w in words):
        return " ".join(words)
    return " ".join(re.findall(r"[^\W\d_]+", path.stem.casefold()))


_Noted = tuple[tuple[ObjectNote, ...], Mapping[str, JsonValue]]  # objects, what is known of their completeness


def _coco_notes(file: Path, photos: Path, scratch: Path) -> dict[Path, _Noted]:
    """The objects of each photograph that the COCO file lists."""
    out = scratch / "boxes"
    import_dataset("coco", file, out, ImportOptions(root=str(photos), look="header"))
    dataset = DatasetFolder.open(out)
    found: dict[Path, _Noted] = {}
    for sample in dataset:
        kept = {key: sample.meta[key] for key in (INCOMPLETE, CATEGORIES, VOCABULARY) if key in sample.meta}
        found[dataset.image_path(sample.images[0]).resolve()] = (sample.images[0].objects, kept)
    return found


_Annotated = tuple[int, "Image.Image", Sequence[ObjectNote], Mapping[str, JsonValue]]


def _annotated(pool: PhotoPool, cutouts: Sequence[Cutout], notes: Mapping[Path, _Noted] | None) -> Iterator[_Annotated]:
    """The photographs (index, pixels, objects, meta data), several times each with other cut-outs, if there are any."""
    rng = random.Random(f"photos:{pool.config.seed}:{pool.config.split}:named")
    held = [i for i in range(len(pool)) if notes is None or pool.photos[i].path.resolve() in notes]
    held = held[: 2 * pool.config.n]  # more would not be shown
    editions = _EDITIONS if cutouts else 1
    # A name is of use if several photographs show it.
    names = sorted({cutout.name for cutout in cutouts})
    names = rng.sample(names, min(len(names), max(4, editions * len(held))))
    by_name = {name: [cutout for cutout in cutouts if cutout.name == name] for name in names}
    for index in held:
        objects, kept = ((), {}) if notes is None else notes[pool.photos[index].path.resolve()]
        meta = {**kept, ANNOTATED: True}
        if isinstance(listed := meta.get(CATEGORIES), list):
            meta[CATEGORIES] = [*listed, *names]
        for _ in range(editions):
            chosen = rng.sample(names, min(len(names), rng.randint(1, _MOST)))
            things = [rng.choice(by_name[name]) for name in chosen]
            yield index, *_with(rng, pool.image(index), objects, things, pool.config.min_change), meta


def _with(
    rng: random.Random,
    image: Image.Image,
    objects: Sequence[ObjectNote],
    cutouts: Sequence[Cutout],
    min_change: float,
) -> tuple[Image.Image, list[ObjectNote]]:
    """``image`` with cut-outs at places that cover neither each other nor much of the ``objects``, and all notes."""
    notes, taken = list(objects), list[Place]()
    for cutout in cutouts:
        scale = rng.uniform(*_SIDES) * min(image.size) / max(cutout.image.size)
        piece = cutout.image.resize([max(1, round(scale * side)) for side in cutout.image.size])
        # The box is that of the pixels that are opaque after scaling.
        box = piece.getchannel("A").point(_OPAQUE_ONLY).getbbox()
        piece = piece.crop(box) if box else piece
        place = free_place(rng, image.size, piece.size, taken)
        if not box or place is None:
            continue
        where = fraction_box(place, image.size)
        result = pasted(image, piece, place)
        seen = change(image, result, place) >= min_change  # a dark thing on a dark ground is not
        if seen and all(share_inside(note.box, where) <= _MAX_HIDDEN for note in objects):
            image = result
            taken.append(place)
            notes.append(ObjectNote(label=cutout.name, box=where))
    return image, notes
