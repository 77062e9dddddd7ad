"""A sample as the texts that a trainer takes, in the frame of a model family."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from mirg.answers import messages, prompt_text, replaced, write_answer, write_completion
from mirg.answers.blocks import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mirg.answers.looks import Look, replay
from mirg.data.exporters.plan import Plan, Row
from mirg.errors import AnswerError
from mirg.geometry import Box
from mirg.samples import Sample, Target
from mirg.samples.schema import ANSWER_FRAME_META

IMAGE = "<image>"
BBOX = "<bbox>"


def rendered(sample: Sample, images: Sequence[str], plan: Plan, reserved: Sequence[str]) -> Row:
    """The row of ``sample`` with its texts.

    Raises AnswerError if a text cannot be written or holds one of ``reserved``, DataError if the size of an
    image is not known, ImageError if the trainer would refuse it.
    """
    _refuse_reserved(sample, reserved)
    seen = as_given(sample, plan)
    prompt = messages(seen, plan.family, plan.limits, plan.instructions, plan.style, plan.look.max_looks)
    told = sample.trajectory
    completion = None
    if told is not None:
        completion = write_completion(told.thinking, told.answer, seen.sizes, plan.family, plan.style, plan.limits)
    row = Row(
        sample=sample,
        images=tuple(images),
        prompt=prompt_text(prompt, IMAGE),
        messages=prompt,
        answer=write_answer(sample.targets, seen.sizes, plan.family, plan.style, plan.limits),
        completion=completion,
        record=_record(seen, plan),
    )
    return _with_bboxes(row, seen, plan) if plan.objects else row


def looks_of(row: Row, plan: Plan) -> list[tuple[str, Look]]:
    """The looks of a completion with the names of their crops; AnswerError if one of them cannot be shown."""
    steps = replay(row.completion or "", as_given(row.sample, plan).sizes, plan.family, plan.look, plan.limits)
    refused = next((step.refusal for step in steps if step.refusal), None)
    if refused or plan.objects:
        raise AnswerError(
            f"sample {row.sample.id}: a look of its trajectory cannot be shown: {refused or 'with --objects'}",
            hint="--looks is the number of looks that a completion may have; leave --objects out",
        )
    return [(step.name, step.look) for step in steps if step.look]


def as_given(sample: Sample, plan: Plan) -> Sample:
    """The sample with the sizes of the images that the trainer gives the processor; its boxes are fractions anyway."""
    sides = ("width", "height")
    images = [ref.model_copy(update=dict(zip(sides, plan.given(ref.size), strict=True))) for ref in sample.images]
    return sample.model_copy(update={"images": tuple(images)})


def _record(seen: Sample, plan: Plan) -> str:
    """The JSON of a sample for rewards (:mod:`mirg.rewards.plugins`), which says how answers about it are read."""
    frame = {"family": plan.family.name, **asdict(plan.limits)}
    bare = seen.model_copy(update={"trajectory": None, "meta": seen.meta | {ANSWER_FRAME_META: frame}})
    return bare.model_dump_json(exclude_defaults=True)


def _refuse_reserved(sample: Sample, reserved: Sequence[str]) -> None:
    told = sample.trajectory
    labels = [target.label for target in (*sample.targets, *(told.answer if told else ()))]
    for text in (sample.question, told.thinking if told else "", *labels):
        for word in reserved:
            if word in text:
                raise AnswerError(
                    f"sample {sample.id} holds {word}, which this format takes for a picture or a box",
                    hint="change the text of the sample",
                )


def _with_bboxes(row: Row, seen: Sample, plan: Plan) -> Row:
    """The row with ``<bbox>`` for every box of prompt and completion: the trainer writes the numbers itself."""
    boxes: list[tuple[int, Box]] = []

    def placeholder(image: int, box: Box) -> str:
        boxes.append((image, box))
        return BBOX

    question = seen.model_copy(update={"question": replaced(seen.question, placeholder)})
    prompt = messages(question, plan.family, plan.limits, plan.instructions, plan.style)
    in_prompt = len(boxes)
    completion = None
    told = row.sample.trajectory
    if told is not None:
        chain = replaced(told.thinking, placeholder)
        answer = _bbox_answer(told.answer, (plan.style or plan.family.style) == "json")
        boxes += [(target.image, target.box) for target in told.answer]
        completion = f"{THINK_OPEN}{chain}{THINK_CLOSE}{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
    texts = {"prompt": prompt_text(prompt, IMAGE), "messages": prompt, "completion": completion}
    return replace(row, **texts, boxes=tuple(boxes), prompt_boxes=in_prompt)


def _bbox_answer(targets: Sequence[Target], as_json: bool) -> str:
    """:func:`mirg.answers.write_answer` with ``<bbox>`` for the numbers."""
    if not as_json:
        return "\n".join(f"Image-{target.image}: {BBOX}" for target in targets) or "none"
    rows = [{"image": t.image, "bbox_2d": BBOX} | ({"label": t.label} if t.label else {}) for t in targets]
    escaped = json.dumps(rows, ensure_ascii=False).replace("<", "\\u003c")
    return escaped.replace(json.dumps(BBOX).replace("<", "\\u003c"), BBOX)
