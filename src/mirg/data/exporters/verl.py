"""verl: ``train.parquet`` with the columns of its RLHFDataset.

Schema: docs/preparation/prepare_data.rst of verl. Every image carries its pixel bounds, which ``qwen_vl_utils`` obeys.
``ground_truth`` is the sample's JSON, which ``mirg.rewards`` reads; ``extra_info["answer"]`` is the answer in words.
"""

from __future__ import annotations

from pathlib import Path

from mirg.data.exporters.files import Parquet, Tables, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, qwen_vl_utils

DATA_FILE = "train.parquet"


class VerlWriter(Tables):
    """Prompts with ground truth; a trajectory is not used."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        pa = arrow()
        text, whole = pa.string(), pa.int64()
        image = pa.struct({"image": text, "min_pixels": whole, "max_pixels": whole})
        info = {"index": whole, "id": text, "task": text, "family": text, "answer": text}
        schema = pa.schema(
            {
                "data_source": text,
                "prompt": pa.list_(pa.struct({"role": text, "content": text})),
                "images": pa.list_(image),
                "ability": text,
                "reward_model": pa.struct({"style": text, "ground_truth": text}),
                "extra_info": pa.struct(info),
            }
        )
        self._plan = plan
        self._table = Parquet(folder / DATA_FILE, schema)
        super().__init__(self._table)

    def add(self, row: Row) -> None:
        """Write one prompt."""
        sample, bounds = row.sample, self._plan.bounds
        pixels = {"min_pixels": bounds.min_pixels, "max_pixels": bounds.max_pixels}
        self._table.add(
            {
                "data_source": f"mirg/{sample.task}",
                "prompt": [{"role": "user", "content": row.prompt}],
                "images": [{"image": path} | pixels for path in row.images],
                "ability": "grounding",
                "reward_model": {"style": "rule", "ground_truth": row.record},
                "extra_info": {
                    "index": self._table.n,
                    "id": sample.id,
                    "task": sample.task,
                    "family": self._plan.family.name,
                    "answer": row.answer,
                },
            }
        )


def _settings(plan: Plan) -> list[str]:
    return [f"data.train_files={plan.out.absolute() / DATA_FILE}", "data.image_key=images", "data.prompt_key=prompt"]


VERL = Format(name="verl", open=VerlWriter, settings=_settings, resize=Resize(qwen_vl_utils))
