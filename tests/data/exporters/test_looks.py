"""Trajectories with looks in the formats of other trainers: turns of a conversation, and the crops as files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.commands import invoke
from mirg.answers.looks import LookBudget, crop_pixels, joined, replay
from mirg.answers.markup import look_markup
from mirg.families import FAMILIES
from mirg.samples import DatasetWriter, Sample, Target, Trajectory

run = partial(invoke, "data", "export")
BOX, TARGET = (0.25, 0.25, 0.75, 0.5), Target(image=2, box=(0.4, 0.3, 0.45, 0.4), label="ring")


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sample whose trajectory looks twice at the same place, and one without looks."""
    folder = tmp_path_factory.mktemp("looking") / "data"
    with DatasetWriter(folder, name="looking") as out:
        images = [Image.linear_gradient("L").resize(size).convert("RGB") for size in [(120, 90), (400, 200)]]
        refs = tuple(out.add_image(image, f"i{k}") for k, image in enumerate(images))
        mark = look_markup(2, BOX)
        for k, chain in enumerate([f"A {mark} Image-2a: ring. {mark}Image-2b: ring.", "No look in Image-1."]):
            told = Trajectory(thinking=chain, answer=(TARGET,), writer="w")
            out.add(
                Sample(id=f"s{k}", task="refer", images=refs, question="Where?", targets=(TARGET,), trajectory=told)
            )
    return folder


def conversations(out: Path, to: str) -> list[dict[str, Any]]:
    if to == "llamafactory":
        return json.loads((out / "sft.json").read_text())
    return [json.loads(line) for line in (out / "sft.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("to", ["llamafactory", "ms-swift"])
def test_turns_and_crops(looking: Path, tmp_path: Path, to: str) -> None:
    done = run(looking, tmp_path / "out", "--to", to, "--looks", 2, "--crop-pixels", 20_000, "--family", "qwen3-vl")
    assert done.exit_code == 0, done.output
    first, second = conversations(tmp_path / "out", to)
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"] * 3
    assert [message["content"] for message in first["messages"][2::2]] == ["Image-2a: <image>", "Image-2b: <image>"]
    assert sum(message["content"].count("<image>") for message in first["messages"]) == len(first["images"]) == 4
    assert len(second["images"]) == 2 and len(second["messages"]) == 2
    whole = joined([message["content"] for message in first["messages"][1::2]])
    budget = LookBudget(max_looks=2, crop_pixels=20_000)
    steps = replay(whole, [(120, 90), (400, 200)], FAMILIES["qwen3-vl"], budget)
    assert [step.name for step in steps] == ["Image-2a", "Image-2b"]
    assert first["images"][2] == first["images"][3], "equal crops are one file"
    with Image.open(first["images"][2]) as crop:
        assert abs(crop.width * crop.height - 65_536) < 20_000  # the least that the family takes
        assert crop.width > crop.height
    assert crop_pixels(BOX, (400, 200)) == (100, 50, 300, 100)


def test_a_row_for_each_turn_in_trl(looking: Path, tmp_path: Path) -> None:
    from pyarrow import parquet

    done = run(looking, tmp_path / "out", "--to", "trl", "--looks", 2, "--family", "qwen3-vl")
    assert done.exit_code == 0, done.output
    rows = parquet.read_table(tmp_path / "out" / "sft.parquet").to_pylist()
    assert [(row["id"], len(row["images"]), len(row["prompt"])) for row in rows] == [
        *(("s0", 2, 1), ("s0", 3, 3), ("s0", 4, 5)),
        ("s1", 2, 1),
    ]
    shown = [part for message in rows[2]["prompt"] for part in message["content"] if part["type"] == "image"]
    assert len(shown) == 4 and rows[2]["completion"][0]["content"][0]["text"].startswith("Image-2b: ring.")


@pytest.mark.parametrize(
    ("more", "reason"), [((), "No look is left."), (("--looks", 2, "--objects"), "with --objects")]
)
def test_what_cannot_be_shown_is_left_out_by_name(looking: Path, tmp_path: Path, more: Any, reason: str) -> None:
    done = run(looking, tmp_path / "out", "--to", "ms-swift", *more)
    (left,) = (json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines())
    assert done.exit_code == 0 and left["id"] == "s0" and reason in left["reason"]
    assert len(conversations(tmp_path / "out", "ms-swift")) == 1
