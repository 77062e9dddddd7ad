"""The page of a run folder, built from real evaluations of a scripted engine and real metrics files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.answers import box_markup, write_completion
from mirg.errors import DataError
from mirg.evaluation.pages import collect, report_from_run
from mirg.evaluation.runner import evaluate
from mirg.samples import DatasetFolder, DatasetWriter, Sample, Target

N = 24
BOX = (0.25, 0.25, 0.75, 0.75)


def write_dataset(path: Path) -> DatasetFolder:
    with DatasetWriter(path, name="test") as writer:
        for i in range(N):
            refs = [
                writer.add_image(Image.new("RGB", (64, 48), (10 * i, 80 * k, 200 - 5 * i)), f"{i}-{k}")
                for k in range(2)
            ]
            refs[0] = refs[0].model_copy(update={"role": "reference"})
            where = box_markup(1, (0.0, 0.0, 0.5, 0.5))
            writer.add(
                Sample(
                    id=f"item-{i}",
                    task="refer" if i % 2 else "region",
                    images=tuple(refs),
                    question=f"Where is the thing of {where} in the other image?",
                    targets=(Target(image=2, box=BOX, label="ring"),),
                    image_hidden=bool(i % 3),
                )
            )
    return DatasetFolder.open(path)


def completion(sample: Sample, right_below: int, i: int) -> str:
    family = ScriptedEngine(lambda r, s: "").family
    kind = 0 if i < right_below else i % 3 + 1
    if kind == 3:
        return "no idea"
    box = BOX if kind != 2 else (0.0, 0.0, 0.2, 0.2)
    image = 1 if kind == 1 else 2
    return write_completion("Found: red ring Image-2.", [Target(image=image, box=box)], sample.sizes, family)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "demo"
    dataset = write_dataset(run / "data" / "test")
    samples = list(dataset)
    for name, right in (("base", 0), ("sft", 12), ("rl", 20)):
        texts = {s.id: completion(s, right, i) for i, s in enumerate(samples)}
        engine = ScriptedEngine(lambda request, _, texts=texts: texts[request.sample_id], name=name, fingerprint=name)
        evaluate(engine, dataset, run / "eval" / name)
    for stage in ("perception", "sft", "grpo"):
        (run / stage).mkdir()
        rows = [{"step": s, "time": 2.0 * s, "stage": stage, "loss": 1 / (s + 1), "reward": 0.5} for s in range(30)]
        (run / stage / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / stage / "config.yaml").write_text("seed: 0\noptim:\n  lr: 0.001\n  hub_token: hf_abcdef\n")
        (run / stage / "environment.json").write_text(json.dumps({"python": "3.11", "packages": {"numpy": "2.4"}}))
    return run


@pytest.mark.parametrize("asked", ["runs", "runs/eval/rl", "runs/eval"])
@pytest.mark.parametrize("name", ["data/test", "data/photos-test", "benchmark"])
def test_the_dataset_is_found_in_the_layout_of_the_quickstart(tmp_path: Path, asked: str, name: str) -> None:
    """data/ is beside runs/; other datasets are beside the one that was evaluated."""
    dataset = write_dataset(tmp_path / name)
    with DatasetWriter(tmp_path / "data" / "another", name="test") as writer:
        ref = writer.add_image(Image.new("RGB", (8, 8)), "a")
        writer.add(Sample(id="item-0", task="refer", images=(ref,), question="Where?"))
    evaluate(ScriptedEngine(lambda request, settings: "none", name="rl"), dataset, tmp_path / "runs" / "eval" / "rl")
    found = collect(tmp_path / asked)
    assert not any("not found" in note or "digest" in note for note in found.notes)
    assert found.gallery and all(picture.path.is_file() for item in found.gallery for picture in item.pictures)


@pytest.fixture
def copy(demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo, tmp_path / "demo"))


def test_a_demo_run_has_every_part(demo: Path) -> None:
    data = collect(demo)
    assert data.notes == ()
    assert data.table is not None
    assert [row.name for row in data.table.rows] == ["base", "SFT", "RL"]
    joint = {row.name: round(row.cells["joint_accuracy"].mean, 4) for row in data.table.rows}
    assert joint == {"base": 0.0, "SFT": 0.5, "RL": round(20 / 24, 4)}
    assert [row.name for row in data.table.differences] == ["SFT − base", "RL − SFT"]
    assert data.table.differences[1].cells["joint_accuracy"].mean == pytest.approx(8 / 24)
    assert data.table.differences[0].cells["joint_accuracy"].excludes_zero
    assert 0.0 < data.table.chance["image_accuracy"] <= 1.0
    assert [row.name for row in data.task_tables[0].rows] == [
        "refer",
        "region",
        "all, image hidden",
        "all, image given",
    ]
    assert [stage.name for stage in data.stages] == ["Perception", "SFT", "GRPO"]
    assert {model: counts["right"] for model, counts in data.outcomes.items()} == {"base": 0, "SFT": 12, "RL": 20}


def test_the_page_opens_with_what_rl_mends_and_ends_with_where_it_fails(demo: Path) -> None:
    """RL is right on items 0 to 19, SFT on 0 to 11: 8 are fixed, none is broken."""
    data = collect(demo)
    assert data.examples is not None and data.failures is not None
    assert data.examples.note.startswith("Of 24 items RL corrects 8 that SFT gets wrong and breaks 0")
    assert len(data.examples.items) == 3
    for example in data.examples.items:
        assert 12 <= int(example.answers[0].sample_id.removeprefix("item-")) < 20
        assert [item.model for item in example.answers] == ["SFT", "RL"]
        assert all(picture.path.is_file() for item in example.answers for picture in item.pictures)
    assert {e.answers[0].task for e in data.examples.items} == {"refer", "region"}
    rl = next(m for m in data.failures.matrices if m.model == "RL")
    hidden = [i for i in range(N) if i % 3]
    assert sum(map(sum, rl.counts)) == len(hidden)
    assert rl.counts[rl.rows.index("2")][rl.columns.index("2")] >= sum(1 for i in hidden if i < 20)


def test_failures_are_in_the_summary_too(demo: Path) -> None:
    found = json.loads((demo / "eval" / "sft" / "summary.json").read_text())["failures"]
    assert found["image_choice"]["n"] == sum(1 for i in range(N) if i % 3) and found["iou"]["n"] >= 12


def test_gallery_items_carry_images_boxes_and_reasons(demo: Path) -> None:
    items = {(i.model, i.sample_id): i for i in collect(demo).gallery}
    assert len(items) == 3 * N
    right = items["RL", "item-0"]
    assert (
        right.outcome == "right" and right.question == "Where is the thing of [the box in Image-1] in the other image?"
    )
    assert [p.caption for p in right.pictures] == ["reference", ""] and right.pictures[0].path.is_file()
    assert right.given[0].image == 1 and right.true[0].box == BOX and right.predicted[0].image == 2
    assert right.thinking == "Found: red ring Image-2." and "<think>" not in right.answer
    wrong = next(i for i in items.values() if i.outcome == "wrong_image")
    reasons = {part.name: part.reason for part in wrong.parts}
    assert reasons["image"] and reasons["object"] and reasons["format"] is None
    unread = next(i for i in items.values() if i.outcome == "unreadable")
    assert unread.failure and unread.answer == "no idea"


def test_the_page_is_written_and_whole(demo: Path, tmp_path: Path) -> None:
    path = report_from_run(demo, out=tmp_path / "page.html")
    html = path.read_text(encoding="utf-8")
    assert html.count("<article") == 3 * N and "optim.lr" in html and "numpy" in html
    assert "hf_abcdef" not in html, "values of keys that look like secrets are not shown"
    assert str(demo) not in html


def remove(*names: str) -> Callable[[Path], object]:
    return lambda run: [shutil.rmtree(run / name) for name in names]


def overwrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(text)


MISSING: list[tuple[str, Callable[[Path], object]]] = [
    ("no training", remove("perception", "sft", "grpo")),
    ("one evaluation only", remove("eval/base", "eval/rl")),
    ("no evaluation", remove("eval")),
    ("an evaluation that has not ended", lambda run: (run / "eval/rl/summary.json").unlink()),
    ("a broken summary", overwrite("eval/rl/summary.json", "{")),
    ("a summary of another kind", overwrite("eval/rl/summary.json", "[1]")),
    ("a broken configuration", overwrite("sft/config.yaml", "a: [")),
    ("an empty metrics file", overwrite("sft/metrics.jsonl", "")),
    ("no images", remove("data/test/images")),
]


@pytest.mark.parametrize(("what", "damage"), MISSING, ids=[row[0] for row in MISSING])
def test_missing_or_broken_parts_leave_a_page(copy: Path, what: str, damage: Callable[[Path], object]) -> None:
    damage(copy)
    assert "<!doctype html>" in report_from_run(copy).read_text(encoding="utf-8")


def test_a_torn_last_line_is_a_run_still_going_other_damage_is_noted(copy: Path) -> None:
    records = copy / "eval/rl/records.jsonl"
    lines = records.read_text().splitlines()
    records.write_text("\n".join([*lines[:5], "{broken", *lines[6:]]) + '\n{"id": "item')
    with (copy / "grpo/metrics.jsonl").open("a") as stream:
        stream.write('{"step": 30, "lo')
    data = collect(copy)
    assert any("1 broken rows" in note for note in data.notes), data.notes
    assert any("compared on the 23 items" in note for note in data.notes), data.notes
    assert not any("metrics.jsonl" in note for note in data.notes)


def test_without_the_dataset_the_texts_are_still_there(copy: Path) -> None:
    shutil.rmtree(copy / "data")
    data = collect(copy)
    assert any("--data" in note for note in data.notes)
    assert data.gallery[0].pictures == () and data.gallery[0].true


def test_another_dataset_than_the_evaluated_one_is_not_taken_silently(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "data")
    with DatasetWriter(tmp_path / "other", name="other") as writer:
        ref = writer.add_image(Image.new("RGB", (8, 8)), "x")
        writer.add(Sample(id="item-0", task="t", images=(ref,), question="?"))
    notes = collect(copy, data=tmp_path / "other").notes
    assert any("digest differs" in note for note in notes) and any("23 of 24" in note for note in notes)


def test_a_single_training_run_and_a_single_evaluation_have_pages(demo: Path, tmp_path: Path) -> None:
    training = collect(demo / "grpo")
    assert [stage.name for stage in training.stages] == ["GRPO"] and training.table is None
    evaluation = collect(demo / "eval" / "sft")
    assert evaluation.table is not None and len(evaluation.table.rows) == 1 and evaluation.table.differences == ()
    assert evaluation.gallery[0].pictures, "the dataset is found two folders up, by its digest"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no metrics\.jsonl and no records\.jsonl"):
        collect(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        collect(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("place", "content", "words"),
    [
        ("eval/sft/records.jsonl", "", "holds no whole row"),
        ("eval/sft/records.jsonl", '{"id": "item', "holds no whole row"),
        ("eval/sft/records.jsonl", '{"id": "item"}\n', "1 broken rows of"),
        ("eval/sft/records.jsonl", "\0" * 4096 + "\n", "1 broken rows of"),
        ("sft/metrics.jsonl", "", "holds no whole row"),
        ("sft/metrics.jsonl", "\0\n", "1 broken lines in"),
    ],
)
def test_an_empty_or_damaged_file_is_named(copy: Path, place: str, content: str, words: str) -> None:
    file = copy / place
    file.write_text(content)
    assert any(words in note and str(file) in note for note in collect(copy).notes)
    if file.name == "records.jsonl":
        with pytest.raises(DataError, match=re.escape(str(file))):
            collect(file.parent)


def test_items_that_only_one_evaluation_has_make_no_difference(demo: Path) -> None:
    from mirg.evaluation.page_tables import read_evaluation, result_table

    notes: list[str] = []
    a = read_evaluation("a", demo / "eval" / "sft", notes)
    b = replace(a, name="b", records=tuple(r.model_copy(update={"id": r.id + "x"}) for r in a.records))
    assert result_table([a, b], notes).differences == () and notes == [
        "b − a: no item in common, so no paired difference"
    ]
