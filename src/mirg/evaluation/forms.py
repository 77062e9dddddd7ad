"""What a question shows to somebody who does not look at the images, and which items look alike to them.

The *form* of a question is the question without what it asks for: ``Find the [...].``. Two items of one wording (the
form without its numbers) and with as many images are one and the same to a blind policy, whatever task they belong to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mirg.answers.markup import cited, replaced
from mirg.evaluation.records import Record
from mirg.geometry import Box, box_problem

LEAST = 30  # items; the best of many answers on fewer says more about luck than about the benchmark

_IMAGE = re.compile(r"Image-\d{1,9}")

Group = tuple[str, list[Record]]  # what its items have in common, in words; the items


def wording(form: str) -> str:
    """The form without the numbers of images and boxes.

    >>> wording("Where is the object at <box image=1>0.1,0.2,0.3,0.4</box> of Image-1 in Image-3?")
    'Where is the object at [box] of Image-N in Image-N?'
    """
    return _IMAGE.sub("Image-N", replaced(form, lambda image, box: "[box]"))


def named_images(record: Record) -> list[int]:
    """The images that the question names outside its boxes, in order."""
    return [int(text[len("Image-") :]) for text in _IMAGE.findall(replaced(record.form, lambda image, box: ""))]


def given_boxes(record: Record) -> list[Box]:
    """The boxes that the question gives, in order; invalid ones are left out."""
    return [box for _, box in cited(record.form) if box_problem(box) is None]


def groups(records: Sequence[Record]) -> list[tuple[Group, list[Record]]]:
    """For every group in use: the group, and the records that it is the finest large one of; each record is in one.

    From fine to coarse: same wording and number of images; same wording; tasks joined by shared wordings. All but the
    last need :data:`LEAST` items. Questions that are all different thus leave every task by itself.
    """
    joined = _joined_tasks(records)
    members: dict[str, list[Record]] = {}
    keys = {record.id: _keys(record, joined) for record in records}
    for record in records:
        for key in keys[record.id]:
            members.setdefault(key, []).append(record)
    users: dict[str, list[Record]] = {}
    for record in records:
        *fine, last = keys[record.id]
        users.setdefault(next((key for key in fine if len(members[key]) >= LEAST), last), []).append(record)
    return [((key, members[key]), users[key]) for key in sorted(users)]


def _keys(record: Record, joined: dict[str, str]) -> list[str]:
    text = wording(record.form)
    fine = [f"{text} ({record.n_images} images)", text] if text else []
    return [*fine, joined[record.task]]


def _joined_tasks(records: Sequence[Record]) -> dict[str, str]:
    """For every task the tasks that share wordings with it, directly or through others."""
    sharing: dict[str, set[str]] = {}
    for record in records:
        sharing.setdefault(wording(record.form) or f"task {record.task}", set()).add(record.task)
    parts: list[set[str]] = []
    for tasks in sharing.values():
        touched = [part for part in parts if part & tasks]
        parts = [part for part in parts if not part & tasks] + [tasks.union(*touched)]
    return {task: f"task {', '.join(sorted(part))}" for part in parts for task in part}
