"""Make the model that ships with mirg out of a finished perception run: ``python -m research.perception.ship RUN``.

Weights in bfloat16, and beside them what made them: recipe, log, environment, digests, and the model card.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mirg.models.load import SHIPPED
from mirg.storage import seal_folder

WEIGHTS, CARD = "model.safetensors", "README.md"
FROM_RUN = {"config.yaml": "recipe.yaml", "metrics.jsonl": "log.jsonl"}


def main(run: Path) -> None:
    """Write ``mirg/models/mirg-tiny`` again. Its model card, which is written by hand, is kept."""
    card = (SHIPPED / CARD).read_text() if (SHIPPED / CARD).is_file() else ""
    shutil.rmtree(SHIPPED, ignore_errors=True)
    shutil.copytree(run / "model", SHIPPED, ignore=shutil.ignore_patterns(WEIGHTS))
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(run / "model" / WEIGHTS).items()}
    save_file(weights, SHIPPED / WEIGHTS, metadata={"format": "pt"})
    config = json.loads((SHIPPED / "config.json").read_text())
    (SHIPPED / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}, indent=2, sort_keys=True) + "\n")
    for name, kept in FROM_RUN.items():
        shutil.copy(run / name, SHIPPED / kept)
    environment = json.loads((run / "environment.json").read_text())
    kept = {key: environment[key] for key in ("python", "cpus", "versions")}  # and no path of the machine
    (SHIPPED / "environment.json").write_text(json.dumps(kept, indent=2) + "\n")
    (SHIPPED / CARD).write_text(card)
    seal_folder(SHIPPED, ignore=frozenset({CARD}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
