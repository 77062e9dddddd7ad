"""An image that a model's processor refuses is named, left out and counted, and the run continues with the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from mirg.data.checks.run import CheckConfig, check_dataset
from mirg.data.filter import Criteria, write_filtered
from mirg.engines.ask import shown
from mirg.engines.base import Generation
from mirg.errors import ImageError
from mirg.evaluation.blind import write_helpful
from mirg.evaluation.measure import MeasurePlan
from mirg.evaluation.pass_rates import write_difficulty
from mirg.evaluation.runner import Plan, evaluate
from mirg.families import FAMILIES, QWEN3_VL, QWEN25_VL, Family
from mirg.samples import DatasetFolder, DatasetWriter, ImageRef, Sample, Target, refuse_for_family
from mirg.samples.schema import Trajectory

ANSWER = "<think>x</think><answer>Image-1: (100,100),(500,500)</answer>"
BOX = (0.1, 0.1, 0.5, 0.5)


def write(path: Path) -> DatasetFolder:
    """Five samples of two images; those of s1 and s3 have one that is 240 times as long as wide."""
    with DatasetWriter(path, name="ds") as out:
        for k in range(5):
            sizes = [(60, 40), (1200, 5) if k == 1 else (4, 960) if k == 3 else (40, 60)]
            refs = [out.add_image(Image.new("RGB", size, (40 * k, 9, 9)), f"i{k}-{n}") for n, size in enumerate(sizes)]
            target = Target(image=1, box=BOX, label="ring")
            chain = Trajectory(thinking="Found: ring Image-1.", answer=(target,), writer="t")
            question = "Where is what <box image=2>0.1,0.1,0.5,0.5</box> shows?" if k == 3 else "Where is the ring?"
            out.add(
                Sample(id=f"s{k}", task="refer", images=tuple(refs), question=question, targets=(target,),
                       trajectory=chain)
            )  # fmt: skip
    return DatasetFolder.open(path)


def engine(family: Family = QWEN3_VL) -> ScriptedEngine:
    return ScriptedEngine(lambda request, settings: ANSWER, family=family)


@pytest.mark.parametrize("family", [QWEN3_VL, QWEN25_VL], ids=lambda family: family.name)
def test_evaluate(tmp_path: Path, family: Family) -> None:
    asked = engine(family)
    summary = evaluate(asked, write(tmp_path / "ds"), tmp_path / "out", Plan(Generation(batch_size=2)))
    assert summary["n"] == 3 and summary["rejected"] == 2
    reasons = {row["id"]: row["reason"] for row in summary["rejections"]}
    assert set(reasons) == {"s1", "s3"} and "i1-1.png" in reasons["s1"] and "too long" in reasons["s1"]
    assert sorted(name for batch in asked.asked for name in batch) == ["s0", "s2", "s4"]
    again = evaluate(
        engine(family), DatasetFolder.open(tmp_path / "ds"), tmp_path / "out", Plan(Generation(batch_size=2))
    )
    assert again == summary, "resuming gives the same"


def test_difficulty_and_the_filter_of_trajectories(tmp_path: Path) -> None:
    source = write(tmp_path / "ds")
    plan = MeasurePlan(Generation(batch_size=2, temperature=1.0))
    report = write_difficulty(engine(), source, tmp_path / "rated", 2, plan)
    assert report.kept.total() == 3 and {row.id for row in report.rejections} == {"s1", "s3"}
    assert all("too long" in row.reason and "images/i" in row.reason for row in report.rejections)
    student = ScriptedEngine(
        lambda request, settings: "none" if not request.prefix else "<answer>Image-1: (100,100),(500,500)</answer>"
    )
    helped = write_helpful(student, source, tmp_path / "helped")
    assert helped.kept.total() == 3 and helped.n_rejected == 2


def test_data_filter_leaves_them_out_by_name(tmp_path: Path) -> None:
    source = write(tmp_path / "ds")
    assert write_filtered(source, tmp_path / "all", Criteria()).n_kept == 5, "without a family nothing is refused"
    report = write_filtered(source, tmp_path / "some", Criteria(family="qwen3-vl"))
    assert report.n_kept == 3 and [row.id for row in report.rejections] == ["s1", "s3"]
    lines = (tmp_path / "some" / "rejected.jsonl").read_text().splitlines()
    assert "i3-1.png" in json.loads(lines[1])["reason"]
    assert write_filtered(source, tmp_path / "tiles", Criteria(family="internvl")).n_kept == 5, "tiles take any shape"


@pytest.mark.parametrize(
    ("families", "warned", "why"),
    [
        ((), 2, "without a family, since most families refuse it"),
        ((QWEN25_VL,), 2, "also if a box of the question is in it"),
        ((FAMILIES["internvl"],), 0, "this one takes it"),
        ((QWEN3_VL, FAMILIES["internvl"]), 2, "one of two"),
    ],
)
def test_check_warns(tmp_path: Path, families: tuple[Family, ...], warned: int, why: str) -> None:
    report = check_dataset(write(tmp_path / "ds"), CheckConfig(families=families))
    assert (report.accepted, report.rejected) == (5, 0)
    assert report.warnings.counts["not_for_family"] == warned, why
    found = [finding for finding in report.warnings.kept if finding.kind == "not_for_family"]
    assert all(finding.field == "images.1" and "images/i" in finding.reason for finding in found)


@pytest.mark.parametrize(
    ("order", "question", "kept"),
    [
        (("a", "long"), "Where is the second ring?", ["a"]),
        (("long", "a", "b"), "Where is the ring?", ["a", "b"]),
        (("long", "a", "b"), "Where is the ring of Image-2?", None),
        (("long", "a", "b"), "Find it in the third image.", None),
        (("a", "long", "b"), "Where is the ring of Image-2?", None),
        (("long",), "Where?", None),
        (("a", "b"), "Where is the ring of Image-2?", ["a", "b"]),
    ],
)
def test_ground_asks_about_the_others(order: tuple[str, ...], question: str, kept: list[str] | None) -> None:
    images = [Image.new("RGB", (5, 1200) if name == "long" else (30, 20)) for name in order]
    if kept is None:
        with pytest.raises(ImageError, match="image long: .*too long"):
            shown(engine(), order, images, question)
        return
    found = shown(engine(), order, images, question)
    assert found.names == kept and len(found.images) == len(kept)
    assert len(found.left_out) == order.count("long")


@pytest.mark.parametrize(("module", "name"), [("qwen2_vl", "Qwen2VL"), ("glm4v", "Glm4v")])
def test_what_is_refused_is_what_the_real_processor_refuses(module: str, name: str) -> None:
    """Long images and small ones, on real pixels: the processors of today take every size but the longest."""
    pytest.importorskip("transformers")
    from importlib import import_module

    made = import_module(f"transformers.models.{module}.image_processing_pil_{module}")
    processor = getattr(made, f"{name}ImageProcessorPil")()
    family = FAMILIES["glm-v" if module == "glm4v" else "qwen2-vl"]
    refused = []
    for size in [(1, 1), (3, 3), (1, 3), (4, 50), (51, 31), (1, 199), (201, 1), (5, 1001), (1200, 5), (5, 1000)]:
        sample = Sample(id="s", task="t", images=(ImageRef(path="a.png", width=size[0], height=size[1]),), question="?")
        try:
            processor(images=[Image.new("RGB", size)], return_tensors="np")
        except ValueError:
            refused.append(size)
            with pytest.raises(ImageError, match="sample s: image a.png"):
                refuse_for_family(sample, family)
        else:
            refuse_for_family(sample, family)
    assert (1200, 5) in refused and (1, 1) not in refused
