"""Prompts, and the answers that a model is trained to write to them.

The images are named ``Image-1 …`` in the prompt, so that a number in the answer refers to one of them. An answer has
one spelling per family and style, which :func:`mirg.answers.read.read` gives back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from mirg.answers.blocks import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    LOOK_CLOSE,
    LOOK_OPEN,
    TAGS,
    THINK_CLOSE,
    THINK_OPEN,
    forbid,
    forbid_vision,
)
from mirg.answers.markup import Style, look_form, render, spell
from mirg.errors import AnswerError
from mirg.families import RELATIVE_MAX, Family, PixelLimits
from mirg.frames import Size, swapped, to_frame
from mirg.samples.schema import Sample, Target

Instructions = Literal["full", "short", "none"]

_FULL = """\
First reason about the images: which of them hold what is asked for. Then reason about where it is in them.
Write the reasoning between <think> and </think>, then only the answer between <answer> and </answer>.
"""
_CORNERS = "x1,y1 is the upper left corner of the box and x2,y2 the lower right one"
_FULL_TEXT = f"""\
The answer has one line for each object found: {{line}}
N is the number of the image. {_CORNERS}, {{scale}}
If no image holds it, the answer is: none"""
_FULL_JSON = f"""\
The answer is a JSON list with one object for each object found: [{{item}}]
N is the number of the image. {_CORNERS}, {{scale}}
If no image holds it, the answer is: []"""
_LOOKS = """
Inside the reasoning, you can look at a part of an image in more detail, at most {count}: {form}
Stop after it. The part is then shown to you as a new image, called Image-Na, and you continue the reasoning.
The answer still names the images of the question, and its boxes are boxes of the whole images."""
_SHORT_LOOKS = " Inside the reasoning, {form} shows you a part of an image in more detail, at most {count}."
_SHORT = "Answer as <think>reasoning</think><answer>{form}</answer>; if no image holds it, the answer is {none}."


def question_text(sample: Sample, family: Family, limits: PixelLimits | None = None, style: Style | None = None) -> str:
    """The question with its boxes as numbers of the family's frame.

    Raises :class:`AnswerError`, with the sample's id, if the question holds a vision token or broken markup.
    """
    forbid_vision(sample.question, family, f"the question of sample {sample.id!r}")
    try:
        return render(sample.question, sample.sizes, family, limits, style)
    except AnswerError as error:
        raise AnswerError(f"the question of sample {sample.id!r}: {error.message}", hint=error.hint) from error


def instruction_text(
    family: Family, instructions: Instructions = "full", style: Style | None = None, max_looks: int = 0
) -> str:
    """How to answer, in words: the exact format and the family's frame (full), only the format (short), or nothing.

    With ``max_looks``, also how to look at a part of an image (:mod:`mirg.answers.looks`).
    """
    if instructions == "none":
        return ""
    told = _answer_format(family, instructions, style)
    if not max_looks:
        return told
    form = f"{LOOK_OPEN}{look_form('N', ('x1', 'y1', 'x2', 'y2'), family, style)}{LOOK_CLOSE}"
    words = _LOOKS if instructions == "full" else _SHORT_LOOKS
    return told + words.format(form=form, count="once" if max_looks == 1 else f"{max_looks} times")


def _answer_format(family: Family, instructions: Instructions, style: Style | None) -> str:
    json_style = (style or family.style) == "json"
    line = f"Image-N: {spell(('x1', 'y1', 'x2', 'y2'), family, 'text')}"
    corners = "y1, x1, y2, x2" if family.axes == "yx" else "x1, y1, x2, y2"
    item = f'{{"image": N, "{family.box_key}": [{corners}], "label": "name"}}'
    if instructions == "short":
        form, none = (f"[{item}]", "[]") if json_style else (line, "none")
        return _SHORT.format(form=form, none=none)
    if family.box_frame == "resized_pixels":
        scale = "in pixels of that image."
    else:
        kind = "integers" if family.step == 1 else f"multiples of {family.step}"
        span = "fractions from 0 to 1" if family.box_frame == "fraction" else f"{kind} from 0 to {RELATIVE_MAX}"
        scale = f"as {span} across the width and height of that image."
    return _FULL + (_FULL_JSON if json_style else _FULL_TEXT).format(line=line, item=item, scale=scale)


def messages(
    sample: Sample,
    family: Family,
    limits: PixelLimits | None = None,
    instructions: Instructions = "full",
    style: Style | None = None,
    max_looks: int = 0,
) -> list[dict[str, Any]]:
    """One user message: ``Image-1: <image>``, a line for every image, then the question and how to answer.

    Every part has the keys ``type`` and ``text``, an image part with ``text`` None, and no part has an ``image`` key:
    Arrow would fill that with null in the text parts, and chat templates would print a placeholder for each.
    The images themselves travel beside the messages, in the order of ``sample.images``.
    """
    parts: list[dict[str, Any]] = []
    for number in range(1, len(sample.images) + 1):
        parts.append({"type": "text", "text": f"{'' if number == 1 else chr(10)}Image-{number}: "})
        parts.append({"type": "image", "text": None})
    question = question_text(sample, family, limits, style)
    how = instruction_text(family, instructions, style, max_looks)
    parts.append({"type": "text", "text": f"\n{question}\n{how}" if how else f"\n{question}"})
    return [{"role": "user", "content": parts}]


def prompt_text(prompt: list[dict[str, Any]], image: str = "<image>") -> str:
    """The text of :func:`messages` as a person reads it, with ``image`` in the place of every picture."""
    return "".join(image if p["type"] == "image" else p["text"] for m in prompt for p in m["content"])


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
    json_style = (style or family.style) == "json"
    lines: list[str] = []
    rows: list[dict[str, object]] = []
    for target in targets:
        if target.image > len(sizes):
            raise AnswerError(
                f"a target is in Image-{target.image}, but there are {len(sizes)} images",
                hint="image numbers count from 1 in the order of the images",
            )
        numbers = to_frame(target.box, sizes[target.image - 1], family, limits)
        lines.append(f"Image-{target.image}: {spell(numbers, family, 'text')}")
        if json_style:
            forbid_vision(target.label, family, "a label")
        held = {family.box_key: list(swapped(numbers) if family.axes == "yx" else numbers)}
        rows.append({"image": target.image, **held, **({"label": target.label} if target.label else {})})
    # A label may hold "</answer>"; escaped, it cannot end the block.
    return json.dumps(rows, ensure_ascii=False).replace("<", "\\u003c") if json_style else "\n".join(lines) or "none"


def write_completion(
    thinking: str,
    targets: Sequence[Target],
    sizes: Sequence[Size],
    family: Family,
    style: Style | None = None,
    limits: PixelLimits | None = None,
) -> str:
    """``<think>…</think><answer>…</answer>``: what the model is trained to write. Markup in ``thinking`` is rendered.

    Raises :class:`AnswerError` if the thinking holds one of the tags, a vision token, or broken markup. Every look of
    the thinking ends a turn (:func:`mirg.answers.looks.split_turns`).
    """
    forbid(thinking, (*TAGS, LOOK_OPEN), "the thinking")
    forbid_vision(thinking, family, "the thinking")
    chain = render(thinking, sizes, family, limits, style)
    answer = write_answer(targets, sizes, family, style, limits)
    return f"{THINK_OPEN}{chain}{THINK_CLOSE}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
