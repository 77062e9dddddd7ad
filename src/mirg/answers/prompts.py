"""Prompts: labelled images, the question in the family's frame, and how to answer.

The images are named ``Image-1 …`` in the prompt, so that a number in the answer refers to one of them.
"""

from __future__ import annotations

from typing import Any, Literal

from mirg.answers.blocks import forbid_vision
from mirg.answers.markup import Style, render
from mirg.errors import AnswerError
from mirg.frames import RELATIVE_MAX, Family, PixelLimits
from mirg.samples.schema import Sample

Instructions = Literal["full", "short", "none"]

_FULL = """\
First reason about the images: which of them hold what is asked for. Then reason about where it is in them.
Write the reasoning between <think> and </think>, then only the answer between <answer> and </answer>.
"""
_FULL_TEXT = """\
The answer has one line for each object found: {line}
N is the number of the image. {frame}
If no image holds it, the answer is: none"""
_FULL_JSON = """\
The answer is a JSON list with one object for each object found: [{item}]
N is the number of the image. {frame}
If no image holds it, the answer is: []"""
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


def instruction_text(family: Family, instructions: Instructions = "full", style: Style | None = None) -> str:
    """How to answer, in words: the exact format and the family's frame (full), only the format (short), or nothing."""
    if instructions == "none":
        return ""
    json_style = (style or family.style) == "json"
    line = f"Image-N: {_text_example(family)}"
    held = '"box_2d": [y1, x1, y2, x2]' if family.axes == "yx" else '"bbox_2d": [x1, y1, x2, y2]'
    item = f'{{"image": N, {held}, "label": "name"}}'
    if instructions == "short":
        form, none = (f"[{item}]", "[]") if json_style else (line, "none")
        return _SHORT.format(form=form, none=none)
    template = _FULL_JSON if json_style else _FULL_TEXT
    return _FULL + template.format(line=line, item=item, frame=_frame_sentence(family))


def _text_example(family: Family) -> str:
    body = "(x1,y1),(x2,y2)" if family.brackets == "pairs" else "[[x1,y1,x2,y2]]"
    if family.axes == "yx":
        body = "(y1,x1),(y2,x2)" if family.brackets == "pairs" else "[[y1,x1,y2,x2]]"
    return f"{family.box_open}{body}{family.box_close}"


def _frame_sentence(family: Family) -> str:
    corners = "x1,y1 is the upper left corner of the box and x2,y2 the lower right one"
    if family.box_frame == "resized_pixels":
        return f"{corners}, in pixels of that image."
    kind = "integers" if family.step == 1 else f"multiples of {family.step}"
    return f"{corners}, as {kind} from 0 to {RELATIVE_MAX} across the width and height of that image."


def messages(
    sample: Sample,
    family: Family,
    limits: PixelLimits | None = None,
    instructions: Instructions = "full",
    style: Style | None = None,
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
    how = instruction_text(family, instructions, style)
    parts.append({"type": "text", "text": f"\n{question}\n{how}" if how else f"\n{question}"})
    return [{"role": "user", "content": parts}]


def prompt_text(prompt: list[dict[str, Any]], image: str = "<image>") -> str:
    """The text of :func:`messages` as a person reads it, with ``image`` in the place of every picture."""
    return "".join(image if p["type"] == "image" else p["text"] for m in prompt for p in m["content"])
