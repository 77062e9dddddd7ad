"""Robustness runs of models whose dependence on the form is known, and their folders however they are stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.engines import ScriptedEngine
from fakes.faulty_api import FaultyApi
from mirg.engines.base import Generation, Request
from mirg.engines.limits import Limits
from mirg.engines.remote import EndpointEngine
from mirg.errors import MirgError
from mirg.evaluation.compare import load_evaluation
from mirg.evaluation.pages import collect
from mirg.evaluation.records import load_records
from mirg.evaluation.robustness import differences, evaluate_variants
from mirg.evaluation.runner import Plan, evaluate
from mirg.evaluation.variants import Variant, variants
from mirg.families import FAMILIES
from mirg.samples import DatasetFolder, DatasetWriter, ObjectNote, Sample, Target

N = 16
ALL = variants(True, 2, 0.5)
BOX = (0.1, 0.2, 0.5, 0.6)
FIRST = "<answer>Image-1: (100,200),(500,600)</answer>"
Script = Callable[[Request, Generation], str]


def colour(k: int, j: int) -> tuple[int, int, int]:
    return (10 * k, 80 * j, 200)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    """Two images a sample, whose colours say which they are; the target is always in the first one, and never square.

    Every fourth question speaks of the order in words that cannot be rewritten.
    """
    folder = tmp_path_factory.mktemp("colours") / "data"
    with DatasetWriter(folder, name="colours") as writer:
        for k in range(N):
            images = [writer.add_image(Image.new("RGB", (60 + k, 40), colour(k, j)), f"{k}-{j}") for j in (0, 1)]
            note = ObjectNote(label=f"cup number{k}", box=BOX)
            images[0] = images[0].model_copy(update={"objects": (note,)})
            writer.add(
                Sample(
                    id=f"s{k:02d}",
                    task="xy"[k % 2],
                    images=tuple(images),
                    question=f"Find the {note.label}" + (" and the next frame." if k % 4 == 3 else "."),
                    targets=(Target(image=1, box=BOX, label=note.label),),
                    image_hidden=True,
                    meta={"subject": note.label},
                )
            )
    return DatasetFolder.open(folder)


def truth(request: Request, settings: Generation) -> str:
    """Answers with the image that has the colour of the target, wherever it is."""
    wanted = colour(int(request.sample_id[1:]), 0)
    seen = [image.getpixel((3, 3)) for image in request.images]
    return f"<answer>Image-{seen.index(wanted) + 1}: (100,200),(500,600)</answer>"


def run(dataset: DatasetFolder, out: Path, script: Script, chosen: list[Variant] = ALL, **plan: Any) -> dict[str, Any]:
    engine = ScriptedEngine(script)
    evaluate(engine, dataset, out, Plan(**plan))
    return evaluate_variants(engine, dataset, out, Plan(**plan), chosen)


def means(found: dict[str, Any], metric: str) -> dict[str, float]:
    return {row["b"]: row["overall"][metric]["mean"] for row in found["differences"]}


def test_a_model_that_sees_is_not_moved(dataset: DatasetFolder, tmp_path: Path) -> None:
    found = run(dataset, tmp_path / "out", truth)
    assert [(row["b"], row["n"], row["only_a"]) for row in found["differences"]] == [
        ("distractors-2", N, 0),
        ("permute", N * 3 // 4, N // 4),
        ("rescale-0.5", N, 0),
    ]
    for row in found["differences"]:
        for cell in (cell for name, cell in row["overall"].items() if name != "n"):
            assert (cell["mean"], cell["low"], cell["high"]) == (0.0, 0.0, 0.0)
    assert found["notes"] == [
        "permute: 4 of 16 samples are left out, each because its question speaks of the order of the images in words "
        "that cannot be rewritten safely"
    ]
    for name, images in (("permute", 2), ("distractors-2", 4), ("rescale-0.5", 2)):
        rows = load_records(tmp_path / "out" / "robustness" / name)
        assert all(row.joint and row.n_images == images for row in rows), name
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["robustness"] == found and "robustness" not in json.loads(
        (tmp_path / "out" / "robustness" / "permute" / "summary.json").read_text()
    )


def test_a_model_that_prefers_a_place_is_found_out(dataset: DatasetFolder, tmp_path: Path) -> None:
    """It is right on all originals, whose target is in the first image, and wrong wherever the two change places."""
    found = run(dataset, tmp_path / "out", lambda request, settings: FIRST)
    assert means(found, "image_accuracy") == {"distractors-2": 0.0, "permute": -1.0, "rescale-0.5": 0.0}
    assert means(found, "joint_accuracy")["permute"] == -1.0 and means(found, "acc_50")["permute"] == 0.0
    permuted = next(row for row in found["differences"] if row["b"] == "permute")
    assert permuted["overall"]["image_accuracy"]["high"] < 0.0
    last = run(dataset, tmp_path / "last", lambda r, s: FIRST.replace("1:", f"{len(r.images)}:"))
    assert means(last, "image_accuracy") == {"distractors-2": 0.0, "permute": 1.0, "rescale-0.5": 0.0}


def test_a_model_that_needs_detail_or_few_images(dataset: DatasetFolder, tmp_path: Path) -> None:
    def script(request: Request, settings: Generation) -> str:
        small, many = request.images[0].width < 60, len(request.images) > 2
        return "no idea" if small or many else truth(request, settings)

    found = run(dataset, tmp_path / "out", script)
    assert means(found, "parse_failures") == {"distractors-2": 1.0, "permute": 0.0, "rescale-0.5": 1.0}


def test_the_same_samples_as_the_original(dataset: DatasetFolder, tmp_path: Path) -> None:
    found = run(dataset, tmp_path / "out", truth, limit=6, tasks=("x",))
    assert [row["n"] for row in found["differences"]] == [6, 6, 6]
    ids = [row.id for row in load_records(tmp_path / "out")]
    assert [row.id for row in load_records(tmp_path / "out" / "robustness" / "permute")] == ids
    more = run(dataset, tmp_path / "out", truth, limit=8, tasks=("x",))
    assert [row["n"] for row in more["differences"]] == [8, 8, 8]


def test_the_seed_of_the_evaluation_chooses_the_distractors(dataset: DatasetFolder, tmp_path: Path) -> None:
    shown: dict[str, list[object]] = {"one": [], "again": [], "two": []}
    for (name, found), seed in zip(shown.items(), (1, 1, 2), strict=True):

        def script(request: Request, settings: Generation, found: list[object] = found) -> str:
            found.append([image.getpixel((3, 3)) for image in request.images])
            return FIRST

        run(dataset, tmp_path / name, script, [Variant("distractors", 2)], generation=Generation(seed=seed))
    assert shown["one"] == shown["again"] != shown["two"] and len(shown["one"]) == 2 * N


def content(out: Path) -> dict[str, bytes]:
    files = (file for file in out.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def test_stopped_anywhere_and_continued(dataset: DatasetFolder, tmp_path: Path) -> None:
    plan = Plan(Generation(batch_size=5))
    run(dataset, tmp_path / "whole", truth, generation=plan.generation)
    expected, out = content(tmp_path / "whole"), tmp_path / "out"
    asked = 0
    for _ in range(40):
        engine = ScriptedEngine(truth, die_after=4)
        try:
            evaluate(engine, dataset, out, plan)
            evaluate_variants(engine, dataset, out, plan, ALL)
            break
        except KeyboardInterrupt:
            asked += sum(map(len, engine.asked))
    assert content(out) == expected
    assert asked + sum(map(len, engine.asked)) == 3 * N + N * 3 // 4, "nothing is asked twice"
    engine = ScriptedEngine(truth)
    evaluate(engine, dataset, out, plan)
    again = evaluate_variants(engine, dataset, out, plan, [])
    assert not engine.asked and content(out) == expected | {"summary.json": (out / "summary.json").read_bytes()}
    assert [row["b"] for row in again["differences"]] == [v.name for v in sorted(ALL, key=lambda v: v.name)]


def test_variants_of_another_evaluation_are_not_compared(dataset: DatasetFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(dataset, out, truth, [Variant("permute"), Variant("rescale", 0.5)])
    (out / "robustness" / "rescale-0.5" / "summary.json").unlink()
    other = ScriptedEngine(truth, fingerprint="another")
    evaluate(other, dataset, tmp_path / "other", Plan())
    shutil.copytree(out / "robustness", tmp_path / "other" / "robustness")
    notes: list[str] = []
    assert differences(load_evaluation(tmp_path / "other"), notes) == []
    assert notes[0] == "permute is of another evaluation: fingerprint differ" and "not finished" in notes[1]
    with pytest.raises(MirgError, match="fingerprint"):
        evaluate_variants(other, dataset, tmp_path / "other", Plan(), [Variant("permute")])


def test_a_variant_that_fits_no_sample(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "data", name="one") as writer:
        image = writer.add_image(Image.new("RGB", (30, 20)), "a")
        writer.add(Sample(id="s1", task="t", images=(image,), question="Find it.", targets=(Target(image=1, box=BOX),)))
    found = run(DatasetFolder.open(tmp_path / "data"), tmp_path / "out", lambda r, s: FIRST, [Variant("permute")])
    assert found["differences"] == [] and "it has one image" in found["notes"][0]
    assert not (tmp_path / "out" / "robustness").exists()


def test_the_page_shows_the_differences(dataset: DatasetFolder, tmp_path: Path) -> None:
    run(dataset, tmp_path / "out", truth)
    (tmp_path / "out" / "summary.json").write_text(
        json.dumps(
            {k: v for k, v in json.loads((tmp_path / "out" / "summary.json").read_text()).items() if k != "robustness"}
        )
    )
    page = collect(tmp_path / "out")
    assert page.robustness is not None and [row.name for row in page.robustness.rows] == [
        v.name for v in sorted(ALL, key=lambda v: v.name)
    ]
    assert any("4 of 16 items are not in it" in note for note in page.notes)


def test_through_an_endpoint(api: FaultyApi, dataset: DatasetFolder, tmp_path: Path) -> None:
    """The images are sent in the new order and size, and nothing that was answered is asked again."""
    api.settings = api.settings.__class__(default=FIRST)
    engine = EndpointEngine(api.url, "m", FAMILIES["qwen3-vl"], requests=Limits(concurrency=4, max_wait=0.1, tries=5))
    evaluate(engine, dataset, tmp_path / "out", Plan(limit=6))
    found = evaluate_variants(engine, dataset, tmp_path / "out", Plan(limit=6), ALL)
    assert means(found, "image_accuracy")["permute"] == -1.0
    before = api.counts.requests
    assert evaluate_variants(engine, dataset, tmp_path / "out", Plan(limit=6), ALL) == found
    assert api.counts.requests == before
