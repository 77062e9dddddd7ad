"""Several sampled answers to each item: the figures, their intervals, the folder, and how it is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi, Settings
from mirg.engines.base import Completion, Generation, Request
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import ConfigError, EvaluationError
from mirg.evaluation.compare import compare, load_evaluation
from mirg.evaluation.draws import draws_summary, pass_at_k
from mirg.evaluation.intervals import mean_interval
from mirg.evaluation.migbench.responses import load_responses
from mirg.evaluation.pages import collect, report_from_run
from mirg.evaluation.records import Record, load_answers, load_records
from mirg.evaluation.runner import Plan, evaluate
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder

K = 3
FILES = ["draws.jsonl", "evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json"]
PLAN = Plan(Generation(batch_size=5, temperature=1.0), draws=K)


def said(sample_id: str, draw: int) -> str:
    """Right, wrong image, wrong box or unreadable, by a hash of the sample and the draw."""
    k = int(sample_id[1:])
    image, box = 1 + k % 2, f"(100,100),(500,{500 + 10 * k})"
    texts = (
        f"<think>hm</think><answer>Image-{image}: {box}</answer>",
        f"<think>hm</think><answer>Image-{image}: {box}</answer>",
        f"<think>hm</think><answer>Image-{3 - image}: {box}</answer>",
        f"<think>hm</think><answer>Image-{image}: (700,700),(900,900)</answer>",
        "no idea",
    )
    return texts[hashlib.sha256(f"{sample_id} {draw}".encode()).digest()[0] % len(texts)]


class Dice(ScriptedEngine):
    """An engine that reads a prompt once for all of its completions."""

    def sample(self, requests: list[Request], settings: Generation, n: int) -> list[list[Completion]]:
        self.generate(requests, settings)
        return [[Completion(said(r.sample_id, draw), 4 + draw, "stop") for draw in range(n)] for r in requests]


def dice(**more: Any) -> Dice:
    return Dice(lambda request, settings: "", **more)


def content(folder: Path) -> dict[str, bytes]:
    assert sorted(file.name for file in folder.iterdir() if file.suffix != ".lock") == FILES
    return {name: (folder / name).read_bytes() for name in FILES}


def test_pass_at_k_is_the_share_of_the_subsets_with_a_right_answer() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            right = [index < c for index in range(n)]
            for k in range(1, n + 1):
                subsets = [any(subset) for subset in combinations(right, k)]
                assert pass_at_k(n, c, k) == pytest.approx(sum(subsets) / len(subsets))
    rng = np.random.default_rng(0)
    p, n, k = 0.3, 6, 4
    rights = rng.binomial(n, p, 20_000)
    assert np.mean([pass_at_k(n, c, k) for c in rights]) == pytest.approx(1 - (1 - p) ** k, abs=0.005), "unbiased"


def test_the_figures(dataset: DatasetFolder, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    summary = evaluate(dice(), dataset, tmp_path / "out", PLAN, lambda *now: seen.append(now))
    items = load_answers(tmp_path / "out")
    assert seen[-1] == (24, 24, 0) and (summary["n"], len(items)) == (24, 24)
    assert [[record.draw for record in item] for item in items] == [[0, 1, 2]] * 24
    assert all(record.completion == said(record.id, record.draw or 0) for item in items for record in item)
    assert summary["tokens"] == 24 * (4 + 5 + 6)
    block = summary["draws"]["overall"]
    joint = np.array([[record.joint for record in item] for item in items])
    assert 0 < joint.mean() < 1
    cells = block["pass_at_k"]["joint_accuracy"]
    assert [cell["k"] for cell in cells] == [1, 2, 3]
    assert cells[0]["mean"] == pytest.approx(joint.mean()) == pytest.approx(block["mean"]["joint_accuracy"]["mean"])
    assert cells[2]["mean"] == pytest.approx(joint.any(axis=1).mean())
    assert cells[0]["mean"] < cells[1]["mean"] < cells[2]["mean"]
    assert all(0 <= cell["low"] <= cell["mean"] <= cell["high"] <= 1 for cell in cells)
    # The metrics of the summary, what compare reads, and the row of each item are about one answer: the majority.
    chosen = load_records(tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "draws.jsonl").read_text().splitlines()]
    assert [(row["id"], row["majority"]) for row in rows] == [(record.id, record.draw) for record in chosen]
    assert [row["joint_accuracy"] for row in rows] == joint.sum(axis=1).tolist()
    assert summary["metrics"]["overall"]["joint_accuracy"]["mean"] == np.mean([record.joint for record in chosen])
    assert block["agreement"]["images"]["mean"] == pytest.approx(np.mean([row["images"] for row in rows]))
    assert {row["images"] for row in rows} >= {0.0, 1 / 3, 1.0}
    assert set(summary["draws"]["tasks"]) == set(summary["metrics"]["tasks"])


def test_readers_take_the_majority_answer(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(dice(), dataset, tmp_path / "out", PLAN)
    evaluate(ScriptedEngine(lambda r, s: said(r.sample_id, 0)), dataset, tmp_path / "one", Plan())
    chosen = load_records(tmp_path / "out")
    loaded = [load_evaluation(tmp_path / name) for name in ("one", "out")]
    assert list(loaded[1].records) == chosen
    found = compare(loaded)
    assert "out: the majority of 3 answers to each sample." in found["notes"] and found["differences"][0]["n"] == 24
    page = collect(tmp_path / "out", data=dataset.root)
    assert page.draws is not None and page.n_answers == 24
    assert [len(chart.series[0].values) for chart in page.draws.charts] == [3, 3]
    names = [row.name for row in page.draws.table.rows]
    assert names[2] == "joint Acc@0.5: any of the answers" and len(names) == 8
    text = report_from_run(tmp_path / "out", data=dataset.root).read_text()
    assert text.count('class="band s0"') == 2 and "Several answers to each item" in text
    assert collect(tmp_path / "one", data=dataset.root).draws is None


def test_responses_to_migbench_are_the_majority_answers(make_one: Callable[..., Record], tmp_path: Path) -> None:
    texts = [
        "no idea",
        "<answer>Image-2: (100,200),(500,600)</answer>",
        "<answer>Image-2: (100,210),(500,600)</answer>",
    ]
    rows = [make_one(text, name="migbench-0001").model_copy(update={"draw": d}) for d, text in enumerate(texts)]
    (tmp_path / "records.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows))
    (tmp_path / "evaluation.json").write_text('{"draws": 3}')
    given = load_responses(tmp_path, 5)
    assert given.texts == {1: texts[1]} and given.rows == 1 and not given.problems


def test_one_answer_is_stored_as_ever(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(lambda r, s: "none"), dataset, tmp_path / "out", Plan(Generation(temperature=1.0), draws=1))
    row = json.loads((tmp_path / "out" / "records.jsonl").read_text().splitlines()[0])
    settings = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "draw" not in row and "draws" not in settings and not (tmp_path / "out" / "draws.jsonl").exists()


def test_stopped_anywhere_and_resumed_is_byte_identical(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(dice(), dataset, tmp_path / "whole", PLAN)
    expected = content(tmp_path / "whole")
    lines = expected["records.jsonl"].splitlines(keepends=True)
    assert len(lines) == 24 * K
    for n, torn in ((0, 9), (2, 30), (15, 1), (31, 0), (71, 0), (72, 0)):
        folder = tmp_path / f"cut-{n}"
        folder.mkdir()
        (folder / "evaluation.json").write_bytes(expected["evaluation.json"])
        (folder / "records.jsonl").write_bytes(b"".join(lines[:n]) + (lines[n][:torn] if torn else b""))
        engine = dice()
        evaluate(engine, dataset, folder, PLAN)
        assert content(folder) == expected, f"after {n} rows and {torn} bytes"
        assert len(engine.asked) == 5 - n // 15 - (n == 72), "whole batches are not asked again"


def test_another_number_of_answers_is_another_evaluation(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(dice(), dataset, tmp_path / "out", PLAN)
    for draws in (1, 4):
        with pytest.raises(EvaluationError, match="draws differ"):
            evaluate(dice(), dataset, tmp_path / "out", replace(PLAN, draws=draws))
    with pytest.raises(ConfigError, match="3 answers at temperature 0 are 3 times the same"):
        Plan(draws=3)


def test_a_plugin_metric_is_that_of_the_majority_answer(dataset: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def which(record, sample):\n    return record.draw\n")
    plan = replace(PLAN, metrics=(f"{tmp_path / 'mine.py'}:which",))
    evaluate(dice(), dataset, tmp_path / "out", plan)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metric_values.jsonl").read_text().splitlines()]
    assert [(row["id"], row["which"]) for row in rows] == [(r.id, r.draw) for r in load_records(tmp_path / "out")]


def test_intervals_know_that_answers_to_one_item_are_dependent(make_one: Callable[..., Record]) -> None:
    """All answers to an item are alike, and so are all items of an image set: 12 sets, not 12 * 3 * 4 answers."""
    rng = np.random.default_rng(3)
    texts = ("<answer>Image-2: (100,200),(500,600)</answer>", "<answer>none</answer>")
    items = []
    for number, wrong in enumerate(rng.permutation([0] * 6 + [1] * 6).tolist()):
        for item in range(3):
            one = make_one(texts[wrong], name=f"s{number}-{item}", images=f"set{number}")
            items.append([one.model_copy(update={"image_set": f"set{number}", "draw": d}) for d in range(4)])
    cell = draws_summary(items)["draws"]["overall"]["pass_at_k"]["joint_accuracy"][0]
    flat = [float(record.joint) for item in items for record in item]
    naive = mean_interval(flat, list(range(len(flat))))
    assert cell["mean"] == naive.mean == 0.5
    assert cell["high"] - cell["low"] > 2.5 * (naive.high - naive.low)


def endpoint(api: FaultyApi, **requests: Any) -> EndpointEngine:
    limits = Limits(**({"concurrency": 4, "max_wait": 0.1, "tries": 20} | requests))
    return EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=limits)


def by_body(body: dict[str, Any]) -> str:
    return said(f"s{int(hashlib.sha256(json.dumps(body).encode()).hexdigest()[:4], 16) % 24:02d}", body["seed"])


def test_each_answer_is_requested_once(api: FaultyApi, dataset: DatasetFolder, tmp_path: Path) -> None:
    api.reply = by_body
    api.settings = Settings(share=0.1, faults=("429", "500", "reset"))
    plan = replace(PLAN, limit=9)
    evaluate(endpoint(api), dataset, tmp_path / "whole", plan)
    expected = content(tmp_path / "whole")
    assert sum(api.counts.answered.values()) == 9 * K == len(api.counts.answered)
    assert len({record.completion for item in load_answers(tmp_path / "whole") for record in item}) > 3
    api.counts.answered.clear()

    def stop(done: int, total: int, kept: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        evaluate(endpoint(api), dataset, folder, plan, stop)
    lines = (folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 4 * K
    (folder / "records.jsonl").write_bytes(b"".join(lines[:-2]))  # a sample of which one answer was written
    evaluate(endpoint(api, concurrency=7), dataset, folder, plan)
    assert content(folder) == expected
    assert sum(api.counts.answered.values()) <= 9 * K + 4, "at most those that were pending when it stopped"


def test_a_sample_needs_all_of_its_answers_and_only_it_is_asked_again(
    api: FaultyApi, dataset: DatasetFolder, tmp_path: Path
) -> None:
    """The endpoint refuses one of 27 requests; later it answers that one, and nothing else is requested."""
    bodies: list[dict[str, Any]] = []

    def refusing(body: dict[str, Any]) -> str:
        bodies.append(body)
        return by_body(body)

    api.reply, plan = refusing, replace(PLAN, limit=9)
    evaluate(endpoint(api, concurrency=1), dataset, tmp_path / "whole", plan)
    expected = content(tmp_path / "whole")
    api.refused = lambda body: "a picture that I do not describe" if body == bodies[13] else None
    summary = evaluate(endpoint(api), dataset, tmp_path / "out", plan)
    assert (summary["n"], summary["rejected"]) == (8, 1) and "I do not describe" in summary["rejections"][0]["reason"]
    api.refused = lambda body: None
    before = api.counts.requests
    evaluate(endpoint(api), dataset, tmp_path / "out", plan)
    assert content(tmp_path / "out") == expected and api.counts.requests == before + 1
