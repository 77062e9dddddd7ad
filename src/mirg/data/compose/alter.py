"""The tasks difference and view_difference: one photograph in two versions that differ in one object.

It is removed, added, recoloured or moved. An object that only one version shows is to be found without knowing in which
image it is. For an object that both show (recoloured, moved) the question names the image, because it cannot be seen
which version is the original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mirg.data.compose.bench import Bench, Draft, Drop, Shown
from mirg.data.compose.edits import View, cut, pasted, place_of, recoloured, rounded, wandered
from mirg.data.compose.pixels import Place, change, fraction_box, remove, share_inside
from mirg.data.compose.pool import Thing
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
    """The photograph and its altered version; ``origin`` and ``also`` are pool indices of it and of a pasted object."""

    kind: str
    label: str
    origin: int
    before: Version
    after: Version
    also: int | None = None


def difference(bench: Bench) -> Draft:
    """A photograph in two versions that differ in one object: where is it?"""
    return _draft(bench, "difference", _altered(bench))


TRIM = 0.2
MIN_SEEN = 0.85  # visible share of every object: one that is cut off would be a second difference
_VIEWS = 24


def view_difference(bench: Bench) -> Draft:
    """As :func:`difference`, and one version has another window, scale and light that keeps every object in view."""
    pair = _altered(bench)
    view = _view(bench, pair)
    name = "before" if bench.rng.random() < 0.5 else "after"
    version: Version = getattr(pair, name)
    box = None if version.box is None else view.box(version.box)
    seen = Version(view.render(version.pixels), view.notes(version.notes), box)
    return _draft(bench, "view_difference", replace(pair, **{name: seen}))


def _altered(bench: Bench) -> Pair:
    return ALTERATIONS[bench.rng.choice(bench.recipe.alterations)](bench)


def _draft(bench: Bench, task: str, pair: Pair) -> Draft:
    """The two versions as a draft; :attr:`Bench.turn` chooses the number of the image with the answer."""
    asked, other = (pair.after, pair.before) if pair.after.box is not None else (pair.before, pair.after)
    in_both = other.box is not None
    if in_both and bench.rng.random() < 0.5:
        asked, other = other, asked
    holder, rest = (
        Shown(pair.origin, "candidate", version.notes, version.pixels, also=pair.also) for version in (asked, other)
    )
    return bench.draft(
        f"{task}_changed" if in_both else f"{task}_one", holder, [rest], pair.label,
        [asked.box] if asked.box is not None else [], "changed_object", hidden=not in_both, alteration=pair.kind,
    )  # fmt: skip


def _view(bench: Bench, pair: Pair) -> View:
    versions = (pair.before, pair.after)
    boxes = [note.box for version in versions for note in version.notes]
    altered = [version.box for version in versions if version.box is not None]
    for attempt in range(_VIEWS):
        trim = TRIM * (1 - attempt / _VIEWS)  # smaller with every attempt, for objects at the edge
        view = wandered(bench.rng, trim).snapped(pair.before.pixels.size)
        if all(view.visible(box) >= MIN_SEEN for box in boxes) and all(view.visible(box) > 0.99 for box in altered):
            return view
    raise Drop("every other view cuts an object off")


def _removed(bench: Bench) -> Pair:
    """The object is removed, and its place is filled from the pixels around it."""
    index, thing = bench.subject()
    photo, place = _chosen(bench, index, thing)
    return _pair(bench, "removed", index, thing, remove(photo, place), [place], None)


def _added(bench: Bench) -> Pair:
    """Paste an object of another photograph into free space; its label is new to the photograph."""
    donor, thing = bench.subject()
    (index,) = bench.others(1, thing.key, [donor], noted=True)
    photo = bench.pixels.photo(index)
    piece = cut_out(bench, donor, thing)
    place = _free_place(bench, piece.size, photo.size, [other.box for other in bench.image(index).things])
    box = rounded(fraction_box(place, photo.size))
    return _pair(bench, "added", index, thing, pasted(photo, piece, place), [place], box, donor)


def _recoloured(bench: Bench) -> Pair:
    """The object has another colour."""
    index, thing = bench.subject()
    if COLOURS & set(thing.key.split()):
        raise Drop("the label names a colour")
    photo, place = _chosen(bench, index, thing, margin=0.0)
    return _pair(bench, "recoloured", index, thing, recoloured(photo, place, bench.rng.random()), [place], thing.box)


def _moved(bench: Bench) -> Pair:
    """The object is moved to another place, and its old place is filled."""
    index, thing = bench.subject()
    photo, old = _chosen(bench, index, thing)
    own = place_of(thing.box, photo.size)
    piece = cut(photo, own)
    taken = [fraction_box(old, photo.size), *(other.box for other in bench.image(index).things)]
    place = _free_place(bench, piece.size, photo.size, taken, same_size=True)
    box = rounded(fraction_box(place, photo.size))
    return _pair(bench, "moved", index, thing, pasted(remove(photo, old), piece, place), [place, own], box)


ALTERATIONS: dict[str, Callable[[Bench], Pair]] = {
    "removed": _removed,
    "added": _added,
    "recoloured": _recoloured,
    "moved": _moved,
}


def _pair(
    bench: Bench,
    kind: str,
    index: int,
    thing: Thing,
    result: Image.Image,
    places: Sequence[Place],
    box: Box | None,
    donor: int | None = None,
) -> Pair:
    """Photo ``index`` and ``result``, where the object has ``box``; Drop if it hardly differs at one of ``places``.

    ``donor`` is the image that an added object is from.
    """
    photo, notes = bench.pixels.photo(index), bench.image(index).notes
    if any(change(photo, result, place) < bench.recipe.min_change for place in places):
        raise Drop("the alteration can hardly be seen")
    if donor is not None and box is not None:
        after = (*notes, ObjectNote(label=thing.label, box=box))
        return Pair(kind, thing.label, index, Version(photo, notes, None), Version(result, after, box), donor)
    update = {"box": box, "attributes": {**thing.note.attributes, "alteration": kind}}
    new = [] if box is None else [thing.note.model_copy(update=update)]
    after = tuple(note for other in notes for note in (new if other is thing.note else [other]))
    return Pair(kind, thing.label, index, Version(photo, notes, thing.box), Version(result, after, box))


def cut_out(bench: Bench, index: int, thing: Thing) -> Image.Image:
    """The pixels of an object, RGBA; Drop if another object covers much of its box."""
    if any(other is not thing and share_inside(thing.box, other.box) > 0.5 for other in bench.image(index).things):
        raise Drop("another object covers the one to cut out")
    photo = bench.pixels.full(index)
    return cut(photo, place_of(thing.box, photo.size))


def _free_place(
    bench: Bench, piece: tuple[int, int], size: tuple[int, int], taken: list[Box], *, same_size: bool = False
) -> Place:
    """A place for a piece (width, height) in an image of ``size``; Drop if it would hide the boxes ``taken``.

    Unless ``same_size``, it is scaled to a share of the image that objects often have. Its area is one that may be
    asked for.
    """
    for _ in range(_PLACES):
        width, height = piece
        if not same_size:
            scale = bench.rng.uniform(*_NEW_SIDES) * max(size) / max(piece)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
        if width > size[0] or height > size[1] or not bench.fits(width, height, size):
            continue
        x, y = bench.point(size)
        # A piece that is too large for its cell is put as near to the cell as the edge allows.
        left = min(max(round(x - width / 2), 0), size[0] - width)
        top = min(max(round(y - height / 2), 0), size[1] - height)
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
