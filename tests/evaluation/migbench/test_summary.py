from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from fakes.migbench import ROWS, annotation_rows, revised_rows, write_annotations, write_responses
from fakes.official import oracle_box, oracle_iou, random_response
from mirg.data.importers.migbench import load_annotations
from mirg.errors import ConfigError, DataError, EvaluationError
from mirg.evaluation.migbench.published import PUBLISHED
from mirg.evaluation.migbench.responses import load_responses
from mirg.evaluation.migbench.summary import compare_scores, protocols, score_all, summarise
from mirg.families import FAMILIES

QWEN3 = FAMILIES["qwen3-vl"]
WHOLE = "(0,0),(999,999)"

# Always the whole image, Acc@0.5 in percent, as published with the benchmark's description.
TRIVIAL = {
    "diff": 9.85,
    "view_diff": 0.0,
    "common_object": 26.47,
    "object_tracking": 2.18,
    "multi_view": 1.04,
    "region": 0.0,
    "refer_grounding": 1.01,
    "group_grounding": 15.83,
    "reasoning": 0.99,
    "correspondence": 0.85,
}


def perfect(index: int) -> str:
    row, images = ROWS[index]
    x1, y1, x2, y2 = (round(1000 * v) for v in row["answer"])
    return f"<think>(2,2),(4,4)</think><answer>Image-{images[0]}: ({x1},{y1}),({x2},{y2})</answer>"


def run(tmp_path: Path, responses: Path, choice: str = "both") -> tuple[list[dict], dict]:
    annotations = load_annotations(write_annotations(tmp_path / "a.json"))
    given = load_responses(responses, len(annotations.items))
    scores = score_all(annotations, given, protocols(choice), QWEN3)
    return [score.row() for score in scores], summarise(annotations, given, scores)


def test_rows_and_summary(tmp_path: Path) -> None:
    texts = {index: perfect(index) for index in range(len(ROWS))}
    rows, summary = run(tmp_path, write_responses(tmp_path / "r.jsonl", texts))
    assert [set(row) for row in rows] == [{"index", "task", "official", "strict"}] * len(ROWS)
    assert all(set(row["strict"]) == {"iou", "image_ok", "failure"} for row in rows)
    # The box in the thinking comes first, so official scores that one; strict reads the answer.
    assert summary["official"]["mean"]["acc@0.5"] == 0.0
    unmeetable = {3, 10}  # an inverted truth, a truth outside its image (the answer then is outside, too)
    assert {row["index"] for row in rows if row["strict"]["iou"] < 0.99} == unmeetable
    assert summary["strict"]["tasks"]["common_object"]["acc@0.5"] == 50.0
    assert summary["strict"]["failure_reasons"] == {"inverted box": 1, "box outside the image": 1}
    only_strict = summary["differences"]["strict only: another box or frame was read"]
    assert only_strict["count"] == len(ROWS) - len(unmeetable)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_the_mean_is_the_unweighted_mean_of_tasks(tmp_path: Path) -> None:
    _, summary = run(
        tmp_path, write_responses(tmp_path / "r.jsonl", dict.fromkeys(range(len(ROWS)), WHOLE)), "official"
    )
    tasks = summary["official"]["tasks"]
    assert list(summary["official"]["mean"]) == ["acc@0.3", "acc@0.5", "acc@0.7", "mean_iou", "intervals"]
    for column in ("acc@0.3", "acc@0.5", "acc@0.7", "mean_iou"):
        value = summary["official"]["mean"][column]
        assert value == pytest.approx(sum(task[column] for task in tasks.values()) / 10)
    assert "strict" not in summary and "differences" not in summary


def test_the_official_tables_over_random_responses(tmp_path: Path) -> None:
    """Promise 20: the summary of a file equals a second computation, item by item, after the published description."""
    rng = random.Random(64)
    rows = [dict(rng.choice(annotation_rows()), additional_info=str(k)) for k in range(3_000)]
    annotations = load_annotations(write_annotations(tmp_path / "a.json", rows))
    texts = {k: random_response(rng) for k in range(len(rows)) if rng.random() < 0.95}
    for k in list(texts)[::3]:  # random boxes rarely meet the truth: thresholds need some that nearly do
        truth = rows[k]["answer"]
        x1, y1, x2, y2 = (round(1000 * (v + rng.choice((0.0, 0.02, 0.05, 0.1)) * rng.random())) for v in truth)
        texts[k] = f"{rng.choice(('', 'It is ', '<think>hm</think>'))}({x1},{y1}),({x2},{y2})"
    given = load_responses(write_responses(tmp_path / "r.jsonl", texts), len(rows))
    scores = score_all(annotations, given, protocols("both"), QWEN3)
    summary = summarise(annotations, given, scores)
    found, given_rows, differences = summary["official"], summary["responses"], summary["differences"]
    missing = [k for k in range(len(rows)) if k not in texts]
    assert len(missing) > 50 and given_rows["missing_indices"] == missing[:50]
    counts = [kind["count"] for kind in differences.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] > 50 and len(set(counts)) > 1
    backwards = summarise(annotations, given, scores[::-1])["differences"]
    assert [kind["count"] for kind in backwards.values()] == counts
    assert sum(counts) == sum((score.official >= 0.5) != (score.strict.iou >= 0.5) for score in scores)
    assert all(kind["indices"] == sorted(kind["indices"])[:50] for kind in differences.values())

    ious: dict[str, list[float]] = {}
    for k, row in enumerate(rows):
        box = oracle_box(texts[k]) if k in texts else None
        ious.setdefault(row["task"], []).append(0.0 if box is None else oracle_iou(tuple(row["answer"]), box))
    assert len(ious) == 10 and set(found["tasks"]) == set(ious)
    headline = 0.0
    for task, values in ious.items():
        for threshold in (0.3, 0.5, 0.7):
            right = len([value for value in values if value >= threshold])
            assert found["tasks"][task][f"acc@{threshold}"] == 100.0 * right / len(values), (task, threshold)
        assert found["tasks"][task]["mean_iou"] == pytest.approx(100.0 * sum(values) / len(values), rel=1e-12)
        headline += found["tasks"][task]["acc@0.5"] / 10
    assert found["mean"]["acc@0.5"] == pytest.approx(headline, rel=1e-12)
    assert found["mean"]["acc@0.3"] > found["mean"]["acc@0.5"] > found["mean"]["acc@0.7"] > 5.0, "all three tell apart"


def test_missing_responses_are_wrong_and_counted(tmp_path: Path) -> None:
    rows, summary = run(tmp_path, write_responses(tmp_path / "r.jsonl", {0: "Image-1: (100,100),(500,500)"}))
    assert summary["responses"]["missing"] == len(ROWS) - 1
    assert summary["responses"]["missing_indices"] == list(range(1, len(ROWS)))
    assert rows[5]["official"] == {"iou": 0.0}
    assert rows[5]["strict"] == {"iou": 0.0, "image_ok": False, "failure": "missing response"}
    assert summary["strict"]["tasks"]["diff"]["acc@0.5"] == 100.0
    assert summary["strict"]["tasks"]["region"]["missing"] == 2


def test_rows_that_cannot_be_used_are_counted_by_kind(tmp_path: Path) -> None:
    lines = [
        '{"index": 0, "response": "Image-1: (100,100),(500,500)"}',
        "{broken",
        "[1, 2]",
        '{"index": 99, "response": "x"}',
        '{"index": -1, "response": "x"}',
        '{"index": "1", "response": "x"}',
        '{"index": true, "response": "x"}',
        '{"response": "x"}',
        '{"index": 1, "response": null}',
        '{"index": 0, "response": "a later answer"}',
        '{"index": 2, "respon',
    ]
    file = tmp_path / "r.jsonl"
    file.write_text("\n".join(lines))
    rows, summary = run(tmp_path, file)
    given = summary["responses"]
    assert given["problems"] == {"broken": 3, "bad_index": 3, "out_of_range": 2, "bad_response": 1, "duplicate": 1}
    assert given["rows"] == len(lines) == given["used"] + sum(given["problems"].values())
    assert rows[0]["strict"]["iou"] == pytest.approx(1.0), "the first of two responses counts"
    assert all(problem["detail"] for problem in given["problem_rows"])


def test_the_interval_of_the_mean_of_tasks(tmp_path: Path) -> None:
    """Two tasks of 40 and 10 image sets, each with its own share: the variance of the mean is that of two means."""
    rows = [dict(ROWS[1][0], images=[f"a{k}", f"b{k}"]) for k in range(40)]
    rows += [dict(ROWS[9][0], images=[f"c{k}", f"d{k}"]) for k in range(10)]
    annotations = load_annotations(write_annotations(tmp_path / "a.json", rows))
    right = [k % 2 == 0 if k < 40 else k % 5 == 0 for k in range(50)]  # 20 of 40 and 2 of 10
    boxes = ["({},{}),({},{})".format(*(round(1000 * v) for v in row["answer"])) for row in rows]
    texts = {k: boxes[k] if right[k] else "(0,0),(1,1)" for k in range(50)}
    given = load_responses(write_responses(tmp_path / "r.jsonl", texts), 50)
    scores = score_all(annotations, given, ("official",), QWEN3)
    mean = summarise(annotations, given, scores)["official"]["mean"]
    assert mean["acc@0.5"] == pytest.approx((50 + 20) / 2)
    spread = 100 * math.sqrt((0.5 * 0.5 / 40 + 0.2 * 0.8 / 10) / 4)
    low, high = mean["intervals"]["acc@0.5"]
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)

    better = {k: boxes[k] if right[k] or k in (1, 3, 41) else texts[k] for k in range(50)}  # 2 of 40 and 1 of 10 more
    others = score_all(
        annotations, load_responses(write_responses(tmp_path / "b.jsonl", better), 50), ("official",), QWEN3
    )
    found = compare_scores(scores, others)["official"]
    assert found["mean"]["mean"] == pytest.approx((5 + 10) / 2) and found["mean"]["low"] <= 0.0 < found["mean"]["high"]
    assert {task: cell["mean"] for task, cell in found["tasks"].items()} == pytest.approx(
        {"view_diff": 5.0, "reasoning": 10.0}
    )
    assert compare_scores(others, scores)["official"]["mean"]["mean"] == pytest.approx(-7.5)
    with pytest.raises(EvaluationError, match="not about the same items"):
        compare_scores(scores, others[::-1])


def test_the_revised_version_has_its_own_protocol_and_published_rows(tmp_path: Path) -> None:
    rows = [row for row, _ in revised_rows()]
    annotations = load_annotations(write_annotations(tmp_path / "a.json", rows), revised=None)
    assert annotations.revised
    texts = {k: "[{}, {}, {}, {}]".format(*row["answer"]) for k, row in enumerate(rows)}
    texts[0] = "[{}, {}, {}, {}]".format(*(v / 1000 for v in rows[0]["answer"]))  # decimals are no box there
    given = load_responses(write_responses(tmp_path / "r.jsonl", texts), len(rows), revised=True)
    scores = score_all(annotations, given, protocols("all"), QWEN3)
    summary = summarise(annotations, given, scores)
    assert summary["benchmark"] == "MIG-Bench (revised)"
    assert [score.official for score in scores[:3]] == [0.0, 1.0, 1.0]
    assert {row["model"] for row in summary["published"]} >= {"UniVG-R1 (7B)"} and summary["official"]["mean"][
        "acc@0.5"
    ]
    assert summary["strict"]["mean"]["acc@0.5"] == 0.0, "no image is named"
    hidden = summary["strict-box"]["tasks"]["group_grounding"]
    assert (hidden["acc@0.5"], hidden["image_accuracy"]) == (0.0, 0.0)
    assert summary["strict-box"]["tasks"]["refer_grounding"]["acc@0.5"] == 100.0
    assert set(scores[1].row()) == {"index", "task", *protocols("all")}


def test_every_published_row_has_the_mean_of_its_tasks() -> None:
    for rows in PUBLISHED.values():
        for row in rows:
            assert not row.tasks or (len(row.tasks) == 10 and sum(row.tasks) / 10 == pytest.approx(row.mean, abs=0.03))


def test_records_of_an_evaluation_are_responses(tmp_path: Path) -> None:
    rows = [
        {"id": "migbench-0001", "completion": "one", "task": "diff"},
        {"id": "migbench-0000", "completion": "zero"},
        {"id": "migbench-revised-0002", "completion": "of the other version"},
        {"id": "sample-3", "completion": "of another dataset"},
    ]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = load_responses(tmp_path, 4)
    assert given.texts == {1: "one", 0: "zero"}
    assert [(problem.row, problem.kind) for problem in given.problems] == [(3, "bad_index"), (4, "bad_index")]
    assert load_responses(tmp_path / "records.jsonl", 4, revised=True).texts == {2: "of the other version"}
    with pytest.raises(DataError, match=r"none of 1 rows.*no item of the original"):
        load_responses(write_lines(tmp_path / "other.jsonl", rows[3:]), 4)


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_unknown_protocol() -> None:
    assert protocols("both") == ("official", "strict")
    with pytest.raises(ConfigError, match="lenient"):
        protocols("lenient")


def test_the_trivial_baseline_on_the_published_file(repository: Path, tmp_path: Path) -> None:
    file = repository.parent / "shared" / "data" / "mig_bench" / "MIG_data.json"
    if not file.is_file():
        pytest.skip("MIG-Bench's MIG_data.json is not beside the repository (it is not part of it)")
    annotations = load_annotations(file)
    given = load_responses(write_responses(tmp_path / "r.jsonl", dict.fromkeys(range(4295), WHOLE)), 4295)
    summary = summarise(annotations, given, score_all(annotations, given, protocols("official"), QWEN3))
    found = {task: round(row["acc@0.5"], 2) for task, row in summary["official"]["tasks"].items()}
    assert found == TRIVIAL
    assert round(summary["official"]["mean"]["acc@0.5"], 2) == 5.82
