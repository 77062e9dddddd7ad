"""Evaluation of a model behind an endpoint: the same folder however it was stopped, and nothing asked twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fakes.faulty_api import FaultyApi, Settings
from mirg.engines.base import Generation
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import EndpointError, EvaluationError
from mirg.evaluation.records import load_records
from mirg.evaluation.runner import Plan, evaluate
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder

FILES = ["evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json"]
ANSWERS = [
    "<think>hm</think><answer>Image-1: (100,100),(500,500)</answer>",
    "<think>hm</think><answer>Image-2: (100,100),(500,500)</answer>",
    "no idea",
]


def reply(body: dict[str, Any]) -> str:
    """An answer that depends on the whole request."""
    return ANSWERS[hashlib.sha256(json.dumps(body).encode()).digest()[0] % 3]


def engine(api: FaultyApi, **requests: Any) -> EndpointEngine:
    limits = Limits(**({"concurrency": 4, "max_wait": 0.1, "tries": 20} | requests))
    return EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=limits)


def content(folder: Path) -> dict[str, bytes]:
    assert sorted(file.name for file in folder.iterdir() if file.is_file() and file.suffix != ".lock") == FILES
    return {name: (folder / name).read_bytes() for name in FILES}


def test_stopped_anywhere_and_continued(api: FaultyApi, dataset: DatasetFolder, tmp_path: Path) -> None:
    api.reply = reply
    api.settings = Settings(share=0.2, faults=("429", "500", "reset", "half JSON"))
    whole = evaluate(engine(api), dataset, tmp_path / "whole", Plan())
    expected = content(tmp_path / "whole")
    assert whole["n"] == 24 and len({record.completion for record in load_records(tmp_path / "whole")}) == 3
    for stop in (1, 12):
        api.counts.answered.clear()
        folder = tmp_path / f"stopped-{stop}"

        def at(done: int, total: int, kept: int, stop: int = stop) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(engine(api), dataset, folder, Plan(), at)
        assert (folder / "replies.jsonl").exists() and len(load_records(folder)) == stop
        lines = (folder / "replies.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "replies.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
        seen: list[tuple[int, int, int]] = []
        # Another number of requests at once changes nothing.
        evaluate(engine(api, concurrency=7), dataset, folder, Plan(), lambda *now, seen=seen: seen.append(now))
        assert content(folder) == expected and seen[-1] == (24, 24, stop)
        assert sum(api.counts.answered.values()) <= 24 + 1 + 4, "one damaged line, and those pending when it stopped"
    before = api.counts.requests
    evaluate(engine(api), dataset, tmp_path / "whole", Plan())
    assert api.counts.requests == before and content(tmp_path / "whole") == expected


def test_what_cannot_be_asked_is_listed_in_order(api: FaultyApi, dataset: DatasetFolder, tmp_path: Path) -> None:
    """Broken images are found here, and requests are refused there; everything else is evaluated."""
    api.settings = Settings(default=ANSWERS[0], message="too many pixels in an image")
    samples = list(dataset.read())
    for sample in (samples[0], samples[7], samples[23]):
        dataset.image_path(sample.images[0]).write_bytes(b"no picture")
    refused: list[str] = []

    def picky(body: dict[str, Any]) -> str:
        refused.append("asked")
        return ANSWERS[0]

    api.reply = picky
    summary = evaluate(engine(api, concurrency=1), dataset, tmp_path / "out", Plan())
    assert (summary["n"], summary["rejected"], len(refused)) == (21, 3, 21)
    api.settings.always = "413"
    with pytest.raises(EvaluationError, match=r"no sample could be evaluated, 24 were rejected"):
        evaluate(engine(api), dataset, tmp_path / "none", Plan())
    rows = [json.loads(line) for line in (tmp_path / "none" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    assert "accepts 2 images of this size" in rows[1]["reason"] and "picture" not in rows[1]["reason"]


def test_a_server_that_goes_away_ends_the_run_and_loses_nothing(
    api: FaultyApi, dataset: DatasetFolder, tmp_path: Path
) -> None:
    api.settings = Settings(default=ANSWERS[1])

    def leave(done: int, total: int, kept: int) -> None:
        api.settings.always = "503" if done >= 9 else None

    with pytest.raises(EndpointError, match="does not answer"):
        evaluate(engine(api, tries=2, max_wait=0.1), dataset, tmp_path / "out", Plan(), leave)
    kept = len(load_records(tmp_path / "out"))
    api.settings.always = None
    asked = sum(api.counts.answered.values())
    assert evaluate(engine(api), dataset, tmp_path / "out", Plan())["n"] == 24
    assert 9 <= kept <= 24 and sum(api.counts.answered.values()) - asked <= 24 - kept


def test_a_folder_in_which_nothing_succeeded_takes_other_settings(
    api: FaultyApi, dataset: DatasetFolder, tmp_path: Path
) -> None:
    api.settings = Settings(always="401")
    with pytest.raises(EndpointError):
        evaluate(engine(api), dataset, tmp_path / "out", Plan())
    api.settings = Settings(default=ANSWERS[1])
    other = EndpointEngine(api.url, "other", FAMILIES["qwen3-vl"])
    assert evaluate(other, dataset, tmp_path / "out", Plan())["n"] == 24


def test_other_settings_are_another_evaluation(api: FaultyApi, dataset: DatasetFolder, tmp_path: Path) -> None:
    api.settings = Settings(default=ANSWERS[1])
    evaluate(engine(api), dataset, tmp_path / "out", Plan())
    with pytest.raises(EvaluationError, match="generation differ"):
        evaluate(engine(api), dataset, tmp_path / "out", Plan(generation=Generation(max_new_tokens=7)))
    other = EndpointEngine(api.url, "other", FAMILIES["qwen3-vl"])
    with pytest.raises(EvaluationError, match="fingerprint differ"):
        evaluate(other, dataset, tmp_path / "out", Plan())
