"""UniVG-R1's training rows: ``images``, ``question``, ``answer``, with reasoning (stage 1) or without (stage 2).

The answer is a text that ends in a box, or four numbers, both in 0-1000. The answer, the question, or a sentence of the
reasoning that quotes the box says which image the box lies in; otherwise the row is refused.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from mirg.answers.blocks import split
from mirg.data.importers.answered import asked_image, boxes_of, marked_up, placed
from mirg.data.importers.conversations import conversation
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Source
from mirg.data.importers.rows import Refused, box_of, each, mapping, name_or, paths_of, row_id, text_of
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import (
    ANY_BOX,
    FROM_ZERO_HINT,
    PLACEHOLDER,
    ZERO,
    Images,
    counts_from_zero,
    image_names,
    numbers_of,
    plain,
    referred,
    shown,
    told,
)

_SINGLE = re.compile(r"train2014/COCO_train2014_|COCO_train2014_\d+\.jpg$")
_SENTENCE = re.compile(r"[^.!?\n]+")
# How UniVG-R1 asks for the format; mirg's prompts say it in their own words.
_FORMAT = re.compile(
    r"\s*First output the thinking process in <think> </think> tags and then output the bounding box in "
    r"<answer> </answer> tags\.?"
)


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample, or the refusal of the row."""
    name = value.get("id") if isinstance(value, dict) else None
    name = name if isinstance(name, str) and name.isprintable() else None
    return each([(name, value)], partial(_converted, options.image_index_from))


def _converted(first: int | None, _: str | None, value: Any) -> RawSample:
    row = mapping(value)
    if "question" not in row and ("conversations" in row or "messages" in row):
        talk = conversation(value, "univg", placeholders_needed=False, first=first, name_answers=True)
        if len(talk.turns) != 1:
            raise Refused("conversations", "is not one question and its answer")
        turn = talk.turns[0]
        turn.check("conversations")
        return _sample(row, talk.id, talk.images, turn.question, turn.answer)
    images = paths_of(row.get("images", row.get("image")))
    given = text_of(row.get("question", row.get("problem")), "question")
    if given.count(PLACEHOLDER) not in (0, len(images)):
        raise Refused("images", f"{given.count(PLACEHOLDER)} placeholders for {len(images)} images")
    answer = row.get("answer", row.get("solution"))
    if isinstance(answer, list):
        answer = RawBox(0, box_of(answer[0] if len(answer) == 1 else answer, "answer"), frame="relative_1000")
    else:
        answer = text_of(answer, "answer")
        if first is None and counts_from_zero(answer):
            raise Refused("answer", ZERO, FROM_ZERO_HINT, "0")
        answer = told(answer, Images(images, first), "answer", strict=False)
    question = shown(told(given, Images(images, first), "question", strict=False))
    if question.problem:
        raise Refused("question", question.problem)
    return _sample(row, row_id(row, "univg"), images, question.text, answer)


def _sample(row: dict[str, Any], name: str, images: tuple[str, ...], question: str, answer: str | RawBox) -> RawSample:
    question, count = _FORMAT.sub("", question), len(images)
    thinking, final = ("", "") if isinstance(answer, RawBox) else _parted(answer)
    found = [answer] if isinstance(answer, RawBox) else boxes_of(final, count, pattern=ANY_BOX)
    if len(found) != 1:
        raise Refused("answer", "holds no box" if not found else f"holds {len(found)} boxes, one is expected")
    asked = asked_image(plain(question), count)
    hidden = asked is None and count > 1
    subject = next((phrase for _, phrase in referred(question) if phrase), "")
    # Else the image that the reasoning puts the box in: the only one named in the sentences that quote the box.
    quoting = [
        sentence
        for sentence in _SENTENCE.findall(thinking)
        if any(numbers_of(match) == found[0].numbers for match in ANY_BOX.finditer(sentence))
    ]
    named = {name.number for sentence in quoting for name in image_names(sentence, count)} if hidden else set()
    targets = placed(found, count, asked or (named.pop() if len(named) == 1 else None), subject)
    single = count == 1 and bool(_SINGLE.search(images[0]))
    parts = marked_up(thinking, count, "thinking", default=targets[0].image, pattern=ANY_BOX)
    return RawSample(
        id=name,
        task="single_image" if single else name_or(row.get("task", row.get("type")), "grounding"),
        images=tuple(RawImage(path) for path in images),
        question=marked_up(question, count, "question", pattern=ANY_BOX),
        targets=targets,
        image_hidden=hidden,
        thinking=parts if any(isinstance(part, RawBox) or part.strip() for part in parts) else None,
        meta={"subject": subject} if subject else {},
    )


def _parted(answer: str) -> tuple[str, str]:
    """(reasoning, answer): by their tags, else the reasoning is what stands before the last box."""
    blocks = split(answer)
    if blocks.tagged or blocks.thinking:
        if blocks.answer is None:
            raise Refused("answer", "the thinking never ends")
        return blocks.thinking, blocks.answer
    boxes = list(ANY_BOX.finditer(answer))
    if not boxes:
        return "", answer
    before, end = answer[: boxes[-1].start()], boxes[-1].start()
    # "It's in the third image. (box)": the sentence that names the image belongs to the answer.
    last = next((s for s in reversed(list(_SENTENCE.finditer(before))) if s.group().strip()), None)
    if last is not None and image_names(last.group(), 1):
        end = last.start()
    return answer[:end].strip(), answer[end:]


SOURCE = Source(
    "univg", "UniVG-R1's stage1_cotsft.json and stage2_rl.json", json_rows, convert, "relative_1000", names_images=True
)
