"""verl: ``train.parquet`` with the columns of its RLHFDataset.

Schema: docs/preparation/prepare_data.rst of verl. Every image carries its pixel bounds, which ``qwen_vl_utils`` obeys.
``ground_truth`` is the record for ``mirg.rewards.plugins.for_verl``; ``extra_info["answer"]`` is the answer in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mirg.data.exporters.files import TableWriter, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, qwen_vl_utils

DATA_FILE = "train.parquet"


def _schemas(_plan: Plan) -> dict[str, Any]:
    pa = arrow()
    text, whole = pa.string(), pa.int64()
    image = pa.struct({"image": text, "min_pixels": whole, "max_pixels": whole})
    columns = {
        "data_source": text,
        "prompt": pa.list_(pa.struct({"role": text, "content": text})),
        "images": pa.list_(image),
        "ability": text,
        "reward_model": pa.struct({"style": text, "ground_truth": text}),
        "extra_info": pa.struct({"index": whole, "id": text, "task": text, "family": text, "answer": text}),
    }
    return {DATA_FILE: pa.schema(columns)}


def _rows(row: Row, plan: Plan, index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    sample, family = row.sample, plan.family.name
    pixels = {"min_pixels": plan.bounds.min_pixels, "max_pixels": plan.bounds.max_pixels}
    info = {"index": index, "id": sample.id, "task": sample.task, "family": family, "answer": row.answer}
    columns = {
        "data_source": f"mirg/{sample.task}",
        "prompt": [{"role": "user", "content": row.prompt}],
        "images": [{"image": path} | pixels for path in row.images],
        "ability": "grounding",
        "reward_model": {"style": "rule", "ground_truth": row.record},
        "extra_info": info,
    }
    yield DATA_FILE, columns


def _settings(plan: Plan) -> list[str]:
    return [
        f"data.train_files={plan.out.absolute() / DATA_FILE}",
        "data.image_key=images",
        "data.prompt_key=prompt",
        "reward.custom_reward_function.path=pkg://mirg.rewards.plugins.for_verl",
    ]


VERL = Format(name="verl", open=partial(TableWriter, _schemas, _rows), settings=_settings, resize=Resize(qwen_vl_utils))
