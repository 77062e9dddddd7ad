"""EasyR1: ``train.parquet`` with problem, answer and images.

Schema: README.md of EasyR1, "Custom Dataset". EasyR1 shrinks images before the processor sees them, boxes untouched, so
they are written for the shrunk ones. ``answer`` is the sample's JSON, which ``mirg.rewards`` reads; ``solution`` is the
answer in words.
"""

from __future__ import annotations

from pathlib import Path

from mirg.data.exporters.files import Parquet, Tables, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, shrunk
from mirg.frames import PixelLimits

DATA_FILE = "train.parquet"


class EasyR1Writer(Tables):
    """Prompts with ground truth; a trajectory is not used."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        pa = arrow()
        columns = {name: pa.string() for name in ("id", "task", "problem", "answer", "solution")}
        self._table = Parquet(folder / DATA_FILE, pa.schema(columns | {"images": pa.list_(pa.string())}))
        super().__init__(self._table)

    def add(self, row: Row) -> None:
        """Write one prompt."""
        self._table.add(
            {
                "id": row.sample.id,
                "task": row.sample.task,
                "problem": row.prompt,
                "answer": row.record,
                "solution": row.answer,
                "images": list(row.images),
            }
        )


def _settings(plan: Plan) -> list[str]:
    folder = plan.out.absolute()
    return [
        f"data.train_files={folder / DATA_FILE}",
        "data.prompt_key=problem data.answer_key=answer data.image_key=images data.format_prompt=null",
        f"data.image_dir={folder}",
        f"data.max_pixels={plan.bounds.max_pixels} data.min_pixels={plan.bounds.min_pixels}",
    ]


EASYR1 = Format(
    name="easyr1",
    open=EasyR1Writer,
    settings=_settings,
    resize=Resize(shrunk, PixelLimits(512 * 512, 2048 * 2048)),
)
