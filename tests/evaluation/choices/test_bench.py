"""From the files of a benchmark to its tables with one command: locally, and with an endpoint over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.choices import WRITERS, replies, write_blink, write_muir
from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi, Settings
from mirg.engines.base import Generation
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import ConfigError, EvaluationError
from mirg.evaluation.benches import BENCHES, open_bench
from mirg.evaluation.choices.load import find, prepared
from mirg.evaluation.choices.records import ChoiceRecord
from mirg.evaluation.pages import report_from_run
from mirg.evaluation.records import load_rows
from mirg.evaluation.runner import Plan
from mirg.families import FAMILIES

FILES = ("bench.json", "evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json")


def endpoint(api: FaultyApi, **limits: Any) -> EndpointEngine:
    requests = Limits(**({"concurrency": 4, "max_wait": 0.1, "tries": 20} | limits))
    return EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=requests)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("name", list(WRITERS))
def test_right_and_wrong_answers_over_http(name: str, api: FaultyApi, tmp_path: Path) -> None:
    """The right answer in any spelling gives 1, a wrong one 0; the prompt holds the images at their places."""
    root = WRITERS[name](tmp_path / "src")
    bench = open_bench(name, Plan(), root=root)
    data = prepared(find(name, root), tmp_path / "data")
    for wrong in (False, True):
        api.settings = Settings(replies=replies(data, wrong=wrong))
        api.keep_bodies, api.bodies = True, []
        summary = bench.run(endpoint(api), tmp_path / f"out-{wrong}", Plan(), None)
        metrics = summary["metrics"]
        assert summary["n"] == len(data) == len(api.bodies) and summary["rejected"] == 0
        assert metrics["overall"]["accuracy"]["mean"] == float(not wrong) and not metrics["unreadable"]
        if not wrong:
            assert metrics["mean_of_tasks"]["score"]["mean"] == 1.0
            assert all(task["score"]["mean"] == 1.0 for task in metrics["tasks"].values())
        for body in api.bodies:
            kinds = [part["type"] for part in body["messages"][0]["content"]]
            images = kinds.count("image_url")
            assert images >= 2 and (kinds[0] == "image_url" or name == "muirbench")
            assert not any("<image>" in part.get("text", "") for part in body["messages"][0]["content"])


def test_stopped_three_times_and_continued(api: FaultyApi, tmp_path: Path) -> None:
    """The same command ends byte-identical, and asks for nothing twice, although the server has faults."""
    root = write_blink(tmp_path / "src", n=6)
    faults = {"share": 0.2, "faults": ("429", "500", "reset", "half JSON")}
    texts = replies(prepared(find("blink", root), tmp_path / "data"))
    api.settings = Settings(replies=texts | {case: "hm" for case in list(texts)[::4]}, **faults)
    open_bench("blink", Plan(), root=root).run(endpoint(api), tmp_path / "whole", Plan(), None)
    whole, asked = content(tmp_path / "whole"), sum(api.counts.answered.values())
    for stop in (1, 4, 9):

        def at(done: int, total: int, kept: int, stop: int = stop) -> None:
            if done >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            open_bench("blink", Plan(), root=root).run(endpoint(api), tmp_path / "parts", Plan(), at)
        assert not (tmp_path / "parts/bench.json").exists()
    open_bench("blink", Plan(), root=root).run(endpoint(api, concurrency=7), tmp_path / "parts", Plan(), None)
    assert content(tmp_path / "parts") == whole
    assert sum(api.counts.answered.values()) - asked <= asked + 3 * 4, "those on their way when it stopped"


def test_stopped_between_batches(tmp_path: Path) -> None:
    root = write_muir(tmp_path / "src")
    texts = {sample.id: "(A) the answer" for sample in prepared(find("muirbench", root), tmp_path / "data").read()}
    plan = Plan(generation=Generation(batch_size=2))

    def engine(die_after: int | None = None) -> ScriptedEngine:
        return ScriptedEngine(lambda request, settings: texts[request.sample_id], die_after=die_after)

    open_bench("muirbench", plan, root=root).run(engine(), tmp_path / "whole", plan, None)
    for batches in (1, 1):
        with pytest.raises(KeyboardInterrupt):
            open_bench("muirbench", plan, root=root).run(engine(batches), tmp_path / "parts", plan, None)
    last = engine()
    open_bench("muirbench", plan, root=root).run(last, tmp_path / "parts", plan, None)
    assert content(tmp_path / "parts") == content(tmp_path / "whole") and len(last.asked) == 1
    with pytest.raises(EvaluationError, match="prompt differ"):
        open_bench("muirbench", plan, root=root, prompts="reasoned").run(engine(), tmp_path / "parts", plan, None)


def test_items_that_cannot_be_asked_are_counted(tmp_path: Path) -> None:
    """An item refused when the benchmark is read, and one whose image is damaged later; the others continue."""
    root = write_muir(tmp_path / "src")
    data = prepared(find("muirbench", root), tmp_path / "data")
    first, second = list(data.read())[:2]
    data.image_path(second.images[0]).write_bytes(b"no picture")
    (data.root / "rejected.jsonl").write_text(
        json.dumps({"file": "a.parquet", "row": 9, "id": "99", "field": "answer", "reason": "is odd", "hint": ""})
        + "\n"
    )
    engine = ScriptedEngine(lambda request, settings: "A")
    summary = open_bench("muirbench", Plan(), root=tmp_path / "data").run(engine, tmp_path / "out", Plan(), None)
    assert (summary["n"], summary["rejected"]) == (5, 2) and summary["metrics"]["pairs"]["incomplete"] == 1
    refused = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert refused[0] == {"id": "99", "task": "", "reason": "a.parquet:9: answer: is odd"}
    assert refused[1]["id"] == second.id and first.id in {row.id for row in load_rows(tmp_path / "out", ChoiceRecord)}


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``mirg`` with an engine that answers every item by the letter that is its name: ``always-B``."""
    from fakes.commands import invoke

    def load_engine(model: str, **options: object) -> ScriptedEngine:
        said = model.partition("-")[2]
        return ScriptedEngine(lambda request, settings: said, name=model, fingerprint=model)

    monkeypatch.setattr("mirg.engines.load.load_engine", load_engine)
    return invoke


def test_the_command(command: Callable[..., Any], tmp_path: Path) -> None:
    """One command per model, the question whether training did harm, and the page."""
    root = write_muir(tmp_path / "src", 24)
    base = command("evaluate", "always-C", "--bench", "muirbench", "--root", root, "--out", tmp_path / "runs/base")
    assert base.exit_code == 0, base.output
    assert "both of a pair" in base.output and "GPT-4o 68.0 (arXiv 2406.09411" in base.output
    tuned = command(
        "evaluate", "always-(A) or (B)", "--bench", "muirbench", "--root", tmp_path / "runs/base/data",
        "--out", tmp_path / "runs/tuned", "--against", tmp_path / "runs/base", "--prompts", "reasoned",
    )  # fmt: skip
    assert tuned.exit_code == 0 and f"this model minus {tmp_path}/runs/base, on the 48 items" in tuned.output
    assert "48 answers are unreadable and count as wrong: the answer names several options" in tuned.stderr
    right = json.loads((tmp_path / "runs/base/summary.json").read_text())["metrics"]["overall"]["accuracy"]["mean"]
    assert f"lower by {100 * right:.1f} points" in tuned.output
    assert not (tmp_path / "runs/tuned/data").exists(), "the items of the other evaluation are used"
    compared = command("compare", tmp_path / "runs/base", tmp_path / "runs/tuned")
    assert compared.exit_code == 0 and f"lower by {100 * right:.1f} points" in compared.output
    as_json = json.loads(command("compare", tmp_path / "runs/base", tmp_path / "runs/tuned", "--json").stdout)
    assert as_json["differences"][0]["overall"]["mean"] == pytest.approx(-right)
    page = report_from_run(tmp_path / "runs").read_text()
    for words in (
        "both of a pair",
        "MuirBench: accuracy",
        "Read as C",
        "tuned − base",
        "GPT-4o 68.0",
        "data:image/webp",
    ):
        assert words in page, words
    assert "true box" not in page and "wrong image" not in page


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--bench", "blink"), "--bench blink needs --root"),
        (("--bench", "blimk", "--root", "."), "did you mean 'blink'?"),
        (("--bench", "blink", "--root", "SRC", "--prompts", "mirg"), "--prompts, one of: published, reasoned"),
        (("--bench", "blink", "--root", "SRC", "--mode", "all"), "has no option --mode"),
        (("--bench", "blink", "--root", "SRC", "--instructions", "full"), "--instructions has no effect"),
        (("--bench", "blink", "--root", "SRC"), "holds no file of BLINK"),
        (("--bench", "muirbench", "--root", "SRC", "--tasks", "Painting"), "no sample of task Painting"),
        (("--bench", "muirbench", "--root", "SRC", "--against", "SRC"), "is not an evaluation"),
        (("--bench", "muirbench", "--root", "/no/such/folder"), "is not a folder"),
    ],
)
def test_bad_input(options: tuple[str, ...], reason: str, command: Callable[..., Any], tmp_path: Path) -> None:
    root = str(write_muir(tmp_path / "src"))
    found = command("evaluate", "always-A", *(root if o == "SRC" else o for o in options), "--out", tmp_path / "out")
    assert found.exit_code == 2 and reason in found.output.replace("\n", " "), found.output


def test_evaluations_of_other_kinds_are_refused(command: Callable[..., Any], tmp_path: Path) -> None:
    for name, write in (("blink", write_blink), ("muirbench", write_muir)):
        root = write(tmp_path / name)
        command("evaluate", "always-A", "--bench", name, "--root", root, "--out", tmp_path / f"out-{name}")
    found = command("compare", tmp_path / "out-blink", tmp_path / "out-muirbench")
    assert found.exit_code == 2 and "is an evaluation of MuirBench" in found.output
    with pytest.raises(EvaluationError, match="is an evaluation of BLINK"):
        open_bench("muirbench", Plan(), root=tmp_path / "muirbench", against=(tmp_path / "out-blink",))


def test_an_unfinished_evaluation_has_a_page(tmp_path: Path) -> None:
    root = write_muir(tmp_path / "src")
    engine = ScriptedEngine(lambda request, settings: "B", die_after=2)
    plan = Plan(generation=Generation(batch_size=2))
    with pytest.raises(KeyboardInterrupt):
        open_bench("muirbench", plan, root=root).run(engine, tmp_path / "out", plan, None)
    page = report_from_run(tmp_path / "out").read_text()
    assert "computed from 4 rows; the evaluation has not ended" in page and "MuirBench: accuracy" in page


def test_every_benchmark_is_listed() -> None:
    assert set(WRITERS) <= set(BENCHES)
    with pytest.raises(ConfigError, match="no benchmark 'blink2'"):
        open_bench("blink2", Plan(), root=Path())
