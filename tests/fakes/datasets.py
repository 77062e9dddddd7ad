"""Dataset folders for tests, described by a few words per row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mirg.samples import DatasetFolder, DatasetWriter, Sample
from mirg.storage import digest_file

BOX = (0.25, 0.25, 0.75, 0.5)


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture with large structures, another one for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def row(name: str, images: Sequence[int], **fields: Any) -> dict[str, Any]:
    """One row: its id, the seeds of its images, and what differs from an ordinary one."""
    return {"id": name, "images": list(images), **fields}


def write_rows(folder: Path, rows: Sequence[dict[str, Any]], name: str = "") -> DatasetFolder:
    """A dataset of ``rows`` (see :func:`row`): each has its own question and one target in the last image."""
    with DatasetWriter(folder, name=name or folder.name) as out:
        for fields in rows:
            refs = [out.add_image(picture(seed), f"p{seed}") for seed in fields["images"]]
            noted = fields.get("refs") or [{} for _ in refs]
            sample = {
                "task": "refer",
                "question": f"Where is {fields['id']}?",
                "targets": [{"image": len(refs), "box": BOX, "label": "ring"}],
                **{key: value for key, value in fields.items() if key != "refs"},
                "images": [ref.model_dump() | more for ref, more in zip(refs, noted, strict=True)],
            }
            out.add(Sample.model_validate(sample))
    return DatasetFolder.open(folder)


def edit_rows(folder: DatasetFolder, change: Any) -> DatasetFolder:
    """``change(rows)`` applied to the dictionaries of samples.jsonl, written back and described by the card."""
    file = folder.root / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    change(rows)
    file.write_text("".join(json.dumps(value) + "\n" for value in rows), encoding="utf-8")
    card = json.loads((folder.root / "card.json").read_text(encoding="utf-8"))
    (folder.root / "card.json").write_text(json.dumps(card | {"digest": digest_file(file)}), encoding="utf-8")
    return DatasetFolder.open(folder.root)
