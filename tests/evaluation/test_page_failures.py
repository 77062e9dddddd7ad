"""The failure section of a page: models side by side on the same groups, whatever items each of them holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mirg.evaluation.compare import Evaluation
from mirg.evaluation.metrics import table
from mirg.evaluation.page_failures import failure_section
from mirg.evaluation.page_tables import task_tables
from mirg.evaluation.records import Record
from mirg.report.data import Failures

Make = Callable[..., Record]


def box(side: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, side, side)


@pytest.fixture
def section(make_one: Make) -> Failures:
    """40 items with 2 to 4 images and objects of four sizes: ``whole`` answers all, ``part`` some and half of them."""

    def one(k: int, right: bool) -> Record:
        n, side = 2 + k % 3, 0.2 + 0.2 * (k % 4)
        image = 1 + k % n
        said = image if right else image % n + 1
        text = f"<answer>Image-{said}: (0,0),({side * 1000:.0f},{side * 1000:.0f})</answer>"
        return make_one(text, name=f"s{k}", n_images=n, targets=((image, box(side)),))

    whole = tuple(one(k, True) for k in range(40))
    part = tuple(one(k, k % 2 == 0) for k in range(40) if 2 + k % 3 != 2)
    evaluations = [Evaluation(name, rows) for name, rows in (("part", part), ("whole", whole))]
    found = failure_section(evaluations)
    assert found is not None
    return found


def test_the_chance_of_a_task_is_beside_it(make_one: Make) -> None:
    rows = tuple(make_one("none", name=task, task=task) for task in "ab")
    levels = {"overall": {"joint_accuracy": 0.1}, "tasks": {"b": {"joint_accuracy": 0.3}}}
    joint, *_ = task_tables([Evaluation("m", rows, metrics=table(rows), chance=levels)])
    assert [(row.name, row.chance) for row in joint.rows] == [("a", None), ("b", 0.3), ("all, image hidden", None)]


def test_groups_are_those_of_all_models_in_order(section: Failures) -> None:
    names = {chart.title: [group.name for group in chart.groups] for chart in section.charts}
    assert names == {
        "joint Acc@0.5 by number of images": ["2", "3", "4"],
        "joint Acc@0.5 by place of the true image": ["1", "2", "3", "4"],
        "joint Acc@0.5 by size of the object": ["< 13 %", "13–26 %", "26–43 %", "≥ 43 %"],
        "image accuracy by number of images": ["2", "3", "4"],
        "image accuracy by place of the true image": ["1", "2", "3", "4"],
        "how often each image is named": ["1", "2", "3", "4", "none"],
        "mean IoU by size of the object": ["< 13 %", "13–26 %", "26–43 %", "≥ 43 %"],
        "share of boxes by IoU threshold": ["≥ 0.3", "≥ 0.5", "≥ 0.7"],
        "boxes with IoU ≥ 0.5 by size class": ["1–10 %", "≥ 10 %"],
        "joint Acc@0.5 by length of the answer": ["all"],
        "cut off at the limit by length of the answer": ["all"],
    }
    by_n = section.charts[0]
    assert by_n.series["part"][0] is None, "it holds no item with two images"
    assert [value.mean for value in by_n.series["whole"] if value] == [1.0, 1.0, 1.0]
    assert sum(group.n for group in by_n.groups) == 40


def test_sides_and_findings_are_of_each_model(section: Failures) -> None:
    """``part`` has too few boxes in the right image to say anything about their sides."""
    assert section.edges is not None and [(row.name, row.n) for row in section.edges.rows] == [("whole", 40)]
    assert [cell.mean for cell in section.edges.rows[0].cells.values()] == pytest.approx([0.0] * 4)
    assert all(words.startswith("part: ") for words in section.findings)


def test_lengths_are_those_of_all_models(make_one: Make) -> None:
    def rows(longest: int) -> tuple[Record, ...]:
        return tuple(make_one("none", name=f"s{k}").model_copy(update={"completion_tokens": k}) for k in range(longest))

    found = failure_section([Evaluation("short", rows(10)), Evaluation("long", rows(50))])
    assert found is not None
    (chart,) = [chart for chart in found.charts if chart.title.startswith("cut off")]
    assert [group.name for group in chart.groups] == ["< 6", "6–13", "14–25", "26–37", "≥ 38"]
    assert [value is None for value in chart.series["short"]] == [False, False, True, True, True]


def test_named_is_drawn_beside_what_is_true(section: Failures) -> None:
    (chart,) = [chart for chart in section.charts if chart.reference]
    whole = chart.series["whole"]
    assert [group.reference for group in chart.groups] == pytest.approx([value.mean for value in whole if value])


def test_matrices_and_histograms_are_of_each_model(section: Failures) -> None:
    assert [m.model for m in section.matrices] == [h.model for h in section.histograms] == ["part", "whole"]
    part, whole = section.histograms
    assert sum(whole.counts) == whole.counts[-1] == 40 and whole.above is not None and whole.above.mean == 1.0
    assert sum(part.counts) < 40 and section.matrix_note.startswith("40 items")
    for true, row in zip(section.matrices[1].rows, section.matrices[1].counts, strict=True):
        assert sum(row) == row[section.matrices[1].columns.index(true)], "all on the diagonal"
