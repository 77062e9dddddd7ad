"""What every arm and seed answered, item by item, small enough to publish: ``outcomes.jsonl``.

Each contrast can be computed again from it, and machines can share a study: what another one found is read from its
file and need not be trained again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mirg.config import load_recipe
from mirg.data.scenes.mini import MINI_NAME
from mirg.data.scenes.world import load_world
from mirg.errors import EvaluationError, first_problem
from mirg.evaluation.records import Record, make_record
from mirg.frames import MIRG_TINY
from mirg.samples import DatasetFolder
from mirg.storage import BadLine, digest_bytes, read_jsonl
from mirg.study.plan import StudyRecipe
from mirg.training.recipe import GrpoRecipe, SftRecipe
from mirg.trajectories.writer import OBJECT_WRITER, WRITER

OUTCOMES_FILE = "outcomes.jsonl"
DEFAULTS = 1  # raise it when a default of a stage's recipe gets another value
IOU_STEPS = 10_000  # an IoU is kept to four decimals


class Cell(BaseModel):
    """One arm and seed: ``image`` and ``joint`` hold a 1 for each item that is right, ``iou`` is in 1/10,000.

    Items are in the order of the benchmark. ``settings`` is a digest of everything that decides what the arm is
    (:func:`settings_digest`); ``numerics`` are the numbers it was evaluated in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    arm: str
    seed: int
    benchmark: str
    settings: str
    numerics: str
    tokens_generated: int
    tokens_trained: int
    image: str
    joint: str
    iou: tuple[int, ...]


def settings_digest(plan: StudyRecipe) -> str:
    """What two halves of a study must share, as a digest: benchmark, writers of trajectories, plan, world and recipes.

    Seeds, arms and the number type may differ. Values that are defaults are left out, so that a key that is new to the
    recipes does not part two halves; :data:`DEFAULTS` stands for them.
    """
    stages = (load_recipe(SftRecipe, plan.sft), load_recipe(GrpoRecipe, plan.grpo))
    parts: list[object] = [
        MINI_NAME,
        WRITER,
        OBJECT_WRITER,
        DEFAULTS,
        plan.model_dump(mode="json", exclude={"seeds", "arms", "dtype"}),
        load_world(plan.world).model_dump(mode="json", exclude_defaults=True),
    ]
    apart = {"dtype", "threads", "model", "data"}
    parts += [recipe.model_dump(mode="json", exclude=apart, exclude_defaults=True) for recipe in stages]
    return digest_bytes(json.dumps(parts, sort_keys=True).encode())[:16]


def answers(records: Sequence[Record], items: Sequence[str]) -> dict[str, object]:
    """The part of a :class:`Cell` that its evaluation says, in the order of ``items``, the ids of the benchmark.

    An evaluation has an order of its own. EvaluationError where it is about other items.
    """
    by_id = {record.id: record for record in records}
    if len(records) != len(items) or set(by_id) != set(items):
        raise EvaluationError(f"an evaluation of {len(records)} items is not about the {len(items)} of this study")
    ordered = [by_id[item] for item in items]
    return {
        "image": "".join(str(int(record.image_correct)) for record in ordered),
        "joint": "".join(str(int(record.joint)) for record in ordered),
        "iou": tuple(round(record.iou * IOU_STEPS) for record in ordered),
    }


def blank_records(benchmark: DatasetFolder) -> list[Record]:
    """A record of every item, as of an empty answer: what a cell is laid over."""
    return [make_record(sample, "", family=MIRG_TINY) for sample in benchmark]


def laid_over(cell: Cell, blank: Sequence[Record]) -> list[Record]:
    """The records of ``cell``, in what its metrics look at; EvaluationError where it is about other items."""
    if not len(cell.image) == len(cell.joint) == len(cell.iou) == len(blank):
        raise EvaluationError(
            f"the outcomes of {cell.arm}, seed {cell.seed}, are not about the {len(blank)} items of this study"
        )
    return [
        record.model_copy(update={"image_correct": image == "1", "joint": joint == "1", "iou": iou / IOU_STEPS})
        for record, image, joint, iou in zip(blank, cell.image, cell.joint, cell.iou, strict=True)
    ]


def load_cells(files: Iterable[Path], plan: StudyRecipe) -> list[Cell]:
    """The cells of several files; EvaluationError where a row is broken or was made with other settings."""
    wanted = settings_digest(plan)
    cells: list[Cell] = []
    for file in files:
        for number, row in read_jsonl(file):
            if isinstance(row, BadLine):
                raise EvaluationError(f"{file}, line {number}: {row.reason}")
            try:
                cell = Cell.model_validate(row)
            except ValidationError as error:
                field, reason = first_problem(error)
                raise EvaluationError(f"{file}, line {number}: {field}: {reason}") from error
            if cell.settings != wanted:
                raise EvaluationError(
                    f"{file}, line {number}: {cell.arm}, seed {cell.seed}, was made with other settings",
                    hint="the sizes and the stage recipes of both studies must be the same",
                )
            cells.append(cell)
    return cells
