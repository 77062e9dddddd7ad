"""MGrounding-630k: conversations about several images with boxes in 0-1000, one sample per question.

The file is a list of rows ``id``, ``images``, ``conversations``, ``type``. A question whose answer has no box (group
grounding also asks for descriptions) is refused, and so is a question that leaves open in which image its answer lies.

The shuffled variant of a tracking question calls the temporally first frame "the first image" regardless of its place
in the list; elsewhere the file that the question starts from ends in ``_ref``.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from mirg.answers import ordinals
from mirg.data.importers.answered import asked_image, boxes_of, is_hidden, marked_up, named_in, placed
from mirg.data.importers.conversations import Conversation, Turn, conversation
from mirg.data.importers.raw import ImportOptions, Outcome, RawBox, RawImage, RawSample, Source
from mirg.data.importers.rows import Refused, each, name_or, refusing
from mirg.data.importers.stream import json_rows
from mirg.data.importers.texts import image_names, plain, referred
from mirg.samples import Relation, Role

TRACKING, REGION, DIFFERENCE = "object_tracking", "region", "difference"
# Words of a row's type (gg_train), or of a folder of its images (Group_Grounding), and the task they mean.
_TASKS = {
    "ot": TRACKING, "tracking": TRACKING, "gg": "group_grounding", "group": "group_grounding",
    "common": "common_object", "diff": DIFFERENCE, "difference": DIFFERENCE, "refer": "refer", "referring": "refer",
    "region": REGION, "free": "free_form", "freeform": "free_form",
}  # fmt: skip
_RELATIONS: dict[str, Relation] = {
    TRACKING: "same_object",
    "common_object": "same_category",
    DIFFERENCE: "changed_object",
    "refer": "same_category",
    REGION: "part_of",
}
_CROP = re.compile(rf"\b({ordinals.ANY}) region", re.IGNORECASE)
_WORDS = re.compile(r"[a-z]+")
_LAST_NUMBER = re.compile(r"(\d{1,12})\D*$", re.ASCII)
_MARK = "_ref"
_HINT = "the anchor's file ends in _ref, or all files of one folder end in their frame number"


class Frames(NamedTuple):
    """``anchor``: the number (from 1) of the image that the question starts from; ``numbers``: of the film's frames."""

    anchor: int
    numbers: tuple[int | None, ...]


@lru_cache(maxsize=8)  # the questions of one row are about the same files
def frames_of(paths: tuple[str, ...]) -> Frames:
    """Find the anchor among the images of a tracking row. Refused if the names of the files do not show it."""
    files = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    marked = [k for k, file in enumerate(files, 1) if file.stem.lower().endswith(_MARK)]
    stems = [file.stem[: -len(_MARK)] if k in marked else file.stem for k, file in enumerate(files, 1)]
    found = [_LAST_NUMBER.search(stem) for stem in stems]
    numbers = tuple(int(match[1]) if match else None for match in found)
    if len(marked) == 1:
        return Frames(marked[0], numbers)
    if marked:
        raise Refused("images", f"images {', '.join(map(str, marked))} all end in {_MARK}", _HINT)
    known = [number for number in numbers if number is not None]
    if len(known) < len(files) or len({file.parent for file in files}) > 1:
        raise Refused("images", "the names of the files do not show which frame is the first", _HINT)
    if known.count(min(known)) > 1:
        raise Refused("images", f"frame {min(known)} occurs twice: which one is the first?", _HINT)
    return Frames(1 + known.index(min(known)), numbers)


def anchored(question: str, images: int, anchor: int) -> str:
    """``question``, in which "the first image" means the anchor, with its number in the list.

    Refused if it calls two images the first one, because only one of them can be the anchor.
    """
    first = [name for name in image_names(question, images) if name.ordinal and name.number == 1]
    if anchor == 1 or not first:
        return question
    if len(first) > 1:
        raise Refused("question", f"names the first image {len(first)} times; the first frame is image {anchor}")
    before = re.sub(r"\bthe\s+$", "", question[: first[0].start], flags=re.IGNORECASE)
    return f"{before}Image-{anchor}{question[first[0].end :]}"


@refusing
def convert(value: Any, options: ImportOptions) -> list[Outcome]:
    """One sample per question; its id is the row's and the number of the question, from 1."""
    talk = conversation(value, "mgrounding", first=options.image_index_from, name_answers=True)
    # The task by the row's type, else by the folders of its first image, else the type itself.
    kind = name_or(talk.row.get("type"), "")
    words = [kind, *PurePosixPath(talk.images[0]).parts[:-1]]
    known = (_TASKS[word] for text in words for word in _WORDS.findall(text.lower()) if word in _TASKS)
    make = partial(_sample, talk, kind, next(known, kind or "grounding"))
    return each([(turn.id, turn) for turn in talk.turns], make)


def _sample(talk: Conversation, kind: str, task: str, name: str, turn: Turn) -> RawSample:
    turn.check("conversations")
    images, count = talk.images[: turn.images], turn.images
    if not count:
        raise Refused("images", "no image was shown before the question")
    frames = frames_of(images) if task == TRACKING else None
    question = anchored(turn.question, count, frames.anchor) if frames else turn.question
    phrases = [phrase for _, phrase in (*referred(question), *referred(turn.answer)) if phrase]
    named = {found.number for found in named_in(plain(question), count)}
    targets = _targets(task, turn.answer, question, count, frames, phrases[0] if phrases else "")
    meta: dict[str, Any] = {"type": kind} if kind else {}
    if phrases:
        meta["subject"] = phrases[0]
    if task == DIFFERENCE and count == 2 and not named and not image_names(turn.answer, count):
        meta["either_image"] = [1, 2]
    holding = {box.image for box in targets}
    shown = named - holding or ({1} - holding if task == "refer" else set())
    roles: list[Role] = ["reference" if k in shown else "candidate" for k in range(1, count + 1)]
    if frames:
        roles = ["reference" if k == frames.anchor else "frame" for k in range(1, count + 1)]
    elif task == REGION:
        roles = _region_roles(question, count)
    numbers = frames.numbers if frames else [None] * count
    return RawSample(
        id=name,
        task=task,
        images=tuple(RawImage(p, role=r, frame=n) for p, r, n in zip(images, roles, numbers, strict=True)),
        question=marked_up(question, count, "question", default=frames.anchor if frames else None),
        targets=targets,
        relation=_RELATIONS.get(task, "none"),
        image_hidden=task not in (TRACKING, REGION) and is_hidden(plain(question), count, targets),
        meta=meta,
    )


def _targets(
    task: str, answer: str, question: str, count: int, frames: Frames | None, subject: str
) -> tuple[RawBox, ...]:
    found = boxes_of(answer, count)
    images = [box.image for box in found]
    asked = asked_image(plain(question), count) if 0 in images else None
    if frames:
        if frames.anchor != 1 and any(n.ordinal and n.number == 1 for n in image_names(answer, count)):
            reason = f'"the first image" is image 1 of the list or the first frame, image {frames.anchor}'
            raise Refused("answer", reason)
        if 0 in images and len(images) > 1:
            raise Refused("answer", f"{len(images)} boxes without the names of their frames")
        if twice := [image for image in images if images.count(image) > 1]:
            raise Refused("answer", f"more than one box for Image-{min(twice)}")
        # The image that the question starts from is not the answer, even if it is the last name.
        asked = None if asked == frames.anchor else asked
    if task == REGION:
        if not {0, 1}.issuperset(images):
            raise Refused("answer", "names another image than the source, Image-1")
        asked = 1
    if task == DIFFERENCE and asked is None and count == 2:
        asked = 2  # an edited pair: the same place in both
    return placed(found, count, asked, subject)


def _region_roles(question: str, count: int) -> list[Role]:
    """The source, then its parts; the N-th of them is image N + 1. Refused if the region does not exist."""
    named = _CROP.search(question)
    asked = 1 + ordinals.number(named[1]) if named else 2 if count == 2 else None
    if asked is not None and not 2 <= asked <= count:
        raise Refused("question", f"region {asked - 1} does not exist, there are {count - 1}")
    return ["source", *("reference" if k == asked or asked is None else "distractor" for k in range(2, count + 1))]


_ABOUT = "MGrounding-630k: conversations, boxes in 0-1000"
SOURCE = Source("mgrounding", _ABOUT, json_rows, convert, "relative_1000", names_images=True)
