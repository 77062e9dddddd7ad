"""Things with a name in photographs: what cut-outs are called, and that boxes are those of the pasted pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fakes.photographs import folder_of_photographs
from mirg.data.compose.photos.build import write_photo_samples
from mirg.data.compose.photos.named import read_cutouts
from mirg.data.compose.photos.pool import NAMED_TASKS, PhotoConfig
from mirg.data.compose.pixels import as_pixels
from mirg.errors import DataError
from mirg.geometry import iou
from mirg.samples import DatasetFolder, Sample
from mirg.trajectories.checks import failures, verify
from mirg.trajectories.plain import build_plain

MAGENTA = (255, 0, 255)


def cutout(path: Path, size: tuple[int, int] = (120, 80), text: str | None = None) -> None:
    """A magenta ellipse on a transparent ground that is wider than it."""
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 10, size[0] - 30, size[1] - 5), fill=(*MAGENTA, 255))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("a.png", "An orange fish.\nde.utf8=Ein Fisch.", "orange fish"),
        ("b.png", "The Jack-o\u2019-lantern", "jack-o\u2019-lantern"),
        ("red_rose.png", None, "red rose"),
        ("005nickel.png", "A US 5 cent piece ($.05) called a nickel.", "nickel"),
        ("c/wheel.png", "A wheel. It turns, as wheels do, all day.", "wheel"),
        ("d/fern.png", "", "fern"),
    ],
)
def test_names_of_cutouts(tmp_path: Path, file: str, text: str | None, name: str) -> None:
    cutout(tmp_path / file, text=text)
    (found,) = read_cutouts(tmp_path, 300)
    assert found.name == name and found.image.size == (71, 66), "cut to what is opaque"


def test_files_that_are_no_cutouts_are_left_out(tmp_path: Path) -> None:
    cutout(tmp_path / "leaf.png")
    Image.new("RGB", (40, 40)).save(tmp_path / "whole.png")
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "nothing.png")
    cutout(tmp_path / "0815.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "leaf.png").read_bytes()[:60])
    assert [found.name for found in read_cutouts(tmp_path, 300)] == ["leaf"]
    with pytest.raises(DataError, match="no PNG file with transparent pixels"):
        read_cutouts(tmp_path / "nowhere", 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, cut-outs of one colour that no photograph has, and boxes of a part of the photographs."""
    root = tmp_path_factory.mktemp("named")
    folder_of_photographs(root / "photos", 8, size=(200, 120))
    for name in ("shell", "leaf", "acorn", "feather"):
        cutout(root / "things" / f"{name}.png")
    files = sorted(path.relative_to(root / "photos").as_posix() for path in (root / "photos").rglob("*.png"))
    images = [{"id": k, "file_name": name, "width": 200, "height": 120} for k, name in enumerate(files[:7])]
    boxes = [
        {"id": k, "image_id": k, "category_id": 1 + k % 3, "bbox": [20 + 5 * k, 30, 60, 40], "area": 2400, "iscrowd": 0}
        for k in range(7)
    ]
    names = [{"id": k, "name": name} for k, name in enumerate(("dog", "cat", "bird"), 1)]
    coco = {"images": images, "annotations": boxes, "categories": names}
    (root / "boxes.json").write_text(json.dumps(coco))
    return root


def made(folder: Path, out: Path, **more: object) -> tuple[DatasetFolder, list[Sample]]:
    config = PhotoConfig.model_validate(dict(n=18, side=160, test_share=0, tasks=NAMED_TASKS, min_change=0.02) | more)
    write_photo_samples(folder / "photos", out, config)
    dataset = DatasetFolder.open(out)
    assert dataset.verify() == []
    return dataset, list(dataset)


def test_the_box_of_a_cutout_encloses_its_pixels(folder: Path, tmp_path: Path) -> None:
    dataset, samples = made(folder, tmp_path / "out", cutouts=str(folder / "things"))
    assert {sample.task for sample in samples} == set(NAMED_TASKS)
    for sample in samples:
        for ref in sample.images:
            pixels = as_pixels(dataset.open_image(ref))
            thing = (pixels[..., 0] > 0.6) & (pixels[..., 1] < 0.35) & (pixels[..., 2] > 0.6)
            for note in ref.objects:
                height, width = thing.shape
                x1, y1, x2, y2 = (round(v * s) for v, s in zip(note.box, (width, height) * 2, strict=True))
                found = np.argwhere(thing[y1:y2, x1:x2])
                assert found.min(axis=0) == pytest.approx((0, 0), abs=1)
                assert found.max(axis=0) + 1 == pytest.approx((y2 - y1, x2 - x1), abs=1)
            assert all(iou(a.box, b.box) == 0 for a in ref.objects for b in ref.objects if a is not b)
        assert len(set(sample.meta["photos"])) == len(sample.images), "never two editions of one photograph"
        assert sample.image_set == sample.meta["photos"][sample.targets[0].image - 1]
        assert not failures(verify(sample, build_plain(sample)))


def test_the_boxes_of_a_coco_file_are_asked_for(folder: Path, tmp_path: Path) -> None:
    _, samples = made(folder, tmp_path / "out", boxes=str(folder / "boxes.json"))
    labels = {target.label for sample in samples for target in sample.targets}
    assert labels == {"dog", "cat", "bird"}
    for sample in samples:
        for target in sample.targets:
            x1, y1, x2, y2 = target.box
            assert (x2 - x1, y2 - y1) == pytest.approx((0.3, 1 / 3)) and y1 == pytest.approx(0.25)


def test_cutouts_and_boxes_together_with_the_tasks_without_names(folder: Path, tmp_path: Path) -> None:
    things = {"cutouts": str(folder / "things"), "boxes": str(folder / "boxes.json")}
    _, samples = made(folder, tmp_path / "out", tasks=("region", "group_grounding"), **things)
    assert {sample.task for sample in samples} == {"region", "group_grounding"}
    assert any(len(ref.objects) > 1 for sample in samples for ref in sample.images)
    assert list((tmp_path / "out").glob("**/annotated")) == []


def test_tasks_by_name_need_things_with_a_name() -> None:
    with pytest.raises(ValueError, match="'common_object' needs things with a name"):
        PhotoConfig(tasks=("region", "common_object"))
