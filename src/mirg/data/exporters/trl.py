"""TRL: ``sft.parquet`` (prompt, completion, images) and ``grpo.parquet`` (prompt, images, record).

Schema: "Dataset formats and types" of TRL, conversational, with an ``images`` column. The columns carry the features of
``datasets``, which opens the images when a row is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirg.data.exporters.files import Parquet, Tables, arrow
from mirg.data.exporters.plan import Format, Plan, Row

if TYPE_CHECKING:
    import datasets

SFT_FILE, GRPO_FILE = "sft.parquet", "grpo.parquet"


class TrlWriter(Tables):
    """Rows for SFTTrainer and GRPOTrainer; ``record`` is what ``mirg.rewards.trl`` reads."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        arrow()
        import datasets

        text = datasets.Value("string")
        turns = datasets.List({"role": text, "content": datasets.List({"type": text, "text": text})})
        common: dict[str, Any] = {"id": text, "prompt": turns, "images": datasets.List(datasets.Image(mode="RGB"))}
        self._sft = Parquet(folder / SFT_FILE, _schema(datasets.Features(common | {"completion": turns})))
        self._grpo = Parquet(folder / GRPO_FILE, _schema(datasets.Features(common | {"record": text})))
        super().__init__(self._sft, self._grpo)

    def add(self, row: Row) -> None:
        """Write the prompt, and the answer if there is a trajectory."""
        images = [{"bytes": None, "path": path} for path in row.images]
        common = {"id": row.sample.id, "prompt": row.messages, "images": images}
        if row.completion is not None:
            answer = [{"role": "assistant", "content": [{"type": "text", "text": row.completion}]}]
            self._sft.add(common | {"completion": answer})
        self._grpo.add(common | {"record": row.record})


def _schema(features: datasets.Features) -> Any:
    return features.arrow_schema


def _settings(plan: Plan) -> list[str]:
    edges = f"shortest_edge={plan.bounds.min_pixels}, longest_edge={plan.bounds.max_pixels}"
    return [
        *(f'load_dataset("parquet", data_files="{plan.out.absolute() / name}")' for name in (SFT_FILE, GRPO_FILE)),
        f"AutoProcessor.from_pretrained(MODEL, size=dict({edges}))",
        "SFTConfig(max_length=None)",
    ]


TRL = Format(name="trl", open=TrlWriter, settings=_settings)
