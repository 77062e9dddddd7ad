"""The rollouts on a page: groups as they were sampled, their advantages, and what cannot be read or found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mirg.evaluation.page_rollouts import GROUPS, STEPS, group_advantages, rollouts_section
from mirg.report.data import Rollouts
from mirg.samples import DatasetFolder

Row = dict[str, Any]


def line(step: int, sample: str, total: float = 0.5, **more: Any) -> Row:
    parts = {"format": 1.0, "image": 1.0, "object": total}
    row = {"step": step, "id": sample, "completion": f"{sample} {total}", "total": total, **parts}
    return row | {"reasons": {"object": "overlap is small"}, "boxes": [[2, 0.1, 0.2, 0.5, 0.9]]} | more


def section(
    folder: Path, rows: list[Row | str], recipe: str = "", data: Path | None = None
) -> tuple[Rollouts, list[str]]:
    folder.mkdir(exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "rollouts.jsonl").write_text("".join(f"{text}\n" for text in lines))
    (folder / "config.yaml").write_text(recipe)
    notes: list[str] = []
    found = rollouts_section("GRPO", folder, folder, data, notes)
    assert found is not None
    return found, notes


def test_groups_are_those_of_the_step_with_question_images_and_boxes(tmp_path: Path, data: Path) -> None:
    samples = list(DatasetFolder.open(data).read(lambda rejection: None))
    first, second = samples[0], samples[1]
    # One prompt comes twice in a step; the recipe says how large a group is.
    rows = [line(1, first.id, total) for total in (1.0, 0.0, 0.2, 0.2)] + [line(1, second.id, 0.3)] * 2
    found, notes = section(tmp_path / "run", rows, f"group_size: 2\ndata: {data}\n")
    assert not notes and "3 of the 3 groups of 1 steps" in found.note
    assert [group.sample_id for group in found.groups] == [first.id, first.id, second.id]
    assert [group.signal for group in found.groups] == ["learned from", "no signal", "no signal"]
    group = found.groups[0]
    assert group.task == first.task and len(group.pictures) == len(first.images)
    assert [mark.box for mark in group.true] == [target.box for target in first.targets]
    one = group.completions[0]
    assert [(part.name, part.value, part.reason) for part in one.parts] == [
        ("total", 1.0, None), ("format", 1.0, None), ("image", 1.0, None), ("object", 1.0, "overlap is small"),
    ]  # fmt: skip
    assert [(mark.image, mark.box) for mark in one.predicted] == [(2, (0.1, 0.2, 0.5, 0.9))]
    assert [(c.times, c.advantage) for c in found.groups[2].completions] == [(2, 0.0)], "equal texts are shown once"


def test_the_dataset_is_found_beside_a_run_that_was_moved(tmp_path: Path, data: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rl").symlink_to(data)
    sample = next(iter(DatasetFolder.open(data).read(lambda rejection: None)))
    found, notes = section(tmp_path / "grpo", [line(1, sample.id)], "data: /elsewhere/rl\n")
    assert not notes and found.groups[0].pictures
    found, notes = section(tmp_path / "grpo", [line(1, "unknown")], "data: /elsewhere/gone\n")
    assert notes == ["GRPO: the dataset gone was not found, so its rollouts have no images."]
    assert found.groups[0].completions[0].text == "unknown 0.5"


def test_steps_are_spread_from_the_first_to_the_last(tmp_path: Path) -> None:
    rows = [line(step, f"s{k}") for step in range(1, 1001, 10) for k in range(20)]
    found, _ = section(tmp_path / "run", rows)
    steps = sorted({group.step for group in found.groups})
    assert len(steps) == STEPS and steps[0] == 1 and steps[-1] == 991 and len(found.groups) == GROUPS
    gaps = np.diff(steps)
    assert gaps[:-1].max() <= 2 * gaps[:-1].min() and "out of 100 steps" in found.note


BROKEN: list[tuple[str, list[Row | str]]] = [
    ("a torn line", [line(1, "a"), '{"step": 2, "id"']),
    ("no object", [line(1, "a"), "[1]", "null"]),
    ("other types", [line(1, "a"), line(1, "b", id=7), line(1, "b", reasons=None), line(1, "b", completion=None)]),
    ("not finite", [line(1, "a"), line(1, "b", total=float("nan"))]),
    ("boxes", [line(1, "a", boxes=[[1, 2], "x", None, [1, 0.5, 0.5, 0.1, 0.1], [1, "a", 0, 1, 1]])]),
    ("boxes of an older run", [line(1, "a", boxes=None)]),
]


@pytest.mark.parametrize(("why", "rows"), BROKEN)
@pytest.mark.parametrize("recipe", ["", "group_size: many\ndata: 3\nadmission: 7\n", "[1]", "a: b: c"])
def test_what_cannot_be_read_is_left_out(tmp_path: Path, why: str, rows: list[Row | str], recipe: str) -> None:
    found, _ = section(tmp_path / "run", rows, recipe)
    assert [group.sample_id for group in found.groups] == ["a"], why


def test_a_run_without_rollouts_has_no_section(tmp_path: Path) -> None:
    assert rollouts_section("SFT", tmp_path, tmp_path, None, []) is None
    (tmp_path / "rollouts.jsonl").write_text("")
    assert rollouts_section("GRPO", tmp_path, tmp_path, None, []) is None


TOTALS = [0.9, 0.1, 0.4, 0.4]
STEP = [*TOTALS, 1.0, 1.0, 0.0, 0.5]
ADVANTAGES: list[tuple[str, Row, float]] = [
    ("group", {}, float(np.std(TOTALS, ddof=1)) + 1e-4),
    ("batch", {"scale_rewards": "batch"}, float(np.std(STEP, ddof=1)) + 1e-4),
    ("none", {"scale_rewards": "none"}, 1.0),
    ("weight", {"scale_rewards": "none", "admission": {"difficulty_weight": True}}, float(np.exp(np.mean(TOTALS) - 1))),
    ("relaxed gate", {"scale_rewards": "none", "admission": {"gate": 0.5, "gate_decay": 0.1}}, 1.0),
]


@pytest.mark.parametrize(("why", "recipe", "divisor"), ADVANTAGES)
def test_advantages(why: str, recipe: Row, divisor: float) -> None:
    rows = [line(3, "s", total) for total in TOTALS]
    expected = [(total - np.mean(TOTALS)) / divisor for total in TOTALS]
    assert group_advantages(rows, STEP, recipe) == pytest.approx(expected), why


def test_groups_without_an_advantage() -> None:
    rows = [line(1, "s", total) for total in TOTALS]
    assert group_advantages(rows, STEP, {"admission": {"gate": 0.5}}) == [0.0] * 4
    assert group_advantages(rows, STEP, {"admission": {"gate": 0.5, "policy": "off"}}) != [0.0] * 4
    assert group_advantages(rows, STEP, {"aggregation": "normalize_then_sum"}) == [None] * 4
    assert group_advantages(rows[:1], STEP, {}) == [0.0]
