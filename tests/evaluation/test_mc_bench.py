"""The metrics of MC-Bench against a slow scorer written from the description of COCO's, and through an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes.engines import ScriptedEngine
from fakes.importing import pictures
from mirg.cli.evaluate import _show_summary
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.evaluation.mc_bench import average_precision, matched, mc_bench_table
from mirg.evaluation.pages import report_from_run
from mirg.evaluation.records import Record, make_record
from mirg.evaluation.runner import evaluate
from mirg.families import FAMILIES
from mirg.geometry import Box
from mirg.samples import DatasetFolder, Sample

QWEN3 = FAMILIES["qwen3-vl"]
Placed = tuple[int, Box]  # image, box


def slow_iou(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(wide, 0.0) * max(high, 0.0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def slow_ap(pairs: Sequence[tuple[list[Placed], list[Placed]]]) -> float:
    """COCO's AP at IoU 0.5 of one category: answered and true boxes of every pair, all boxes with the same score."""
    outcomes: list[bool] = []
    n_true = 0
    for answered, true in pairs:
        n_true += len(true)
        for image in (1, 2):
            free = [box for where, box in true if where == image]
            for where, box in answered:
                if where == image:
                    best, found = 0.5, None
                    for k, other in enumerate(free):
                        if slow_iou(box, other) >= best:
                            best, found = slow_iou(box, other), k
                    outcomes.append(found is not None)
                    if found is not None:
                        del free[found]
    points = [(sum(outcomes[:k]) / n_true, sum(outcomes[:k]) / k) for k in range(1, len(outcomes) + 1)]
    at = [max([p for r, p in points if r >= level / 100], default=0.0) for level in range(101)]
    return sum(at) / 101


def completion(boxes: Sequence[Placed]) -> str:
    lines = [f'{{"image": {i}, "bbox_2d": [{", ".join(str(round(1000 * v)) for v in box)}]}}' for i, box in boxes]
    return (
        f"<think>t</think><answer>[{', '.join(lines)}]</answer>" if boxes else "<think>t</think><answer>none</answer>"
    )


def random_pairs(rng: np.random.Generator, n: int) -> list[tuple[list[Placed], list[Placed], list[int]]]:
    """Answered boxes, true boxes and their groups: some found well, some badly, some not, some in the other image."""
    pairs = []
    for _ in range(n):
        true: list[Placed] = []
        for k in range(int(rng.integers(0, 4))):
            x, y = (int(v) for v in rng.integers(0, 500, 2))
            wide, high = (int(v) for v in rng.integers(100, 400, 2))
            true.append((1 + k % 2, (x / 1000, y / 1000, (x + wide) / 1000, (y + high) / 1000)))
        answered: list[Placed] = []
        for image, (x1, y1, x2, y2) in true:
            shift = int(rng.integers(0, 80)) / 1000
            if rng.random() < 0.8:
                image = image if rng.random() < 0.8 else 3 - image
                answered.append((image, (x1 + shift, y1 + shift, min(x2 + shift, 1.0), min(y2 + shift, 1.0))))
        if rng.random() < 0.3:
            answered.insert(0, (2, (0.8, 0.8, 0.9, 0.95)))
        pairs.append((answered, true, [int(g) for g in rng.integers(1, 3, len(true))]))
    return pairs


def asked(make_sample: Callable[..., Sample], k: int, true: list[Placed], groups: list[int], style: str) -> Sample:
    sample = make_sample(f"mc-bench-{k:04d}", true, n_images=2, task="mc_bench", images=f"pair{k // 2}")
    grouped = {"groups": groups} if len(set(groups)) > 1 else {}
    return sample.model_copy(update={"source": "mc-bench", "meta": {"text_style": style} | grouped})


@pytest.mark.parametrize("seed", range(2))
def test_equals_the_slow_scorer(make_sample: Callable[..., Sample], seed: int) -> None:
    pairs = random_pairs(np.random.default_rng(seed), 30)
    samples = [
        asked(make_sample, k, true, groups, ("referring", "reasoning")[k % 2])
        for k, (_, true, groups) in enumerate(pairs)
    ]
    records = [make_record(s, completion(a), family=QWEN3) for s, (a, _, _) in zip(samples, pairs, strict=True)]
    found = mc_bench_table(records, {sample.id: sample for sample in samples})
    assert found["overall"]["ap50"]["mean"] == pytest.approx(slow_ap([(a, t) for a, t, _ in pairs]), abs=1e-12)
    firsts = [
        (a, [box for box, group in zip(t, g, strict=True) if group == 1 or len(set(g)) == 1]) for a, t, g in pairs
    ]
    share = sum(len(t) for _, t in firsts) / sum(len(t) for _, t, _ in pairs)
    assert found["overall"]["ap50_grouped"]["mean"] == pytest.approx(share * slow_ap(firsts), abs=1e-12)
    right = [{i for i, _ in a} == {i for i, _ in t} for a, t, _ in pairs]
    assert found["overall"]["image_level_accuracy"]["mean"] == pytest.approx(np.mean(right))
    assert [block["n"] for block in found["tasks"].values()] == [15, 15] and found["overall"]["n_sets"] == 15
    for cell in (found["overall"][key] for key in ("ap50", "ap50_grouped", "image_level_accuracy")):
        assert 0 <= cell["low"] <= cell["mean"] <= cell["high"] <= 1
    alone = mc_bench_table(records[1::2], {sample.id: sample for sample in samples})
    assert found["tasks"]["reasoning"] == alone["overall"]


def scored(
    make_sample: Callable[..., Sample], answers: Sequence[str], true: Sequence[list[Placed]]
) -> dict[str, float]:
    samples = [asked(make_sample, k, t, [1] * len(t), "referring") for k, t in enumerate(true)]
    records = [make_record(s, a, family=QWEN3) for s, a in zip(samples, answers, strict=True)]
    block = mc_bench_table(records, {sample.id: sample for sample in samples})["overall"]
    return {key: cell["mean"] for key, cell in block.items() if key not in ("n", "n_sets")}


LEFT, RIGHT = (0.1, 0.1, 0.4, 0.6), (0.5, 0.2, 0.9, 0.7)


@pytest.mark.parametrize(
    ("answers", "ap", "accuracy", "why"),
    [
        ([completion([(1, LEFT), (2, RIGHT)]), completion([])], 1.0, 1.0, "everything right"),
        ([completion([(1, LEFT)]), completion([])], 51 / 101, 0.5, "one of two found: precision 1 up to recall 0.5"),
        ([completion([(1, LEFT), (2, RIGHT)]), completion([(1, LEFT)])], 1.0, 0.5, "a false box ranked last"),
        ([completion([(2, LEFT), (1, RIGHT)]), completion([])], 0.0, 1.0, "images right, boxes in the other image"),
        (["what?", "what?"], 0.0, 0.5, "unreadable: no box, which is right of the pair without instances"),
        ([completion([(1, LEFT), (1, LEFT), (2, RIGHT)]), completion([])], (51 + 50 * 2 / 3) / 101, 1.0, "named twice"),
    ],
)
def test_small_cases(
    make_sample: Callable[..., Sample], answers: list[str], ap: float, accuracy: float, why: str
) -> None:
    found = scored(make_sample, answers, [[(1, LEFT), (2, RIGHT)], []])
    assert found["ap50"] == pytest.approx(ap) and found["image_level_accuracy"] == accuracy, why


def test_matching_is_greedy_in_rank_order() -> None:
    assert matched(np.array([[0.6, 0.7], [0.9, 0.8], [0.5, 0.9]])) == [True, True, False]
    assert matched(np.array([[0.7, 0.7], [0.1, 0.9]])) == [True, False], "of equal ones the last is taken"
    assert matched(np.zeros((2, 0))) == [False, False] and matched(np.zeros((0, 2))) == []


def test_a_draw_is_the_precision_of_the_repeated_boxes() -> None:
    rng = np.random.default_rng(5)
    hits, copies = rng.random(40) < 0.5, rng.integers(0, 4, 40)
    repeated = np.repeat(hits, copies).astype(float)
    n_true = float(repeated.sum() + 7)
    # Copies of one box have one rank, so that every copy sees the precision after the last of them.
    ends = np.cumsum(copies)[copies > 0]
    precision = np.cumsum(repeated)[ends - 1] / ends
    recall = np.cumsum(repeated)[ends - 1] / n_true
    slow = np.mean([max(precision[recall >= r / 100], default=0.0) for r in range(101)])
    assert average_precision(hits.astype(float), n_true, copies.astype(float)) == pytest.approx(slow)
    assert average_precision(np.zeros(0), 3.0) == average_precision(np.ones(2), 0.0) == 0.0


def test_in_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, evaluation, summary, command line and page; a dataset of another kind has no such numbers."""
    root = pictures(tmp_path / "images", [f"{k}.png" for k in range(4)], size=(100, 80))
    things = [(0, [10, 8, 30, 24], 0), (1, [50, 40, 30, 24], 0)]
    bench = {
        "descriptions": [
            {
                "id": k,
                "images_id": [2 * k, 2 * k + 1],
                "text": text,
                "positive_sample": k == 0,
                "text_style": "Reasoning",
            }
            for k, text in enumerate(("cups of one colour", "people on a roof"))
        ],
        "images": [{"id": k, "text_id": k // 2, "file_name": f"{k}.png", "height": 80, "width": 100} for k in range(4)],
        "annotations": [{"image_id": i, "text_id": t, "category_id": 1, "bbox": box} for i, box, t in things],
    }
    (tmp_path / "mc-bench_v0.2_val.json").write_text(json.dumps(bench))
    import_dataset("mc-bench", tmp_path / "mc-bench_v0.2_val.json", tmp_path / "data", ImportOptions(root=str(root)))
    folder = DatasetFolder.open(tmp_path / "data")
    true: list[Placed] = [(1, (0.1, 0.1, 0.4, 0.4)), (2, (0.5, 0.5, 0.8, 0.8))]
    engine = ScriptedEngine(lambda request, _: completion(true if request.sample_id.endswith("0000") else true[:1]))
    summary = evaluate(engine, folder, tmp_path / "out")
    found = summary["metrics"]["mc_bench"]
    assert found["overall"]["image_level_accuracy"]["mean"] == 0.5 and found["overall"]["ap50"]["mean"] == 1.0
    assert list(found["tasks"]) == ["reasoning"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]["mc_bench"] == found
    _show_summary(summary)
    assert "MC-Bench AP50, groups ignored" in capsys.readouterr().out
    page = report_from_run(tmp_path / "out", data=folder.root).read_text()
    assert "MC-Bench image-level accuracy" in page and "MC-Bench AP50, groups ignored" in page


def test_other_datasets_have_no_such_numbers(make_sample: Callable[..., Sample]) -> None:
    sample = make_sample()
    record: Record = make_record(sample, completion([]), family=QWEN3)
    assert mc_bench_table([record], {sample.id: sample}) == {}
