"""COCO boxes: one sample per picture, which asks for all objects of one category; every object is kept as annotation.

``mirg data compose`` makes multi-image tasks of these. ``path`` is an ``instances_*.json``, or a file in the style of
LVIS. The category of a question is always one that is annotated completely in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mirg.data.importers.annotated import EMPTY
from mirg.data.importers.coco_file import HINT, LOCAL_KEY, Annotation, Category, CocoFile, id_key, texts_in
from mirg.data.importers.raw import (
    ImportOptions,
    Outcome,
    RawBox,
    RawImage,
    RawObject,
    Refusal,
    Row,
    Source,
    asks_for_every,
)
from mirg.data.importers.rows import Refused, chosen, is_box, is_number, short, text_of, whole
from mirg.samples.coverage import (
    ANNOTATED,
    CROWD,
    IGNORE,
    INSTANCE,
    REFUSED_BOX,
    REGION_NAMES,
    SCOPE,
    coverage_meta,
    label_key,
)

_HINTS = {
    "id": "correct the file: it cannot be known which annotation is right",
    "category_id": "write all ids in one type, and give every category a name",
    "rotation": "draw it upright, or remove the attribute if bbox is the box around the rotated object",
    "bbox": "a box is [x, y, width, height] in pixels, with a width and a height above 0",
}


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per picture with its annotations; the file is streamed, boxes and names stay in memory.

    DataError if it is not a COCO file.
    """
    yield from CocoFile(path, options).rows()


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per picture: "Point to every dog.", about a category chosen by the file name.

    An annotation that cannot be used is refused, and its category is not asked for in this picture.
    """
    if "unlisted" in value:
        return [Refusal("image_id", value["unlisted"], "add the image, or correct the id")]
    image = value["image"]
    if not isinstance(image, dict):
        return [Refusal("images", f"is not an object: {short(image)}", HINT)]
    name = texts_in([image.get("sample_id")])
    name = name[0] if name and name[0] else f"coco-{id_key(image.get('id'))}"
    try:
        picture = _picture(image, value["problem"])
    except Refused as refused:
        return [refused.refusal._replace(id=name)]
    notes = _Notes(value)
    refusals = [refusal._replace(id=name) for refusal in notes.refusals]
    asked = notes.asked(picture.path) if value["objects"] else notes.absent(picture.path, options)
    if asked is None:
        reason, hint = "no annotation refers to this image", EMPTY
        if value.get("stray"):
            reason, hint = f"no annotation refers to this image; {value['stray']}", "correct the ids"
        elif value["objects"]:
            reason = "no category is annotated completely in this image"
            hint = "a refused box, a crowd, an ignored region or not_exhaustive_category_ids leaves every category open"
        return [*refusals, Refusal("objects", reason, hint, name)]
    meta = coverage_meta(notes.incomplete, notes.categories, value["vocabulary"])
    if not value["objects"]:
        meta[ANNOTATED] = True
    if texts_in([image.get("image_set")]):
        meta["image_set"] = image["image_set"]
    shown = replace(picture, objects=tuple(notes.objects))
    targets = (RawBox(1, o.numbers, asked) for o in notes.objects if label_key(o.label) == label_key(asked))
    return [*refusals, asks_for_every(name, shown, asked, targets, meta)]


def _picture(image: dict[str, Any], problem: tuple[str, str] | None) -> RawImage:
    """Path and size. Refused if one of them is not understood, or entries contradict each other."""
    if problem:
        raise Refused(problem[0], problem[1], "correct the file: it cannot be known which entry is right")
    path = image.get("path")
    if path is None:
        raise Refused("file_name", "is missing", "every image needs a file_name, or a coco_url as in LVIS")
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise Refused("file_name", f"is not a path: {short(path)}", HINT)
    text_of(path, "file_name")
    sides = [image.get(side) or 0 for side in ("width", "height")]
    if not all(is_number(side) and side >= 0 and side == int(side) for side in sides):
        raise Refused("width", f"{short(sides[0])} x {short(sides[1])} is not a size in pixels", HINT)
    width, height = (whole(side, "width") for side in sides)
    return RawImage(path, width, height)


class _Notes:
    """The objects of one picture, what is refused of them, and which categories are annotated completely."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value
        self.refusals: list[Refusal] = []
        self.objects: list[RawObject] = []
        self.incomplete: set[str] = set(value["incomplete"])
        self._open: set[str] = set()  # label keys of which objects may be missing
        self._any_open = bool(self.incomplete - {REFUSED_BOX})
        self._targets: set[str] = set()
        self._seen: dict[tuple[str, tuple[float, ...]], int] = {}
        # Annotations of one image may not share an id and say different things.
        first: dict[tuple[Any, Any], Any] = {}
        twice: set[tuple[Any, Any]] = set()
        for note, category in value["objects"]:
            said = (category.name, note.box, note.crowd, note.ignored)
            if note.id is not None and first.setdefault((note.owner, note.id), said) != said:
                twice.add((note.owner, note.id))
        for note, category in value["objects"]:
            self._take(note, category, twice=(note.owner, note.id) in twice)
        self.categories = self._categories()

    def _take(self, note: Annotation, category: Category, *, twice: bool) -> None:
        region = note.ignored or label_key(category.name) in REGION_NAMES
        if twice:
            problem = ("id", f"is used for different annotations of one image: {short(note.id)}")
        elif category.problem and not region:
            problem = ("category_id", category.problem)
        else:
            problem = _box_problem(note.box) or _turned(note.attributes)
        if problem:
            self.refusals.append(Refusal(*problem, _HINTS[problem[0]]))
            self.incomplete.add(REFUSED_BOX)
        if problem or note.crowd or region:
            self._open.add(label_key(category.name))
            self._any_open |= not category.name or label_key(category.name) in REGION_NAMES
        if not problem:
            self._add(note, category, region)

    def _add(self, note: Annotation, category: Category, region: bool) -> None:
        x, y, width, height = (float(v) for v in note.box)
        attributes: dict[str, Any] = {"supercategory": category.supercategory} if category.supercategory else {}
        attributes |= ({CROWD: 1} if note.crowd else {}) | ({IGNORE: 1} if region else {})
        if note.instance:
            attributes[INSTANCE] = note.instance[1]
            if note.instance[0] == LOCAL_KEY and self.value["scope"]:
                attributes[SCOPE] = self.value["scope"]
        attributes = {**note.attributes, **attributes}
        thing = RawObject(category.name, (x, y, x + width, y + height), attributes)
        place = (label_key(thing.label), thing.numbers)
        if place in self._seen:
            at = self._seen[place]
            self.objects[at] = self.objects[at]._replace(attributes=_joined(self.objects[at].attributes, attributes))
        else:
            self._seen[place] = len(self.objects)
            self.objects.append(thing)
        if note.target:
            self._targets.add(thing.label)

    def _categories(self) -> list[str] | None:
        """The labels that this picture was annotated for, if the file says so picture by picture (LVIS)."""
        if self.value["negatives"] is None:
            return [] if self.value["federated"] else None
        held = {label_key(thing.label): thing.label for thing in self.objects if thing.label}
        absent = {label_key(label): label for label in self.value["negatives"]}
        open_ = {label_key(label) for label in self.value["not_exhaustive"]} | (set(held) & set(absent))
        return sorted(label for key, label in {**absent, **held}.items() if key not in open_)

    def asked(self, path: str) -> str | None:
        """The label to ask for: that of the targets which an export of mirg marks, else one chosen by the path."""
        labels = {thing.label for thing in self.objects if thing.label and label_key(thing.label) not in self._open}
        known = None if self.categories is None else set(map(label_key, self.categories))
        labels = {label for label in labels if known is None or label_key(label) in known}
        if self._any_open or not labels:
            return None
        marked = sorted(labels & self._targets)
        if len(marked) == 1:
            return marked[0]
        if REFUSED_BOX in self.value["incomplete"]:  # whoever wrote the file knew which category the box was of
            return None
        return chosen(sorted(labels), path)

    def absent(self, path: str, options: ImportOptions) -> str | None:
        """The label to ask for in a picture without objects, if it is known that the picture was annotated for it.

        A file in the style of LVIS says so, and an export of mirg; of another file, ``--negatives keep`` says it for
        all of its pictures.
        """
        names = self.value["names"] if self.categories is None else self.categories
        said = bool(self.categories) or self.value["emptied"] or options.negatives == "keep"
        if self._any_open or self.incomplete or self.value.get("stray"):
            return None
        if self.value["absent"]:
            return self.value["absent"][0]
        if not said or not names:
            return None
        return chosen(names, path)


def _joined(first: dict[str, Any] | None, other: dict[str, Any]) -> dict[str, Any]:
    """The attributes of an object that is annotated twice. Two instance ids contradict each other: neither is kept."""
    both = {**other, **(first or {})}
    if first and INSTANCE in first and other.get(INSTANCE, first[INSTANCE]) != first[INSTANCE]:
        both = {key: value for key, value in both.items() if key not in (INSTANCE, SCOPE)}
    return both


def _box_problem(box: Any) -> tuple[str, str] | None:
    if box is None or box == []:
        return "bbox", "is missing: an annotation needs a box, or polygons"
    if not is_box(box):
        shown = f"[{', '.join(map(short, box[:6]))}]" if isinstance(box, list) else short(box)
        return "bbox", f"is not [x, y, width, height]: {shown[:60]}"
    return None if box[2] > 0 and box[3] > 0 else ("bbox", f"has no area: [{', '.join(f'{v:g}' for v in box)}]")


def _turned(attributes: dict[str, Any]) -> tuple[str, str] | None:
    """CVAT writes the box before the rotation, and the angle beside it."""
    angle = attributes.get("rotation", 0)
    turned = angle % 360 if is_number(angle) else angle
    return ("rotation", f"object is rotated: {short(angle)} degrees") if turned not in (0, "", "0", "0.0") else None


SOURCE = Source(
    "coco", "COCO instances JSON: boxes of single images, for mirg data compose", read, convert, "pixels",
    maps_labels=True,
)  # fmt: skip
