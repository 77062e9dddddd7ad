"""LLaMA-Factory: ``sft.json`` in its sharegpt format with OpenAI tags, and the entry of ``dataset_info.json``.

Schema: data/README.md of LLaMA-Factory, "Multimodal Image Dataset" and "OpenAI Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mirg.data.exporters.files import TableWriter
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, llamafactory
from mirg.families import PixelLimits

DATA_FILE = "sft.json"
INFO_FILE = "dataset_info.json"
DATASET_NAME = "mirg"


DATASET_INFO = {
    "file_name": DATA_FILE,
    "formatting": "sharegpt",
    "columns": {"messages": "messages", "images": "images"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
}


def _rows(row: Row, _plan: Plan, _index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if row.completion is not None:
        yield DATA_FILE, {"messages": row.conversation(), "images": row.shown}


def _settings(plan: Plan) -> list[str]:
    return [
        f"dataset_dir: {plan.out.absolute()}",
        f"dataset: {DATASET_NAME}",
        f"image_max_pixels: {plan.bounds.max_pixels}",
        f"image_min_pixels: {plan.bounds.min_pixels}",
    ]


LLAMAFACTORY = Format(
    name="llamafactory",
    open=partial(TableWriter, lambda _plan: {DATA_FILE: None}, _rows),
    settings=_settings,
    beside={INFO_FILE: {DATASET_NAME: DATASET_INFO}},
    sft_only=True,
    resize=Resize(llamafactory, PixelLimits(32 * 32, 768 * 768)),
)
