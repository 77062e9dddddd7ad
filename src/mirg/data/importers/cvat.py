"""CVAT XML 1.1, for images and for videos: boxes, polygons and masks as the box around them, attributes, tracks.

``path`` is an ``annotations.xml``, or the folder that holds it. Every image with objects gives a sample, and every
frame of a video in which a track is seen: the id of the track is the ``instance_id`` of its objects. The frames of a
video are image files whose number is the frame number of the XML, as CVAT exports them (``frame_000012.jpg``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import Element

from mirg.data.importers.annotated import Annotated, Unusable, convert
from mirg.data.importers.files import read_xml, text_in
from mirg.data.importers.films import frame_files
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, RawObject, Refusal, Row, Source
from mirg.data.importers.rows import Refused
from mirg.errors import DataError
from mirg.samples.coverage import INSTANCE, SCOPE
from mirg.storage import digest_file

_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d*)?(?:e[-+]?\d{1,2})?", re.IGNORECASE | re.ASCII)
_BOX = {"box": ("xtl", "ytl", "xbr", "ybr"), "mask": ("left", "top", "width", "height")}
_SHAPES = {*_BOX, "polygon", "polyline", "points", "ellipse", "cuboid", "skeleton"}
_HINT = "export the images with the annotations, so that frame 12 is frame_000012"
_Default = TypeVar("_Default", int, None)
Seen = dict[int, list[RawObject | Unusable]]  # objects by frame number


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per image, then one per frame of a video. DataError if the file is not of CVAT."""
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


class Film:
    """One video: its tracks and the frames below the root. DataError if frames and files do not belong together."""

    def __init__(self, path: Path, tracks: list[Element], meta: Element | None, options: ImportOptions) -> None:
        self.path, self.tracks, self.options = path, tracks, options
        task = None if meta is None else next((child for child in meta if child.tag in ("task", "job")), None)
        self.first = _whole(task, "start_frame", 0)
        self.last = _whole(task, "stop_frame", -1)
        self.step = _step(task)
        size = None if task is None else task.find("original_size")
        self.size = (_whole(size, "width", 0), _whole(size, "height", 0))
        if len({track.get("task_id") for track in tracks}) > 1:
            raise DataError(f"{path} holds tracks of several tasks", hint="export each task on its own")

    def rows(self) -> Iterator[Row]:
        """One row per frame in which a track is seen."""
        scope = f"{self.path.parent.name or self.path.stem}-{digest_file(self.path)[:8]}"
        seen: Seen = defaultdict(list)
        for number, track in enumerate(self.tracks):
            _add(track, track.get("id", str(number)), self.step, scope, seen)
        last = max(self.last, *seen, self.first)
        for track in self.tracks:
            _add_open_end(track, range(self.first, last + 1, self.step), seen)
        files = self._files(last)
        labels = sorted({track.get("label", "") for track in self.tracks} - {""})
        for number, frame in enumerate(sorted(seen), 1):
            name = f"cvat-{scope}-{frame}"
            image = Annotated(name, files[frame], *self.size, seen[frame], labels, film=scope, frame=frame)
            yield Row(self.path.name, number, image)

    def _files(self, last: int) -> dict[int, str]:
        """Absolute paths by frame number. DataError if a frame has no file: then they may be counted differently."""
        folder = self._folder()
        try:
            paths, numbers = frame_files(folder)
        except Refused as refused:
            raise DataError(f"{folder}: {refused.refusal.reason}", hint=refused.refusal.hint) from refused
        files = dict(zip(numbers, paths, strict=True))
        missing = next((frame for frame in range(self.first, last + 1, self.step) if frame not in files), None)
        if missing is not None:
            reason = f"{self.path} is about frames {self.first} to {last}, and frame {missing} has no image file"
            have = f"those in {folder} are numbered from {min(numbers)} to {max(numbers)}"
            raise DataError(f"{reason}: {have}", hint=_HINT)
        return files

    def _folder(self) -> Path:
        """``images`` beside the XML, else the one folder of images below the root. DataError if there are several."""
        root = Path(self.options.root).resolve()
        found = sorted({(root / path).parent for path in Pictures(root).all()})
        beside = self.path.resolve().parent / "images"
        if beside in found:
            return beside
        if len(found) != 1:
            hint = "--root names the folder of the frames"
            raise DataError(f"{len(found)} folders below {root} hold images, and one is expected", hint=hint)
        return found[0]


def _add(track: Element, key: str, step: int, scope: str, seen: Seen) -> None:
    """The objects of one track. Between boxes that are not next to each other, its place is not known."""
    label = track.get("label", "")
    boxes: dict[int, Element] = {}
    for element in track:
        frame = _frame(element)
        if frame in boxes:
            seen[frame].append(Unusable(label, f"track with two boxes in one frame: {key}, {label!r}"))
        elif frame is not None:
            boxes[frame] = element
    frames = sorted(boxes)
    for frame, following in zip(frames, [*frames[1:], -1], strict=True):
        if boxes[frame].get("outside") == "1":
            continue
        thing = shape(boxes[frame], label)
        if isinstance(thing, RawObject):
            ids = {INSTANCE: key, SCOPE: scope}
            thing = thing._replace(attributes={**(thing.attributes or {}), **ids})
        seen[frame].append(thing)
        for between in range(frame + step, following, step):
            reason = f"track without a box in a frame between two of its boxes: {key}, {label!r}"
            seen[between].append(Unusable(label, reason, "export again from CVAT, which writes every frame"))


def _add_open_end(track: Element, frames: range, seen: Seen) -> None:
    """Unusable objects in the frames after the last box of a track, unless a box with ``outside`` ends the track."""
    numbered = [(frame, element) for element in track if (frame := _frame(element)) is not None]
    last, element = max(numbered, key=lambda pair: pair[0], default=(-1, None))
    if element is None or element.get("outside") == "1":
        return
    label = track.get("label", "")
    reason = f"track without a box, and without the end of the track: {track.get('id', '')}, {label!r}"
    for frame in (frame for frame in frames if frame > last):
        seen[frame].append(Unusable(label, reason, "export again from CVAT, which writes where a track ends"))


def _frame(element: Element) -> int | None:
    return _digits(element.get("frame", ""), None)


def _whole(parent: Element | None, name: str, default: int) -> int:
    return _digits("" if parent is None else text_in(parent, name), default)


def _step(task: Element | None) -> int:
    said = "" if task is None else text_in(task, "frame_filter")
    return max(1, _digits(said.partition("step=")[2].strip(), 1))


def _digits(text: str, default: _Default) -> int | _Default:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default


SOURCE = Source("cvat", "CVAT XML 1.1: images and video tracks", read, convert, "pixels", maps_labels=True)
