"""The field ``objects`` of a row of ms-swift: names, boxes, and in which image and frame they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from mirg.data.importers.conversations import Conversation
from mirg.data.importers.frames import FrameName
from mirg.data.importers.raw import RawBox
from mirg.data.importers.rows import Refused, box_of, mapping, short, text_of, whole

REF, BOX = "<ref-object>", "<bbox>"
HINT = "see the custom dataset format of ms-swift"
MOST_BOXES = 99_000  # of one row
_FRAMES: dict[str, FrameName] = {"real": "pixels", "norm1": "fraction", "norm1000": "relative_1000"}


class Objects(NamedTuple):
    """What fills the placeholders of the messages, in order."""

    refs: list[str]
    boxes: list[RawBox]  # their image is 0 unless image_id says it
    placed: bool  # image_id says it
    sizes: list[tuple[int, int]]  # (width, height) in pixels of every image, 0 if the row does not say


def objects_of(talk: Conversation, images: int) -> Objects:
    """The objects of a row with so many images; empty if it has neither the field nor placeholders for it.

    Refused if a part is damaged, or a box in pixels may lie in several images.
    """
    value = talk.row.get("objects")
    if nothing_in(value):
        if any(BOX in text or REF in text for turn in talk.turns for text in (turn.question, turn.answer)):
            raise Refused("objects", "is missing, and the messages hold placeholders for its boxes", HINT)
        return Objects([], [], False, [(0, 0)] * images)
    if isinstance(value, str | list):
        hint = 'write it as an object: {"ref": ["dog"], "bbox": [[x1, y1, x2, y2]]}'
        raise Refused("objects", "is a list or a text, as in ms-swift 2", hint)
    value = mapping(value, "objects")
    kind = value.get("bbox_type") or "real"
    if not isinstance(kind, str) or kind not in _FRAMES:
        raise Refused("objects.bbox_type", f"is not one of {', '.join(_FRAMES)}: {short(kind)}", HINT)
    refs = [text_of(ref, f"objects.ref.{k}") for k, ref in enumerate(_list(value, "ref"))]
    given = _list(value, "bbox")
    if len(given) > MOST_BOXES:
        raise Refused("objects.bbox", f"{len(given)} boxes in one row; at most {MOST_BOXES} can be read")
    numbers = _numbers(value, len(given), images) if kind == "real" else [0] * len(given)
    boxes = [
        RawBox(number, box_of(box, f"objects.bbox.{k}"), frame=_FRAMES[kind])
        for k, (box, number) in enumerate(zip(given, numbers, strict=True))
    ]
    return Objects(refs, boxes, bool(numbers) and all(numbers), _sizes(value, images))


def nothing_in(value: Any) -> bool:
    """Whether the field ``objects`` is missing or holds neither names nor boxes: boxes may then be in the texts."""
    return value is None or (isinstance(value, dict) and not value.get("ref") and not value.get("bbox"))


def _numbers(value: dict[str, Any], boxes: int, images: int) -> list[int]:
    """The image of every box in pixels, from 1; 0 if there is no image_id, which only a single image allows."""
    ids = _list(value, "image_id")
    if not ids:
        if images > 1 and boxes:
            raise Refused(
                "objects.image_id",
                f"is missing: it says in which of {images} images a box of bbox_type real lies",
                HINT,
            )
        return [0] * boxes
    if len(ids) != boxes:
        raise Refused("objects.image_id", f"{len(ids)} images for {boxes} boxes", HINT)
    numbers = [1 + whole(index, f"objects.image_id.{k}") for k, index in enumerate(ids)]
    for k, number in enumerate(numbers):
        if not 1 <= number <= images:
            raise Refused(
                f"objects.image_id.{k}", f"image {number - 1} does not exist, counted from 0, there are {images} images"
            )
    return numbers


def _sizes(value: dict[str, Any], images: int) -> list[tuple[int, int]]:
    widths, heights = _list(value, "width"), _list(value, "height")
    if not len(widths) == len(heights) or len(widths) not in (0, images):
        raise Refused("objects.width", f"{len(widths)} widths, {len(heights)} heights, {images} images", HINT)
    sizes = [
        (whole(width, "objects.width"), whole(height, "objects.height"))
        for width, height in zip(widths, heights, strict=True)
    ]
    return sizes or [(0, 0)] * images


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Refused(f"objects.{name}", f"{short(found)} is not a list", HINT)
    return found
