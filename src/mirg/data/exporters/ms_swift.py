"""ms-swift: ``sft.jsonl`` with answers and ``grpo.jsonl`` with prompts, in its standard format.

Schema: "Custom Dataset" in the documentation of ms-swift, "Multimodal" and "Grounding". With ``objects``,
texts hold ``<bbox>`` and the boxes travel as fractions, so that ms-swift writes the numbers for the model it trains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mirg.data.exporters.files import JsonLines, Tables
from mirg.data.exporters.plan import Format, Plan, Row
from mirg.data.exporters.resize import Resize, qwen_vl_utils

SFT_FILE, GRPO_FILE = "sft.jsonl", "grpo.jsonl"


class SwiftWriter(Tables):
    """Rows with ``messages``, ``images`` and, where asked for, ``objects``; prompts also with what rewards read."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._sft, self._grpo = JsonLines(folder / SFT_FILE), JsonLines(folder / GRPO_FILE)
        self._objects = plan.objects
        super().__init__(self._sft, self._grpo)

    def add(self, row: Row) -> None:
        """Write the prompt, and the answer if there is a trajectory."""
        user = {"role": "user", "content": row.prompt}
        if row.completion is not None:
            answer = {"role": "assistant", "content": row.completion}
            self._sft.add({"messages": [user, answer], "images": list(row.images)} | self._boxes(row, len(row.boxes)))
        prompt = {"messages": [user], "images": list(row.images)} | self._boxes(row, row.prompt_boxes)
        self._grpo.add(prompt | {"solution": row.answer, "record": row.record})

    def _boxes(self, row: Row, count: int) -> dict[str, Any]:
        """The first ``count`` boxes; image numbers count from 0 here."""
        if not self._objects:
            return {}
        boxes = row.boxes[:count]
        return {
            "objects": {
                "ref": [],
                "bbox": [list(box) for _, box in boxes],
                "bbox_type": "norm1",
                "image_id": [image - 1 for image, _ in boxes],
            }
        }


def _settings(plan: Plan) -> list[str]:
    folder = plan.out.absolute()
    lines = [f"export MAX_PIXELS={plan.bounds.max_pixels} MIN_PIXELS={plan.bounds.min_pixels}"]
    if plan.objects and (plan.style or plan.family.style) == "json":
        lines.append("export QWENVL_BBOX_FORMAT=new")
    return [
        *lines,
        f"swift sft --dataset {folder / SFT_FILE}",
        f"swift rlhf --rlhf_type grpo --dataset {folder / GRPO_FILE}",
    ]


MS_SWIFT = Format(
    name="ms-swift",
    open=SwiftWriter,
    settings=_settings,
    resize=Resize(qwen_vl_utils, in_cells=True),
    reserved=("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>"),
)
