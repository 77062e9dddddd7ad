"""The choice of the inspected samples: spread over tasks, repeatable, and single rows read by their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.datasets import edit_rows, row, write_rows
from mirg.data.checks.sheet import choose
from mirg.data.rows import rows_at
from mirg.samples import DatasetFolder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    tasks = ["common"] * 20 + ["rare"] * 2 + ["other"] * 8
    rows = [row(f"s{k}", [0], task=task) for k, task in enumerate(tasks)]
    return write_rows(tmp_path_factory.mktemp("choice") / "d", rows)


def tasks_of(dataset: DatasetFolder, rows: tuple[int, ...]) -> list[str]:
    samples = rows_at(dataset, rows)
    return [samples[number].task for number in rows]


def test_tasks_come_in_turn(dataset: DatasetFolder) -> None:
    found = choose(dataset, 9)
    assert tasks_of(dataset, found.rows) == ["common", "other", "rare"] * 2 + ["common", "other"] + ["common"]
    assert found.tasks == {"common": 20, "other": 8, "rare": 2} and found.candidates == 30


def test_all_are_shown_where_there_is_room(dataset: DatasetFolder) -> None:
    assert sorted(choose(dataset, 30).rows) == list(range(1, 31)) == sorted(choose(dataset, 1000).rows)


def test_fewer_are_the_beginning_of_more(dataset: DatasetFolder) -> None:
    """Ranks decide, not the room: so raising --n adds samples and moves none."""
    assert choose(dataset, 12).rows[:6] == choose(dataset, 6).rows


def test_the_seed_chooses_and_the_order_of_rows_does_not(dataset: DatasetFolder, tmp_path: Path) -> None:
    def ids(folder: DatasetFolder, seed: int) -> list[str]:
        found = choose(folder, 8, seed=seed).rows
        samples = rows_at(folder, found)
        return [samples[number].id for number in found]

    assert ids(dataset, 0) == ids(dataset, 0) != ids(dataset, 1)
    turned = write_rows(tmp_path / "t", [row(f"s{k}", [0], task=s.task) for k, s in reversed(list(enumerate(dataset)))])
    assert ids(turned, 0) == ids(dataset, 0)


def test_one_task(dataset: DatasetFolder) -> None:
    found = choose(dataset, 5, task="other")
    assert set(tasks_of(dataset, found.rows)) == {"other"} and (len(found.rows), found.candidates) == (5, 8)
    assert choose(dataset, 5, task="nothing").rows == ()


def test_rejected_rows_are_counted_and_never_chosen(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "d", [row(f"s{k}", [0]) for k in range(5)])
    broken = edit_rows(folder, lambda rows: rows[2].pop("question"))
    found = choose(broken, 10)
    assert found.rejected == 1 and sorted(found.rows) == [1, 2, 4, 5]


def test_rows_that_hold_no_sample_are_left_out(tmp_path: Path) -> None:
    folder = write_rows(tmp_path / "d", [row("s0", [0]), row("s1", [0])])
    with (folder.root / "samples.jsonl").open("a") as stream:
        stream.write("\nnot json\n{}\n")
    assert {number: sample.id for number, sample in rows_at(folder, range(-1, 99)).items()} == {1: "s0", 2: "s1"}
    assert rows_at(folder, []) == {}
