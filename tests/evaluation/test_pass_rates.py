"""Pass rates: what is counted, what is stored, and that nothing is asked twice."""

from __future__ import annotations

import base64
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi
from fakes.measured import RIGHT, WRONG, contents, dice, refused, write_reasoned
from mirg.engines.base import Generation, Request
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import ConfigError, DataError, EndpointError, EngineError, EvaluationError, StorageError
from mirg.evaluation.measure import MeasurePlan, journal_of
from mirg.evaluation.pass_rates import write_difficulty
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder

PLAN = MeasurePlan(Generation(batch_size=6, temperature=1.0))
K = 4


def lucky(sample_id: str, j: int) -> bool:
    """Sample k is solved k mod 5 times out of four."""
    return j < int(sample_id[1:]) % 5


@pytest.fixture
def source(tmp_path: Path) -> DatasetFolder:
    return write_reasoned(tmp_path / "data")


def test_the_rate_is_the_share_of_right_answers(source: DatasetFolder, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = write_difficulty(dice(lucky), source, tmp_path / "out", K, PLAN, lambda *now: seen.append(now))
    made = DatasetFolder.open(tmp_path / "out")
    assert made.verify() == []
    found = {sample.id: sample for sample in made.read(images="decode")}
    assert list(found) == [sample.id for sample in source], "in the order of the source"
    for k, sample in enumerate(found.values()):
        assert sample.meta["pass_rate"] == (k % 5) / 4 and sample.meta["own"] == k
        # A right answer earns 1, one in the wrong image only the reward of its format: 0.1.
        rewards = [1.0] * (k % 5) + [0.1] * (4 - k % 5)
        assert sample.meta["mean_reward"] == pytest.approx(sum(rewards) / 4)
        assert sample.meta["reward_std"] == pytest.approx(np.std(rewards, ddof=1), abs=1e-6)
        assert sample.trajectory is not None
    assert report.kept == {"never": 4, "sometimes": 12, "always": 4} and report.n_rows == 20 and not refused(made.root)
    assert seen == [(6, 20), (12, 20), (18, 20), (20, 20)]
    assert "Pass rates of scripted over 4 answers." in made.card.description
    assert not journal_of(tmp_path / "out").exists()


def test_each_batch_has_a_seed_of_its_own(source: DatasetFolder, tmp_path: Path) -> None:
    engine, other = dice(lucky), dice(lucky)
    write_difficulty(engine, source, tmp_path / "a", K, PLAN)
    write_difficulty(other, source, tmp_path / "b", K, replace(PLAN, generation=replace(PLAN.generation, seed=1)))
    assert len(set(engine.seeds)) == 4 and not set(engine.seeds) & set(other.seeds)


def test_stopped_anywhere_and_started_again_is_byte_identical(source: DatasetFolder, tmp_path: Path) -> None:
    """Every number of whole rows and rows torn in the middle: what a kill can leave behind."""
    write_difficulty(dice(lucky), source, tmp_path / "whole" / "out", K, PLAN)
    expected = contents(tmp_path / "whole" / "out")
    with pytest.raises(KeyboardInterrupt):
        write_difficulty(dice(lucky, die_after=3), source, tmp_path / "stopped" / "out", K, PLAN)
    assert not (tmp_path / "stopped" / "out").exists(), "the dataset appears whole or not at all"
    journal = journal_of(tmp_path / "stopped" / "out")
    lines = (journal / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 18
    for n, torn in ((0, 0), (0, 9), (1, 0), (5, 40), (6, 0), (7, 1), (11, 80), (12, 0), (17, 30), (18, 0)):
        out = tmp_path / f"cut-{n}-{torn}" / "out"
        shutil.copytree(journal, journal_of(out))
        (journal_of(out) / "records.jsonl").write_bytes(b"".join(lines[:n]) + (lines[n][:torn] if torn else b""))
        engine = dice(lucky)
        report = write_difficulty(engine, source, out, K, PLAN)
        assert contents(out) == expected, f"after {n} rows and {torn} bytes"
        assert len(engine.asked) == 4 - n // 6 and report.resumed == 6 * (n // 6), "whole batches are not asked again"


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"k": 5}, "k"),
        ({"plan": replace(PLAN, generation=replace(PLAN.generation, temperature=0.7))}, "generation"),
        ({"plan": replace(PLAN, instructions="short")}, "instructions"),
        ({"fingerprint": "other weights"}, "fingerprint"),
    ],
)
def test_a_journal_of_other_settings_is_not_mixed_in(
    source: DatasetFolder, tmp_path: Path, change: dict, names: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_difficulty(dice(lucky, die_after=2), source, out, K, PLAN)
    k, plan = change.pop("k", K), change.pop("plan", PLAN)
    with pytest.raises(EvaluationError, match=f"{names} differ"):
        write_difficulty(dice(lucky, **change), source, out, k, plan)
    write_difficulty(dice(lucky, **change), source, out, k, replace(plan, overwrite=True))
    write_difficulty(dice(lucky, **change), source, tmp_path / "again", k, plan)
    assert contents(out) == contents(tmp_path / "again")


def test_overwriting_goes_on_too(source: DatasetFolder, tmp_path: Path) -> None:
    out, plan = tmp_path / "out", replace(PLAN, overwrite=True)
    write_difficulty(dice(lambda name, j: False), source, out, K, PLAN)
    old = contents(out)
    with pytest.raises(KeyboardInterrupt):
        write_difficulty(dice(lucky, die_after=3), source, out, K, plan)
    assert contents(out) == old, "the old dataset is there until the new one is complete"
    engine = dice(lucky)
    write_difficulty(engine, source, out, K, plan)
    assert len(engine.asked) == 1 and contents(out) != old


def test_what_cannot_be_asked_is_rejected_and_the_rest_goes_on(source: DatasetFolder, tmp_path: Path) -> None:
    """A torn row, a question with a vision token, an image that is gone and one cut off: each named, none lost."""
    file = source.root / "samples.jsonl"
    lines = file.read_text().splitlines()
    lines[1] = lines[1][:50]
    bad = json.loads(lines[3]) | {"question": "Where is <|image_pad|>?"}
    lines[3] = json.dumps(bad)
    file.write_text("\n".join(lines) + "\n")
    (source.root / json.loads(lines[5])["images"][0]["path"]).unlink()
    cut = source.root / json.loads(lines[8])["images"][1]["path"]
    cut.write_bytes(cut.read_bytes()[:60])
    report = write_difficulty(dice(lucky), source, tmp_path / "out", K, PLAN)
    assert (report.n_rows, report.kept.total(), report.n_rejected) == (20, 16, 4)
    rows = refused(tmp_path / "out")
    assert [(row["row"], row["id"]) for row in rows] == [(2, None), (4, "s03"), (6, "s05"), (9, "s08")]
    assert all(row["reason"] for row in rows)
    assert [row.model_dump() for row in report.rejections] == rows


def test_nothing_to_keep_is_an_error_and_the_journal_stays(source: DatasetFolder, tmp_path: Path) -> None:
    for image in (source.root / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="no sample of .* is kept, 20 rows read"):
        write_difficulty(dice(lucky), source, tmp_path / "out", K, PLAN)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("k", "temperature", "words"), [(8, 0.0, "8 answers at temperature 0"), (0, 1.0, "k is 0"), (-1, 1.0, "k is -1")]
)
def test_a_rate_that_means_nothing_is_refused(
    source: DatasetFolder, tmp_path: Path, k: int, temperature: float, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        write_difficulty(dice(lucky), source, tmp_path / "out", k, MeasurePlan(Generation(temperature=temperature)))


def test_one_greedy_answer_is_a_rate(source: DatasetFolder, tmp_path: Path) -> None:
    engine = ScriptedEngine(lambda request, settings: RIGHT)
    report = write_difficulty(engine, source, tmp_path / "out", 1, MeasurePlan())
    assert report.kept == {"always": 20}


def test_places_that_would_harm_something_are_refused(source: DatasetFolder, tmp_path: Path) -> None:
    engine = dice(lucky)
    with pytest.raises(StorageError, match="exists already"):
        write_difficulty(engine, source, source.root, K, PLAN)
    with pytest.raises(ConfigError, match="read from"):
        write_difficulty(engine, source, tmp_path, K, replace(PLAN, overwrite=True))
    assert not engine.asked, "before anything is asked"


def test_images_are_referred_to_or_copied(source: DatasetFolder, tmp_path: Path) -> None:
    write_difficulty(dice(lucky), source, tmp_path / "refers", K, PLAN)
    write_difficulty(dice(lucky), source, tmp_path / "holds", K, replace(PLAN, copy=True))
    assert not list((tmp_path / "refers" / "images").iterdir())
    assert len(list((tmp_path / "holds" / "images").iterdir())) == 40


def test_a_refused_request_is_one_problem_and_the_others_are_measured(
    api: FaultyApi, source: DatasetFolder, tmp_path: Path
) -> None:
    """The endpoint refuses two samples; the run is stopped after their batch, and nothing is asked twice."""

    def wide(body: dict[str, Any]) -> bool:
        url = next(part for part in body["messages"][0]["content"] if "image_url" in part)["image_url"]["url"]
        return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).width in (43, 45)

    api.refused = lambda body: "too many pixels in an image" if wide(body) else None
    api.reply = lambda body: RIGHT if body["seed"] % 2 else WRONG

    def engine() -> EndpointEngine:
        return EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=Limits(concurrency=4, max_wait=0.1))

    def stop(done: int, total: int) -> None:
        if done > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_difficulty(engine(), source, tmp_path / "out", K, PLAN, stop)
    report = write_difficulty(engine(), source, tmp_path / "out", K, PLAN)
    assert (report.n_kept, report.n_rejected, report.resumed) == (18, 2, 12)
    assert set(api.counts.answered.values()) == {1} and sum(api.counts.answered.values()) == 18 * K
    rows = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["s03", "s05"] and "accepts 2 images of this size" in rows[0]["reason"]
    write_difficulty(engine(), source, tmp_path / "whole", K, PLAN)
    assert contents(tmp_path / "whole") == contents(tmp_path / "out")
    api.settings.always = "401"
    with pytest.raises(EndpointError, match="refuses"):
        write_difficulty(engine(), source, tmp_path / "none", K, PLAN)


def test_an_engine_whose_batches_belong_together_still_stops(source: DatasetFolder, tmp_path: Path) -> None:
    def fail(request: Request, settings: Generation) -> str:
        raise EngineError("the model computes numbers that are not finite")

    with pytest.raises(EngineError, match="not finite"):
        write_difficulty(ScriptedEngine(fail), source, tmp_path / "out", K, PLAN)
