"""What a COCO file says about each picture: entries and annotations put together, ids of any type compared.

A picture that the file lists several times, perhaps under several ids or spellings of its path, is one picture with the
annotations of all its entries. Entries that contradict each other are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mirg.data.importers.files import refuse_corners
from mirg.data.importers.label_map import LabelMap
from mirg.data.importers.look import clean_path
from mirg.data.importers.raw import ImportOptions, Row
from mirg.data.importers.rows import is_box, is_number, is_writable, short
from mirg.data.importers.stream import read_members
from mirg.errors import DataError, ImageError
from mirg.samples.coverage import REGION_NAMES, label_key, vocabulary_name

# A file with one of these lists is annotated for some categories per image. A positive label may have no box.
LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids", "pos_category_ids")
CROWD_KEYS = ("iscrowd", "is_crowd", "isgroupof", "is_group_of", "IsGroupOf")  # of COCO, CVAT and Open Images
IGNORE_KEYS = ("ignore", "ignored")
_PATH_KEYS = ("file_name", "filename", "path", "image_path")
_OWN_KEYS = ("incomplete", "vocabulary", "sample_id", "image_set", "absent")  # written by an export of mirg
_IMAGE_KEYS = ("id", "width", "height", "video_id", *LVIS_KEYS, *_OWN_KEYS)
_NO_ATTRIBUTES: dict[str, Any] = {}  # one for all annotations: a file has millions
_NAMELESS = {"", "none", "null", "nan"}
# Which key identifies an object. The number of a track identifies it in its own film or file only.
LOCAL_KEY = "track_id"
_INSTANCE_KEYS = ("instance_id", "identity", "person_id", LOCAL_KEY)
Key = Hashable


class Category(NamedTuple):
    """A category of the file. ``problem`` says why its annotations cannot be used, and is empty otherwise.

    The label map drops the annotations of a category that is ``dropped``.
    """

    name: str
    supercategory: str = ""
    problem: str = ""
    dropped: bool = False


class Annotation(NamedTuple):
    """One annotation; ``owner`` is the id of its image entry. ``instance`` is (key, id) of the object, or None.

    ``target`` and ``unnamed`` are marks of an export of mirg: a box that is a target, and an object without a label.
    """

    owner: Key
    id: Key
    category: Any
    box: Any
    crowd: bool
    ignored: bool
    target: bool
    unnamed: bool
    instance: tuple[str, str] | None
    attributes: dict[str, Any]


def id_key(value: Any) -> Key:
    """An id as a key of a dictionary: 1.0 is 1, since tables with a hole turn numbers into floats, and "1" is not 1.

    None for a value that cannot be an id.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else None
    if isinstance(value, str):
        return value if value and is_writable(value) else None
    return value


def not_listed(value: Any, member: str, known: Container[Key]) -> str:
    """Why an id is in no entry of ``member``; it names an id of another type that may be meant."""
    if value is None:
        return f"is not listed in {member}: it is missing"
    shown = short(value) if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)[:60]
    near = _near(value, known)
    if near is None:
        return f"is not listed in {member}: {shown}"
    kind = {str: "a string", list: "a list", bool: "a boolean"}.get(type(value), "a number")
    return f"is not listed in {member}: {shown} is {kind}, the file lists {short(near)}"


def _near(value: Any, known: Container[Key]) -> Key:
    """The id of another type that ``value`` may mean: "1.0", [1] and true may mean 1, and 1 may mean "1"."""
    inner = value[0] if isinstance(value, list) and len(value) == 1 else value
    text = str(int(inner) if isinstance(inner, bool) else inner).strip().removesuffix(".0")
    number = int(text) if re.fullmatch(r"-?\d{1,17}", text, re.ASCII) else None
    return next((key for key in (number, text, f"{text}.0") if key is not None and key in known), None)


def flag(value: Any) -> bool:
    """Whether a value such as 1, true or "1" marks something; everything but 0, false and nothing does."""
    text = value.strip().casefold() if isinstance(value, str) else value
    return text not in (None, 0, False, "", "0", "0.0", "false", "no")


def category_entry(key: Key, entry: dict[str, Any], labels: LabelMap | None) -> Category:
    """A category with the name that the label map gives it; one without a name has a problem. "None" is no name."""
    name, above = entry.get("name"), entry.get("supercategory")
    named = isinstance(name, str | int) and not isinstance(name, bool)
    text = " ".join(str(name).split()) if named else ""
    if text.casefold() in _NAMELESS or not is_writable(text):
        return Category("", "", f"has no name in categories: {short(key)} is named {short(name)}")
    if labels and label_key(text) not in REGION_NAMES:
        text = labels.of(text) or ""
    above = above.strip() if isinstance(above, str) and is_writable(above) and text else ""
    return Category(text, "" if above.casefold() in _NAMELESS else above, dropped=not text)


def annotation_entry(owner: Key, entry: dict[str, Any], options: ImportOptions) -> Annotation:
    """An annotation of the image with id ``owner``. A box that is missing is taken from the polygons."""
    given = entry.get("attributes")
    attributes = {k: v for k, v in given.items() if _is_plain(k) and _is_plain(v)} if isinstance(given, dict) else {}
    box = entry.get("bbox")
    if box in (None, []) and options.frame in (None, "pixels"):
        box = _bounds(entry.get("segmentation"))
    return Annotation(
        owner, id_key(entry.get("id")), entry.get("category_id"), box,
        crowd=_marked(entry, attributes, CROWD_KEYS), ignored=_marked(entry, attributes, IGNORE_KEYS),
        target=entry.get("kind") == "target", unnamed=flag(entry.get("unnamed")), instance=_instance(entry, attributes),
        attributes=attributes or _NO_ATTRIBUTES,
    )  # fmt: skip


def _marked(entry: dict[str, Any], attributes: dict[str, Any], keys: tuple[str, ...]) -> bool:
    """Whether one of ``keys`` is set; those of the attributes are taken out of them."""
    found = [flag(attributes.pop(key)) for key in keys if key in attributes]
    return any(found) or any(flag(entry[key]) for key in keys if key in entry)


def _instance(entry: dict[str, Any], attributes: dict[str, Any]) -> tuple[str, str] | None:
    """(key, id) of the object that an annotation is about. Negative numbers say that it is not known (ReID files)."""
    for key in _INSTANCE_KEYS:
        found = id_key(attributes.pop(key, None)) if key in attributes else None
        found = found if found is not None else id_key(entry.get(key))
        if found is not None and not str(found).strip().startswith("-"):
            return key, str(found).strip()
    return None


def _bounds(segmentation: Any) -> list[float] | None:
    """[x, y, width, height] of polygons; None for a mask of runs, or anything else."""
    polygons = list_in(segmentation)
    numbers = [value for polygon in polygons for value in list_in(polygon)]
    even = all(len(list_in(polygon)) % 2 == 0 and len(list_in(polygon)) >= 6 for polygon in polygons)
    if not numbers or not even or not all(is_number(value) for value in numbers):
        return None
    x, y = [v for p in polygons for v in p[::2]], [v for p in polygons for v in p[1::2]]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _is_plain(value: Any) -> bool:
    """Whether an attribute can be kept: a short text, a whole or finite number, true or false."""
    short_text = isinstance(value, str) and len(value) < 200 and is_writable(value)
    return short_text or isinstance(value, bool) or is_number(value)


def texts_in(value: Any) -> list[str]:
    """The texts of a list; nothing if ``value`` is anything else."""
    return [item for item in list_in(value) if isinstance(item, str) and is_writable(item)]


def _lvis_lists(entry: dict[str, Any]) -> dict[str, list[Any]]:
    """The lists of an image or a film that say for which categories it was annotated."""
    return {key: entry[key] for key in LVIS_KEYS if isinstance(entry.get(key), list)}


def list_in(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


HINT = "see the COCO data format: images, annotations and categories"
_MEMBERS = ("images", "annotations", "categories")
_CORNERS = "write every box as [x, y, width, height]"
# The values of bbox_mode (detectron2) and of bbox_format for [x, y, width, height].
_MODES = {"", "none", "1", "3", "xywh", "xywh_abs", "xywh_rel", "coco"}
_PANOPTIC = "import the file of instances (instances_*.json), or convert it with panopticapi (panoptic2detection)"


@dataclass
class Picture:
    """All entries of the file about one picture; ``image`` is the first of them, with its path under ``path``."""

    number: int
    image: Any
    ids: list[Key] = field(default_factory=list)
    problem: tuple[str, str] | None = None
    lists: list[dict[str, Any]] = field(default_factory=list)

    def add(self, key: Key, entry: dict[str, Any]) -> None:
        """Take another entry; one of another size is a contradiction."""
        if key not in self.ids:
            self.ids.append(key)
        self.lists.append(entry)
        for side in ("width", "height"):
            first, other = self.image.get(side) or 0, entry.get(side) or 0
            if first and other and first != other:
                self.problem = (side, f"differs between two entries of this picture: {short(first)}, {short(other)}")
            self.image[side] = first or other


class CocoFile:
    """The members of one file, collected while they are streamed: boxes and names stay in memory."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path, self.options = path, options
        self.categories: dict[Key, Category] = {}
        self._entries: list[tuple[int, Any]] = []
        self._annotations: defaultdict[Key, list[Annotation]] = defaultdict(list)
        self._strays: dict[str, tuple[Any, int]] = {}
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._videos: dict[Key, dict[str, list[Any]]] = {}
        self._federated = False
        self._areas = [0, 0]  # annotations whose area is that of their box, read as sizes and read as corners
        self._local = False  # whether any object is known by the number of its track

    def _read(self) -> None:
        for member, value in read_members(self.path):
            self._counts[member] += 0
            if member in (*_MEMBERS, "videos"):
                for entry in self._entries_of(member, value):
                    self._counts[member] += 1
                    self._take(member, entry)
        missing = sorted(set(_MEMBERS) - set(self._counts))
        if missing:
            raise DataError(f"{self.path} has no {', '.join(missing)}: it is not a COCO file", hint=HINT)

    def _entries_of(self, member: str, value: Any) -> list[Any]:
        """The entries in an element of a list, or in an object that holds the entries by id instead of a list."""
        if value in (None, [], {}):
            return []
        plain = {"id", "image_id", "bbox", "segmentation", "category_id", "file_name", "name"}
        if not isinstance(value, dict) or plain & set(value):
            return [value]
        if all(isinstance(entry, dict) for entry in value.values()):
            return list(value.values())
        if any(isinstance(entry, list) for entry in value.values()):
            reason = f"{self.path}: {member} is an object of lists, a list of objects is expected"
            raise DataError(reason, hint="give every annotation its image_id, in one list")
        return [value]

    def _take(self, member: str, entry: Any) -> None:
        if member == "images":
            self._entries.append((self._counts[member], self._image_entry(entry)))
            self._federated |= isinstance(entry, dict) and bool(_lvis_lists(entry))
        elif member == "categories":
            self._take_category(entry)
        elif member == "videos":
            # TAO says of each film for which categories its frames were annotated, as LVIS does of each image.
            key = id_key(entry.get("id")) if isinstance(entry, dict) else None
            if key is not None and (lists := _lvis_lists(entry)):
                self._videos[key] = lists
                self._federated = True
        elif not isinstance(entry, dict):
            self._stray(entry)
        elif "segments_info" in entry:
            raise DataError(f"{self.path} is a panoptic file of COCO: its boxes are those of segments", hint=_PANOPTIC)
        elif (owner := id_key(entry.get("image_id"))) is None:
            self._stray(entry.get("image_id"))
        else:
            self._check(entry)
            found = annotation_entry(owner, entry, self.options)
            self._local |= found.instance is not None and found.instance[0] == LOCAL_KEY
            self._annotations[owner].append(found)

    def _check(self, entry: dict[str, Any]) -> None:
        """DataError if an annotation is a prediction, or says that its box is not [x, y, width, height]."""
        score = entry.get("score")
        if is_number(score) and 0 < score < 1:
            hint = "import the annotations; if these boxes are to be the truth, remove the scores"
            raise DataError(f"{self.path}: an annotation has a score of {score:g}: these are predictions", hint=hint)
        for key in ("bbox_mode", "bbox_format"):
            if key in entry and str(entry[key]).rpartition(".")[2].lower() not in _MODES:
                raise DataError(f"{self.path}: {key} is {short(entry[key])}, not [x, y, width, height]", hint=_CORNERS)
        area, box = entry.get("area"), entry.get("bbox")
        if is_number(area) and area > 0 and is_box(box):
            x, y, right, lower = box
            self._areas[0] += abs(right * lower - area) <= 0.001 * area
            self._areas[1] += x < right and y < lower and abs((right - x) * (lower - y) - area) <= 0.001 * area

    def _image_entry(self, entry: Any) -> Any:
        """The keys of an image that are used, and the fields to keep; ``path`` is the path of its file."""
        if not isinstance(entry, dict):
            return entry
        wanted = (*_IMAGE_KEYS, *self.options.meta.values())
        kept = {key: entry[key] for key in wanted if entry.get(key) is not None}
        path = next((entry[key] for key in _PATH_KEYS if entry.get(key) not in (None, "")), None)
        url = entry.get("coco_url")
        if path is None and isinstance(url, str):  # LVIS names its files in no other way
            *_, folder, path = ["", *url.partition("?")[0].rstrip("/").split("/")]
            # The file lies in the last folder of the URL (train2017), if there is such a file.
            if folder and (Path(self.options.root) / folder / path).is_file():
                path = f"{folder}/{path}"
        return kept if path is None else {**kept, "path": path}

    def _take_category(self, entry: Any) -> None:
        key = id_key(entry.get("id")) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or (key is None and "id" not in entry):
            shown = json.dumps(entry, default=str)[:60]
            raise DataError(f"{self.path}: a category has no id: {shown}", hint='write {"id": 1, "name": "dog"}')
        if key is None:
            return
        new = category_entry(key, entry, self.options.labels)
        old = self.categories.get(key, new)
        if label_key(old.name) != label_key(new.name):
            problem = f"is listed twice in categories: {short(key)} is {short(old.name)} and {short(new.name)}"
            new = Category("", "", problem)
        self.categories[key] = new._replace(supercategory=old.supercategory or new.supercategory)

    def _stray(self, image_id: Any, count: int = 1) -> None:
        name = repr(image_id)
        self._strays[name] = (image_id, self._strays.get(name, (image_id, 0))[1] + count)

    def rows(self) -> Iterator[Row]:
        """One row per picture, and one for the annotations of each image that is not listed.

        DataError if it is not a COCO file.
        """
        self._read()
        pictures = self._pictures()
        owners = {key for picture in pictures for key in picture.ids}
        for key in [key for key in self._annotations if key not in owners]:
            self._stray(key, len(self._annotations.pop(key)))
        strays = [(value, count, not_listed(value, "images", owners)) for value, count in self._strays.values()]
        vocabulary = vocabulary_name(self._all_names)
        if self._areas[1] > max(2, 10 * self._areas[0]):
            reason = f"the area of {self._areas[1]} boxes is theirs as x1, y1, x2, y2, and not as [x, y, width, height]"
            raise DataError(f"{self.path}: {reason}", hint=_CORNERS)
        if self.options.frame in (None, "pixels"):
            refuse_corners(str(self.path), self._boxes(pictures), "[x, y, width, height]")
        scope = ""
        if self._local:
            paths = sorted(str(picture.image.get("path")) for picture in pictures if isinstance(picture.image, dict))
            scope = hashlib.sha256("\n".join(paths).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        for picture in pictures:
            value = self._value(picture, vocabulary, scope)
            if strays and not value["objects"]:
                value["stray"] = f"{sum(n for _, n, _ in strays)} annotations have an image_id that {strays[0][2]}"
            yield Row(f"{self.path.name} images", picture.number, value)
        for _, count, reason in strays:
            yield Row(f"{self.path.name} annotations", count, {"unlisted": f"{reason}; {count} annotations have it"})

    def _pictures(self) -> list[Picture]:
        """The pictures in the order of their first entries."""
        found: dict[Key, Picture] = {}
        places: dict[Key, str] = {}
        for number, entry in self._entries:
            path = entry.get("path") if isinstance(entry, dict) else None
            place = self._place(path) if isinstance(path, str) else ""
            picture = found.setdefault(("path", place) if place else ("entry", number), Picture(number, entry))
            if not isinstance(entry, dict):
                continue
            key = id_key(entry.get("id"))
            picture.add(key, entry)
            if key is None:
                picture.problem = ("id", f"is missing, or is not an id: {short(entry.get('id'))}")
            elif place and places.setdefault(key, place) != place:
                reason = f"is listed twice in images: {short(key)} is {short(places[key])} and {short(place)}"
                picture.problem = found["path", places[key]].problem = ("id", reason)
        return list(found.values())

    def _boxes(self, pictures: list[Picture]) -> Iterator[tuple[Sequence[float], float, float]]:
        for picture in pictures:
            sides = [picture.image.get(side) for side in ("width", "height")] if picture.lists else []
            if sides and all(is_number(side) and side > 0 for side in sides):
                boxes = (note.box for key in picture.ids for note in self._annotations.get(key, ()))
                yield from ((box, sides[0], sides[1]) for box in boxes if is_box(box))

    def _place(self, path: str) -> str:
        """The path in the spelling that the search for the file uses, so that "./a.jpg" and "a.jpg" are one file."""
        try:
            return clean_path(path, self.options.root, self.options.strip)
        except ImageError:
            return path  # the search for the file refuses it

    def _value(self, picture: Picture, vocabulary: str, scope: str) -> dict[str, Any]:
        notes = [note for key in picture.ids for note in self._annotations.get(key, ())]
        named = [(note, self._category_of(note)) for note in notes]
        objects = [(note, category) for note, category in named if note.ignored or not category.dropped]
        negatives = absent = None
        videos = {id_key(entry.get("video_id")) for entry in picture.lists} & set(self._videos)
        said = [lists for entry in picture.lists if (lists := _lvis_lists(entry))]
        said += [self._videos[key] for key in videos]
        if said:
            negatives, absent = (sorted(self._names(said, key)) for key in LVIS_KEYS[:2])
        own = next(iter(texts_in([entry.get("vocabulary") for entry in picture.lists])), None)
        video = picture.image.get("video_id") if isinstance(picture.image, dict) else None
        return {
            "image": picture.image, "problem": picture.problem, "objects": objects,
            "negatives": negatives, "not_exhaustive": absent, "federated": self._federated and not own,
            "vocabulary": own or vocabulary,
            "incomplete": sorted({r for entry in picture.lists for r in texts_in(entry.get("incomplete"))}),
            "absent": texts_in([entry.get("absent") for entry in picture.lists])[:1],
            "names": [] if objects else self._all_names, "emptied": bool(named) and not objects,
            "scope": f"{scope}-{id_key(video)}" if scope and id_key(video) is not None else scope,
        }  # fmt: skip

    def _category_of(self, note: Annotation) -> Category:
        if note.unnamed:
            return Category("")
        found = self.categories.get(id_key(note.category))
        return found or Category("", "", not_listed(note.category, "categories", self.categories))

    def _names(self, entries: list[dict[str, list[Any]]], key: str) -> set[str]:
        ids = [value for entry in entries for value in entry.get(key, ())]
        return {self.categories[k].name for k in map(id_key, ids) if k in self.categories and self.categories[k].name}

    @cached_property
    def _all_names(self) -> list[str]:
        """What pictures of this file are annotated for, each name in one spelling."""
        return sorted({label_key(c.name): c.name for c in self.categories.values() if c.name}.values())
