"""A small dataset of the project's own, and samples without files, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mirg.evaluation.records import Record, make_record
from mirg.families import FAMILIES
from mirg.geometry import Box
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Sample, Target

QWEN3 = FAMILIES["qwen3-vl"]
BOX: Box = (0.1, 0.2, 0.5, 0.6)


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """``make_sample(id, targets=[(image, box)], n_images=3, ...)``: a sample whose image files do not exist."""

    def make(
        name: str = "a",
        targets: Sequence[tuple[int, Box]] = ((2, BOX),),
        n_images: int = 3,
        task: str = "group_grounding",
        images: str | None = None,
        hidden: bool = True,
        question: str = "Where is the red ring?",
        subject: str | None = None,
    ) -> Sample:
        stem = images or name
        return Sample(
            id=name,
            task=task,
            images=tuple(ImageRef(path=f"images/{stem}-{k}.png", width=64, height=48) for k in range(n_images)),
            question=question,
            targets=tuple(Target(image=image, box=box, label="red ring") for image, box in targets),
            image_hidden=hidden,
            meta={} if subject is None else {"subject": subject},
        )

    return make


@pytest.fixture
def make_one(make_sample: Callable[..., Sample]) -> Callable[..., Record]:
    """``make_one(completion, **sample)``: the record of a completion in the 0-1000 frame."""
    return lambda completion, **sample: make_record(make_sample(**sample), completion, family=QWEN3)


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetFolder:
    """24 samples of three tasks on disk, two images each, the target alternating between them."""
    return build_dataset(tmp_path / "data")


def build_dataset(path: Path, n: int = 24) -> DatasetFolder:
    from PIL import Image

    tasks = ("common_object", "group_grounding", "refer")
    with DatasetWriter(path, name="small", created_by="tests", seed=0) as writer:
        for k in range(n):
            images = [writer.add_image(Image.new("RGB", (40 + k, 32), (k * 9, 10 * j, 30)), f"{k}-{j}") for j in (0, 1)]
            writer.add(
                Sample(
                    id=f"s{k:02d}",
                    task=tasks[k % 3],
                    images=tuple(images),
                    question="Where is the red ring?",
                    targets=(Target(image=1 + k % 2, box=(0.1, 0.1, 0.5, 0.5 + k / 100), label="red ring"),),
                    image_hidden=k % 3 == 1,
                )
            )
    return DatasetFolder.open(path)
