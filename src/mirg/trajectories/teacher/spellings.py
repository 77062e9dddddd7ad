"""Boxes in running text, in every spelling that models use: pairs, lists, box tokens, JSON objects.

Each pattern has bounded gaps only, so the time is linear in the text. What is found is numbers, in no known frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mirg.answers.grammar import parse
from mirg.frames import swapped
from mirg.trajectories.chain import BOX_WORD


@dataclass(frozen=True, slots=True)
class SpelledBox:
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
# (1,2),(3,4) and [1,2,3,4] begin alike: one pattern, so that a beginning without an end is looked at once.
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


def take_boxes(text: str, most: int = 1000) -> tuple[str, list[SpelledBox]]:
    """``text`` with :data:`~mirg.trajectories.chain.BOX_WORD` in the place of its boxes, and the boxes in order.

    A JSON object becomes words: its image, its label and the box. Tokens around boxes and phrases are dropped.
    After ``most`` boxes the rest stays as it is. ``text`` itself may not hold the character that stands for a box.

    >>> take_boxes("Image-2 red ring (120,200),(320,480).")[0]
    'Image-2 red ring □.'
    """
    pieces: list[str] = []
    boxes: list[SpelledBox] = []
    done = 0
    for match in _ANY.finditer(text):
        found, words = _from_json(match[0]) if match["json"] else _from_numbers(match, text)
        if found is None:
            continue
        if len(boxes) == most:
            break
        before, end = _unwrapped(text, done, match.start(), match.end())
        pieces += [before, words]
        boxes.append(found)
        done = end
    return _TOKENS.sub("", "".join([*pieces, text[done:]])), boxes


def _from_numbers(match: re.Match[str], text: str) -> tuple[SpelledBox | None, str]:
    if _A_LIST_OF_IMAGES.search(text, max(0, match.start() - 10), match.start()):
        return None, ""
    x1, y1, x2, y2 = (float(value) for value in match.groups()[1:] if value is not None)
    return SpelledBox((x1, y1, x2, y2)), BOX_WORD


def _from_json(piece: str) -> tuple[SpelledBox | None, str]:
    if "box" not in piece:
        return None, ""
    raw = parse(piece)
    if len(raw.boxes) != 1 or len(raw.boxes[0].numbers) != 4:
        return None, ""
    box = raw.boxes[0]
    image = box.image if box.image is None else max(box.image, 0)
    x1, y1, x2, y2 = swapped(box.numbers) if box.yx else box.numbers
    label = _LABEL.search(piece)
    words = [f"Image-{image}" if image is not None else "", label[1] if label else "", BOX_WORD]
    return SpelledBox((x1, y1, x2, y2), image), " ".join(word for word in words if word)


def _unwrapped(text: str, done: int, start: int, end: int) -> tuple[str, int]:
    """The text before a box, and where the text after it begins, without the tokens and brackets around the box."""
    for opening, closing in _WRAPPERS * 2:
        if text.endswith(opening, done, start) and text.startswith(closing, end):
            start, end = start - len(opening), end + len(closing)
    return text[done:start], end
