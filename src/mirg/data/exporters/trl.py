"""TRL: ``sft.parquet`` (prompt, completion, images) and ``grpo.parquet`` (prompt, images, record).

Schema: "Dataset formats and types" of TRL, conversational, with an ``images`` column. The columns carry the features of
``datasets``, which opens the images when a row is taken. ``record`` is what ``mirg.rewards.trl`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mirg.data.exporters.files import TableWriter, arrow
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.engines.looking import shown_as

SFT_FILE, GRPO_FILE = "sft.parquet", "grpo.parquet"


def _schemas(_plan: Plan) -> dict[str, Any]:
    arrow()
    import datasets

    text = datasets.Value("string")
    turns = datasets.List({"role": text, "content": datasets.List({"type": text, "text": text})})
    common: dict[str, Any] = {"id": text, "prompt": turns, "images": datasets.List(datasets.Image(mode="RGB"))}
    more = {SFT_FILE: {"completion": turns}, GRPO_FILE: {"record": text}}
    return {name: datasets.Features(common | columns).arrow_schema for name, columns in more.items()}


def _rows(row: Row, _plan: Plan, _index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    images = [{"bytes": None, "path": path} for path in row.shown]
    common = {"id": row.sample.id, "prompt": row.messages, "images": images[: len(row.images)]}
    if row.completion is not None:
        # Only the last message carries loss, so each turn of a completion with looks is a row.
        said = list(row.messages)
        for k, turn in enumerate(row.turns):
            said += [shown_as(row.crops[k - 1][0])] if k else []
            answer = {"role": "assistant", "content": [{"type": "text", "text": turn}]}
            shown = images[: len(row.images) + k]
            yield SFT_FILE, common | {"prompt": [*said], "completion": [answer], "images": shown}
            said.append(answer)
    yield GRPO_FILE, common | {"record": row.record}


def _settings(plan: Plan) -> list[str]:
    edges = f"shortest_edge={plan.bounds.min_pixels}, longest_edge={plan.bounds.max_pixels}"
    return [
        *(f'load_dataset("parquet", data_files="{plan.out.absolute() / name}")' for name in (SFT_FILE, GRPO_FILE)),
        f"AutoProcessor.from_pretrained(MODEL, size=dict({edges}))",
        "SFTConfig(max_length=None)",
    ]


TRL = Format(name="trl", open=partial(TableWriter, _schemas, _rows), settings=_settings)
