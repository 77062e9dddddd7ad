"""lmms-eval itself with the task folder, in a separate environment, against a real server: the numbers of mirg.

``MIRG_LMMS_PYTHON`` names the Python of an environment with lmms-eval (CONTRIBUTING.md says how to make one).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fakes.commands import invoke
from fakes.drawn_migbench import write_tree
from fakes.engines import ScriptedEngine
from fakes.official import random_response
from fakes.serving import serving
from mirg.data.importers.migbench import PAPER_NAMES
from mirg.engines.base import Engine
from mirg.engines.load import load_engine

pytestmark = pytest.mark.slow

GROUPS = {"migbench": "MIG_data.json", "migbench_revised": "revised_MIG_bench.json"}
METRICS = (
    *(f"official_{column}" for column in ("acc@0.3", "acc@0.5", "acc@0.7", "mean_iou")),
    *("strict_acc@0.5", "strict_image_accuracy", "strict-box_acc@0.5"),
)
LONGEST = 64


class Run(NamedTuple):
    """What lmms-eval wrote: its results by task and group, and the logged rows of every group as one file."""

    results: dict[str, dict[str, Any]]
    responses: dict[str, Path]


@pytest.fixture(scope="module")
def python() -> str:
    found = os.environ.get("MIRG_LMMS_PYTHON")
    if not found:
        pytest.skip("MIRG_LMMS_PYTHON names no Python with lmms-eval")
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def lmms_eval(python: str, tree: Path, tmp_path: Path, repository: Path) -> Callable[..., Run]:
    """``lmms_eval(engine)`` runs both groups on a server with that engine; names are those of the environment."""

    def run(engine: Engine, **names: str) -> Run:
        told = {f"MIGBENCH_{name.upper()}": value for name, value in {"root": str(tree), **names}.items()}
        libraries = {"PYTHONPATH": str(repository / "src"), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
        with serving(engine, name="served") as address:
            model = f"model=served,base_url={address}/v1,api_key=none,num_concurrent=4"
            command = [python, "-m", "lmms_eval", "--model", "openai", "--model_args", model]
            command += ["--tasks", ",".join(GROUPS), "--include_path", str(repository / "integrations" / "lmms_eval")]
            command += ["--gen_kwargs", f"max_new_tokens={LONGEST}", "--output_path", "out", "--log_samples"]
            environment = {**os.environ, **libraries, **told}
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=560)
        assert done.returncode == 0, done.stdout + done.stderr
        return written(tmp_path)

    return run


def written(folder: Path) -> Run:
    (file,) = (folder / "out").rglob("*_results.json")
    responses = {}
    for group in GROUPS:
        rows = [(folder / "out").rglob(f"*_samples_{group}_{task}.jsonl") for task in PAPER_NAMES]
        responses[group] = folder / f"{group}.jsonl"
        responses[group].write_text("".join(next(files).read_text(encoding="utf-8") for files in rows))
    return Run(json.loads(file.read_text(encoding="utf-8"))["results"], responses)


def numbers(table: dict[str, Any], key: str, task: str = "") -> dict[str, float]:
    """The numbers of a summary of mirg under the names of lmms-eval: of a task, or the mean of the tasks."""
    found = {}
    for metric in METRICS:
        protocol, _, column = metric.partition("_")
        found[metric] = (table[protocol][key][task] if task else table[protocol][key])[column]
    return found


def check(run: Run, tree: Path, tmp_path: Path, family: str) -> dict[str, Any]:
    """Every number of both groups equals that of ``mirg score migbench`` on the logged rows; the original summary."""
    summaries = {}
    for group, file in GROUPS.items():
        out = tmp_path / f"{group}.summary.json"
        done = invoke(
            *("score", "migbench", tree / file, run.responses[group], "--protocol", "all"),
            *("--family", family, "--summary", out),
        )
        assert done.exit_code == 0 and "30 of 30 items have a response" in done.output
        summaries[group] = json.loads(out.read_text(encoding="utf-8"))
        assert run.results[group]["unanswered,none"] == 0
        for task in PAPER_NAMES:
            found = run.results[f"{group}_{task}"]
            assert {m: found[f"{m},none"] for m in METRICS} == numbers(summaries[group], "tasks", task)
        assert {m: run.results[group][f"{m},none"] for m in METRICS} == numbers(summaries[group], "mean")
    return summaries["migbench"]


def test_mirg_tiny_gets_the_numbers_of_mirg(lmms_eval: Callable[..., Run], tree: Path, tmp_path: Path) -> None:
    """Those of ``mirg score`` on what was logged, and answers and tables of ``mirg evaluate --bench`` here."""
    run = lmms_eval(load_engine("mirg-tiny"), family="mirg-tiny", instructions="none")
    summary = check(run, tree, tmp_path, "mirg-tiny")
    tasks = summary["official"]["tasks"].values()
    assert sum(1 for row in tasks if 0 < row["mean_iou"] < 100) >= 8 and 0 < summary["strict"]["mean"]["acc@0.5"] < 100
    for group, kind in {"migbench": "migbench", "migbench_revised": "migbench-revised"}.items():
        out = tmp_path / kind
        options = ("--instructions", "none", "--max-new-tokens", LONGEST)
        done = invoke("evaluate", "mirg-tiny", "--bench", kind, "--root", tree, "--out", out, *options)
        assert done.exit_code == 0, done.output
        records = [json.loads(line) for line in (out / "records.jsonl").read_text(encoding="utf-8").splitlines()]
        logged = [json.loads(line) for line in run.responses[group].read_text(encoding="utf-8").splitlines()]
        by_index = {row["index"]: row["response"] for row in logged}
        assert {int(r["id"].rpartition("-")[2]): r["completion"].strip() for r in records} == by_index
        bench = json.loads((out / "bench.json").read_text(encoding="utf-8"))
        assert {m: run.results[group][f"{m},none"] for m in METRICS} == numbers(bench, "mean")


def test_any_response_gets_the_numbers_of_mirg(lmms_eval: Callable[..., Run], tree: Path, tmp_path: Path) -> None:
    """Thinking with boxes, several boxes, blank lines, decimals, or nothing: lmms-eval removes none of it."""
    sent: set[str] = set()

    def script(request: Any, _: Any) -> str:
        asked = json.dumps(request.messages) + str([image.size for image in request.images])
        text = random_response(random.Random(asked))
        sent.add(said := (f"<think>(100,100),(600,600)\n\n</think>{text}" if len(text) % 3 else text).strip())
        return said

    run = lmms_eval(ScriptedEngine(script))
    lines = [line for file in run.responses.values() for line in file.read_text(encoding="utf-8").splitlines()]
    assert {json.loads(line)["response"] for line in lines} == sent and any("\n\n</think>" in text for text in sent)
    assert check(run, tree, tmp_path, "qwen3-vl")["official"]["mean"]["acc@0.3"] > 0
