"""Make a model that ships with mirg out of a finished run: ``python -m research.perception.ship RUN [NAME]``.

NAME is ``mirg-tiny`` (a run of ``research.perception``) or ``mirg-tiny-photo`` (of ``research.photo``).

Weights in bfloat16, and beside them what made them: recipe, log, environment, digests, and the model card.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mirg.families import MIRG_TINY
from mirg.models.load import EMBEDDED_FOLDERS
from mirg.storage import seal_folder

WEIGHTS, CARD = "model.safetensors", "README.md"
FROM_RUN = {"config.yaml": "recipe.yaml", "metrics.jsonl": "log.jsonl"}


def main(run: Path, name: str = MIRG_TINY.name) -> None:
    """Write ``mirg/models/NAME`` again. Its model card, which is written by hand, is kept."""
    shipped = EMBEDDED_FOLDERS[name]
    card = (shipped / CARD).read_text() if (shipped / CARD).is_file() else ""
    shutil.rmtree(shipped, ignore_errors=True)
    shutil.copytree(run / "model", shipped, ignore=shutil.ignore_patterns(WEIGHTS))
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(run / "model" / WEIGHTS).items()}
    save_file(weights, shipped / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((shipped / "config.json").read_text())
    (shipped / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=2, sort_keys=True) + "\n")
    for name, kept in FROM_RUN.items():
        shutil.copy(run / name, shipped / kept)
    environment = json.loads((run / "environment.json").read_text())
    kept = {key: environment[key] for key in ("python", "cpus", "versions")}  # and no path of the machine
    (shipped / "environment.json").write_text(json.dumps(kept, indent=2) + "\n")
    (shipped / CARD).write_text(card)
    seal_folder(shipped, ignore=frozenset({CARD}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
