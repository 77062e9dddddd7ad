from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from fakes.migbench import ROWS, annotation_rows, write_annotations, write_responses
from fakes.official import oracle_box, oracle_iou, random_response
from mirg.data.importers.migbench import load_annotations
from mirg.errors import ConfigError
from mirg.evaluation.migbench.score import load_responses, protocols, score_all, summarise
from mirg.frames import FAMILIES

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
    assert list(summary["official"]["mean"]) == ["acc@0.3", "acc@0.5", "acc@0.7", "mean_iou"]
    for column, value in summary["official"]["mean"].items():
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
