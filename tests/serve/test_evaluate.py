"""A model evaluated on this machine and through ``mirg serve``: the same results, however often it was killed.

What differs is what names the model and its engine: in ``evaluation.json`` and ``settings`` of the summary ``model``,
``fingerprint``, ``numerics`` (an endpoint does not tell it), ``limits`` if they were not given, and the batch size
(requests to an endpoint are independent of each other); and what is derived from these, the ``key`` of each record and
the ``records_digest`` of the summary. An answer of white space only is empty through an endpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.serving import serving
from mirg.data.scenes.generate import write_scenes
from mirg.engines.base import Generation
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.engines.transformers import TransformersEngine
from mirg.evaluation.records import load_answers
from mirg.evaluation.runner import Plan, evaluate
from mirg.models.load import load_model
from mirg.samples import DatasetFolder

DIFFERENT = {"model", "fingerprint", "numerics", "limits"}


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".lock"}


def without_names(folder: Path) -> dict[str, Any]:
    """Everything in the folder but the names of model and engine, and the keys and the digest made from them."""
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    summary = json.loads((folder / "summary.json").read_text())
    for settings in (summary["settings"], evaluation := json.loads((folder / "evaluation.json").read_text())):
        assert settings.keys() >= DIFFERENT
        settings["generation"].pop("batch_size")
        for name in DIFFERENT:
            del settings[name]
    del summary["records_digest"]
    for record in records:
        del record["key"]
        record["completion"] = record["completion"] if record["completion"].strip() else ""
    return {"records": records, "summary": summary, "evaluation": evaluation}


def test_the_same_records_and_summary_here_and_through_a_server(
    folders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    engine = TransformersEngine(load_model(str(folders["qwen3_vl"])))
    dataset, plan = DatasetFolder.open(data), Plan(Generation(max_new_tokens=12, batch_size=4), limit=5)
    evaluate(engine, dataset, tmp_path / "here", plan)
    sampled = replace(plan, generation=replace(plan.generation, temperature=1.0), draws=2)
    with serving(engine, name="m") as url:
        there = EndpointEngine(f"{url}/v1", "m", engine.family, limits=engine.limits, requests=Limits(concurrency=3))
        evaluate(there, dataset, tmp_path / "there", plan)
        assert without_names(tmp_path / "here") == without_names(tmp_path / "there")
        evaluate(there, dataset, tmp_path / "drawn", sampled)

        def stop(done: int, total: int, kept: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(there, dataset, tmp_path / "stopped", sampled, stop)
        evaluate(there, dataset, tmp_path / "stopped", sampled)
    assert content(tmp_path / "stopped") == content(tmp_path / "drawn")
    assert any(a.completion != b.completion for a, b in load_answers(tmp_path / "drawn")), "draws have other seeds"


# The commands themselves, killed.


def mirg(*args: object, **options: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "mirg.cli.main", *map(str, args)]
    source = Path(__file__).parents[2] / "src"
    return subprocess.Popen(line, env={**os.environ, "PYTHONPATH": str(source)}, text=True, **options)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data", 24, split="test").root


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = mirg("serve", "mirg-tiny", "--port", 0, "--batch-size", 2, stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[-1]
    finally:
        server.terminate()
        server.wait(30)


def rows(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def killed_and_resumed(command: tuple[object, ...], grown: Path, moments: tuple[int, ...], torn: Path) -> int:
    """Kill ``command`` as soon as ``grown`` has so many rows, then let it finish; how often it was killed."""
    killed = 0
    for number in moments:
        child = mirg(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and rows(grown) < number:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    with torn.open("ab") as stream:
        stream.write(b'{"id": "half a li')
    assert mirg(*command, stdout=subprocess.DEVNULL).wait() == 0
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [(), ("--draws", 3, "--temperature", 1)], ids=["greedy", "draws"])
def test_killed_three_times_here_and_through_a_server(
    scenes: Path, address: str, tmp_path: Path, sampled: tuple[object, ...]
) -> None:
    options = ("--max-new-tokens", 24, "--instructions", "none", *sampled)
    here = ("evaluate", "mirg-tiny", scenes, *options, "--batch-size", 4)
    there = ("evaluate", "mirg-tiny", scenes, *options, "--endpoint", address, "--family", "mirg-tiny")
    each = 3 if sampled else 1
    for name, command, moments in (("here", here, (1, 5, 17)), ("there", there, (0, 2, 13))):
        assert mirg(*command, "--out", tmp_path / name, stdout=subprocess.DEVNULL).wait() == 0
        cut = tmp_path / f"{name}-killed"
        # Local rows come in batches; of an endpoint, each reply is kept as it arrives.
        grown = cut / ("records.jsonl" if name == "here" else "replies.jsonl")
        torn = cut / "records.jsonl"
        assert killed_and_resumed((*command, "--out", cut), grown, tuple(each * m for m in moments), torn) == 3
        assert content(cut) == content(tmp_path / name)
    if not sampled:
        assert without_names(tmp_path / "here") == without_names(tmp_path / "there")
