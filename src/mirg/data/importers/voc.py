"""Pascal VOC: one XML file per image, as the VOC devkit, LabelImg and most annotation tools write it.

``path`` is a folder with XML files at any depth (a VOCdevkit, or files beside their images), one XML file, or a list of
the devkit (``ImageSets/Main/train.txt``), of which only the listed images are read.

What the corners mean is decided once for all files. The devkit counts pixels from 1, and the last pixel belongs to the
box: it covers ``xmin - 1`` to ``xmax``. Tools that measure from the edge of the image write 0 for it, decimals, or
``<database>Unknown</database>`` (LabelImg, CVAT): their box covers ``xmin`` to ``xmax``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from mirg.data.importers.annotated import Annotated, Unusable, boxed, convert, corners_in, turned
from mirg.data.importers.files import lines_of, read_xml, size_of, text_in, whole_file
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, RawObject, Refusal, Row, Source
from mirg.data.importers.rows import Refused
from mirg.errors import DataError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("difficult", "truncated", "occluded")
# What tools that measure from the edge of the image put into source/database.
_FROM_EDGE = {"unknown", "mydatabase", "roboflow.com", "roboflow.ai", "roboflow"}


class _File(NamedTuple):
    """One XML file: the name of its image and the corners of its objects are those of the file."""

    path: Path
    image: str
    size: tuple[int, int]
    database: str
    objects: list[RawObject | Unusable]


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per XML file in the order of paths. DataError if no file can be read."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    files: list[_File] = []
    broken: list[tuple[Path, Refusal]] = []
    for file in _xml_files(path):
        try:
            files.append(_parsed(file))
        except Refused as refused:
            broken.append((file, refused.refusal._replace(id=f"voc-{file.stem}")))
    if not files:
        first = f"; first: {broken[0][0].name}: {broken[0][1].reason}" if broken else ""
        raise DataError(f"{path} holds no Pascal VOC file{first}", hint="expected <annotation> with <object> in XML")
    labels = sorted({thing.label for file in files for thing in file.objects if thing.label})
    first = 0.0 if _from_edge(files) or options.frame not in (None, "pixels") else 1.0
    pictures = Pictures(options.root, "filename")
    pictures.claim(_image_name(file, pictures) for file in files)
    images = ((file.path, _image(file, pictures, labels, first)) for file in files)
    for file, value in chain(images, broken):
        below = file.is_relative_to(path) and file != path
        yield Row(file.relative_to(path).as_posix() if below else file.name, 1, value)


def _xml_files(path: Path) -> list[Path]:
    if path.suffix.lower() == ".txt" and "ImageSets" in path.resolve().parts[:-1]:
        return _listed(path.resolve())
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() == ".xml" and not file.name.startswith("."))


def _listed(path: Path) -> list[Path]:
    """The files of a list of the devkit. DataError if it is a list of one class, or names a file that is missing."""
    with whole_file(path):
        names = [line.split() for line in lines_of(path, path.name) if line.strip()]
    if any(len(words) > 1 for words in names):
        raise DataError(f"{path} says for each image whether it holds one class", hint="name train.txt or val.txt")
    home = next(folder.parent for folder in path.parents if folder.name == "ImageSets")
    files = [home / "Annotations" / f"{name}.xml" for (name,) in names]
    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        raise DataError(f"{path} names {missing.stem}, and {missing} does not exist")
    return files


def _parsed(file: Path) -> _File:
    root, *children = read_xml(file)
    if root.tag != "annotation":
        raise Refused("xml", f"is not Pascal VOC: its root is <{root.tag[:40]}>", "expected <annotation>")
    root.extend(children)
    size = root.find("size")
    sides = ("0", "0") if size is None else (text_in(size, "width"), text_in(size, "height"))
    database = text_in(root.find("source"), "database")
    kept = (element for element in root.findall("object") if text_in(element, "deleted") != "1")
    objects = [_object(element) for element in kept]
    image_size = size_of(*sides, field="size", hint="correct <size>")
    return _File(file, text_in(root, "filename"), image_size, database, objects)


def _object(element: Element) -> RawObject | Unusable:
    label, corners = text_in(element, "name"), element.find("bndbox")
    if not label:
        return Unusable("", "object without a name", "fill in <name>")
    if corners is None:
        found = ", ".join(sorted({child.tag for child in element} & {"polygon", "robndbox", "segm", "point"}))
        return Unusable(label, f"object without a bndbox: {label!r}" + (f" has {found}" if found else ""))
    words = [text_in(corners, corner) for corner in _CORNERS]
    numbers = corners_in(label, words)
    if isinstance(numbers, Unusable):
        return numbers
    x1, y1, x2, y2 = numbers
    if x2 < x1 or y2 < y1:
        return Unusable(label, f"object without area: {label!r}, {', '.join(words)}")
    attributes = _attributes(element)
    return turned(label, str(attributes.pop("rotation", "0"))) or RawObject(label, (x1, y1, x2, y2), attributes)


def _attributes(element: Element) -> dict[str, Any]:
    """The flags that are set, the pose, and the attributes that CVAT adds; it keeps the rotation of a box there."""
    found: dict[str, Any] = {}
    for child in element.iterfind("attributes/attribute"):
        text = text_in(child, "value")
        found[text_in(child, "name") or "attribute"] = {"true": True, "false": False}.get(text.casefold(), text)
    found |= {flag: True for flag in _FLAGS if text_in(element, flag).casefold() in ("1", "true")}
    pose = text_in(element, "pose")
    return found | ({"pose": pose} if pose and pose.casefold() != "unspecified" else {})


def _from_edge(files: list[_File]) -> bool:
    """Whether corners are measured from the edge of the image rather than counted in pixels from 1."""
    corners = [v for file in files for thing in file.objects if isinstance(thing, RawObject) for v in thing.numbers]
    named = {file.database.casefold() for file in files}
    if any(value <= 0 for value in corners):
        return True
    if all("voc" in name for name in named):  # VOC2012 has a few decimals
        return False
    return named <= _FROM_EDGE or any(value != int(value) for value in corners)


def _image_name(file: _File, pictures: Pictures) -> str:
    """The name of the image of a file: the path where the layouts put it if it is there, else what <filename> says."""
    name = file.image.replace("\\", "/") or file.path.stem
    folder = file.path.resolve().parent
    folders = [folder]
    for k, part in enumerate(folder.parts):
        if part.casefold() in ("annotations", "labels", "xml", "xmls"):
            names = ("JPEGImages", "images", "Images", "imgs")
            folders += [Path(*folder.parts[:k], images, *folder.parts[k + 1 :]) for images in names]
    return pictures.placed(place / name for place in folders) or name


def _image(file: _File, pictures: Pictures, labels: list[str], first: float) -> Annotated | Refusal:
    name = f"voc-{file.path.stem}"
    try:
        path = pictures.find(_image_name(file, pictures))
        _refuse_other_name(file, path, pictures)
    except Refused as refused:
        return refused.refusal._replace(id=name)
    objects = [thing if isinstance(thing, Unusable) else _moved(thing, first) for thing in file.objects]
    return Annotated(name, path, *file.size, objects=objects, labels=labels, annotated=True)


def _moved(thing: RawObject, first: float) -> RawObject | Unusable:
    """``thing`` with its corners measured from the edge; ``first`` is the number of the first pixel."""
    x1, y1, x2, y2 = thing.numbers
    return boxed(thing.label, (x1 - first, y1 - first, x2, y2), thing.attributes)


def _refuse_other_name(file: _File, path: str, pictures: Pictures) -> None:
    """Refused if the XML file is called like another image: one of the two was renamed, and it is not known which."""
    if Path(path).stem == file.path.stem or not file.image:
        return
    beside = (Path(path).parent / f"{file.path.stem}{Path(path).suffix}").as_posix()
    if (pictures.root / beside).is_file():
        names = f"filename says {file.image}, the XML is called like {Path(beside).name}, and both exist"
        raise Refused("filename", f"image is not clear: {names}", "correct <filename>, or remove it")


SOURCE = Source(
    "voc", "Pascal VOC: one XML file per image (VOC devkit, LabelImg, CVAT)", read, convert, "pixels", maps_labels=True
)
