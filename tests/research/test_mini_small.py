"""mirg-mini-small: how small its targets are, what a look shows of them, and that it is the same each time."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mirg.answers.looks import Look, LookBudget, look_text, replay
from mirg.answers.markup import cited
from mirg.data.scenes.generate import keys, make_draft
from mirg.engines.looking import cut
from mirg.families import FAMILIES, PixelLimits
from mirg.frames import from_frame, to_frame
from mirg.geometry import share_inside
from mirg.samples import DatasetFolder, DatasetWriter
from mirg.study.plan import LOOKS
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.looks import sought
from research.mini_small import (
    CELLS,
    LOOK_SIDE,
    PER_TASK,
    SIDE,
    SMALL,
    SMALL_NAME,
    SMALL_SEED,
    SMALL_TASKS,
    looking,
    main,
    small_sample,
    square_around,
)  # fmt: skip

TINY = FAMILIES["mirg-tiny"]
SEEN = (96, 96)
LIMITS = PixelLimits(96 * 96, 96 * 96)


def test_targets_of_the_whole_benchmark() -> None:
    config = SMALL.model_copy(update={"side": CELLS})
    chosen = list(keys(list(SMALL_TASKS), PER_TASK * len(SMALL_TASKS), split="test", seed=SMALL_SEED))
    drafts = [make_draft(key, config) for key in chosen[::15]]  # of all tasks, because 15 and 8 share no factor
    areas = [(t.box[2] - t.box[0]) * (t.box[3] - t.box[1]) for draft in drafts for t in draft.targets]
    assert min(areas) > 0.0015 and max(areas) < 0.0065
    assert len(chosen) >= 800 and len(SMALL_TASKS) >= 6
    for target in (target for draft in drafts for target in draft.targets):
        numbers = to_frame(target.box, SEEN, TINY)
        assert from_frame(numbers, SEEN, TINY) == pytest.approx(target.box), "the model can write the exact box"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (2, 2)])
def test_a_look_shows_the_whole_object(width: int, height: int) -> None:
    """Wherever it is; the squares are on the steps of coordinates."""
    looks = set()
    for x, y in product(range(CELLS - width + 1), range(CELLS - height + 1)):
        box = (x / CELLS, y / CELLS, (x + width) / CELLS, (y + height) / CELLS)
        look = square_around(box)
        assert share_inside(box, look) == pytest.approx(1.0)
        assert [round(v * CELLS, 6) % 1 for v in look] == [0] * 4
        looks.add(look)
    assert len(looks) == 64


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, [str(tmp_path / "small"), "--per-task", "1"])
    assert done.exit_code == 0 and SMALL_NAME in done.output, done.output
    refused = CliRunner().invoke(app, [str(tmp_path / "small"), "--per-task", "1"])
    assert refused.exit_code == 2 and "exists already" in refused.stderr
    folder = DatasetFolder.open(tmp_path / "small")
    samples = list(folder)
    assert Counter(sample.task for sample in samples) == dict.fromkeys(SMALL_TASKS, 1)
    assert 2 * sum(sample.image_hidden for sample in samples) >= len(samples), "in half of the tasks or more"
    sample = next(sample for sample in samples if sample.task == "group_grounding")
    target = sample.targets[0]
    look = Look(target.image, square_around(target.box))
    (step,) = replay(
        f"<think>{look_text(look, sample.sizes, TINY)}", sample.sizes, TINY, LookBudget(max_looks=1), LIMITS
    )
    assert step.pixels and step.shown == SEEN, "a crop is as large as an image that mirg-tiny has seen"
    left, upper, right, lower = step.pixels
    assert (right - left, lower - upper) == (SIDE * LOOK_SIDE,) * 2 and right - left > SEEN[0]
    # The crop is of the original: enlarging what the model saw at first gives another, blurred one.
    original = folder.open_image(sample.images[target.image - 1])
    first = original.resize(SEEN)
    small = tuple(round(v * SEEN[0] / SIDE) for v in step.pixels)
    seen, blurred = cut(original, step.pixels, SEEN), cut(first, small, SEEN)  # type: ignore[arg-type]
    assert blurred.size == seen.size and seen.tobytes() != blurred.tobytes()
    for sample in samples:
        thinking = looking(sample).thinking
        looked = [image for image, _ in cited(thinking, "look")]
        assert len(looked) <= LOOKS, thinking
        if sample.image_hidden and sample.task != "counting":
            searched = [k for k, image in enumerate(sample.images, 1) if image.role != "reference"]
            assert [*dict.fromkeys(looked)] == searched, thinking
            (place,) = sorted(sample.target_images)[:1]
            assert re.search(rf"Image-{place}a: [\d,]+ {sought(sample)} Image-{place} <box", thinking), thinking
        else:
            asked = {image for image, _ in cited(sample.question)}
            assert set(looked) <= sample.target_images | asked, thinking
        assert sample.task != "odd_one_out" or "Image-1: " not in thinking, "the looks take the place of the list"


@pytest.mark.parametrize("task", SMALL_TASKS)
def test_what_a_chain_reads_off_its_crops(task: str, tmp_path: Path) -> None:
    """The box in the crop and that in the image are one place, every target is read off, and the checks agree."""
    with DatasetWriter(tmp_path / "small", name="small", description="", created_by="test") as writer:
        for key in keys([task], 12, split="train", seed=SMALL_SEED + 1):
            sample = small_sample(writer, key)
            writer.add(sample)
            told = looking(sample)
            assert not failures(verify(sample, told, family=TINY)), told.thinking
            looks, crops = cited(told.thinking, "look"), told.thinking.split("</look>")[1:]
            assert looks and len(looks) == len(crops)
            for (image, look), said in zip(looks, crops, strict=True):
                sentence = said.split(">.")[0] + ">"
                inner = [[int(n) for n in numbers.split(",")] for numbers in re.findall(r"(?<= )[\d,]{7,} ", sentence)]
                boxes = cited(sentence)
                assert boxes and len(inner) == len(boxes), sentence
                for numbers, (number, box) in zip(inner, boxes, strict=True):
                    assert number == image and max(numbers) <= 1000
                    placed = [look[k % 2] + LOOK_SIDE * value / 1000 for k, value in enumerate(numbers)]
                    assert placed == pytest.approx(box)
            read_off = [(k, pytest.approx(box)) for k, box in cited(told.thinking)]
            if len(sample.targets) == 1:
                assert (sample.targets[0].image, sample.targets[0].box) in read_off
                assert "Box:" not in told.thinking, "the answer repeats what was read off"
