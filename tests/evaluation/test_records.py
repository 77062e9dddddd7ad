from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mirg.errors import EvaluationError, StorageError
from mirg.evaluation.metrics import METRICS, measure, table
from mirg.evaluation.records import Record, load_records
from mirg.storage import Journal

Make = Callable[..., Record]
RIGHT = "<think>Found: red ring Image-2.</think><answer>Image-2: (100,200),(500,600)</answer>"


@pytest.mark.parametrize(
    ("completion", "outcome", "metrics", "why"),
    [
        (RIGHT, "right", "IABCJ", "right"),
        ("<answer>Image-1: (100,200),(500,600)</answer>", "wrong_image", "ABC", "published metrics ignore the image"),
        ("<answer>Image-2: (600,700),(900,900)</answer>", "wrong_box", "I", "right image"),
        ("<answer>Image-2: (100,200),(500,450)</answer>", "right", "IABJ", "IoU 0.625"),
        ("<answer>(100,200),(500,600)</answer>", "wrong_image", "ABC", "no image named"),
        ("<answer>none</answer>", "wrong_image", "", "an answer, and wrong"),
        ("I do not know", "unreadable", "", "no answer"),
        ("", "unreadable", "", "nothing"),
    ],
)
def test_outcomes_and_metrics(make_one: Make, completion: str, outcome: str, metrics: str, why: str) -> None:
    record = make_one(completion)
    letters = {
        "I": record.image_correct,
        "A": record.correct_30,
        "B": record.correct_50,
        "C": record.correct_70,
        "J": record.joint,
    }
    assert record.outcome == outcome, why
    assert "".join(letter for letter, on in letters.items() if on) == metrics, why
    assert (record.failure is None) == (outcome != "unreadable")
    assert set(record.reasons) == {
        name
        for name, value in (
            ("format", record.format),
            ("image", record.image_reward),
            ("object", record.object_reward),
        )
        if value < 1
    }


def test_no_target(make_one: Make) -> None:
    assert make_one("<answer>none</answer>", targets=()).outcome == "right"
    assert make_one("<answer>Image-1: (0,0),(9,9)</answer>", targets=()).outcome == "wrong_image"
    unread = make_one("hm", targets=())
    assert unread.outcome == "unreadable" and not unread.image_correct and unread.iou == 0.0


def test_a_record_survives_its_file(make_one: Make, tmp_path: Path) -> None:
    texts = [RIGHT, "\ud800 lone surrogate", "<answer>Image-2: (1,2),(3,1e999)</answer>", "日本\u2028\x1b[31m", "nan"]
    records = [make_one(text, name=f"r{k}") for k, text in enumerate(texts)]
    with Journal(tmp_path / "records.jsonl") as journal:
        for record in records:
            journal.append(record.model_dump(mode="json"))
    assert load_records(tmp_path) == records == load_records(tmp_path / "records.jsonl")


def test_broken_files_are_named_with_their_row(make_one: Make, tmp_path: Path) -> None:
    good = make_one(RIGHT).model_dump_json()
    file = tmp_path / "records.jsonl"
    for bad, says in (("{", ":2"), ('{"id": "b"}', "task"), (good, "two rows"), (good[:40], ":2")):
        file.write_text(f"{good}\n{bad}\n")
        with pytest.raises(EvaluationError, match=says):
            load_records(file)
    with pytest.raises(StorageError):
        load_records(tmp_path / "absent.jsonl")


def test_the_table_of_metrics(make_one: Make) -> None:
    records = [
        make_one(RIGHT, name="a", task="x"),
        make_one("hm", name="b", task="x"),
        make_one("<answer>Image-1: (100,200),(500,600)</answer>", name="c", task="y", hidden=False),
        make_one(RIGHT, name="d", task="y"),
    ]
    found = table(records)
    assert found["overall"]["n"] == 4 and found["overall"]["n_sets"] == 4
    means = {name: found["overall"][name]["mean"] for name in METRICS}
    assert means["image_accuracy"] == 0.5 and means["acc_50"] == 0.75 and means["joint_accuracy"] == 0.5
    assert means["parse_failures"] == 0.25 and means["mean_iou"] == pytest.approx(0.75)
    assert found["tasks"]["x"]["joint_accuracy"]["mean"] == 0.5
    assert found["subsets"]["image_hidden"]["n"] == 3 and found["subsets"]["image_given"]["joint_accuracy"]["mean"] == 0
    assert found["outcomes"] == {"right": 2, "wrong_image": 1, "wrong_box": 0, "unreadable": 1}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for cell in map(measure(records).get, METRICS):
        assert 0 <= cell["low"] <= cell["mean"] <= cell["high"] <= 1
