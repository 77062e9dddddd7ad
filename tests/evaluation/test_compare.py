from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.engines import ScriptedEngine
from mirg.engines.base import Generation
from mirg.errors import EvaluationError
from mirg.evaluation.compare import Evaluation, compare, difference, load_evaluation, load_evaluations, paired
from mirg.evaluation.metrics import METRICS
from mirg.evaluation.records import Record
from mirg.evaluation.runner import Plan, evaluate
from mirg.samples import DatasetFolder

Make = Callable[..., Record]
RIGHT = "<think>hm</think><answer>Image-2: (100,200),(500,600)</answer>"


def system(make_one: Make, name: str, right: int, n: int = 40, first: int = 0) -> Evaluation:
    records = [make_one(RIGHT if k < right else "hm", name=f"s{k}", task="xy"[k % 2]) for k in range(first, n)]
    return Evaluation(name, tuple(records), {"model": name})


def test_side_by_side(make_one: Make) -> None:
    found = compare([system(make_one, "base", 5), system(make_one, "sft", 25), system(make_one, "rl", 35)])
    assert [s["name"] for s in found["systems"]] == ["base", "sft", "rl"]
    assert [s["overall"]["joint_accuracy"]["mean"] for s in found["systems"]] == [0.125, 0.625, 0.875]
    assert [(d["a"], d["b"]) for d in found["differences"]] == [("base", "sft"), ("base", "rl"), ("sft", "rl")]
    gain = found["differences"][2]["overall"]["joint_accuracy"]
    assert gain["mean"] == pytest.approx(0.25) and gain["low"] > 0 and gain["p"] < 0.01
    assert set(found["differences"][0]["tasks"]) == {"x", "y"} and set(found["chance"]["tasks"]) == {"x", "y"}
    assert found["notes"] == []
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_only_common_samples_are_paired(make_one: Make) -> None:
    a, b = system(make_one, "a", 10, n=30), system(make_one, "b", 40, n=40, first=10)
    found = difference(a, b)
    assert (found["n"], found["only_a"], found["only_b"]) == (20, 10, 10)
    assert found["overall"]["joint_accuracy"]["mean"] == 1.0
    assert "same samples" in compare([a, b])["notes"][0]
    apart = difference(system(make_one, "a", 1, n=5), system(make_one, "b", 1, n=9, first=6))
    assert apart["n"] == 0 and apart["overall"] is None


def test_the_same_id_must_be_the_same_sample(make_one: Make) -> None:
    a = Evaluation("a", (make_one(RIGHT, name="s"),))
    b = Evaluation("b", (make_one(RIGHT, name="s", targets=[(1, (0.0, 0.0, 0.5, 0.5))]),))
    with pytest.raises(EvaluationError, match="sample s"):
        difference(a, b)
    with pytest.raises(EvaluationError):
        paired(a.records, [make_one(RIGHT, name="t")])
    with pytest.raises(EvaluationError):
        compare([])


def test_other_settings_are_noted(make_one: Make) -> None:
    a, b = system(make_one, "a", 1, n=4), system(make_one, "b", 1, n=4)
    a.settings["generation"], b.settings["generation"] = {"temperature": 0.0}, {"temperature": 1.0}
    assert compare([a, b])["notes"] == ["The evaluations differ in: generation."]


def test_folders(dataset: DatasetFolder, tmp_path: Path) -> None:
    plan = Plan(generation=Generation(batch_size=8))
    folders = [tmp_path / "one" / "eval", tmp_path / "two" / "eval"]
    for folder in folders:
        evaluate(ScriptedEngine(lambda request, settings: RIGHT), dataset, folder, plan)
    loaded = load_evaluations(folders)
    assert [e.name for e in loaded] == ["one/eval", "two/eval"] and len(loaded[0].records) == 24
    found = compare(loaded)
    assert all(found["differences"][0]["overall"][name]["mean"] == 0.0 for name in METRICS)
    with pytest.raises(EvaluationError, match="twice"):
        load_evaluations([folders[0], folders[0]])
    (folders[0] / "summary.json").unlink()
    with pytest.raises(EvaluationError, match="not finished"):
        load_evaluation(folders[0])
    with pytest.raises(EvaluationError, match="not an evaluation"):
        load_evaluation(tmp_path)
