"""MC-Bench: instances in either image, in both, or in none, and annotations that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fakes.importing import NO_FILES, imported, only, pictures, refused, spoiled, survives
from mirg.data.importers import mc_bench
from mirg.data.importers.run import ImportReport
from mirg.errors import DataError
from mirg.samples import Sample


def image(number: int, name: str, text: int) -> dict[str, Any]:
    return {"id": number, "text_id": text, "inter_img_id": number % 2, "file_name": name, "height": 80, "width": 100}


def thing(number: int, of: int, text: int, bbox: list[float], group: int = 1) -> dict[str, Any]:
    return {"id": number, "image_id": of, "text_id": text, "category_id": group, "bbox": bbox, "iscrowd": 0}


def described(number: int, text: str, positive: bool, style: str) -> dict[str, Any]:
    ids = [2 * number, 2 * number + 1]
    return {"id": number, "images_id": ids, "text": text, "positive_sample": positive, "text_style": style}


@pytest.fixture
def bench() -> dict[str, Any]:
    """Three texts: instances in both images (two groups), in the second one, and in none."""
    return {
        "info": {"version": "0.2"},
        "descriptions": [
            described(0, "Golf balls with the same color", True, "Comparison"),
            described(1, "The helicopter with more rotors", True, "Reasoning"),
            described(2, "People on a roof", False, "Referring"),
        ],
        "images": [image(k, f"D3/{k}.png", k // 2) for k in range(6)],
        "annotations": [
            thing(0, 0, 0, [10, 8, 20, 16]),
            thing(1, 1, 0, [20, 8, 20, 16]),
            thing(2, 1, 0, [50, 40, 20, 16], group=2),
            thing(3, 3, 1, [0, 0, 100, 80]),
        ],
        "categories": [{"id": 1, "name": "group 1"}, {"id": 2, "name": "group 2"}],
    }


def run(tmp_path: Path, bench: dict[str, Any]) -> tuple[ImportReport, list[Sample]]:
    root = pictures(tmp_path / "mc-bench_images", [f"D3/{k}.png" for k in range(6)])
    file = tmp_path / "mc-bench_v0.2_val.json"
    file.write_text(json.dumps(bench), encoding="utf-8")
    return imported("mc-bench", file, tmp_path / "out", root)


def test_import(tmp_path: Path, bench: dict[str, Any]) -> None:
    report, (balls, helicopter, nobody) = run(tmp_path, bench)
    assert (report.rows_used, report.frame) == (3, "pixels")
    assert balls.id == "mc-bench-0000" and balls.question.endswith("Golf balls with the same color")
    assert [(t.image, t.box) for t in balls.targets] == [
        (1, (0.1, 0.1, 0.3, 0.3)), (2, (0.2, 0.1, 0.4, 0.3)), (2, (0.5, 0.5, 0.7, 0.7)),
    ]  # fmt: skip
    assert balls.meta["groups"] == [1, 1, 2] and balls.relation == "same_category"
    assert helicopter.target_images == {2} and "groups" not in helicopter.meta
    assert nobody.targets == () and nobody.image_hidden


ROW = {
    "text": described(1, "The dog", True, "Reasoning"),
    "images": [image(2, "a.png", 1), image(3, "b.png", 1)],
    "annotations": [thing(0, 3, 1, [1, 2, 30, 40])],
}


@pytest.mark.parametrize(
    ("change", "field", "reason", "why"),
    [
        ({"text": None}, "text_id", "1 annotations of a text that is not listed", "left over"),
        ({"text": {"id": "x"}}, "id", "whole number", "no id"),
        ({"images": [image(2, "a.png", 1), None]}, "images_id", "not two of the listed", "an image is missing"),
        ({"images": [image(2, "a.png", 1)] * 3}, "images_id", "not two", "three images"),
        ({"images": [image(2, "", 1), image(3, "b.png", 1)]}, "images.file_name", "not a path", "no file"),
        ({"images": [image(2, "a.png", 1) | {"width": 0}, image(3, "b.png", 1)]}, "images.width", "a size", "0 wide"),
        (
            {"annotations": [thing(0, 9, 1, [1, 2, 3, 4])]},
            "annotations.0.image_id",
            "not an image of the pair",
            "elsewhere",
        ),
        ({"annotations": [thing(0, 3, 1, [1, 2, 0, 4])]}, "annotations.0.bbox", "no area", "nothing to point at"),
        ({"annotations": [thing(0, 3, 1, [1, 2, 4])]}, "annotations.0.bbox", "four numbers", "three numbers"),
        ({"annotations": []}, "positive_sample", "is True, and there are 0", "something should be there"),
        ({"text": described(1, "The dog", False, "")}, "positive_sample", "is False", "nothing should be there"),
        ({"text": described(1, " ", True, "")}, "text", "empty", "nothing is asked"),
    ],
)
def test_refused(change: dict[str, Any], field: str, reason: str, why: str) -> None:
    found = refused("mc-bench", ROW | change)
    assert found.field == field and reason in found.reason, f"{why}: {found}"


@given(spoiled([ROW, ROW | {"annotations": [], "text": described(1, "The dog", False, "Comparison")}]))
def test_no_row_stops_an_import(value: object) -> None:
    survives("mc-bench", value)


def test_the_file_of_the_scorer_is_another(tmp_path: Path, bench: dict[str, Any]) -> None:
    bench.pop("descriptions")
    with pytest.raises(DataError, match="no descriptions"):
        run(tmp_path, bench)


def test_what_belongs_to_no_text_is_told(tmp_path: Path, bench: dict[str, Any]) -> None:
    bench["annotations"].append(thing(9, 0, 77, [1, 2, 3, 4]))
    report, _ = run(tmp_path, bench)
    assert report.rows == 4 and report.first[0].field == "text_id"


def test_one_image_of_the_pair_is_named_by_position() -> None:
    assert [box.image for box in only("mc-bench", ROW).targets] == [2]
    assert mc_bench.convert(ROW, NO_FILES) == mc_bench.convert(json.loads(json.dumps(ROW)), NO_FILES)
