"""A metric of the user's: what it is given, its mean in the summary and on the page, and resuming an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.engines import ScriptedEngine
from mirg.engines.base import Generation
from mirg.errors import ConfigError, EvaluationError, PluginError
from mirg.evaluation.compare import load_evaluation
from mirg.evaluation.intervals import mean_interval
from mirg.evaluation.metrics import plugin_metrics, plugin_table
from mirg.evaluation.pages import report_from_run
from mirg.evaluation.runner import Plan, evaluate
from mirg.samples import DatasetFolder

CODE = """
NUMBER = 3

def wide(record, sample):
    return sample.images[0].width + len(record.completion)

def broken(record, sample):
    return sample.no_such_field if sample.id == "s07" else 1

def short(record, sample):
    return len(record.completion)

def joint_accuracy(record, sample):
    return 1.0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def run(dataset: DatasetFolder, out: Path, *metrics: str, **plan: Any) -> tuple[ScriptedEngine, dict[str, Any]]:
    engine = ScriptedEngine(lambda request, settings: "none" * (request.sample_id < "s12"))
    return engine, evaluate(engine, dataset, out, Plan(Generation(batch_size=5), metrics=metrics, **plan))


def test_its_mean_is_in_the_summary_and_on_the_page(dataset: DatasetFolder, file: Path, tmp_path: Path) -> None:
    name = f"{file}:wide"
    _, summary = run(dataset, tmp_path / "out", name)
    expected = {f"s{k:02d}": 40.0 + k + 4 * (k < 12) for k in range(24)}
    rows = [json.loads(line) for line in (tmp_path / "out" / "metric_values.jsonl").read_text().splitlines()]
    assert {row["id"]: row["wide"] for row in rows} == expected
    found = summary["metrics"]["plugins"]
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["overall"]["wide"]["mean"] == pytest.approx(sum(expected.values()) / 24)
    assert 40 < found["overall"]["wide"]["low"] < found["overall"]["wide"]["mean"] < found["overall"]["wide"]["high"]
    refer = [value for k, value in enumerate(expected.values()) if k % 3 == 2]
    assert found["tasks"]["refer"]["wide"]["mean"] == pytest.approx(sum(refer) / 8)
    html = report_from_run(tmp_path / "out", data=dataset.root).read_text()
    section = html[html.index('<section id="plugins"') :].partition("</section>")[0]
    assert '<th scope="row">all</th><td class="count">24</td><td><span class="value"><b>53.5</b>' in section
    assert f"{found['tasks']['refer']['wide']['high']:.4g}" in section

    _, plain = run(dataset, tmp_path / "plain")
    plain["settings"]["metrics"] = [name]
    assert plain["metrics"] | {"plugins": found} == summary["metrics"] and plain["settings"] == summary["settings"]
    assert "plug-ins" not in report_from_run(tmp_path / "plain", data=dataset.root).read_text()
    assert not (tmp_path / "plain" / "metric_values.jsonl").exists()


def test_each_of_several_metrics_has_its_own_values(dataset: DatasetFolder, file: Path, tmp_path: Path) -> None:
    _, summary = run(dataset, tmp_path / "out", f"{file}:wide", f"{file}:short")
    rows = [json.loads(line) for line in (tmp_path / "out" / "metric_values.jsonl").read_text().splitlines()]
    short = {f"s{k:02d}": 4.0 * (k < 12) for k in range(24)}
    assert {row["id"]: row["short"] for row in rows} == short
    assert {row["id"]: row["wide"] for row in rows} == {name: 40.0 + int(name[1:]) + short[name] for name in short}
    found = summary["metrics"]["plugins"]["overall"]
    assert (found["wide"]["mean"], found["short"]["mean"]) == pytest.approx((53.5, 2.0))


def test_resuming_agrees_with_the_metric(dataset: DatasetFolder, file: Path, tmp_path: Path) -> None:
    out, name = tmp_path / "out", f"{file}:wide"
    _, whole = run(dataset, out, name)
    lines = (out / "records.jsonl").read_bytes().splitlines(keepends=True)
    (out / "records.jsonl").write_bytes(b"".join(lines[:12]))
    (out / "summary.json").unlink()
    engine, resumed = run(dataset, out, name)
    assert resumed == whole and [len(batch) for batch in engine.asked] == [5, 5, 4]
    for others in ((), (name, f"{file}:broken"), (f"{file}:broken",)):
        with pytest.raises(EvaluationError, match="metrics differ"):
            run(dataset, out, *others)
    run(dataset, out, overwrite=True)
    assert "plugins" not in load_evaluation(out).metrics and not (out / "metric_values.jsonl").exists()
    with pytest.raises(EvaluationError, match="metrics differ"):
        run(dataset, out, name)


def test_an_error_inside_shows_its_line_and_keeps_what_was_generated(
    dataset: DatasetFolder, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(PluginError) as caught:
        run(dataset, tmp_path / "out", f"{file}:broken")
    line = next(k for k, text in enumerate(CODE.splitlines(), 1) if "no_such_field" in text)
    assert f'"{file}", line {line}, in broken' in caught.value.message
    assert "mirg/evaluation" not in caught.value.message
    kept = len((tmp_path / "out" / "records.jsonl").read_text().splitlines())
    assert 0 < kept < 24 and kept % 5 == 0, "the batch that it failed on is kept, and no other was asked"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("NUMBER",), "is not a function but int"),
        (("joint_accuracy",), "'joint_accuracy' cannot be the name .* in use"),
        (("id",), "'id' cannot be the name"),
        (("wide", "wide"), "'wide' cannot be the name"),
        (("widd",), "does not define 'widd'"),
    ],
)
def test_what_is_no_metric_is_refused_when_it_is_loaded(names: tuple[str, ...], message: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        plugin_metrics([f"{file}:{name}" for name in names])


def test_intervals_are_by_image_set_in_any_unit(make_one: Any) -> None:
    """An interval scales with the unit; a constant has no width, and a single image set has no interval."""
    records = [make_one("none", name=f"s{k}", images=f"i{k // 4}") for k in range(40)]
    shares = [0.2 + (k // 4 % 5) / 10 for k in range(40)]
    found = {
        unit: plugin_table(records, {r.id: {"m": unit * v, "one": unit} for r, v in zip(records, shares, strict=True)})
        for unit in (1e-9, 1.0, -1e9)
    }
    usual = mean_interval(shares, [record.image_set for record in records]).cell()
    assert found[1.0]["overall"]["n_sets"] == 10 and found[1.0]["overall"]["m"] == pytest.approx(usual)
    for unit, block in found.items():
        assert block["overall"]["m"]["mean"] == pytest.approx(unit * usual["mean"])
        assert block["overall"]["m"]["low"] < block["overall"]["m"]["mean"] < block["overall"]["m"]["high"]
        assert set(block["overall"]["one"].values()) == {unit}
    assert found[1e-9]["overall"]["m"]["high"] == pytest.approx(1e-9 * usual["high"])
    (block,) = plugin_table(records[:4], {r.id: {"m": 5.0} for r in records})["tasks"].values()
    assert block["m"] == {"mean": 5.0, "low": None, "high": None}
