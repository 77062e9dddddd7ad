"""A trainer for studies that trains nothing: it writes the metrics that a run would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mirg.models.load import SHIPPED


def write_run(recipe: Any, out: Path) -> Path:
    """Two steps of metrics; the shipped model replaces the trained one. What it starts from must be there."""
    if recipe.model != "mirg-tiny" and not Path(recipe.model).is_dir():
        raise FileNotFoundError(recipe.model)
    row = {"step": 2, "num_tokens": 100} if recipe.stage == "sft" else {"step": 2, "tokens/generated": 5.0}
    out.mkdir(parents=True)
    (out / "metrics.jsonl").write_text(json.dumps(row | {"tokens/trained": 7.0, "reward": 0.5}) + "\n")
    (out / "model").symlink_to(SHIPPED, target_is_directory=True)
    return Path("mirg-tiny")
