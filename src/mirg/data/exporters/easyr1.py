"""EasyR1: ``train.parquet`` with problem, answer and images.

Schema: README.md of EasyR1, "Custom Dataset". EasyR1 shrinks images before the processor sees them, boxes untouched, so
they are written for the shrunk ones. ``answer`` is the record for ``mirg.rewards.plugins.for_easyr1``; ``solution`` is
the answer in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mirg.data.exporters.files import TableWriter, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, shrunk
from mirg.families import PixelLimits
from mirg.rewards.plugins import for_easyr1

DATA_FILE = "train.parquet"


def _schemas(_plan: Plan) -> dict[str, Any]:
    pa = arrow()
    columns = {name: pa.string() for name in ("id", "task", "problem", "answer", "solution")}
    return {DATA_FILE: pa.schema(columns | {"images": pa.list_(pa.string())})}


def _rows(row: Row, _plan: Plan, _index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    texts = {"problem": row.prompt, "answer": row.record, "solution": row.answer}
    yield DATA_FILE, {"id": row.sample.id, "task": row.sample.task, **texts, "images": list(row.images)}


def _settings(plan: Plan) -> list[str]:
    folder = plan.out.absolute()
    return [
        f"data.train_files={folder / DATA_FILE}",
        "data.prompt_key=problem data.answer_key=answer data.image_key=images data.format_prompt=null",
        f"data.image_dir={folder}",
        f"data.max_pixels={plan.bounds.max_pixels} data.min_pixels={plan.bounds.min_pixels}",
        f"worker.reward.reward_function={for_easyr1.__file__}:compute_score",
    ]


EASYR1 = Format(
    name="easyr1",
    open=partial(TableWriter, _schemas, _rows),
    settings=_settings,
    resize=Resize(shrunk, PixelLimits(512 * 512, 2048 * 2048)),
)
