"""From COCO and MIG-Bench files to dataset folders: what is kept, what is refused and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fakes.migbench import ROWS, revised_rows, write_annotations
from mirg.data.importers.formats import source_of
from mirg.data.importers.look import Looker, clean_path
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import ConfigError, DataError
from mirg.samples import DatasetFolder

Coco = dict[str, list[dict[str, Any]]]


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    """Three images of 100 x 80 pixels, one of them without objects; written to disk with ``run``."""
    (tmp_path / "images").mkdir()
    for k in range(3):
        Image.new("RGB", (100, 80), (50 * k, 90, 200)).save(tmp_path / "images" / f"{k}.png")
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 80} for k in range(3)],
        "categories": [{"id": 7, "name": "dog", "supercategory": "animal"}, {"id": 8, "name": "cup"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 7, "bbox": [10, 8, 50, 40], "iscrowd": 0},
            {"id": 2, "image_id": 0, "category_id": 7, "bbox": [60, 40, 40.4, 40], "iscrowd": 0},
            {"id": 3, "image_id": 1, "category_id": 8, "bbox": [0, 0, 100, 80], "iscrowd": 0},
        ],
    }


def run(tmp_path: Path, value: object, **settings: Any) -> ImportReport:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    looked = {key: settings.pop(key) for key in ("look", "frame", "strip", "root") if key in settings}
    options = ImportOptions(**{"root": str(tmp_path / "images"), **looked})
    return import_dataset("coco", file, tmp_path / "out", options, overwrite=True, **settings)


def test_coco(tmp_path: Path, coco: Coco) -> None:
    report = run(tmp_path, coco)
    assert (report.rows, report.rows_used, report.rows_refused) == (3, 2, 1)
    assert report.frame == "pixels"
    dataset = DatasetFolder.open(tmp_path / "out")
    dogs, cup = dataset.read(images="decode")
    assert dogs.question == "Point to every dog."
    assert [target.box for target in dogs.targets] == [(0.1, 0.1, 0.6, 0.6), (0.6, 0.5, 1.0, 1.0)]
    assert dogs.images[0].objects[0].attributes == {"supercategory": "animal"}
    assert dogs.sizes == [(100, 80)]
    assert cup.targets[0].box == (0, 0, 1, 1)
    assert dataset.verify() == []
    (refused,) = (json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").open())
    assert (refused["row"], refused["id"], refused["field"]) == (3, "coco-2", "objects")
    assert not list(tmp_path.glob(".out*"))


def test_an_image_of_another_size_than_its_row_says_is_refused(tmp_path: Path, coco: Coco) -> None:
    coco["images"][1]["width"] = 101
    report = run(tmp_path, coco, listed=10)
    assert report.rows == report.rows_used + report.rows_refused
    assert any(row.field == "images.0" and "the row says 101 x 80" in row.reason for row in report.first), report.first
    assert next(iter(DatasetFolder.open(tmp_path / "out"))).id == "coco-0"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "not a JSON object"),
        ({"images": []}, "has no annotations, categories"),
        ({"images": [5], "annotations": [], "categories": []}, "no row of 1 can be used"),
        ("text", "not a JSON object"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, coco: Coco, value: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        run(tmp_path, value)
    assert not (tmp_path / "out").exists()


def test_copies(tmp_path: Path, coco: Coco) -> None:
    run(tmp_path, coco, copy=True)
    dataset = DatasetFolder.open(tmp_path / "out")
    assert dataset.card.n_images == 2
    assert all(ref.path.startswith("images/") for sample in dataset for ref in sample.images)
    assert dataset.verify() == []


def test_look(tmp_path: Path, coco: Coco) -> None:
    del coco["images"][0]["width"]
    run(tmp_path, coco, look="header")
    first = next(iter(DatasetFolder.open(tmp_path / "out")))
    assert first.images[0].size == (100, 80) and first.images[0].sha256 is None
    with pytest.raises(DataError, match="no row of 3 can be used|size of the image"):
        coco["images"] = [{**row, "width": 0, "height": 0} for row in coco["images"]]
        run(tmp_path, coco, look="none")


def test_settings_that_make_no_sense(tmp_path: Path, coco: Coco) -> None:
    with pytest.raises(ConfigError, match="needs --family"):
        run(tmp_path, coco, frame="resized_pixels")
    with pytest.raises(ConfigError, match="no reader 'other'"):
        source_of("other")
    with pytest.raises(DataError, match="is not a folder"):
        run(tmp_path, coco, root=str(tmp_path / "nowhere"))


# --- MIG-Bench --------------------------------------------------------------------------------------------------------


def run_migbench(tmp_path: Path, file: Path, kind: str = "migbench") -> ImportReport:
    return import_dataset(kind, file, tmp_path / "mig", ImportOptions(root=str(tmp_path), look="none"), listed=99)


def test_migbench(tmp_path: Path) -> None:
    report = run_migbench(tmp_path, write_annotations(tmp_path / "MIG_data.json"))
    assert report.rows == len(ROWS) == report.samples + report.refused
    refused = {row.id: row.reason for row in report.first}
    assert "can never be met" in refused["migbench-0003"], "an inverted box"
    assert "outside" in refused["migbench-0010"], "a coordinate above 1"
    assert "same as item" in refused["migbench-0011"], "a duplicate"
    samples = {sample.meta["index"]: sample for sample in DatasetFolder.open(tmp_path / "mig")}
    for index, (row, images) in enumerate(ROWS):
        if index in samples:
            assert samples[index].target_images <= set(images), row["task"]
            assert samples[index].targets[0].box == tuple(row["answer"])
    assert samples[0].meta["either_image"] == [1, 2]
    assert "<box image=1>0.005,0.006,0.007,0.008</box>" in samples[4].question
    assert samples[8].image_hidden and not samples[2].image_hidden


def test_the_versions_of_migbench_do_not_mix(tmp_path: Path) -> None:
    original = write_annotations(tmp_path / "MIG_data.json")
    with pytest.raises(DataError, match="ORIGINAL"):
        run_migbench(tmp_path, original, "migbench-revised")
    rows = json.loads(original.read_text())
    for row in rows:
        row["answer"] = [round(1000 * v) for v in row["answer"]]
    revised = tmp_path / "revised.json"
    revised.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="REVISED"):
        run_migbench(tmp_path, revised)
    report = run_migbench(tmp_path, revised, "migbench-revised")
    assert report.frame == "relative_1000"
    first = next(iter(DatasetFolder.open(tmp_path / "mig")))
    assert first.targets[0].box == (0.1, 0.1, 0.5, 0.5)


def test_the_revised_migbench_names_the_image_of_static_questions(tmp_path: Path) -> None:
    rows = revised_rows()
    file = write_annotations(tmp_path / "revised.json", [row for row, _ in rows])
    report = run_migbench(tmp_path, file, "migbench-revised")
    assert {row.id: row.hint for row in report.first} == {
        "migbench-revised-0005": "known defect of the published file (inverted_box)",
        "migbench-revised-0012": "known defect of the published file (outside_image)",
        "migbench-revised-0013": "known defect of the published file (duplicate)",
    }
    for sample in DatasetFolder.open(tmp_path / "mig"):
        row, images = rows[sample.meta["index"]]
        assert sample.target_images == set(images), row["question"]
        assert sample.targets[0].box == tuple(v / 1000 for v in row["answer"])
        assert sample.image_hidden == (sample.task == "group_grounding") and "either_image" not in sample.meta


# --- paths and looks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("a.png", "a.png"),
        ("./MGrounding-630k/a.png", "MGrounding-630k/a.png"),
        ("b/../a.png", "a.png"),
        ("/data/root/b/a.png", "b/a.png"),
        ("/old/place/b/a.png", "b/a.png"),
        ("b\\a.png", "b/a.png"),
    ],
)
def test_paths_become_relative(path: str, clean: str) -> None:
    assert clean_path(path, "/data/root", "/old/place") == clean


def test_a_file_is_looked_at_again_when_it_changed(tmp_path: Path) -> None:
    from mirg.data.importers.look import note_facts
    from mirg.storage import Journal

    for name in ("same.png", "changed.png"):
        Image.new("RGB", (4, 5)).save(tmp_path / name)
    first = Looker(str(tmp_path), "hash")
    with Journal(tmp_path / "journal") as journal:
        for name in ("same.png", "changed.png"):
            first.at(name)
        note_facts(journal, first.fresh)
    Image.new("RGB", (40, 50)).save(tmp_path / "changed.png")
    second = Looker(str(tmp_path), "hash", str(tmp_path / "journal"))
    assert second.at("same.png") == dict(first.fresh)["same.png"]
    assert second.at("changed.png").size == (40, 50)
    assert [path for path, _ in second.fresh] == ["changed.png"]
    with Journal(kept := tmp_path / "headers") as journal:
        note_facts(journal, [("same.png", second.at("same.png")._replace(sha256=None))])
    assert all(Looker(str(tmp_path), look, str(kept)).at("same.png").sha256 for look in ("hash", "decode"))
