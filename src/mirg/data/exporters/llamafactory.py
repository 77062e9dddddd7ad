"""LLaMA-Factory: ``sft.json`` in its sharegpt format with OpenAI tags, and the entry of ``dataset_info.json``.

Schema: data/README.md of LLaMA-Factory, "Multimodal Image Dataset" and "OpenAI Format".
"""

from __future__ import annotations

from pathlib import Path

from mirg.data.exporters.files import JsonList, Tables
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, llamafactory
from mirg.frames import PixelLimits
from mirg.storage import write_json_atomic

DATA_FILE = "sft.json"
INFO_FILE = "dataset_info.json"
DATASET_NAME = "mirg"


class LlamaFactoryWriter(Tables):
    """Rows with ``messages`` and ``images``; as many ``<image>`` as images."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._table = JsonList(folder / DATA_FILE)
        self._folder = folder
        super().__init__(self._table)

    def add(self, row: Row) -> None:
        """Write a sample that has a trajectory; others have no place here."""
        if row.completion is not None:
            messages = [{"role": "user", "content": row.prompt}, {"role": "assistant", "content": row.completion}]
            self._table.add({"messages": messages, "images": list(row.images)})

    def finish(self) -> dict[str, int]:
        """Complete the rows and write the entry that names their columns and tags."""
        write_json_atomic(self._folder / INFO_FILE, {DATASET_NAME: dataset_info()})
        return super().finish()


def dataset_info() -> dict[str, object]:
    """The entry of ``dataset_info.json``."""
    return {
        "file_name": DATA_FILE,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }


def _settings(plan: Plan) -> list[str]:
    return [
        f"dataset_dir: {plan.out.absolute()}",
        f"dataset: {DATASET_NAME}",
        f"image_max_pixels: {plan.bounds.max_pixels}",
        f"image_min_pixels: {plan.bounds.min_pixels}",
    ]


LLAMAFACTORY = Format(
    name="llamafactory",
    open=LlamaFactoryWriter,
    settings=_settings,
    sft_only=True,
    resize=Resize(llamafactory, PixelLimits(32 * 32, 768 * 768)),
)
