from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.engines import ScriptedEngine
from mirg.engines.base import Generation
from mirg.errors import EvaluationError
from mirg.evaluation.compare import Evaluation, compare, difference, load_evaluation, load_evaluations
from mirg.evaluation.failures import failures, size_edges_of
from mirg.evaluation.intervals import mean_interval, paired_difference
from mirg.evaluation.metrics import METRICS, table
from mirg.evaluation.page_tables import read_evaluation
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


@pytest.mark.parametrize("change", [{"targets": [(1, (0.0, 0.0, 0.5, 0.5))]}, {"images": "other"}, {"task": "other"}])
def test_the_same_id_must_be_the_same_sample(change: dict[str, Any], make_one: Make) -> None:
    a = Evaluation("a", (make_one(RIGHT, name="s"),))
    b = Evaluation("b", (make_one(RIGHT, name="s", **change),))
    with pytest.raises(EvaluationError, match="sample s"):
        difference(a, b)
    with pytest.raises(EvaluationError):
        compare([])


def test_image_sets_reach_every_number(make_one: Make) -> None:
    def drawn(name: str, seed: int) -> Evaluation:
        """40 items in 10 image sets, some of which ask for a small object."""
        rng = np.random.default_rng(seed)
        wide = rng.integers(200, 600, 40).tolist()
        texts = [f"<think>hm</think><answer>Image-2: (100,200),({x},600)</answer>" for x in wide]
        box = (0.1, 0.2, 0.5, 0.6), (0.1, 0.2, 0.2, 0.3)
        rows = [
            make_one(text, name=f"s{k}", images=f"i{k // 4}", task="xy"[k % 2], targets=[(2, box[k % 8 == 0])])
            for k, text in enumerate(texts)
        ]
        return Evaluation(name, tuple(rows))

    a, b = drawn("a", 1), drawn("b", 2)
    found = compare([a, b])
    (between,) = found["differences"]
    sets = [record.image_set for record in a.records]
    ious = [[record.iou for record in one.records] for one in (a, b)]
    expected = paired_difference(*ious, sets)
    cell = {name: getattr(expected, name) for name in ("mean", "low", "high", "p")}
    assert expected.n_sets == 10 and between["overall"]["mean_iou"] == pytest.approx(cell)
    edges = size_edges_of(a.records)
    for one, shown in zip((a, b), found["systems"], strict=True):
        assert shown["failures"] == failures(one.records, size_edges=edges)
        whole = table(one.records)
        assert {key: shown[key] for key in whole} == whole
        interval = mean_interval([record.iou for record in one.records], sets)
        cell = {name: getattr(interval, name) for name in ("mean", "low", "high")}
        assert shown["overall"]["mean_iou"] == pytest.approx(cell)


def test_failures_are_told_by_the_sizes_that_all_evaluations_share(make_one: Make) -> None:
    def sized(name: str, sides: Sequence[float]) -> Evaluation:
        boxes = [(0.1, 0.1, 0.1 + side, 0.1 + side) for side in sides]
        return Evaluation(
            name, tuple(make_one(RIGHT, name=f"{name}{k}", targets=[(2, b)]) for k, b in enumerate(boxes))
        )

    parts = sized("small", np.linspace(0.01, 0.1, 9).tolist()), sized("large", np.linspace(0.5, 0.8, 9).tolist())
    edges = size_edges_of([record for part in parts for record in part.records])
    for part, shown in zip(parts, compare(parts)["systems"], strict=True):
        assert shown["failures"] == failures(part.records, size_edges=edges)
        assert shown["failures"] != failures(part.records)


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
    (folders[1] / "records.jsonl").write_text(
        (folders[1] / "records.jsonl").read_text().replace("Image-1", "Image-2", 1)
    )
    with pytest.raises(EvaluationError, match="changed"):
        load_evaluation(folders[1])
    notes: list[str] = []
    assert read_evaluation("two", folders[1], notes).records and "was changed" in notes[0]
    (folders[0] / "summary.json").unlink()
    with pytest.raises(EvaluationError, match="not finished"):
        load_evaluation(folders[0])
    with pytest.raises(EvaluationError, match="not an evaluation"):
        load_evaluation(tmp_path)
