"""A dataset with reasoning, and engines whose answers to it are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.engines.base import Completion, Generation, Request
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target, Trajectory
from mirg.trajectories.checks import CHECKS

BOX = (0.1, 0.1, 0.5, 0.5)
RIGHT = "<think>hm</think><answer>Image-1: (100,100),(500,500)</answer>"
WRONG = "<think>hm</think><answer>Image-2: (100,100),(500,500)</answer>"


def write_reasoned(path: Path, n: int = 20) -> DatasetFolder:
    """``n`` samples of two images, the target in the first, each with a chain of reasoning."""
    with DatasetWriter(path, name="reasoned", description="Reasoned.", created_by="tests", seed=0) as writer:
        for k in range(n):
            images = [writer.add_image(Image.new("RGB", (40 + k, 32), (k * 9, 10 * j, 30)), f"{k}-{j}") for j in (0, 1)]
            targets = (Target(image=1, box=BOX, label="red ring"),)
            thinking = f"Target: red ring. Found: red ring Image-1. Box: <box image=1>{','.join(map(str, BOX))}</box>."
            writer.add(
                Sample(
                    id=f"s{k:02d}",
                    task=("refer", "region")[k % 2],
                    images=tuple(images),
                    question="Where is the red ring?",
                    targets=targets,
                    trajectory=Trajectory(
                        thinking=thinking, answer=targets, writer="rules", checks=tuple(CHECKS), meta={"own": k}
                    ),
                    meta={"own": k},
                )
            )
    return DatasetFolder.open(path)


@dataclass
class Dice(ScriptedEngine):
    """An engine whose j-th answer to a sample is right where ``lucky(sample id, j)``."""

    lucky: Callable[[str, int], bool] = lambda sample_id, j: True

    def sample(self, requests: Sequence[Request], settings: Generation, n: int) -> list[list[Completion]]:
        self.generate(requests, settings)
        texts = [[RIGHT if self.lucky(r.sample_id, j) else WRONG for j in range(n)] for r in requests]
        return [[Completion(text, 7, "stop" if j else "length") for j, text in enumerate(group)] for group in texts]


def dice(lucky: Callable[[str, int], bool], **settings: Any) -> Dice:
    """:class:`Dice` with this luck."""
    return Dice(lambda request, generation: "", lucky=lucky, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(folder: Path) -> list[dict[str, Any]]:
    """The rows of ``rejected.jsonl``."""
    file = folder / "rejected.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
