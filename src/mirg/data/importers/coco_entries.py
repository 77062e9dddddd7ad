"""The entries of a COCO file, each on its own: ids of any type, names, boxes, flags, and which object it is."""

from __future__ import annotations

import json
from collections.abc import Container, Hashable, Iterable
from typing import Any, NamedTuple

from mirg.data.importers.label_map import LabelMap
from mirg.data.importers.options import ImportOptions
from mirg.data.importers.rows import is_number, short
from mirg.samples.coverage import REGION_NAMES, label_key

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
        return value if value and _writable(value) else None
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
    options: list[Key] = []
    if isinstance(value, list):
        options = [id_key(value[0])] if len(value) == 1 else []
    elif isinstance(value, str):
        text = value.strip().removesuffix(".0")
        options = [int(text)] if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 18 else [text]
    elif isinstance(value, bool):
        options = [int(value)]
    elif id_key(value) is not None:
        options = [str(id_key(value)), f"{id_key(value)}.0"]
    return next((option for option in options if option is not None and option in known), None)


def flag(value: Any) -> bool:
    """Whether a value such as 1, true or "1" marks something; everything but 0, false and nothing does."""
    text = value.strip().casefold() if isinstance(value, str) else value
    return text not in (None, 0, False, "", "0", "0.0", "false", "no")


def image_entry(entry: Any, fields: Iterable[str] = ()) -> Any:
    """The keys of an image that are used, and other ``fields`` to keep; ``path`` is the path of its file."""
    if not isinstance(entry, dict):
        return entry
    kept = {key: entry[key] for key in (*_IMAGE_KEYS, *fields) if entry.get(key) is not None}
    path = next((entry[key] for key in _PATH_KEYS if entry.get(key) not in (None, "")), None)
    url = entry.get("coco_url")
    if path is None and isinstance(url, str):  # LVIS names its files in no other way
        *_, folder, path = ["", *url.partition("?")[0].rstrip("/").split("/")]
        kept["url_folder"] = folder
    return kept if path is None else {**kept, "path": path}


def category_entry(key: Key, entry: dict[str, Any]) -> Category:
    """A category; one without a name has a problem, and "None" is never a name."""
    name, above = entry.get("name"), entry.get("supercategory")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    text = " ".join(name.split()) if isinstance(name, str) else ""
    if text.casefold() in _NAMELESS or not _writable(text):
        return Category("", "", f"has no name in categories: {short(key)} is named {short(name)}")
    above = above.strip() if isinstance(above, str) and _writable(above) else ""
    return Category(text, "" if above.casefold() in _NAMELESS else above)


def mapped(category: Category, labels: LabelMap | None) -> Category:
    """``category`` with the name that the label map gives it."""
    if labels is None or category.problem or label_key(category.name) in REGION_NAMES:
        return category
    name = labels.of(category.name)
    return category._replace(name=name) if name else Category("", dropped=True)


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
    if isinstance(value, str):
        return len(value) < 200 and _writable(value)
    return isinstance(value, bool) or is_number(value)


def _writable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def texts_in(value: Any) -> list[str]:
    """The texts of a list; nothing if ``value`` is anything else."""
    return [item for item in list_in(value) if isinstance(item, str) and _writable(item)]


def list_in(value: Any) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
