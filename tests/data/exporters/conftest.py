"""One dataset for every format: images of many shapes, targets in several of them or in none, boxes inside texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirg.answers import box_markup
from mirg.data.exporters.build import ExportReport, export_dataset, make_plan
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, ObjectNote, Sample, Target, Trajectory

N = 16
SHAPES = ((800, 450), (333, 77), (64, 640), (500, 420), (31, 29), (28, 56))


def random_box(rng: random.Random) -> tuple[float, float, float, float]:
    x, y = rng.uniform(0, 0.7), rng.uniform(0, 0.7)
    return (x, y, x + rng.uniform(0.1, 0.3), y + rng.uniform(0.1, 0.3))


def make_sample(rng: random.Random, number: int, refs: tuple[ImageRef, ...]) -> Sample:
    """Every second sample has a trajectory, every third a box in its question, every fifth no target."""
    targets = tuple(
        Target(image=rng.randint(1, len(refs)), box=random_box(rng), label=rng.choice(["", 'red "ring"', "köttel 環"]))
        for _ in range(0 if number % 5 == 0 else rng.randint(1, 3))
    )
    thinking = f"Image-1: something at {box_markup(1, random_box(rng))}. Then the rest."
    told = Trajectory(thinking=thinking, answer=targets, writer="rules", checks=("parses",))
    like = f" It looks like {box_markup(len(refs), random_box(rng))}." if number % 3 == 0 else ""
    return Sample(
        id=f"s{number}",
        task="refer" if number % 2 else "region",
        question=f"Where is thing {number}?{like}",
        images=refs,
        targets=targets,
        source="tests",
        trajectory=told if number % 2 == 0 else None,
        meta={"subject": "thing", "nested": {"a": [1, 2.5, None]}},
    )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """Sixteen samples. Not to be written to."""
    path = tmp_path_factory.mktemp("exports") / "source"
    rng = random.Random(5)
    with DatasetWriter(path, name="source", description="For tests.") as writer:
        for number in range(N):
            refs = []
            for k in range(rng.randint(1, 4)):
                size = rng.choice(SHAPES)
                ref = writer.add_image(Image.new("RGB", size, (number, k, 9)), f"i{number}-{k}")
                notes = (ObjectNote(label="cat", box=random_box(rng)),)
                refs.append(ref.model_copy(update={"objects": notes, "role": "candidate"}))
            writer.add(make_sample(rng, number, tuple(refs)))
    return DatasetFolder.open(path)


@pytest.fixture(scope="session")
def samples(dataset: DatasetFolder) -> dict[str, Sample]:
    """The samples by id."""
    return {sample.id: sample for sample in dataset}


@pytest.fixture
def exported(dataset: DatasetFolder, tmp_path: Path) -> Callable[..., tuple[Path, ExportReport]]:
    """``exported("verl", max_pixels=…)``: the folder and the report; ``source`` and what export_dataset takes, too."""

    def run(to: str, family: str = "qwen2.5-vl", name: str = "out", **options: Any) -> tuple[Path, ExportReport]:
        source = options.pop("source", dataset)
        placed = {key: options.pop(key) for key in ("copy", "relative", "look", "overwrite") if key in options}
        plan = make_plan(source, tmp_path / name, family, **options)
        return plan.out, export_dataset(source, plan, to, **placed)

    return run
