"""Writing answers: the one spelling per family and style that :func:`mirg.answers.read.read` gives back."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mirg.answers.blocks import ANSWER_CLOSE, ANSWER_OPEN, TAGS, THINK_CLOSE, THINK_OPEN, forbid, forbid_vision
from mirg.answers.markup import Style, render, spell
from mirg.errors import AnswerError
from mirg.frames import Family, Numbers, PixelLimits, Size, swapped, to_frame
from mirg.samples.schema import Target

NONE_TEXT, NONE_JSON = "none", "[]"


def write_answer(
    targets: Sequence[Target],
    sizes: Sequence[Size],
    family: Family,
    style: Style | None = None,
    limits: PixelLimits | None = None,
) -> str:
    """The content of the answer block: one target per line (text) or per object (JSON), in the order given.

    ``sizes`` are (width, height) in pixels of the original images, Image-1 first. Text: ``Image-2: (40,80),(400,520)``,
    no target: ``none``. JSON: ``[{"image": 2, "bbox_2d": [40, 80, 400, 520], "label": "red ring"}]``, no target:
    ``[]``. Raises :class:`AnswerError` if a target names an image that is not there.
    """
    numbers = [_numbers(target, sizes, family, limits) for target in targets]
    if (style or family.style) == "json":
        return _json(targets, numbers, family)
    lines = [f"Image-{t.image}: {spell(n, family, 'text')}" for t, n in zip(targets, numbers, strict=True)]
    return "\n".join(lines) or NONE_TEXT


def _numbers(target: Target, sizes: Sequence[Size], family: Family, limits: PixelLimits | None) -> Numbers:
    if target.image > len(sizes):
        raise AnswerError(
            f"a target is in Image-{target.image}, but there are {len(sizes)} images",
            hint="image numbers count from 1 in the order of the images",
        )
    return to_frame(target.box, sizes[target.image - 1], family, limits)


def _json(targets: Sequence[Target], numbers: Sequence[Numbers], family: Family) -> str:
    rows: list[dict[str, object]] = []
    for target, box in zip(targets, numbers, strict=True):
        forbid_vision(target.label, family, "a label")
        row: dict[str, object] = {"image": target.image, **_held(box, family)}
        rows.append({**row, "label": target.label} if target.label else row)
    # A label may hold "</answer>"; escaped, it cannot end the block.
    return json.dumps(rows, ensure_ascii=False).replace("<", "\\u003c") if rows else NONE_JSON


def _held(numbers: Numbers, family: Family) -> dict[str, object]:
    """The key that tells the order of the axes, and the numbers in that order."""
    return {"box_2d": list(swapped(numbers))} if family.axes == "yx" else {"bbox_2d": list(numbers)}


def write_completion(
    thinking: str,
    targets: Sequence[Target],
    sizes: Sequence[Size],
    family: Family,
    style: Style | None = None,
    limits: PixelLimits | None = None,
) -> str:
    """``<think>…</think><answer>…</answer>``: what the model is trained to write. Markup in ``thinking`` is rendered.

    Raises :class:`AnswerError` if the thinking holds one of the four tags, a vision token, or broken markup.
    """
    forbid(thinking, TAGS, "the thinking")
    forbid_vision(thinking, family, "the thinking")
    chain = render(thinking, sizes, family, limits, style)
    answer = write_answer(targets, sizes, family, style, limits)
    return f"{THINK_OPEN}{chain}{THINK_CLOSE}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
