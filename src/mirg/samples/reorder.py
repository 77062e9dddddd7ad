"""The same sample with its images in another order, question and truth renumbered.

Asked in several orders, a model cannot get by with the position of an image (PeRL, arXiv 2506.14907).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from mirg.samples.schema import Sample

# The two ways in which a text of a sample names an image; any other is words, which are not rewritten. Two patterns,
# each with its own first letters, are found ten times as fast as one that begins with a choice.
_NAMED = {name: re.compile(rf"({name})(\d{{1,9}})") for name in ("Image-", "<box image=")}
_ORDINAL = re.compile(
    r"\b(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last|previous|next|\d+(?:st|nd|rd|th))"
    r"\s+(?:image|picture|photo|view|frame|scene|one)",
    re.IGNORECASE,
)


def has_free_order(sample: Sample) -> bool:
    """Whether the order of the images means nothing: they are no sequence, and the question counts none of them out."""
    sequence = any(image.frame is not None or image.role == "frame" for image in sample.images)
    return len(sample.images) > 1 and not sequence and not _ORDINAL.search(sample.question)


def reordered(sample: Sample, order: Sequence[int]) -> Sample:
    """``sample`` with image ``order[0]`` (from 1) first, and so on; its trajectory, which may go by order, is dropped.

    ValueError if ``order`` is no permutation of 1 … N.
    """
    if sorted(order) != list(range(1, len(sample.images) + 1)):
        raise ValueError(f"{list(order)} is no order of {len(sample.images)} images")
    now = {old: new for new, old in enumerate(order, 1)}
    targets = [target.model_copy(update={"image": now[target.image]}) for target in sample.targets]
    return sample.model_copy(
        update={
            "images": tuple(sample.images[number - 1] for number in order),
            "question": renumbered(sample.question, now),
            "targets": tuple(sorted(targets, key=lambda target: (target.image, target.box))),
            "trajectory": None,
        }
    )


def renumbered(text: str, now: Mapping[int, int]) -> str:
    """``text`` with the numbers of the images that it names replaced as ``now`` says; others stay."""
    for name, pattern in _NAMED.items():
        if name in text:
            text = pattern.sub(lambda found: f"{found[1]}{now.get(int(found[2]), int(found[2]))}", text)
    return text


def in_orders(sample: Sample, count: int) -> list[Sample]:
    """``sample`` and up to ``count`` - 1 other orders of it, all different, each with its own id.

    Which ones depends only on the sample's id. A sample whose order means something has no other orders.
    """
    if count < 2 or not has_free_order(sample):
        return [sample]
    rng = random.Random(sample.id)
    numbers = list(range(1, len(sample.images) + 1))
    orders = [tuple(numbers)]
    for _ in range(20 * count):
        order = tuple(rng.sample(numbers, len(numbers)))
        if order not in orders:
            orders.append(order)
        if len(orders) == count:
            break
    others = (reordered(sample, order) for order in orders[1:])
    return [sample, *(other.model_copy(update={"id": f"{sample.id}~{k}"}) for k, other in enumerate(others, 1))]
