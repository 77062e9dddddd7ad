"""LLaMA-Factory's multimodal rows: ``messages`` or ``conversations`` with ``images``; one sample per question.

Nothing in the format says how boxes are written. An answer is read by the grammar of :mod:`mirg.answers` (text and JSON
style), else by the boxes inside its sentences; the frame of the boxes is found out over all rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from mirg.answers.blocks import RawAnswer, split
from mirg.answers.grammar import parse
from mirg.answers.image_names import ascii_forms
from mirg.answers.places import unread_place
from mirg.data.importers.answered import (
    Found,
    asked_image,
    boxes_of,
    image_around,
    is_hidden,
    marked_up,
    placed,
    stated_order,
)
from mirg.data.importers.conversations import Conversation, Turn, conversation
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Source, Text
from mirg.data.importers.rows import Refused, box_of, each, name_or
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import ANY_BOX, Images, plain, referred, told
from mirg.frames import swapped

_COMPLETE = "an answer is used if all of it is understood"


def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question; its id is the row's and the number of the question, from 1."""
    try:
        talk = conversation(value, "sharegpt", options.columns, first=options.image_index_from)
    except Refused as refused:
        return [refused.refusal]
    return each(talk.named(), partial(turn_sample, talk, options.image_index_from))


def turn_sample(talk: Conversation, first: int | None, name: str, turn: Turn) -> RawSample:
    """The sample of one question of a conversation; ``first`` is what its answer counts images from."""
    turn.check("messages")
    paths = talk.images[: turn.images]
    return asked_and_answered(name, talk.task, paths, turn.question, turn.answer, first=first, system=talk.system)


def asked_and_answered(
    name: str,
    task: str,
    paths: tuple[str, ...],
    question: str,
    response: str,
    *,
    first: int | None = None,
    system: str = "",
) -> RawSample:
    """The sample of a question without placeholders and a response of any spelling, its boxes in the source's frame.

    The question counts images from 1; ``first`` is what the response counts them from, None: not settled. ``system``
    may state the order of coordinates. Refused if the response holds no readable answer, names an image that is not
    understood, or does not say which image a box lies in.
    """
    count, images = len(paths), Images(paths, first)
    if not count:
        raise Refused("images", "no image was shown before the question")
    blocks = split(response)
    if blocks.answer is None:
        raise Refused("answer", "the thinking never ends")
    stated = stated_order(f"{system}\n{question}\n{blocks.answer}")
    asked = asked_image(plain(question), count)
    subject = next((phrase for _, phrase in referred(question) if phrase), "")
    found = _found(blocks.answer, images, stated)
    # None is an explicit "none": the question has an answer, and it is that no image holds it.
    targets = () if found is None else placed(found, count, asked, subject)
    if first == 0 and asked and targets and all(box.image == asked - 1 for box in targets):
        raise Refused(
            "question",
            f"names image {asked - 1} and the answer image {asked - 2}: one of them may count from 1",
            "count images alike in questions and answers",
        )
    return RawSample(
        id=name,
        task=task,
        images=tuple(RawImage(path) for path in paths),
        question=marked_up(question, count, "question", frame=None, pattern=ANY_BOX, stated=stated),
        targets=targets,
        image_hidden=is_hidden(plain(question), count, targets),
        thinking=_thinking(blocks.thinking, images, stated),
        meta={"subject": subject} if subject else {},
    )


def _found(answer: str, images: Images, stated: str) -> list[Found] | None:
    """The boxes of an answer block; None if it says that no image holds the object."""
    raw = parse(answer)
    if raw.json:
        return _of_json(raw, images, stated)
    if raw.failure is None and raw.noise is None and not raw.boxes:
        return None
    text = told(answer, images, "answer")
    if len(images.paths) > 1 and raw.unsafe:
        raise Refused("answer", f"holds no box that can be used: {raw.unsafe}", _COMPLETE)
    found = boxes_of(text, len(images.paths), frame=None, pattern=ANY_BOX, stated=stated)
    phrases = [phrase for _, phrase in referred(answer)]
    if len(phrases) == len(found):
        found = [item._replace(box=item.box._replace(label=p)) for item, p in zip(found, phrases, strict=True)]
    return found


def _of_json(raw: RawAnswer, images: Images, stated: str) -> list[Found] | None:
    if problem := raw.unsafe or raw.failure:
        hint = 'name images by "image_1" in place of "1"' if problem.startswith("numbers as keys") else _COMPLETE
        raise Refused("answer", f"holds no box that can be used: {problem}", hint)
    if not raw.boxes:
        return None
    before, after = (told(text, images, "answer") for text in raw.around)
    if unread_place(ascii_forms(f"{before}\n{after}"), ()):
        raise Refused("answer", "holds a box outside of its JSON", _COMPLETE)
    count = len(images.paths)
    if raw.doubtful and count > 1 and any(box.name is None for box in raw.boxes):
        raise Refused(
            "answer", f"may name an image in a way that is not understood: the key {raw.doubtful[:40]!r}", _COMPLETE
        )
    found = []
    for k, box in enumerate(raw.boxes):
        if (box.yx and stated == "xy") or (stated == "yx" and not box.yx):
            raise Refused("answer", "has a box whose key has another order of coordinates than the one that is stated")
        numbers = box_of(swapped(box.numbers) if box.yx else box.numbers, f"answer.{k}")
        number = None if box.name is None else images.number(box.name, "answer")
        found.append(Found(RawBox(0, numbers, name_or(box.label, "")), number))
    if any(item.image is not None for item in found):
        return found
    name = image_around(before, after, count)
    return found if name is None else [item._replace(image=name) for item in found]


def _thinking(thinking: str, images: Images, stated: str) -> Text | None:
    if not thinking.strip():
        return None
    text = told(thinking, images, "thinking", strict=False)
    return marked_up(text, len(images.paths), "thinking", frame=None, pattern=ANY_BOX, stated=stated)


SOURCE = Source(
    "sharegpt", "LLaMA-Factory's messages or conversations with images", json_rows, convert, "auto", names_images=True
)
