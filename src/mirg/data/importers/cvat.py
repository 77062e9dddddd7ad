"""CVAT XML 1.1, for images and for videos: boxes, polygons and masks as the box around them, attributes, tracks.

``path`` is an ``annotations.xml``, or the folder that holds it. Every image with objects gives a sample, and every
frame of a video in which a track is seen: the id of the track is the ``instance_id`` of its objects. The frames of a
video are image files whose number is the frame number of the XML, as CVAT exports them (``frame_000012.jpg``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from mirg.data.importers.annotated import Annotated, Unusable, around, boxed, convert, corners_in, is_decimal, turned
from mirg.data.importers.files import read_xml, size_of, text_in, whole_file
from mirg.data.importers.pictures import Pictures
from mirg.data.importers.raw import ImportOptions, RawObject, Refusal, Row, Source
from mirg.data.importers.rows import Refused
from mirg.data.importers.video_tracks import frame_files
from mirg.errors import DataError
from mirg.samples.coverage import INSTANCE, SCOPE
from mirg.storage import digest_file

_BOX = {"box": ("xtl", "ytl", "xbr", "ybr"), "mask": ("left", "top", "width", "height")}
_SHAPES = {*_BOX, "polygon", "polyline", "points", "ellipse", "cuboid", "skeleton"}
_HINT = "export the images with the annotations, so that frame 12 is frame_000012"
Seen = dict[int, list[RawObject | Unusable]]  # objects by frame number


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """One row per image, then one per frame of a video. DataError if the file is not of CVAT."""
    path = path / "annotations.xml" if path.is_dir() else path
    with whole_file(path):
        root, *children = read_xml(path)
    images = [child for child in children if child.tag == "image"]
    tracks = [child for child in children if child.tag == "track"]
    meta = next((child for child in children if child.tag == "meta"), None)
    if root.tag != "annotations" or not (images or tracks):
        raise DataError(f"{path} is not CVAT XML", hint="expected <annotations> with <image> or <track>")
    if images:
        yield from _images(path, images, meta, options)
    if tracks:
        yield from _film(path, tracks, meta, options)


def shape(element: Element, label: str) -> RawObject | Unusable:
    """The object of a shape that is called ``label``. ``outside`` is not looked at."""
    if not label:
        return Unusable("", "shape without a label")
    if rotated := turned(label, element.get("rotation", "0")):
        return rotated
    if element.tag == "polygon":
        points = [point.split(",") for point in element.get("points", "").split(";")]
        if len(points) < 3 or not all(len(p) == 2 and all(is_decimal(v.strip()) for v in p) for p in points):
            return Unusable(label, f"object without points in numbers: {label!r}")
        return around(label, [[float(v) for v in point] for point in points], _attributes(element))
    if element.tag not in _BOX:
        return Unusable(label, f"shape is not a box: {label!r} is drawn as {element.tag}", "draw a box")
    numbers = corners_in(label, [element.get(name, "") for name in _BOX[element.tag]])
    if isinstance(numbers, Unusable):
        return numbers
    x1, y1, x2, y2 = numbers
    if element.tag == "mask":
        x2, y2 = x1 + x2, y1 + y2
    return boxed(label, (x1, y1, x2, y2), _attributes(element))


def _attributes(element: Element) -> dict[str, Any]:
    """What the annotator filled in, with true and false as such; ``occluded``, and the shape if it is not a box."""
    found: dict[str, Any] = {}
    for child in element.findall("attribute"):
        text = (child.text or "").strip()
        found[child.get("name", "attribute")] = {"true": True, "false": False}.get(text.casefold(), text)
    if element.get("occluded") == "1":
        found["occluded"] = True
    return found | ({} if element.tag == "box" else {"shape": element.tag})


def _images(path: Path, images: list[Element], meta: Element | None, options: ImportOptions) -> Iterator[Row]:
    pictures = Pictures(options.root, "name")
    pictures.claim(image.get("name", "") for image in images)
    # All images of a task were annotated for its labels.
    declared = {text_in(label, "name") for label in meta.iter("label")} if meta is not None else set()
    labels = sorted(declared - {""}) or sorted({shape.get("label", "") for image in images for shape in image} - {""})
    for number, image in enumerate(images, 1):
        yield Row(path.name, number, _image(image, pictures, labels))


def _image(image: Element, pictures: Pictures, labels: list[str]) -> Annotated | Refusal:
    name = image.get("name", "")
    try:
        size = size_of(*(image.get(side, "0") for side in ("width", "height")), field="width")
        path = pictures.find(name)
    except Refused as refused:
        return refused.refusal._replace(id=f"cvat-{image.get('id', '')}")
    objects = [shape(element, element.get("label", "")) for element in image if element.tag in _SHAPES]
    return Annotated(f"cvat-{name}", path, *size, objects, labels)


def _film(path: Path, tracks: list[Element], meta: Element | None, options: ImportOptions) -> Iterator[Row]:
    """One row per frame in which a track is seen. DataError if frames and files do not belong together."""
    if len({track.get("task_id") for track in tracks}) > 1:
        raise DataError(f"{path} holds tracks of several tasks", hint="export each task on its own")
    task = None if meta is None else next((child for child in meta if child.tag in ("task", "job")), None)
    size = None if task is None else task.find("original_size")
    sides = [_digits(text_in(size, side)) or 0 for side in ("width", "height")]
    step = _digits(text_in(task, "frame_filter").partition("step=")[2].strip()) or 1
    first, last = (_digits(text_in(task, name)) or 0 for name in ("start_frame", "stop_frame"))
    scope = f"{path.parent.name or path.stem}-{digest_file(path)[:8]}"
    seen: Seen = defaultdict(list)
    keyed = [(track, track.get("id", str(number))) for number, track in enumerate(tracks)]
    boxes = [_add(track, key, step, scope, seen) for track, key in keyed]
    last = max(last, *seen, first)
    for (track, key), held in zip(keyed, boxes, strict=True):
        end = max(held, default=-1)
        if held and held[end].get("outside") != "1":
            reason = f"track without a box, and without the end of the track: {key}, {track.get('label', '')!r}"
            open_ = Unusable(track.get("label", ""), reason, "export again from CVAT, which writes where a track ends")
            for frame in (frame for frame in range(first, last + 1, step) if frame > end):
                seen[frame].append(open_)
    files = _files(path, range(first, last + 1, step), options)
    labels = sorted({track.get("label", "") for track in tracks} - {""})
    for number, frame in enumerate(sorted(seen), 1):
        name = f"cvat-{scope}-{frame}"
        image = Annotated(name, files[frame], sides[0], sides[1], seen[frame], labels, film=scope, frame=frame)
        yield Row(path.name, number, image)


def _add(track: Element, key: str, step: int, scope: str, seen: Seen) -> dict[int, Element]:
    """Add the objects of one track, and return its boxes. Between boxes that are not next to each other, its place is
    not known.
    """
    label = track.get("label", "")
    boxes: dict[int, Element] = {}
    for element in track:
        frame = _digits(element.get("frame", ""))
        if frame in boxes:
            seen[frame].append(Unusable(label, f"track with two boxes in one frame: {key}, {label!r}"))
        elif frame is not None:
            boxes[frame] = element
    for frame, following in zip(sorted(boxes), [*sorted(boxes)[1:], -1], strict=True):
        if boxes[frame].get("outside") == "1":
            continue
        thing = shape(boxes[frame], label)
        if isinstance(thing, RawObject):
            thing = thing._replace(attributes={**(thing.attributes or {}), INSTANCE: key, SCOPE: scope})
        seen[frame].append(thing)
        for between in range(frame + step, following, step):
            reason = f"track without a box in a frame between two of its boxes: {key}, {label!r}"
            seen[between].append(Unusable(label, reason, "export again from CVAT, which writes every frame"))
    return boxes


def _files(path: Path, frames: range, options: ImportOptions) -> dict[int, str]:
    """Absolute paths by frame number: of ``images`` beside the XML, else of the one folder of images below the root.

    DataError if a frame has no file: then they may be counted differently.
    """
    root = Path(options.root).resolve()
    found = sorted({(root / file).parent for file in Pictures(root).all()})
    beside = path.resolve().parent / "images"
    if beside not in found and len(found) != 1:
        hint = "--root names the folder of the frames"
        raise DataError(f"{len(found)} folders below {root} hold images, and one is expected", hint=hint)
    folder = beside if beside in found else found[0]
    with whole_file(folder):
        paths, numbers = frame_files(folder)
    files = dict(zip(numbers, paths, strict=True))
    missing = next((frame for frame in frames if frame not in files), None)
    if missing is not None:
        reason = f"{path} is about frames {frames[0]} to {frames.stop - 1}, and frame {missing} has no image file"
        have = f"those in {folder} are numbered from {min(numbers)} to {max(numbers)}"
        raise DataError(f"{reason}: {have}", hint=_HINT)
    return files


def _digits(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


SOURCE = Source("cvat", "CVAT XML 1.1: images and video tracks", read, convert, "pixels", maps_labels=True)
