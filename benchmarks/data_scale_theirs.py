"""The alternative of ``data_scale.py``: datasets reads the JSON and maps the same conversion over its rows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import datasets

from mirg.data.importers.finish import Job, finish
from mirg.data.importers.raw import ImportOptions, Row


def main() -> None:
    path, cache = sys.argv[1:]
    job = Job("mgrounding", ImportOptions(root=str(Path(path).parent), look="none"), "relative_1000", "images")

    def convert(batch: dict[str, list[Any]]) -> dict[str, list[str]]:
        names = list(batch)
        found: list[str] = []
        for values in zip(*batch.values(), strict=True):
            done = finish(job, Row("rows.json", 0, dict(zip(names, values, strict=True))))
            found += [row.line.decode() for row in done.written]
        return {"line": found}

    data = datasets.load_dataset("json", data_files=path, split="train", cache_dir=cache)
    made = data.map(convert, batched=True, batch_size=256, remove_columns=data.column_names)
    print(json.dumps({"lines": len(made)}))


if __name__ == "__main__":
    main()
