"""Reading a teacher's reply: its answer, and its thinking with the boxes converted to markup in fractions.

Boxes in the thinking are found in every spelling that models use: pairs, lists, box tokens, JSON objects. Reading never
raises and takes time linear in the length: patterns have bounded gaps, and the length of the text and the number of its
boxes are limited. Every problem is described in words that can be sent back to the teacher.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from mirg.answers.blocks import THINK_OPEN
from mirg.answers.grammar import parse
from mirg.answers.looks import LookBudget, found_looks, replay
from mirg.answers.markup import box_markup, look_markup
from mirg.answers.read import ReadBox, read
from mirg.errors import AnswerError, MirgError
from mirg.families import Family
from mirg.frames import Size, from_frame, swapped
from mirg.geometry import Box, box_problem, match
from mirg.samples.schema import Sample, Target, Trajectory
from mirg.samples.tokens import sizes_in
from mirg.trajectories.chain import BOX_WORD, mentions, sentence_spans


class SpelledBox(NamedTuple):
    """A box as written: its four numbers, and the image that its JSON object names (None elsewhere)."""

    numbers: tuple[float, float, float, float]
    image: int | None = None

    def __str__(self) -> str:
        x1, y1, x2, y2 = (f"{value:g}" for value in self.numbers)
        return f"({x1},{y1}),({x2},{y2})"


_N = r"([-+]?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_S = r"\s{0,2}"
_COMMA = rf"{_S},{_S}"
_AND = r"(?:[,;/\u2013\u2014-]|to|and|bis|und)?"
# (1,2),(3,4) and [1,2,3,4] have the same beginning: with one pattern, an unfinished box is scanned once.
_BRACKETS = (
    rf"[(\[]{_S}{_N}{_COMMA}{_N}"
    rf"(?:{_COMMA}{_N}{_COMMA}{_N}|{_S}[)\]]{_S}{_AND}{_S}[(\[]{_S}{_N}{_COMMA}{_N}){_S}[)\]]"
)
_BARE = rf"<box>{_S}{_N}[ ,]{{1,2}}{_N}[ ,]{{1,2}}{_N}[ ,]{{1,2}}{_N}{_S}</box>"
_ANY = re.compile(rf"(?P<json>\{{[^{{}}]{{0,300}}\}})|{_BRACKETS}|{_BARE}")

_LABEL = re.compile(r'"(?:label|name|object)"\s{0,3}:\s{0,3}"([^"\\<]{0,80})"')
_WRAPPERS = (("<|box_start|>", "<|box_end|>"), ("<box>", "</box>"), ("[", "]"), ("(", ")"))
_TOKENS = re.compile(r"<\|(?:object_ref_start|object_ref_end|box_start|box_end)\|>|</?ref>")
_A_LIST_OF_IMAGES = re.compile(r"(?:images|pictures|photos|frames|bilder|bildern) ?$", re.IGNORECASE)


def take_boxes(text: str) -> tuple[str, list[SpelledBox]]:
    """``text`` with :data:`~mirg.trajectories.chain.BOX_WORD` in the place of its boxes, and the boxes in order.

    A JSON object becomes words: its image, its label and the box. Tokens and brackets around boxes and phrases are
    removed. ``text`` must not contain the character that marks a box. AnswerError if there are too many boxes.

    >>> take_boxes("Image-2 red ring (120,200),(320,480).")[0]
    'Image-2 red ring □.'
    """
    pieces: list[str] = []
    boxes: list[SpelledBox] = []
    done = 0
    for spelled in _ANY.finditer(text):
        start, end = spelled.span()
        if spelled["json"]:
            found, words = _from_json(spelled[0])
        elif _A_LIST_OF_IMAGES.search(text, max(0, start - 10), start):
            continue
        else:
            x1, y1, x2, y2 = (float(value) for value in spelled.groups()[1:] if value is not None)
            found, words = SpelledBox((x1, y1, x2, y2)), BOX_WORD
        if found is None:
            continue
        if len(boxes) == MOST_BOXES:
            raise _wrong(f"the thinking cites more than {MOST_BOXES} boxes")
        for opening, closing in _WRAPPERS * 2:
            if text.endswith(opening, done, start) and text.startswith(closing, end):
                start, end = start - len(opening), end + len(closing)
        pieces += [text[done:start], words]
        boxes.append(found)
        done = end
    return _TOKENS.sub("", "".join([*pieces, text[done:]])), boxes


def _from_json(piece: str) -> tuple[SpelledBox | None, str]:
    raw = parse(piece) if "box" in piece else None
    if raw is None or len(raw.boxes) != 1 or len(raw.boxes[0].numbers) != 4:
        return None, ""
    box = raw.boxes[0]
    image = box.image if box.image is None else max(box.image, 0)
    x1, y1, x2, y2 = swapped(box.numbers) if box.yx else box.numbers
    label = _LABEL.search(piece)
    words = [f"Image-{image}" if image is not None else "", label[1] if label else "", BOX_WORD]
    return SpelledBox((x1, y1, x2, y2), image), " ".join(word for word in words if word)


WRITER = "teacher/1"
LONGEST_REPLY = 65_536  # characters
LONGEST_THINKING = 12_000  # characters; the default limit of the checks
MOST_BOXES = 200  # in the thinking of one reply
DECIMALS = 6  # of fractions; their rounding is far below a step of any frame
SAME = 0.5  # IoU from which a box of the answer gets the label of the annotated target

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# "… at (1,2),(3,4) in Image-2": the image may follow its box directly.
_OF_IMAGE = re.compile(r" (?:in|of|on|inside|within|im|auf) (?:the |dem )?", re.IGNORECASE)


def read_reply(text: str, sample: Sample, family: Family, look: LookBudget | None = None) -> Trajectory | str:
    """The trajectory in a reply, or what is wrong with it in one sentence; never raises.

    The numbers of the reply are in the frame of ``family``, its image numbers count from 1. A box in the thinking
    belongs to the image named last before it in its sentence (or directly after it: "in Image-2"), else to the one
    that the sentence before ended with. ``answer`` has the labels of the targets that its boxes lie on. With a
    ``look`` budget, the looks that were answered with a crop become markup, and the others are left out.
    """
    try:
        _refuse(text)
        sizes = sizes_in(sample, family)
        reading = read(text, sizes, family)
        if reading.failure:
            raise _wrong(f"the answer cannot be read: {reading.failure}")
        if reading.tolerated:
            raise _wrong(f"the answer is not in its format: {reading.tolerated}")
        answer = _answer(reading.boxes, sample)
        # The text before the last <think> is the teacher's internal reasoning, which is not part of its answer.
        thinking = reading.thinking.rpartition(THINK_OPEN)[2].strip()
        if look is not None and look.max_looks:
            thinking = _with_looks(thinking, sizes, family, look)
        thinking = _with_markup(thinking, sizes, family)
    except MirgError as error:
        return error.message
    return Trajectory(thinking=thinking, answer=answer, writer=WRITER)


def _with_looks(thinking: str, sizes: Sequence[Size], family: Family, budget: LookBudget) -> str:
    """``thinking`` with its looks as markup; a refused look has shown nothing."""
    pieces, done = list[str](), 0
    steps = replay(thinking, sizes, family, budget)
    for found, step in zip(found_looks(thinking, sizes, family), steps, strict=True):
        made = step.look if step.refusal is None else None
        pieces += [thinking[done : found.start], look_markup(made.image, _rounded(made.box)) if made else ""]
        done = found.end
    return "".join([*pieces, thinking[done:]])


def _with_markup(thinking: str, sizes: Sequence[Size], family: Family) -> str:
    """``thinking`` with every box of the family's frame as markup in fractions (``mirg.answers.markup``)."""
    if not thinking:
        raise _wrong("there is no thinking: write the reasoning between <think> and </think>")
    if len(thinking) > LONGEST_THINKING:
        raise _wrong(f"the thinking has {len(thinking)} characters, at most {LONGEST_THINKING} are read")
    if BOX_WORD in thinking:
        raise _wrong(f"the thinking holds the character {BOX_WORD}, which stands for a box")
    prose, boxes = take_boxes(thinking)
    first, *pieces = prose.split(BOX_WORD)
    written = [first]
    owners = _owners(prose, boxes, alone=len(sizes) == 1)
    for box, image, words in zip(boxes, owners, pieces, strict=True):
        if not 1 <= image <= len(sizes):
            raise _wrong(f"the box {box} is in Image-{image}, which does not exist: there are {len(sizes)} images")
        placed = _rounded(from_frame(box.numbers, sizes[image - 1], family))
        if problem := box_problem(placed):
            raise _wrong(f"the box {box} in Image-{image} is {problem}")
        written += [box_markup(image, placed), words]
    return "".join(written).strip()


def _refuse(text: str) -> None:
    """AnswerError for an empty text, one with broken characters, or one that is too long."""
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
    """The image of every box of ``prose``, in order; AnswerError if it is not named and there are several images."""
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
        image = box.image
        if image is None:
            if joint and before < len(named) and starts[before] == joint.end():
                image = named[before].number
            elif before and starts[before - 1] >= begins[k]:
                image = named[before - 1].number
            elif k in given:
                image = given[k]
            elif k:  # what the sentence before ended with
                last = bisect_left(starts, spans[k - 1][1])
                image = named[last - 1].number if last and starts[last - 1] >= begins[k - 1] else given.get(k - 1)
        if image is None:
            if not alone:
                raise _wrong(f"the box {box} belongs to no image: name it before the box, as in Image-2 {box}")
            image = 1
        given[k] = image
        owners.append(image)
    return owners


def _rounded(box: Box) -> Box:
    x1, y1, x2, y2 = (round(value, DECIMALS) for value in box)
    return (x1, y1, x2, y2)


def _wrong(what: str) -> AnswerError:
    return AnswerError(what, hint="the teacher may repair its reply once")
