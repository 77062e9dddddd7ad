"""Tracks of a CVAT video: which objects are seen in which frame, and which image file a frame is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from mirg.errors import DataError
from mirg.samples.coverage import INSTANCE, SCOPE
from mirg.sources.annotated import Annotated, Unusable
from mirg.sources.cvat import shape
from mirg.sources.film_frames import frame_files
from mirg.sources.options import ImportOptions
from mirg.sources.pictures import Pictures
from mirg.sources.raw import RawObject, Row
from mirg.sources.rows import Refused
from mirg.sources.xml_files import text_in
from mirg.storage import digest_file

_HINT = "export the images with the annotations, so that frame 12 is frame_000012"
Seen = dict[int, list[RawObject | Unusable]]  # objects by frame number


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
    text = element.get("frame", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _whole(parent: Element | None, name: str, default: int) -> int:
    text = "" if parent is None else text_in(parent, name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default


def _step(task: Element | None) -> int:
    """Every how many frames one was annotated."""
    told = "" if task is None else text_in(task, "frame_filter")
    words = told.partition("step=")[2].strip()
    return max(1, int(words)) if words.isascii() and words.isdecimal() and len(words) < 6 else 1
