"""CVAT XML 1.1, for images and for videos: boxes, polygons and masks as the box around them, attributes, tracks.

``path`` is an ``annotations.xml``, or the folder that holds it. Every image with objects gives a sample, and every
frame of a video in which a track is seen: the id of the track is the ``instance_id`` of its objects. The frames of a
video are image files whose number is the frame number of the XML, as CVAT exports them (``frame_000012.jpg``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from mirg.errors import DataError
from mirg.sources.annotated import Annotated, Unusable, outcomes
from mirg.sources.options import ImportOptions
from mirg.sources.pictures import Pictures
from mirg.sources.raw import Outcome, RawObject, Refusal, Row, Source
from mirg.sources.rows import Refused
from mirg.sources.xml_files import read_xml, text_in

_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d*)?(?:e[-+]?\d{1,2})?", re.IGNORECASE | re.ASCII)
_BOX = {"box": ("xtl", "ytl", "xbr", "ybr"), "mask": ("left", "top", "width", "height")}
_SHAPES = {*_BOX, "polygon", "polyline", "points", "ellipse", "cuboid", "skeleton"}


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per image, then one per frame of a video. DataError if the file is not of CVAT."""
    from mirg.sources.cvat_tracks import Film

    path = path / "annotations.xml" if path.is_dir() else path
    try:
        root, *children = read_xml(path)
    except Refused as refused:
        raise DataError(f"{path} {refused.refusal.reason}", hint=refused.refusal.hint) from refused
    images = [child for child in children if child.tag == "image"]
    tracks = [child for child in children if child.tag == "track"]
    meta = next((child for child in children if child.tag == "meta"), None)
    if root.tag != "annotations" or not (images or tracks):
        raise DataError(f"{path} is not CVAT XML", hint="expected <annotations> with <image> or <track>")
    if images:
        yield from _images(path, images, _declared(meta), options)
    if tracks:
        yield from Film(path, tracks, meta, options).rows()


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """The sample of one image or frame; refusals for shapes that are not boxes."""
    if isinstance(value, Refusal):
        return [value]
    if not isinstance(value, Annotated):
        return [Refusal("row", "is not an image of CVAT")]
    return outcomes(value, options)


def shape(element: Element, label: str) -> RawObject | Unusable:
    """The object of a shape that is called ``label``. ``outside`` is not looked at."""
    if not label:
        return Unusable("", "shape without a label")
    turned = element.get("rotation", "0")
    if not _NUMBER.fullmatch(turned) or float(turned) % 360:
        return Unusable(label, f"object is rotated: {label!r}, {turned[:20]} degrees", "draw it upright")
    if element.tag == "polygon":
        return _polygon(element, label)
    if element.tag not in _BOX:
        return Unusable(label, f"shape is not a box: {label!r} is drawn as {element.tag}", "draw a box")
    words = [element.get(name, "") for name in _BOX[element.tag]]
    if not all(_NUMBER.fullmatch(word) for word in words):
        return Unusable(label, f"object with corners that are not numbers: {label!r}, {', '.join(words)[:60]}")
    x1, y1, x2, y2 = (float(word) for word in words)
    if element.tag == "mask":
        x2, y2 = x1 + x2, y1 + y2
    if x2 <= x1 or y2 <= y1:
        return Unusable(label, f"object without area: {label!r}")
    return RawObject(label, (x1, y1, x2, y2), _attributes(element))


def _polygon(element: Element, label: str) -> RawObject | Unusable:
    points = [point.split(",") for point in element.get("points", "").split(";")]
    if len(points) < 3 or not all(len(p) == 2 and all(_NUMBER.fullmatch(v.strip()) for v in p) for p in points):
        return Unusable(label, f"object without points in numbers: {label!r}")
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    if min(xs) == max(xs) or min(ys) == max(ys):
        return Unusable(label, f"object without area: {label!r}")
    return RawObject(label, (min(xs), min(ys), max(xs), max(ys)), _attributes(element))


def _attributes(element: Element) -> dict[str, Any]:
    """What the annotator filled in, with true and false as such; ``occluded``, and the shape if it is not a box."""
    found: dict[str, Any] = {}
    for child in element.findall("attribute"):
        text = (child.text or "").strip()
        found[child.get("name", "attribute")] = {"true": True, "false": False}.get(text.casefold(), text)
    if element.get("occluded") == "1":
        found["occluded"] = True
    return found | ({} if element.tag == "box" else {"shape": element.tag})


def _declared(meta: Element | None) -> list[str]:
    """The labels of the task, which all of its images were annotated for."""
    return [] if meta is None else sorted({name for label in meta.iter("label") if (name := text_in(label, "name"))})


def _images(path: Path, images: list[Element], declared: list[str], options: ImportOptions) -> Iterator[Row]:
    pictures = Pictures(options.root, "name")
    pictures.claim(image.get("name", "") for image in images)
    labels = declared or sorted({shape.get("label", "") for image in images for shape in image} - {""})
    for number, image in enumerate(images, 1):
        yield Row(path.name, number, _image(image, pictures, labels))


def _image(image: Element, pictures: Pictures, labels: list[str]) -> Annotated | Refusal:
    name = image.get("name", "")
    sides = [image.get(side, "0") for side in ("width", "height")]
    try:
        if not all(re.fullmatch(r"\d{1,6}", side, re.ASCII) for side in sides):
            raise Refused("width", f"{sides[0][:20]!r} x {sides[1][:20]!r} is not a size in pixels")
        path = pictures.find(name)
    except Refused as refused:
        return refused.refusal._replace(id=f"cvat-{image.get('id', '')}")
    objects = [shape(element, element.get("label", "")) for element in image if element.tag in _SHAPES]
    return Annotated(f"cvat-{name}", path, int(sides[0]), int(sides[1]), objects, labels)


SOURCE = Source("cvat", "CVAT XML 1.1: images and video tracks", read, convert, "pixels", maps_labels=True)
