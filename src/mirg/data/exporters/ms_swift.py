"""ms-swift: ``sft.jsonl`` with answers and ``grpo.jsonl`` with prompts, in its standard format.

Schema: "Custom Dataset" in the documentation of ms-swift, "Multimodal" and "Grounding". With ``objects``,
texts hold ``<bbox>`` and the boxes travel as fractions, so that ms-swift writes the numbers for the model it trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from mirg.data.exporters.files import TableWriter
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, qwen_vl_utils
from mirg.rewards.plugins import for_ms_swift

SFT_FILE, GRPO_FILE = "sft.jsonl", "grpo.jsonl"


def _rows(row: Row, plan: Plan, _index: int) -> Iterator[tuple[str, dict[str, Any]]]:
    user = {"role": "user", "content": row.prompt}
    images = list(row.images)
    if row.completion is not None:
        yield SFT_FILE, {"messages": row.conversation(), "images": row.shown} | _objects(row, plan, len(row.boxes))
    prompt = {"messages": [user], "images": images} | _objects(row, plan, row.prompt_boxes)
    yield GRPO_FILE, prompt | {"solution": row.answer, "record": row.record}


def _objects(row: Row, plan: Plan, count: int) -> dict[str, Any]:
    """The first ``count`` boxes; image numbers count from 0 here."""
    if not plan.objects:
        return {}
    boxes, images = [list(box) for _, box in row.boxes[:count]], [image - 1 for image, _ in row.boxes[:count]]
    return {"objects": {"ref": [], "bbox": boxes, "bbox_type": "norm1", "image_id": images}}


def _settings(plan: Plan) -> list[str]:
    folder = plan.out.absolute()
    lines = [f"export MAX_PIXELS={plan.bounds.max_pixels} MIN_PIXELS={plan.bounds.min_pixels}"]
    if plan.objects and (plan.style or plan.family.style) == "json":
        lines.append("export QWENVL_BBOX_FORMAT=new")
    return [
        *lines,
        f"swift sft --dataset {folder / SFT_FILE}",
        f"swift rlhf --rlhf_type grpo --dataset {folder / GRPO_FILE}"
        f" --external_plugins {for_ms_swift.__file__} --reward_funcs mirg",
    ]


MS_SWIFT = Format(
    name="ms-swift",
    open=partial(TableWriter, lambda _plan: {SFT_FILE: None, GRPO_FILE: None}, _rows),
    settings=_settings,
    resize=Resize(qwen_vl_utils, in_cells=True),
    reserved=("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>"),
)
