"""Looks in an evaluation: executed, recorded in order, counted in a table, drawn on the page, and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi
from mirg.answers.looks import LookBudget
from mirg.engines.base import Generation, Request
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import ConfigError, EngineError, MirgError
from mirg.evaluation.page_answers import Gallery, readable_looks
from mirg.evaluation.pages import report_from_run
from mirg.evaluation.records import Record, load_records
from mirg.evaluation.runner import Plan, evaluate
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target

FILES = ("evaluation.json", "records.jsonl", "rejected.jsonl", "summary.json")
TWO = LookBudget(max_looks=2)
PLAN = Plan(generation=Generation(batch_size=4), look=TWO)
NEAR, FAR = "<look>Image-2: (500,250),(750,500)</look>", "<look>Image-3: (1,2),(300,400)</look>"


@pytest.fixture
def small(tmp_path: Path) -> DatasetFolder:
    """Seven samples about two images of different sizes; the target is small, in the second image."""
    with DatasetWriter(tmp_path / "data", name="small") as out:
        for k in range(7):
            images = [Image.new("RGB", size, (k * 30, 90 * j, 30)) for j, size in enumerate([(90, 120), (300, 200)])]
            refs = tuple(out.add_image(image, f"{k}-{j}") for j, image in enumerate(images))
            target = Target(image=2, box=(0.6, 0.3, 0.66, 0.36), label="red ring")
            out.add(Sample(id=f"s{k}", task="refer", images=refs, question="Where?", targets=(target,)))
    return DatasetFolder.open(tmp_path / "data")


def say(name: str, turn: int) -> str:
    """No look, one look or two of which one is refused, by turns of the sample's number."""
    looks = ([], [NEAR], [FAR, NEAR])[int(name[1:]) % 3]
    opened = "<think>" if turn == 0 else ""
    if turn < len(looks):
        return f"{opened}Closer. {looks[turn]} not read"
    box = "(600,300),(660,360)" if looks else "(100,100),(200,200)"
    return f"{opened}So.</think><answer>Image-2: {box}</answer>"


def script(request: Request, settings: Generation) -> str:
    return say(request.sample_id, len(request.messages) // 2)


def page_of(run: Path, data: DatasetFolder) -> str:
    report_from_run(run, out=run / "page.html", data=data.root)
    return (run / "page.html").read_text()


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_looks_are_executed_recorded_and_counted(small: DatasetFolder, tmp_path: Path) -> None:
    summary = evaluate(ScriptedEngine(script), small, tmp_path / "out", PLAN)
    records = {record.id: record for record in load_records(tmp_path / "out")}
    looks = [[(look.name or look.refusal) for look in records[f"s{k}"].looks or ()] for k in range(3)]
    assert looks == [[], ["Image-2a"], ["There is no Image-3.", "Image-2a"]]
    two = records["s2"]
    assert two.looks is not None and two.looks[1].box == (0.5, 0.25, 0.75, 0.5) and two.looks[1].tokens > 100
    assert (
        two.completion == f"<think>Closer. {FAR}Closer. {NEAR}So.</think><answer>Image-2: (600,300),(660,360)</answer>"
    )
    assert two.format == 1.0 and two.joint and two.look_rewards is not None
    assert two.look_rewards["look_image"] == 0.5 and two.reasons["look_image"].startswith("1 of 2 looks")
    by_looks = summary["metrics"]["looks"]
    assert {name: (block["n"], block["joint_accuracy"]["mean"]) for name, block in by_looks["tasks"].items()} == {
        "0 looks": (3, 0.0),
        "1 look": (4, 1.0),
    }
    assert summary["looks"]["refused"] == {"There is no Image-3.": 2} and summary["looks"]["looks"] == 6 / 7
    assert summary["settings"]["look"] == {"max_looks": 2, "crop_pixels": 262144, "version": "mirg.looks/1"}


def test_killed_and_started_again_is_the_same(small: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(script), small, tmp_path / "whole", PLAN)
    for calls in (1, 2, 3, 4):
        folder = tmp_path / f"killed-{calls}"
        with pytest.raises(KeyboardInterrupt):
            evaluate(ScriptedEngine(script, die_after=calls), small, folder, PLAN)
        evaluate(ScriptedEngine(script), small, folder, PLAN)
        assert content(folder) == content(tmp_path / "whole")


def test_another_budget_is_another_evaluation(small: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(script), small, tmp_path / "out", PLAN)
    for other in (LookBudget(max_looks=1), LookBudget()):
        with pytest.raises(MirgError, match="look differ"):
            evaluate(ScriptedEngine(script), small, tmp_path / "out", replace(PLAN, look=other))


def test_without_looks_nothing_is_written_about_them(small: DatasetFolder, tmp_path: Path) -> None:
    summary = evaluate(ScriptedEngine(script), small, tmp_path / "out", replace(PLAN, look=LookBudget()))
    rows = [json.loads(line) for line in (tmp_path / "out/records.jsonl").read_text().splitlines()]
    assert rows and not any({"looks", "look_rewards"} & row.keys() for row in rows)
    assert "looks" not in summary and "looks" not in summary["metrics"] and "look" not in summary["settings"]
    page = page_of(tmp_path / "out", small)
    assert "part that the model looked at" not in page and "text.look" not in page


def test_looks_are_for_boxes(small: DatasetFolder) -> None:
    with pytest.raises(ConfigError, match="looks are for answers that are boxes"):
        Plan(look=TWO, prompt=object())  # type: ignore[arg-type]


def test_the_page_draws_the_looks(small: DatasetFolder, tmp_path: Path) -> None:
    evaluate(ScriptedEngine(script), small, tmp_path / "out", PLAN)
    page = page_of(tmp_path / "out", small)
    assert "<b>2.</b> Image-2a" in page and "<b>1.</b> There is no Image-3." in page
    assert 'viewBox="150.00 50.00 75.00 50.00"' in page, "a window on the part of the image"
    assert '<text class="look"' in page and "look 2: Image-2a" in page and "by number of looks" in page
    gallery = Gallery((), small, {})
    record = next(one for one in load_records(tmp_path / "out") if one.id == "s2")
    assert readable_looks(record) == "Closer.  [look 1: There is no Image-3.] Closer.  [look 2: Image-2a] So."
    assert gallery.item("m", record).looks[0].refused


def endpoint(api: FaultyApi) -> EndpointEngine:
    return EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=Limits(concurrency=2, max_wait=0.1, tries=3))


def test_an_endpoint_is_sent_the_crop(api: FaultyApi, small: DatasetFolder, tmp_path: Path) -> None:
    """The turns of a conversation, and one image more; what was answered is not asked again."""
    sent: list[dict[str, Any]] = []

    def reply(body: dict[str, Any]) -> str:
        sent.append(body)
        return say("s1", len(body["messages"]) // 2)

    api.reply = reply
    summary = evaluate(endpoint(api), small, tmp_path / "out", replace(PLAN, limit=3))
    assert summary["n"] == 3 and summary["looks"]["looks"] == 1.0
    second = [body for body in sent if len(body["messages"]) == 3]
    assert len(sent) == 6 and len(second) == 3
    assert second[0]["messages"][1] == {
        "role": "assistant",
        "content": [{"type": "text", "text": f"<think>Closer. {NEAR}"}],
    }
    assert [part["type"] for part in second[0]["messages"][2]["content"]] == ["text", "image_url"]


class Refusing(ScriptedEngine):
    """A streaming engine that refuses the second turn of one sample."""

    def remembering(self, file: Path) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def stream(self, requests: Any, settings: Generation) -> Any:
        yield from self.generate(list(requests), settings)

    def generate(self, requests: Any, settings: Generation) -> Any:
        if any(one.sample_id == "s4" and len(one.messages) > 1 for one in requests):
            raise EngineError("too long")
        return super().generate(requests, settings)


def test_a_refused_turn_leaves_out_its_sample_alone(small: DatasetFolder, tmp_path: Path) -> None:
    summary = evaluate(Refusing(script), small, tmp_path / "out", PLAN)
    assert summary["n"] == 6 and [row["id"] for row in summary["rejections"]] == ["s4"]


def test_records_of_before_have_no_looks(make_one: Any) -> None:
    record: Record = make_one("<think></think><answer>none</answer>")
    assert record.looks is None and "looks" not in record.model_dump() and "look_rewards" not in record.model_dump()
