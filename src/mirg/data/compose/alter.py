"""One photograph in two versions that differ in one object: removed, added, recoloured or moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirg.data.compose.bench import Bench, Drop, notes_of
from mirg.data.compose.edits import cut, pasted, place_of, recoloured
from mirg.data.compose.pixels import Place, change, fraction_box, remove, share_inside
from mirg.data.compose.pool import Thing
from mirg.data.compose.views import rounded
from mirg.geometry import Box
from mirg.samples import ObjectNote

if TYPE_CHECKING:
    from PIL import Image

FILL_MARGIN = 0.08  # of the object's sides: annotated boxes are tight, and shadows lie outside of them
MAX_HIDDEN = 0.15  # share of another object that an alteration may hide
# A label with one of these words would no longer be true of a recoloured object.
_BASIC = {"black", "white", "grey", "gray", "brown", "red", "orange", "yellow", "green", "blue", "purple", "pink"}
COLOURS = frozenset(_BASIC | {"cyan", "violet", "golden", "silver"})
_PLACES = 40
_NEW_SIDES = (0.12, 0.4)  # of an added object's longer side, as a share of that of the image


@dataclass(frozen=True)
class Version:
    """One of the two versions: its pixels, its notes, and the box of the altered object, None if it is absent."""

    pixels: Image.Image
    notes: tuple[ObjectNote, ...]
    box: Box | None


@dataclass(frozen=True)
class Pair:
    """The photograph and its altered version; ``origin`` and ``also`` are pool indices, of it and of a pasted object.

    ``places`` are the altered places in fractions: in no view of the pair may they be cut off.
    """

    kind: str
    label: str
    origin: int
    before: Version
    after: Version
    places: tuple[Box, ...]
    also: int | None = None

    @property
    def in_both(self) -> bool:
        """Whether both versions show the object."""
        return self.before.box is not None and self.after.box is not None


def altered(bench: Bench) -> Pair:
    """A pair of a kind that the recipe allows; Drop if the alteration would hardly be seen or hide other objects."""
    kind = bench.recipe.alterations[bench.rng.randrange(len(bench.recipe.alterations))]
    return ALTERATIONS[kind](bench)


def removed(bench: Bench) -> Pair:
    """The object is removed, and its place is filled from the pixels around it."""
    index, thing = bench.subject()
    photo, place = _chosen(bench, index, thing)
    gone = remove(photo, place)
    _visible(bench, photo, gone, place)
    notes = notes_of(bench.image(index))
    return Pair(
        "removed", thing.label, index, Version(photo, notes, thing.box),
        Version(gone, _without(notes, thing.note), None), (thing.box,),
    )  # fmt: skip


def added(bench: Bench) -> Pair:
    """Paste an object of another photograph into free space; its label is new to the photograph."""
    donor, thing = bench.subject()
    (index,) = bench.others(1, like=thing.key, avoid=[thing.key], used=[donor], noted=True)
    photo = bench.pixels.photo(index)
    piece = cut_out(bench, donor, thing)
    place = free_place(bench, piece.size, photo.size, [other.box for other in bench.image(index).things])
    result = pasted(photo, piece, place)
    _visible(bench, photo, result, place)
    box = rounded(fraction_box(place, photo.size))
    notes = notes_of(bench.image(index))
    new = ObjectNote(label=thing.label, box=box)
    return Pair(
        "added", thing.label, index, Version(photo, notes, None), Version(result, (*notes, new), box), (box,), donor
    )


def recolour(bench: Bench) -> Pair:
    """The object has another colour."""
    index, thing = bench.subject()
    if COLOURS & set(thing.key.split()):
        raise Drop("the label names a colour")
    photo, place = _chosen(bench, index, thing, margin=0.0)
    result = recoloured(photo, place, bench.rng.random())
    _visible(bench, photo, result, place)
    notes = notes_of(bench.image(index))
    version = Version(result, _with(notes, thing, thing.box, "recoloured"), thing.box)
    return Pair("recoloured", thing.label, index, Version(photo, notes, thing.box), version, (thing.box,))


def moved(bench: Bench) -> Pair:
    """The object is moved to another place, and its old place is filled."""
    index, thing = bench.subject()
    photo, old = _chosen(bench, index, thing)
    own = place_of(thing.box, photo.size)
    piece = cut(photo, own)
    taken = [fraction_box(old, photo.size), *(other.box for other in bench.image(index).things)]
    place = free_place(bench, piece.size, photo.size, taken, same_size=True)
    result = pasted(remove(photo, old), piece, place)
    _visible(bench, photo, result, place)
    _visible(bench, photo, result, own)
    box = rounded(fraction_box(place, photo.size))
    notes = notes_of(bench.image(index))
    version = Version(result, _with(notes, thing, box, "moved"), box)
    return Pair("moved", thing.label, index, Version(photo, notes, thing.box), version, (thing.box, box))


ALTERATIONS: dict[str, Callable[[Bench], Pair]] = {
    "removed": removed,
    "added": added,
    "recoloured": recolour,
    "moved": moved,
}


def cut_out(bench: Bench, index: int, thing: Thing) -> Image.Image:
    """The pixels of an object, RGBA; Drop if another object covers much of its box."""
    if any(other is not thing and share_inside(thing.box, other.box) > 0.5 for other in bench.image(index).things):
        raise Drop("another object covers the one to cut out")
    photo = bench.pixels.full(index)
    return cut(photo, place_of(thing.box, photo.size))


def free_place(
    bench: Bench, piece: tuple[int, int], size: tuple[int, int], taken: list[Box], *, same_size: bool = False
) -> Place:
    """A place for a piece (width, height) in an image of ``size``; Drop if it would hide the boxes ``taken``.

    Unless ``same_size``, it is scaled to a share of the image that objects often have. Its area is one that may be
    asked for.
    """
    rng = bench.rng
    for _ in range(_PLACES):
        width, height = piece
        if not same_size:
            scale = rng.uniform(*_NEW_SIDES) * max(size) / max(piece)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        low, high = bench.recipe.target_area
        if width > size[0] or height > size[1] or not low <= width * height / (size[0] * size[1]) <= high:
            continue
        x, y = bench.point(size)
        # A piece that is too large for its cell is put as near to the cell as the edge allows.
        left, top = (
            min(max(round(x - width / 2), 0), size[0] - width),
            min(max(round(y - height / 2), 0), size[1] - height),
        )
        place = (left, top, width, height)
        box = fraction_box(place, size)
        if all(share_inside(other, box) <= MAX_HIDDEN and share_inside(box, other) <= MAX_HIDDEN for other in taken):
            return place
    raise Drop("no free place for the object")


def _chosen(bench: Bench, index: int, thing: Thing, margin: float = FILL_MARGIN) -> tuple[Image.Image, Place]:
    """The photograph and the place of the object, which must not hold other objects."""
    photo = bench.pixels.photo(index)
    place = place_of(thing.box, photo.size, margin)
    box = fraction_box(place, photo.size)
    if any(other is not thing and share_inside(other.box, box) > MAX_HIDDEN for other in bench.image(index).things):
        raise Drop("the alteration would hide another object")
    return photo, place


def _visible(bench: Bench, before: Image.Image, after: Image.Image, place: Place) -> None:
    if change(before, after, place) < bench.recipe.min_change:
        raise Drop("the alteration can hardly be seen")


def _without(notes: tuple[ObjectNote, ...], note: ObjectNote) -> tuple[ObjectNote, ...]:
    return tuple(other for other in notes if other is not note)


def _with(notes: tuple[ObjectNote, ...], thing: Thing, box: Box, alteration: str) -> tuple[ObjectNote, ...]:
    new = thing.note.model_copy(update={"box": box, "attributes": {**thing.note.attributes, "alteration": alteration}})
    return tuple(new if other is thing.note else other for other in notes)
