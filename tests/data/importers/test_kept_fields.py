"""Fields of a row that the import keeps, so that samples can be grouped by them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.importing import pictures
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.relabel import parse_fields
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import ConfigError
from mirg.samples import DatasetFolder, Sample
from mirg.samples.grouping import parse_group_by


def run(tmp_path: Path, kind: str, value: object, meta: str) -> tuple[ImportReport, dict[str, Sample]]:
    root = pictures(tmp_path / "images", [f"{k}.png" for k in range(1, 4)])
    file = tmp_path / "data.json"
    file.write_text(json.dumps(value))
    options = ImportOptions(root=str(root), meta=parse_fields(meta), frame=None if kind == "coco" else "relative_1000")
    report = import_dataset(kind, file, tmp_path / "out", options, overwrite=True, listed=9)
    return report, {s.images[0].path.rpartition("/")[2]: s for s in DatasetFolder.open(tmp_path / "out")}


def coco() -> dict[str, Any]:
    """Images 1 and 2 are of scene 7, which is a float in one of them; image 3 has no scene."""
    images = [{"id": k, "file_name": f"{k}.png", "width": 100, "height": 80} for k in (1, 2, 3)]
    images[0] |= {"scene": 7, "camera": "left"}
    images[1] |= {"scene": 7.0, "camera": "right"}
    notes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [10, 8, 50, 40]} for k in (1, 2, 3)]
    return {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "dog"}]}


def test_fields_of_coco_images(tmp_path: Path) -> None:
    report, samples = run(tmp_path, "coco", coco(), "scene, cam=camera, film")
    assert samples["1.png"].meta["scene"] == 7 and samples["1.png"].meta["cam"] == "left"
    assert "scene" not in samples["3.png"].meta and samples["3.png"].meta["subject"] == "dog"
    by = parse_group_by("meta.scene")
    assert by.keys(samples["1.png"]) == by.keys(samples["2.png"]) == ["7"]
    assert report.warnings == ["no row has the field 'film', which --meta keeps"]


def test_a_field_as_image_set(tmp_path: Path) -> None:
    _, samples = run(tmp_path, "coco", coco(), "image_set=camera")
    assert samples["1.png"].image_set == "left" and samples["2.png"].image_set == "right"
    assert run(tmp_path, "coco", coco(), "image_set=scene")[1]["1.png"].meta["image_set"] == "7"


def test_fields_of_conversations(tmp_path: Path) -> None:
    def talk(name: str, **more: Any) -> dict[str, Any]:
        turns = [
            {"from": "human", "value": "<image>Where is the dog?"},
            {"from": "gpt", "value": "(100,200),(300,400)"},
        ]
        return {"id": name, "conversations": turns, "images": [f"{name}.png"], **more}

    rows = [talk("1", scene="hall"), talk("2", scene=["hall"]), talk("3")]
    report, samples = run(tmp_path, "sharegpt", rows, "scene")
    assert samples["1.png"].meta["scene"] == "hall" and "scene" not in samples["3.png"].meta
    assert [(row.field, row.reason) for row in report.first] == [("scene", "holds no text or number: list")]


@pytest.mark.parametrize("text", ["scene=", "=scene", "a,a", "subject", "annotated=seen"])
def test_what_is_no_field(text: str) -> None:
    with pytest.raises(ConfigError, match="--meta"):
        parse_fields(text)
