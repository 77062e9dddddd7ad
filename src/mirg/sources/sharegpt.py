"""LLaMA-Factory's multimodal rows: ``messages`` or ``conversations`` with ``images``; one sample per question.

Nothing in the format says how boxes are written. An answer is read by the grammar of :mod:`mirg.answers` (text and JSON
style), else by the boxes inside its sentences; the frame of the boxes is found out over all rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mirg.answers.blocks import split
from mirg.answers.grammar import parse
from mirg.sources.answered import Found, asked_image, boxes_of, is_hidden, marked_up, placed
from mirg.sources.conversations import Conversation, Turn, conversation
from mirg.sources.options import ImportOptions
from mirg.sources.raw import Outcome, RawBox, RawImage, RawSample, Row, Source, Text
from mirg.sources.rows import Refused, box_of, each, name_or
from mirg.sources.stream import read_rows
from mirg.sources.texts import ANY_BOX, plain, referred


def read(path: Path, options: ImportOptions) -> Iterator[Row]:
    """The rows of a JSON list or of JSON lines; DataError where it is neither."""
    for number, value in read_rows(path):
        yield Row(path.name, number, value)


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question; its id is the row's and the number of the question, from 1."""
    try:
        talk = conversation(value, "sharegpt", options.columns)
    except Refused as refused:
        return [refused.refusal]
    return each(talk.named(), partial(_sample, talk))


def _sample(talk: Conversation, name: str, turn: Turn) -> RawSample:
    if turn.problem:
        raise Refused("messages", turn.problem)
    task = name_or(talk.row.get(talk.columns.get("task", "task")), "grounding")
    return asked_and_answered(name, task, talk.images[: turn.images], turn.question, turn.answer)


def asked_and_answered(name: str, task: str, paths: tuple[str, ...], question: str, response: str) -> RawSample:
    """The sample of a question without placeholders and a response of any spelling, its boxes in the source's frame.

    Refused where the response holds no readable answer, or it is not told which image a box lies in.
    """
    count = len(paths)
    if not count:
        raise Refused("images", "no image was shown before the question")
    blocks = split(response)
    if blocks.answer is None:
        raise Refused("answer", "the thinking never ends")
    asked = asked_image(plain(question), count)
    subject = next((phrase for _, phrase in referred(question) if phrase), "")
    found = _found(blocks.answer, count)
    # None is an explicit "none": the question has an answer, and it is that no image holds it.
    targets = () if found is None else placed(found, count, asked, subject)
    holding = {box.image for box in targets}
    return RawSample(
        id=name,
        task=task,
        images=tuple(RawImage(path) for path in paths),
        question=marked_up(question, count, "question", frame=None, pattern=ANY_BOX),
        targets=targets,
        image_hidden=is_hidden(plain(question), count, targets),
        thinking=_thinking(blocks.thinking, count, holding),
        meta={"subject": subject} if subject else {},
    )


def _found(answer: str, count: int) -> list[Found] | None:
    """The boxes of an answer block; None where it says that there is none."""
    raw = parse(answer)
    if raw.failure is None and raw.noise is None:
        if not raw.boxes:
            return None
        labels = _labels(answer, len(raw.boxes))
        found = []
        for k, (box, label) in enumerate(zip(raw.boxes, labels, strict=True)):
            if box.image is not None and not 1 <= box.image <= count:
                raise Refused("answer", f"Image-{box.image} does not exist, there are {count} images")
            numbers = box_of(box.numbers, f"answer.{k}")
            found.append(Found(RawBox(0, numbers, label), box.image))
        return found
    return boxes_of(answer, count, frame=None, pattern=ANY_BOX)


def _labels(answer: str, count: int) -> list[str]:
    """The labels of an answer, one per box: of its JSON, or its object references; empty where there are none."""
    phrases = [phrase for _, phrase in referred(answer)]
    if len(phrases) == count:
        return phrases
    try:
        rows = json.loads(answer.strip().removeprefix("```json").strip("`\n "))
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or len(rows) != count:
        return [""] * count
    labels = [row.get("label", "") if isinstance(row, dict) else "" for row in rows]
    return [name_or(label, "") for label in labels]


def _thinking(thinking: str, count: int, holding: set[int]) -> Text | None:
    if not thinking.strip():
        return None
    default = next(iter(holding)) if len(holding) == 1 else None
    return marked_up(thinking, count, "thinking", default=default, frame=None, pattern=ANY_BOX)


SOURCE = Source("sharegpt", "LLaMA-Factory's messages or conversations with images", read, convert, "auto")
