"""The two blocks of a completion and their tags, and what an answer block contains before its images are known.

Finding the blocks needs only ``str.find``, ``count`` and ``endswith``, a single pass each, so that the time is linear
in the length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from mirg.answers.image_names import UNKNOWN, Name
from mirg.errors import AnswerError
from mirg.families import Family

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
LOOK_OPEN, LOOK_CLOSE = "<look>", "</look>"  # inside the thinking, see mirg.answers.looks
TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

# What a decoder may leave at the end of a completion; it says nothing about the format.
END_TOKENS = (
    *("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|user|>", "<|observation|>", "</s>", "<eos>", "<turn|>"),
    "<end_of_utterance>",
)

MOST_BOXES = 4_096  # of an answer; more of them come from a loop, and the bound also bounds the time
TOO_MANY = f"more than {MOST_BOXES} boxes"


def forbid(text: str, tokens: tuple[str, ...], where: str) -> None:
    """Raise :class:`AnswerError` if ``text`` holds one of ``tokens``; ``where`` says whose text it is.

    A vision token inside a text would become one placeholder more than there are images; a tag inside the
    thinking would end it early.
    """
    for token in tokens:
        if token in text:
            raise AnswerError(f"{where} holds {token!r}", hint="remove it: it would be read as a token, not as text")


def forbid_vision(text: str, family: Family, where: str) -> None:
    """Raise :class:`AnswerError` if ``text`` holds a token that the family reserves for images and turns."""
    forbid(text, family.vision_tokens, where)


@dataclass(frozen=True, slots=True)
class Blocks:
    """``tagged`` is True if the answer was between answer tags; ``answer`` is None if the text holds no answer."""

    thinking: str
    answer: str | None
    tagged: bool
    problem: str | None  # what breaks the format of the blocks; None: one think block, then one answer block
    pairs: int  # how many of the two blocks are well paired: one opening tag, one closing tag after it


def split(text: str) -> Blocks:
    """Find thinking and answer in a completion; text before the last ``</think>`` is never the answer."""
    end = _end(text)
    thinking_end = text.rfind(THINK_CLOSE, 0, end)
    after = thinking_end + len(THINK_CLOSE) if thinking_end >= 0 else 0
    thinking_start = text.find(THINK_OPEN, 0, end)
    answer_start = text.rfind(ANSWER_OPEN, after, end)
    opened = thinking_start >= 0
    if thinking_end >= 0:
        start = thinking_start + len(THINK_OPEN) if 0 <= thinking_start < thinking_end else 0
        thinking = text[start:thinking_end]
    elif opened:
        thinking = text[thinking_start + len(THINK_OPEN) : answer_start if answer_start >= 0 else end]
    else:
        thinking = ""
    pairs, problem = _structure(text, end)
    if answer_start < 0:
        unfinished = opened and thinking_end < thinking_start
        return Blocks(thinking.strip(), None if unfinished else text[after:end], False, problem, pairs)
    start = answer_start + len(ANSWER_OPEN)
    close = text.find(ANSWER_CLOSE, start, end)
    return Blocks(thinking.strip(), text[start : close if close >= 0 else end], True, problem, pairs)


def without_end_tokens(text: str) -> str:
    """``text`` without white space and end tokens behind it."""
    return text[: _end(text)]


def _end(text: str) -> int:
    """Where the text ends once white space and end tokens are left out."""
    end = len(text.rstrip())
    while text.endswith(END_TOKENS, 0, end):
        end -= next(len(token) for token in END_TOKENS if text.endswith(token, 0, end))
        while end and text[end - 1].isspace():  # not rstrip: it would copy the text once per token
            end -= 1
    return end


def _structure(text: str, end: int) -> tuple[int, str | None]:
    """(well-paired blocks, what breaks the format)."""
    counts = [text.count(tag, 0, end) for tag in TAGS]
    where = [text.find(tag, 0, end) for tag in TAGS]
    pairs = (counts[:2] == [1, 1] and where[0] < where[1]) + (counts[2:] == [1, 1] and where[2] < where[3])
    if counts != [1, 1, 1, 1]:
        tag, count = next(pair for pair in zip(TAGS, counts, strict=True) if pair[1] != 1)
        return pairs, f"{tag} {'is missing' if count == 0 else f'occurs {count} times'}"
    if where != sorted(where):
        return pairs, "the tags are not in the order <think></think><answer></answer>"
    gaps = (
        ("before <think>", 0, where[0]),
        ("between </think> and <answer>", where[1] + len(THINK_CLOSE), where[2]),
        ("after </answer>", where[3] + len(ANSWER_CLOSE), end),
    )
    for name, start, stop in gaps:
        if start < stop and not text[start:stop].isspace():
            return pairs, f"text {name}"
    return pairs, None


# What may follow what, if looks are on: the state after each tag in each state. Any other tag breaks the format.
_NEXT = {
    ("start", THINK_OPEN): "thinking",
    ("thinking", LOOK_OPEN): "looking",
    ("looking", LOOK_CLOSE): "thinking",
    ("thinking", THINK_CLOSE): "thought",
    ("thought", ANSWER_OPEN): "answering",
    ("answering", ANSWER_CLOSE): "done",
}
_MISPLACED = {
    ("start", LOOK_OPEN): "a look before the thinking",
    ("thought", LOOK_OPEN): "a look between the thinking and the answer",
    ("answering", LOOK_OPEN): "a look inside the answer",
    ("done", LOOK_OPEN): "a look after the answer",
}
_ANY_TAG = re.compile("</?(?:think|look|answer)>")


def look_order(text: str) -> tuple[str | None, list[tuple[int, int]]]:
    """What is wrong with the places of the looks of a completion, or None, and where the content of each look is.

    Other faults of the blocks are those of :func:`split`; the scan ends at the first of them. Linear in the length.
    """
    state, begun = "start", 0
    spans: list[tuple[int, int]] = []
    for tag in _ANY_TAG.finditer(text):
        following = _NEXT.get((state, tag[0]))
        if following is None:
            if state == "looking":
                return f"a look that is not closed before {tag[0]}", spans
            stray = f"{LOOK_CLOSE} without {LOOK_OPEN}" if tag[0] == LOOK_CLOSE else None
            return _MISPLACED.get((state, tag[0]), stray), spans
        if state == "looking":
            spans.append((begun, tag.start()))
        begun, state = tag.end(), following
    return ("a look that is not closed" if state == "looking" else None), spans


class RawBox(NamedTuple):
    """A box as written: as many ``numbers`` as were there, and the ``image`` it names.

    ``image`` is the number as written, None if none was named, 0 if the name was not understood, and
    :data:`~mirg.answers.image_names.LAST` for the last one; ``name`` has the details. ``yx``: whether the key of the
    box says that its order is [y1, x1, y2, x2] or [x1, y1, x2, y2]; None if it says neither.
    """

    image: int | None
    numbers: tuple[float, ...]
    yx: bool | None = None
    name: Name | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """``failure`` is None if an answer was read; no boxes then means an explicit "none".

    ``noise`` names the first thing in the block that is not part of an answer, or None. ``unsafe`` says why the answer
    cannot serve as a truth: something in it was seen and not understood, or is missing. ``tolerated`` is the first
    thing that has one meaning and is not what any family writes: repaired JSON, an unusual key, full-width characters.
    ``json``: it was read as JSON; ``around`` is then the text before and after it, and ``doubtful`` a key that may or
    may not number an image.
    """

    boxes: tuple[RawBox, ...]
    failure: str | None = None
    noise: str | None = None
    unsafe: str | None = None
    tolerated: str | None = None
    json: bool = False
    around: tuple[str, str] = ("", "")
    doubtful: str | None = None


def image_of(name: Name | None) -> int | None:
    """The number for :attr:`RawBox.image`."""
    if name is None:
        return None
    return 0 if name.number == UNKNOWN else name.number
