"""Boxes of a written answer and the images they lie in, by the names that answer and question give to images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mirg.sources.frames import FrameName
from mirg.sources.raw import RawBox, Text
from mirg.sources.rows import Refused
from mirg.sources.texts import (
    BOX,
    Name,
    image_names,
    name_of_box,
    numbers_of,
    plain,
    referred,
    with_boxes,
)

_ABSENT = re.compile(r"\b(?:not|no|none|absent|out of)\b", re.IGNORECASE)

_CLAUSE = re.compile(r"[.?!\n]")
_LOCATES = re.compile(
    r"\b(?:locat\w+|find\w*|where|identify|recogni[sz]e|detect|point|mark|box|coordinates)\b.*"
    r"\b(?:in|on|within|from)\s+(?:the\s+)?$",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """A box of an answer; ``image`` as the answer names it, None where it does not."""

    box: RawBox  # its image is 0
    image: int | None


def boxes_of(
    answer: str, images: int, *, frame: FrameName | None = "relative_1000", pattern: re.Pattern[str] = BOX
) -> list[Found]:
    """The boxes of an answer, each with the name before it ("Image-2: (…),(…)", "It's in the third image. (…),(…)").

    Refused where it names an image that is not there or has no box, unless it says that the object is not in it.
    """
    names = image_names(answer, images)
    labels = referred(answer)
    found: list[Found] = []
    kept: set[int] = set()
    for match in pattern.finditer(answer):
        name = name_of_box(answer, match.start(), match.end(), names)
        if name is None and len(names) == 1:
            name = names[0]
        if name is not None:
            kept.add(name.start)
        label = next((phrase for end, phrase in reversed(labels) if end <= match.start()), "")
        box = RawBox(0, numbers_of(match), label, frame)
        found.append(Found(box, name.number if name else None))
    _check_names(answer, names, kept, images)
    return found


def _check_names(answer: str, names: list[Name], kept: set[int], images: int) -> None:
    for k, name in enumerate(names):
        if not 1 <= name.number <= images:
            raise Refused("answer", f"Image-{name.number} does not exist, there are {images} images")
        end = names[k + 1].start if k + 1 < len(names) else len(answer)
        keyed = answer[name.end : name.end + 1] == ":"
        if keyed and name.start not in kept and not _ABSENT.search(answer, name.end, end):
            raise Refused("answer", f"Image-{name.number} is named without a box")


def placed(found: list[Found], images: int, asked: int | None, label: str = "") -> tuple[RawBox, ...]:
    """The boxes in their images: the named one, else ``asked``, that of the question, else the only one there is.

    Refused where there is no box, or it is not told which image a box lies in.
    """
    if not found:
        raise Refused("answer", "holds no box", "only questions for places can be used")
    if len({item.image is None for item in found}) > 1:
        raise Refused("answer", "some of its boxes have an image and some have none")
    default = asked or (1 if images == 1 else None)
    boxes = []
    for item in found:
        image = item.image or default
        if image is None:
            raise Refused("answer", f"does not tell which of the {images} images it speaks of")
        boxes.append(item.box._replace(image=image, label=item.box.label or label))
    if len(set(boxes)) < len(boxes):
        raise Refused("answer", "the same box occurs twice")
    return tuple(boxes)


def asked_image(question: str, images: int) -> int | None:
    """The image that a plain question asks about; None where it names none, or several alike.

    Where it names several, it is the one that something is to be found in: "where is the dog of Image-1 in Image-2".
    Refused where it names one that is not there.
    """
    names = image_names(question, images)
    for name in names:
        if not 1 <= name.number <= images:
            raise Refused("question", f"Image-{name.number} does not exist, there are {images} images")
    if len({name.number for name in names}) == 1:
        return names[0].number
    starts = [0, *(name.end for name in names)]
    places = [
        name.number
        for name, start in zip(names, starts, strict=False)
        if _LOCATES.search(_CLAUSE.split(question[start : name.start])[-1])
    ]
    return places[-1] if places else None


def is_hidden(question: str, images: int, targets: Sequence[RawBox]) -> bool:
    """Whether a plain question leaves open which images hold the answer: some do, and it does not name them."""
    named = {name.number for name in image_names(question, images)}
    holding = {box.image for box in targets}
    return images > 1 and not holding <= named and len(holding) < images


def marked_up(
    text: str,
    images: int,
    field: str,
    *,
    default: int | None = None,
    frame: FrameName | None = "relative_1000",
    pattern: re.Pattern[str] = BOX,
) -> Text:
    """``text`` with its boxes, each in the image named with it, else in ``default`` or the only one.

    Refused where a box has no image: its number would mean nothing to a reader.
    """
    clean = plain(text)
    names = image_names(clean, images)
    fallback = default or (1 if images == 1 else None)

    def image(position: int) -> int:
        match = pattern.match(clean, position)
        name = name_of_box(clean, position, match.end() if match else position, names)
        number = name.number if name else fallback
        if number is None:
            raise Refused(field, f"does not tell which of the {images} images its box lies in")
        if not 1 <= number <= images:
            raise Refused(field, f"Image-{number} does not exist, there are {images} images")
        return number

    return with_boxes(clean, image, frame, pattern)
