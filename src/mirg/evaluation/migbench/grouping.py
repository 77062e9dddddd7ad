"""Every image in one answer: items that differ only in the image they ask about are one prompt.

In four tasks (:data:`GROUPED`) a question names its image or region by number, ``the 2th image``, and several items ask
the same question about the same images with another number. In the mode ``all`` these items are one prompt, which asks
for one box for each number. The answer is then divided among them (:func:`divide`), and each item is scored as if its
part were the response to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from mirg.answers.blocks import RawBox, split
from mirg.answers.grammar import parse
from mirg.answers.image_names import LAST
from mirg.data.importers.migbench import Item
from mirg.evaluation.migbench.strict import with_image_numbers
from mirg.frames import swapped

GROUPED = ("common_object", "object_tracking", "multi_view", "region")
_NUMBER = re.compile(r"\b(\d{1,3})(?:st|nd|rd|th) (image|region)\b")
_EACH = "Give one box for each of them, in this order."

Group = tuple[Item, ...]


def groups(items: Sequence[Item], *, together: bool) -> list[Group]:
    """The items of each prompt, in the order of the first of them; one item for each prompt unless ``together``.

    Items of one prompt have the same task, the same images in the same order, and the same question but for its number;
    they are sorted by that number. Two items with the same number (a duplicate) get the same part of the answer.
    """
    found: dict[object, list[Item]] = {}
    for item in items:
        number = number_of(item) if together else 0
        key = (item.task, item.images, _NUMBER.sub(r"# \2", item.question.strip())) if number else item.index
        found.setdefault(key, []).append(item)
    return [tuple(sorted(group, key=lambda item: (number_of(item), item.index))) for group in found.values()]


def number_of(item: Item) -> int:
    """The number of the image or region that the question asks about; 0 if the item is never part of a group."""
    names = _NUMBER.findall(item.question)
    return int(names[0][0]) if item.task in GROUPED and len(names) == 1 else 0


def joined(group: Group) -> Item:
    """The item that asks for all numbers of the group, with the wording of the published questions.

    ``… locate it in the 2th image, the 3th image and the 5th image. Give one box for each of them, in this order.``
    """
    first = group[0]
    numbers = sorted({number_of(item) for item in group})
    if len(numbers) == 1:
        return first

    def named(match: re.Match[str]) -> str:
        names = [f"{number}th {match[2]}" for number in numbers]
        return f"{', the '.join(names[:-1])} and the {names[-1]}"

    return replace(first, question=f"{_NUMBER.sub(named, first.question).strip()} {_EACH}")


def divide(completion: str, group: Group) -> dict[int, str]:
    """The part of an answer that belongs to each item, by its index; only the answer is read, never the thinking.

    A box belongs to the items that are about the image it names. If several numbers are about one image (the regions of
    Region all lie in image 1), the boxes in it belong to the numbers in their order, and the boxes that are left over
    to the last number. The same holds for all boxes if none of them names an image. An item without a box has the part
    "". An answer without any box is the part of every item.
    """
    answer = split(completion).answer or ""
    raw = parse(with_image_numbers(answer))
    if not raw.boxes:
        return {item.index: answer for item in group}
    numbers = list(dict.fromkeys(number_of(item) for item in group))
    image_of = {number_of(item): (item.targets or (0,))[0] for item in group}
    named = any(box.image is not None for box in raw.boxes)
    parts: dict[int, list[str]] = {number: [] for number in numbers}
    met: dict[int | None, int] = {}
    for box in raw.boxes:
        image = len(group[0].images) if box.image == LAST else box.image
        meant = [number for number in numbers if image_of[number] == image] if named else numbers
        k = met.get(image, 0)
        met[image] = k + 1
        if meant:
            parts[meant[min(k, len(meant) - 1)]].append(_line(box, image, raw.json))
    return {item.index: "\n".join(parts[number_of(item)]) for item in group}


def _line(box: RawBox, image: int | None, json: bool) -> str:
    """A box as text in the order of its family; as JSON if it was, with x first if its key says the order."""
    texts = [str(int(v)) if math.isfinite(v) and v == int(v) else repr(v) for v in box.numbers]
    if json and len(texts) == 4:
        named = "" if image is None else f'"image": {image}, '
        key = "bbox_2d" if box.yx is None else "bbox_xyxy"
        return f'{{{named}"{key}": [{", ".join(swapped(texts) if box.yx else texts)}]}}'
    pairs = f"({texts[0]},{texts[1]}),({texts[2]},{texts[3]})" if len(texts) == 4 else f"({','.join(texts)})"
    return pairs if image is None else f"Image-{image}: {pairs}"


def indices(found: Sequence[Group]) -> list[list[int]]:
    """The indices of the items of every prompt that has several."""
    return [[item.index for item in group] for group in found if len(group) > 1]


def group_of(members: Sequence[int], items: Sequence[Item]) -> Group | None:
    """The items with these indices; None if they are not one prompt of the mode ``all``."""
    if not all(0 <= index < len(items) for index in members):
        return None
    found = groups([items[index] for index in members], together=True)
    return found[0] if len(found) == 1 and len(found[0]) == len(members) else None
