"""The blind pass: which chains help, what the student is shown, and that nothing is asked twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.engines import ScriptedEngine
from fakes.measured import RIGHT, WRONG, contents, refused, write_reasoned
from mirg.engines.base import Generation, Request
from mirg.errors import AnswerError, ConfigError, DataError
from mirg.evaluation.blind import Answered, Gains, gains, judge, write_helpful, written_chain
from mirg.evaluation.measure import MeasurePlan, journal_of
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder

PLAN = MeasurePlan(Generation(batch_size=6))
CHAIN = "<think>Target: red ring. Found: red ring Image-1. Box: [100,100,500,500].</think>"
ANSWER = "<answer>Image-1: (100,100),(500,500)</answer>"


@pytest.fixture
def source(tmp_path: Path) -> DatasetFolder:
    return write_reasoned(tmp_path / "data")


def student(request: Request, settings: Generation) -> str:
    """By turns of the sample's number: the chain helps, was not needed, does not help, misleads; each told apart."""
    turn = int(request.sample_id[1:]) % 4
    if request.prefix:
        return ("<answer>Image-2: (1,1),(2,2)</answer>", ANSWER)[turn < 2]
    return (WRONG, RIGHT, "no idea", RIGHT)[turn]


@pytest.mark.parametrize(
    ("alone", "after", "helps", "word"),
    [
        ((False, 0.0), (True, 0.6), True, "wrong to right"),
        ((False, 0.45), (True, 0.5), True, "wrong to right"),  # however small the gain
        ((True, 0.5), (False, 0.9), False, "right to wrong"),  # however large
        ((True, 0.8), (True, 0.9), True, "higher IoU"),  # exactly 0.1, which floats miss
        ((True, 0.8), (True, 0.899), False, "right without it"),
        ((True, 1.0), (True, 1.0), False, "right without it"),
        ((True, 0.9), (True, 0.8), False, "lower IoU"),
        ((False, 0.1), (False, 0.3), True, "higher IoU"),
        ((False, 0.1), (False, 0.29), False, "wrong with it"),
        ((False, 0.0), (False, 0.0), False, "wrong with it"),
        ((False, 0.3), (False, 0.1), False, "lower IoU"),
    ],
)
def test_which_chains_help(alone: tuple[bool, float], after: tuple[bool, float], helps: bool, word: str) -> None:
    verdict = judge(Answered(right=alone[0], iou=alone[1]), Answered(right=after[0], iou=after[1]))
    assert verdict == (helps, word)


answers = st.builds(Answered, right=st.booleans(), iou=st.floats(0, 1))


@given(alone=answers, after=answers, more=st.floats(0, 1), least=st.builds(Gains))
def test_laws_of_the_verdict(alone: Answered, after: Answered, more: float, least: Gains) -> None:
    """No chain helps that makes nothing better; a better answer never turns help into none."""
    verdict = judge(alone, after, least)
    if verdict.helps:
        assert (after.right, after.iou) > (alone.right, alone.iou)
    better = Answered(right=after.right, iou=max(after.iou, more))
    assert judge(alone, better, least).helps >= verdict.helps
    assert not judge(alone, alone, least).helps


def test_what_stays_and_what_goes(source: DatasetFolder, tmp_path: Path) -> None:
    report = write_helpful(ScriptedEngine(student), source, tmp_path / "out", plan=PLAN)
    made = DatasetFolder.open(tmp_path / "out")
    assert made.verify() == [] and [sample.id for sample in made] == ["s00", "s04", "s08", "s12", "s16"]
    assert report.kept == {"wrong to right": 5}
    assert report.dropped == {"right without it": 5, "wrong with it": 5, "right to wrong": 5}
    assert (report.n_rows, report.n_rejected) == (20, 0)
    rows = refused(made.root)
    assert [row["id"] for row in rows] == [f"s{k:02d}" for k in range(20) if k % 4]
    assert rows[0]["reason"] == "right without it: IoU 1.00 without the chain, 1.00 with it"
    assert rows[2]["reason"] == "right to wrong: IoU 1.00 without the chain, 0.00 with it"
    for sample in made:
        assert sample.trajectory is not None and sample.trajectory.meta["own"] == sample.meta["own"]
        assert sample.trajectory.meta["student"] == {
            "alone": {"right": False, "iou": 0.0},
            "with_chain": {"right": True, "iou": 1.0},
        }


def test_the_student_is_asked_twice_with_the_same_prompt(source: DatasetFolder, tmp_path: Path) -> None:
    """Requests without and with the chain; the boxes of the chain are numbers of the student's family."""
    requests: list[Request] = []

    def recording(request: Request, settings: Generation) -> str:
        requests.append(request)
        return student(request, settings)

    engine = ScriptedEngine(recording)
    write_helpful(engine, source, tmp_path / "out", plan=PLAN)
    for name in (f"s{k:02d}" for k in range(20)):
        alone, begun = (request for request in requests if request.sample_id == name)
        assert (alone.prefix, begun.prefix) == ("", CHAIN)
        assert alone.messages == begun.messages and alone.images == begun.images
    assert len(engine.asked) == 8


@pytest.mark.parametrize(
    ("family", "box"),
    [("qwen3-vl", "[100,100,500,500]"), ("mirg-tiny", "(120,120),(520,520)"), ("qwen2-vl", "<|box_start|>(100,100)")],
)
def test_a_chain_is_written_in_the_frame_of_the_student(source: DatasetFolder, family: str, box: str) -> None:
    told = written_chain(next(iter(source)), ScriptedEngine(student, family=FAMILIES[family]))
    assert told.startswith("<think>Target: red ring.") and box in told and told.endswith(".</think>")


def test_the_last_rows_may_be_missing_and_nothing_else_is_asked(source: DatasetFolder, tmp_path: Path) -> None:
    write_helpful(ScriptedEngine(student), source, tmp_path / "whole" / "out", plan=PLAN)
    expected = contents(tmp_path / "whole" / "out")
    with pytest.raises(KeyboardInterrupt):
        write_helpful(ScriptedEngine(student, die_after=7), source, tmp_path / "stopped" / "out", plan=PLAN)
    journal = journal_of(tmp_path / "stopped" / "out")
    lines = (journal / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 18, "a batch is written once both of its answers are there"
    for n in (0, 4, 6, 13, 18):
        out = tmp_path / f"cut-{n}" / "out"
        shutil.copytree(journal, journal_of(out))
        (journal_of(out) / "records.jsonl").write_bytes(b"".join(lines[:n]) + lines[n % 18][:n])
        engine = ScriptedEngine(student)
        write_helpful(engine, source, out, plan=PLAN)
        assert contents(out) == expected and len(engine.asked) == 2 * (4 - n // 6), n


def test_other_thresholds_need_no_new_answers(source: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_helpful(ScriptedEngine(student, die_after=6), source, tmp_path / "out", plan=PLAN)
    engine = ScriptedEngine(student)
    write_helpful(engine, source, tmp_path / "out", Gains(was_right=0.5, was_wrong=0.5), PLAN)
    assert len(engine.asked) == 2


def test_rows_without_a_chain_are_rejected(source: DatasetFolder, tmp_path: Path) -> None:
    """No trajectory, and one whose thinking ends its own block: neither is asked, both are named."""
    file = source.root / "samples.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    del rows[0]["trajectory"]
    rows[1]["trajectory"]["thinking"] = "Found.</think><answer>none</answer>"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = ScriptedEngine(student)
    report = write_helpful(engine, source, tmp_path / "out", plan=PLAN)
    assert report.n_rejected == 2 and report.n_rows == 20
    assert not {"s00", "s01"} & {name for batch in engine.asked for name in batch}
    first, second = refused(tmp_path / "out")[:2]
    assert "has no trajectory" in first["reason"] and "holds '</think>'" in second["reason"]
    with pytest.raises(AnswerError, match="no trajectory"):
        written_chain(next(iter(source)), engine)


def test_no_chain_that_helps_is_an_error(source: DatasetFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no sample of .* is kept, 20 rows read .right without it 20"):
        write_helpful(ScriptedEngine(lambda r, s: ANSWER if r.prefix else RIGHT), source, tmp_path / "out", plan=PLAN)
    assert not (tmp_path / "out").exists() and journal_of(tmp_path / "out").exists()


@pytest.mark.parametrize(("right", "wrong"), [(0.0, 0.2), (0.1, 1.5), (-1.0, 0.2), (float("nan"), 0.2)])
def test_a_gain_is_a_share_above_nothing(right: float, wrong: float) -> None:
    with pytest.raises(ConfigError, match="the gain where the answer was"):
        gains(right, wrong)
