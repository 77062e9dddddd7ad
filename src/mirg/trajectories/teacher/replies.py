"""Reading a teacher's reply: its answer, and its thinking with the boxes turned into markup in fractions.

Total, and linear in the length: patterns have bounded gaps, and the text and its boxes are bounded in number. Whatever
is wrong is said in words that can be sent back to the teacher.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mirg.answers.blocks import THINK_OPEN
from mirg.answers.markup import box_markup
from mirg.answers.read import ReadBox, read
from mirg.errors import AnswerError, MirgError
from mirg.frames import Family, PixelLimits, Size, from_frame
from mirg.geometry import Box, box_problem, match
from mirg.samples.schema import Sample, Target, Trajectory
from mirg.trajectories.chain import BOX_WORD, mentions, sentence_spans
from mirg.trajectories.sizes import sizes_in
from mirg.trajectories.teacher.spellings import SpelledBox, take_boxes

WRITER = "teacher/1"
LONGEST_REPLY = 65_536  # characters
LONGEST_THINKING = 12_000  # characters; as many as the checks let pass by default
MOST_BOXES = 200  # cited in one thinking
DECIMALS = 6  # of fractions: far below a step of any frame
SAME = 0.5  # IoU from which a box of the answer takes the name of the annotated target

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# "… at (1,2),(3,4) in Image-2": the image may follow its box directly.
_OF_IMAGE = re.compile(r" (?:in|of|on|inside|within|im|auf) (?:the |dem )?", re.IGNORECASE)


def read_reply(text: str, sample: Sample, family: Family, limits: PixelLimits | None = None) -> Trajectory | str:
    """The trajectory that a reply holds, or what is wrong with it in one sentence; never raises.

    The numbers of the reply are in the frame of ``family``, its image numbers count from 1. A box in the thinking
    belongs to the image named last before it in its sentence (or directly after it: "in Image-2"), else to the one
    that the sentence before ended with. ``answer`` has the labels of the targets that its boxes lie on.
    """
    try:
        _refuse(text)
        sizes = sizes_in(sample, family)
        reading = read(text, sizes, family, limits)
        if reading.failure:
            raise _wrong(f"the answer cannot be read: {reading.failure}")
        if reading.tolerated:
            raise _wrong(f"the answer is not in its format: {reading.tolerated}")
        answer = _answer(reading.boxes, sample)
        # What stands before the last <think> is the teacher's own reasoning, which it did not mean to hand in.
        thinking = with_markup(reading.thinking.rpartition(THINK_OPEN)[2].strip(), sizes, family, limits)
    except MirgError as error:
        return error.message
    return Trajectory(thinking=thinking, answer=answer, writer=WRITER)


def with_markup(thinking: str, sizes: Sequence[Size], family: Family, limits: PixelLimits | None = None) -> str:
    """``thinking`` with every box of the family's frame as markup in fractions (``mirg.answers.markup``).

    ``sizes`` are (width, height) in pixels of the original images, Image-1 first. AnswerError where the thinking is
    empty or too long, or a box belongs to no image of the sample or is not a box inside it.
    """
    if not thinking:
        raise _wrong("there is no thinking: write the reasoning between <think> and </think>")
    if len(thinking) > LONGEST_THINKING:
        raise _wrong(f"the thinking has {len(thinking)} characters, at most {LONGEST_THINKING} are read")
    if BOX_WORD in thinking:
        raise _wrong(f"the thinking holds the character {BOX_WORD}, which stands for a box")
    prose, boxes = take_boxes(thinking, MOST_BOXES + 1)
    if len(boxes) > MOST_BOXES:
        raise _wrong(f"the thinking cites more than {MOST_BOXES} boxes")
    if not boxes:
        return prose.strip()
    owners = _owners(prose, boxes, alone=len(sizes) == 1)
    written = [
        box_markup(image, _placed(box, image, sizes, family, limits)) for box, image in zip(boxes, owners, strict=True)
    ]
    pieces = prose.split(BOX_WORD)
    return "".join(piece + markup for piece, markup in zip(pieces, [*written, ""], strict=True)).strip()


def _refuse(text: str) -> None:
    """AnswerError for a text that is no text, or too long to be a reply."""
    if not text.strip():
        raise _wrong("the reply is empty")
    if len(text) > LONGEST_REPLY:
        raise _wrong(f"the reply has {len(text)} characters, at most {LONGEST_REPLY} are read")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _wrong(f"the reply holds a broken character at {error.start}") from error
    control = _CONTROL.search(text)
    if control:
        raise _wrong(f"the reply holds the control character {control[0]!r}")


def _answer(boxes: Sequence[ReadBox], sample: Sample) -> tuple[Target, ...]:
    for place, box in enumerate(boxes, 1):
        if box.problem:
            where = f" (Image-{box.image})" if box.image else ""
            raise _wrong(f"box {place} of the answer{where} cannot be used: {box.problem}")
        if box_problem(_rounded(box.box)):
            raise _wrong(f"box {place} of the answer (Image-{box.image}) is too small")
    labels: dict[int, str] = {}
    for image in {box.image for box in boxes}:
        own = [k for k, box in enumerate(boxes) if box.image == image]
        targets = [target for target in sample.targets if target.image == image]
        for said, true, value in match([boxes[k].box for k in own], [target.box for target in targets]):
            if value >= SAME:
                labels[own[said]] = targets[true].label
    return tuple(Target(image=b.image, box=_rounded(b.box), label=labels.get(k, "")) for k, b in enumerate(boxes))


def _owners(prose: str, boxes: Sequence[SpelledBox], alone: bool) -> list[int]:
    """The image of every box of ``prose``, in order; AnswerError where none was named and there is not only one."""
    named = mentions(prose)
    starts = [mention.start for mention in named]
    spans = sentence_spans(prose)
    begins = [start for start, _ in spans]
    owners: list[int] = []
    given: dict[int, int] = {}  # by sentence, the image of its last box
    at = -1
    for box in boxes:
        at = prose.index(BOX_WORD, at + 1)
        k = bisect_right(begins, at) - 1
        before = bisect_left(starts, at)
        joint = _OF_IMAGE.match(prose, at + 1)
        if box.image is not None:
            image = box.image
        elif joint and before < len(named) and starts[before] == joint.end():
            image = named[before].number
        elif before and starts[before - 1] >= begins[k]:
            image = named[before - 1].number
        elif k in given:
            image = given[k]
        else:  # what the sentence before ended with
            last = bisect_left(starts, spans[k - 1][1]) if k else 0
            image = named[last - 1].number if last and starts[last - 1] >= begins[k - 1] else given.get(k - 1)
        if image is None and not alone:
            raise _wrong(f"the box {box} belongs to no image: name it before the box, as in Image-2 {box}")
        given[k] = 1 if image is None else image
        owners.append(1 if image is None else image)
    return owners


def _placed(box: SpelledBox, image: int, sizes: Sequence[Size], family: Family, limits: PixelLimits | None) -> Box:
    if not 1 <= image <= len(sizes):
        raise _wrong(f"the box {box} is in Image-{image}, which does not exist: there are {len(sizes)} images")
    placed = _rounded(from_frame(box.numbers, sizes[image - 1], family, limits))
    problem = box_problem(placed)
    if problem:
        raise _wrong(f"the box {box} in Image-{image} is {problem}")
    return placed


def _rounded(box: Box) -> Box:
    x1, y1, x2, y2 = (round(value, DECIMALS) for value in box)
    return (x1, y1, x2, y2)


def _wrong(what: str) -> AnswerError:
    return AnswerError(what, hint="the teacher is told and may repair its reply once")
