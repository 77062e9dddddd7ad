"""Evaluation end to end over a scripted engine: incremental, resumable, and keyed by everything that matters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.engines import ScriptedEngine
from mirg.answers.prompts import Instructions, messages
from mirg.engines.base import Completion, Generation, Request
from mirg.errors import ConfigError, EvaluationError, StorageError
from mirg.evaluation.records import load_records
from mirg.evaluation.runner import Plan, evaluate, select
from mirg.families import FAMILIES, PixelLimits
from mirg.rewards import RewardConfig
from mirg.samples import DatasetFolder
from mirg.storage import sole_writer

FILES = ("evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json")
PLAN = Plan(generation=Generation(batch_size=5))


def answer(request: Request, settings: Generation) -> str:
    """Right, wrong image, wrong box or unreadable by turns of the sample's number; it depends on nothing else."""
    k = int(request.sample_id[1:])
    image, box = 1 + k % 2, f"(100,100),(500,{500 + 10 * k})"
    texts = (
        f"<think>hm</think><answer>Image-{image}: {box}</answer>",
        f"<think>hm</think><answer>Image-{3 - image}: {box}</answer>",
        f"<think>hm</think><answer>Image-{image}: (700,700),(900,900)</answer>",
        "no idea",
    )
    return texts[k % 4 if k > 3 else 0]


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_whole_evaluation(dataset: DatasetFolder, tmp_path: Path) -> None:
    engine = ScriptedEngine(answer)
    seen: list[tuple[int, int, int]] = []
    summary = evaluate(engine, dataset, tmp_path / "out", PLAN, lambda *now: seen.append(now))
    assert [len(batch) for batch in engine.asked] == [5, 5, 5, 5, 4]
    assert len(set(engine.seeds)) == 5, "each batch samples with a separate seed"
    other = ScriptedEngine(answer)
    evaluate(other, dataset, tmp_path / "other", replace(PLAN, generation=Generation(batch_size=5, seed=7)))
    assert not set(other.seeds) & set(engine.seeds), "and the seed of the plan gives other ones"
    assert seen[-1] == (24, 24, 0) and summary["cut_off"] == 0
    other.generate = lambda requests, settings: [Completion("", 3, "length")] * len(requests)  # type: ignore[method-assign]
    cut = evaluate(other, dataset, tmp_path / "cut", replace(PLAN, limit=7))
    assert (cut["cut_off"], cut["tokens"]) == (7, 21)
    records = load_records(tmp_path / "out")
    assert len(records) == summary["n"] == 24 and len({record.id for record in records}) == 24
    assert summary["metrics"]["overall"]["parse_failures"]["mean"] == pytest.approx(5 / 24)
    assert summary["metrics"]["outcomes"] == {"right": 9, "wrong_image": 5, "wrong_box": 5, "unreadable": 5}
    assert set(summary["metrics"]["tasks"]) == set(summary["chance"]["tasks"]) == set(dataset.card.tasks)
    assert summary["settings"]["fingerprint"] == "scripted-1" and summary["rejected"] == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


@pytest.mark.parametrize(
    ("told", "own", "asked"), [(None, None, "full"), (None, "none", "none"), ("short", "none", "short")]
)
def test_instructions_are_those_of_the_plan_or_of_the_model(
    told: Instructions | None, own: Instructions | None, asked: Instructions, dataset: DatasetFolder, tmp_path: Path
) -> None:
    seen: list[Request] = []
    engine = ScriptedEngine(lambda request, settings: seen.append(request) or answer(request, settings))  # type: ignore[func-returns-value]
    if own is not None:
        engine.instructions = own  # type: ignore[attr-defined]
    plan = replace(PLAN, limit=1, instructions=told)
    evaluate(engine, dataset, tmp_path / "out", plan)
    (sample,) = select(dataset.read(), plan)
    assert seen[0].messages == messages(sample, engine.family, engine.limits, asked)


def test_stopped_anywhere_and_resumed_is_byte_identical(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "whole", PLAN)
    expected = content(tmp_path / "whole")
    lines = expected["records.jsonl"].splitlines(keepends=True)
    # Every number of whole rows, and a row torn in its middle: what a kill can leave behind.
    tails = [(n, b"") for n in range(len(lines) + 1)] + [(n, lines[n][: 7 * n + 1]) for n in range(0, len(lines), 4)]
    for place, (n, torn) in enumerate(tails):
        folder = tmp_path / f"cut-{place}"
        folder.mkdir()
        (folder / "evaluation.json").write_bytes(expected["evaluation.json"])
        (folder / "records.jsonl").write_bytes(b"".join(lines[:n]) + torn)
        engine = ScriptedEngine(answer)
        evaluate(engine, dataset, folder, PLAN)
        assert content(folder) == expected, f"after {n} rows and {len(torn)} bytes"
        assert len(engine.asked) == 5 - n // 5 - (n == 24), "whole batches are not asked again"
    one = replace(PLAN, limit=2, generation=Generation(batch_size=1))
    for die_after in (1, None):
        with suppress(KeyboardInterrupt):
            evaluate(ScriptedEngine(answer, die_after=die_after), dataset, tmp_path / "one", one)
    assert [record.id for record in load_records(tmp_path / "one")] == [s.id for s in select(dataset.read(), one)]


def test_rows_that_changed_since_they_were_summarised_are_not_used_again(
    dataset: DatasetFolder, tmp_path: Path
) -> None:
    """The changed row is JSON and has the right keys, so nothing else notices it."""
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    whole = content(tmp_path / "out")
    file = tmp_path / "out" / "records.jsonl"
    file.write_bytes(whole["records.jsonl"].replace(b"no idea", b"no idee", 1))
    with pytest.raises(EvaluationError, match=r"records\.jsonl is not the file that summary\.json"):
        evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", replace(PLAN, overwrite=True))
    assert content(tmp_path / "out") == whole


CHILD = """
import os, sys, time
sys.path[:0] = [sys.argv[3]]
from pathlib import Path
from fakes.engines import ScriptedEngine
from mirg.engines.base import Generation
from mirg.evaluation.runner import Plan, evaluate
from mirg.samples import DatasetFolder
def slow(request, settings):
    time.sleep(0.01)
    return "<answer>Image-1: (100,100),(500,500)</answer>"
plan = Plan(generation=Generation(batch_size=2))
evaluate(ScriptedEngine(slow), DatasetFolder.open(sys.argv[1]), Path(sys.argv[2]), plan)
"""


def test_killed_by_the_system(dataset: DatasetFolder, tmp_path: Path, repository: Path) -> None:
    def start(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CHILD, str(dataset.root), str(out), str(repository / "tests")]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(repository / "src")})

    assert start(tmp_path / "whole").wait() == 0
    killed = 0
    for rows in (3, 15):
        child = start(tmp_path / "cut")
        file = tmp_path / "cut" / "records.jsonl"
        while child.poll() is None and not (file.exists() and file.read_bytes().count(b"\n") >= rows):
            pass
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    assert killed >= 1
    assert start(tmp_path / "cut").wait() == 0
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_two_at_a_time_do_not_mix_their_rows(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    before = content(tmp_path / "out")
    engine = ScriptedEngine(answer)
    with sole_writer(tmp_path / "out"), pytest.raises(StorageError, match="another process"):
        evaluate(engine, dataset, tmp_path / "out", replace(PLAN, overwrite=True))
    assert not engine.asked and content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"fingerprint": "other weights"}, "fingerprint"),
        ({"numerics": "bfloat16 on cpu"}, "numerics"),
        ({"numerics": "float32 on cuda"}, "numerics"),
        ({"family": FAMILIES["glm-v"]}, "family"),
        ({"limits": PixelLimits(1, 2**20)}, "limits"),
        ({"plan": replace(PLAN, generation=Generation(batch_size=6))}, "generation"),
        ({"plan": replace(PLAN, generation=Generation(batch_size=5, temperature=1.0))}, "generation"),
        ({"plan": replace(PLAN, instructions="short")}, "instructions"),
        ({"plan": replace(PLAN, rewards=RewardConfig(arm="gated"))}, "rewards"),
        ({"plan": replace(PLAN, tasks=("refer",))}, "tasks"),
    ],
)
def test_another_evaluation_is_refused_and_loses_nothing(
    dataset: DatasetFolder, tmp_path: Path, change: dict[str, object], names: str
) -> None:
    out = tmp_path / "out"
    evaluate(ScriptedEngine(answer), dataset, out, PLAN)
    before = content(out)
    plan = change.pop("plan", PLAN)
    with pytest.raises(EvaluationError, match=names):
        evaluate(ScriptedEngine(answer, **change), dataset, out, plan)  # type: ignore[arg-type]
    assert content(out) == before
    engine = ScriptedEngine(answer, **change)  # type: ignore[arg-type]
    evaluate(engine, dataset, out, replace(plan, overwrite=True))  # type: ignore[type-var]
    assert engine.asked and content(out) != before


def test_numerics_are_part_of_every_key(dataset: DatasetFolder, tmp_path: Path) -> None:
    """Also where somebody edits evaluation.json: no row made in bfloat16 stands among rows made in float32."""
    evaluate(ScriptedEngine(answer, numerics="bfloat16 on cpu"), dataset, tmp_path / "out", PLAN)
    settings = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (tmp_path / "out" / "evaluation.json").write_text(json.dumps(settings | {"numerics": "float32 on cpu"}))
    engine = ScriptedEngine(answer)
    evaluate(engine, dataset, tmp_path / "out", PLAN)
    assert [len(batch) for batch in engine.asked] == [5, 5, 5, 5, 4], "nothing is used again"


def test_the_reader_version_is_part_of_the_key(
    dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    monkeypatch.setattr("mirg.evaluation.batches.READER_VERSION", "mirg.read/next")
    with pytest.raises(EvaluationError, match="reader"):
        evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)


def test_a_moved_model_is_the_same_model(dataset: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    engine = ScriptedEngine(answer, name="elsewhere")
    evaluate(engine, dataset, tmp_path / "out", PLAN)
    assert not engine.asked


@pytest.mark.parametrize("place", [0, 1])
def test_a_changed_image_is_asked_again(place: int, dataset: DatasetFolder, tmp_path: Path) -> None:
    from PIL import Image

    evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    sample = select(dataset.read(), PLAN)[12]
    ref = sample.images[place]
    Image.new("RGB", ref.size, (1, 2, 3)).save(dataset.image_path(ref))
    engine = ScriptedEngine(answer)
    evaluate(engine, dataset, tmp_path / "out", PLAN)
    assert [len(batch) for batch in engine.asked] == [5, 5, 4], "its batch and those after it"


def test_a_limit_meets_every_task_and_can_grow(dataset: DatasetFolder, tmp_path: Path) -> None:
    engine = ScriptedEngine(answer)
    first = evaluate(engine, dataset, tmp_path / "out", replace(PLAN, limit=10))
    assert {task: block["n"] for task, block in first["metrics"]["tasks"].items()} == {
        "common_object": 4,
        "group_grounding": 3,
        "refer": 3,
    }
    evaluate(engine, dataset, tmp_path / "out", PLAN)
    assert [len(batch) for batch in engine.asked] == [5, 5, 5, 5, 4], "the first ten are kept"
    evaluate(ScriptedEngine(answer), dataset, tmp_path / "whole", PLAN)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    with pytest.raises(EvaluationError, match="24 records"):
        evaluate(engine, dataset, tmp_path / "out", replace(PLAN, limit=10))


def test_tasks(dataset: DatasetFolder, tmp_path: Path) -> None:
    summary = evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", replace(PLAN, tasks=("refer",)))
    assert summary["n"] == 8 and set(summary["metrics"]["tasks"]) == {"refer"}
    with pytest.raises(ConfigError, match="rifer") as caught:
        evaluate(ScriptedEngine(answer), dataset, tmp_path / "other", replace(PLAN, tasks=("rifer",)))
    assert "group_grounding" in caught.value.hint


def test_broken_images_and_rows_are_counted_and_the_run_goes_on(dataset: DatasetFolder, tmp_path: Path) -> None:
    samples = select(dataset.read(), PLAN)
    missing, truncated = samples[2], samples[13]
    dataset.image_path(missing.images[1]).unlink()
    file = dataset.image_path(truncated.images[0])
    file.write_bytes(file.read_bytes()[:60])
    rows = dataset.root / "samples.jsonl"
    rows.write_text(rows.read_text() + '{"id": "broken"}\n')
    engine = ScriptedEngine(answer)
    summary = evaluate(engine, dataset, tmp_path / "out", PLAN)
    assert summary["n"] == 22 and summary["rejected"] == 3
    reasons = {row["id"]: row["reason"] for row in summary["rejections"]}
    assert set(reasons) == {missing.id, truncated.id, "broken"} and all(reasons.values())
    assert missing.id in reasons[missing.id]
    before = content(tmp_path / "out")
    again = ScriptedEngine(answer)
    evaluate(again, dataset, tmp_path / "out", PLAN)
    assert not again.asked and content(tmp_path / "out") == before


def test_an_id_that_is_no_text_ends_no_evaluation(dataset: DatasetFolder, tmp_path: Path) -> None:
    with (dataset.root / "samples.jsonl").open("a") as rows:
        rows.write('{"id": "s\\ud800"}\n')
    summary = evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)
    assert summary["n"] == 24 and [row["id"] for row in summary["rejections"]] == ["s?"]
    assert json.loads((tmp_path / "out" / "rejected.jsonl").read_text())["id"] == "s?"


def test_nothing_to_evaluate(dataset: DatasetFolder, tmp_path: Path) -> None:
    for image in (dataset.root / "images").iterdir():
        image.unlink()
    with pytest.raises(EvaluationError, match="24 were rejected"):
        evaluate(ScriptedEngine(answer), dataset, tmp_path / "out", PLAN)


def test_folders_that_cannot_be_used(dataset: DatasetFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        evaluate(ScriptedEngine(answer), dataset, tmp_path / "file", PLAN)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "records.jsonl").write_text("someone's\n")
    with pytest.raises(EvaluationError, match="no evaluation.json"):
        evaluate(ScriptedEngine(answer), dataset, foreign, PLAN)
    assert (foreign / "records.jsonl").read_text() == "someone's\n"


@pytest.mark.parametrize(
    "settings", [{"max_new_tokens": 0}, {"batch_size": 0}, {"temperature": -1.0}, {"temperature": float("nan")}]
)
def test_impossible_generation_settings(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Generation(**settings)  # type: ignore[arg-type]
