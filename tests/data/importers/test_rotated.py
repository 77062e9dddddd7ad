"""Photographs that EXIF rotates: the sizes in the file or --exif say in which frame the boxes are, or nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mirg.data.checks.problems import rotated
from mirg.data.checks.run import CheckConfig, check_dataset
from mirg.data.checks.sheet import ROTATED_NOTE, show
from mirg.data.compose.pool import read_pool
from mirg.data.compose.recipe import ComposeRecipe
from mirg.data.importers.raw import Exif, ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import ConfigError, DataError
from mirg.images import image_header, open_image, stored_size, upright_box
from mirg.samples import DatasetFolder

STORED = (120, 80)  # pixels of the file; a quarter turn makes 80 x 120 of them
DRAWN = (12, 16, 60, 40)  # a red rectangle in the stored pixels
QUARTER = {5, 6, 7, 8}


def photograph(path: Path, orientation: int) -> Path:
    image = Image.new("RGB", STORED, (20, 30, 40))
    ImageDraw.Draw(image).rectangle((DRAWN[0], DRAWN[1], DRAWN[2] - 1, DRAWN[3] - 1), fill=(255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def red_box(image: Image.Image) -> tuple[int, ...]:
    """The corners of the red rectangle in the upright image, in pixels."""
    rows, columns = np.nonzero(np.asarray(image)[..., 0] > 128)
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def coco(tmp_path: Path, name: str, exif: Exif | None = None, **size: float) -> ImportReport:
    x1, y1, x2, y2 = DRAWN
    file = tmp_path / "a.json"
    value = {
        "images": [{"id": 1, "file_name": name, **size}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}],
        "categories": [{"id": 1, "name": "sign"}],
    }
    file.write_text(json.dumps(value))
    options = ImportOptions(root=str(tmp_path), exif=exif)
    return import_dataset("coco", file, tmp_path / "out", options, overwrite=True)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_ignore_sets_boxes_upright_with_their_picture(tmp_path: Path, name: str, orientation: int) -> None:
    """The oracle is the picture itself: the box is where the decoded image shows the rectangle."""
    photograph(tmp_path / name, orientation)
    report = coco(tmp_path, name, "ignore", width=STORED[0], height=STORED[1])
    (sample,) = DatasetFolder.open(tmp_path / "out").read(images="decode")
    image = open_image(tmp_path / name)
    (target,), (note,) = sample.targets, sample.images[0].objects
    seen = [value * side for value, side in zip(target.box, (*image.size, *image.size), strict=True)]
    assert seen == pytest.approx(red_box(image)) and note.box == target.box
    assert sample.images[0].size == image.size and not report.rotated
    assert sample.meta.get("exif") == ("ignore" if orientation > 1 else None)
    assert not check_dataset(DatasetFolder.open(tmp_path / "out")).warnings.counts["rotated_by_exif"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_boxes_and_sizes_follow_the_pixels(tmp_path: Path, orientation: int) -> None:
    header = image_header(photograph(tmp_path / "p.png", orientation))
    image = open_image(tmp_path / "p.png")
    assert header.orientation == orientation and header.size == image.size
    assert stored_size(header.size, orientation) == STORED
    x1, y1, x2, y2 = upright_box((0.1, 0.2, 0.5, 0.5), orientation)
    w, h = image.size
    assert (x1 * w, y1 * h, x2 * w, y2 * h) == pytest.approx(red_box(image))


# (orientation, sizes of the row, --exif, what becomes of it)
ROWS: list[tuple[int, tuple[float, float] | None, Exif | None, str, str]] = [
    (6, (80, 120), None, "known", "only the upright picture has this size"),
    (6, (80, 120), "apply", "known", "both say the same"),
    (6, (120, 80), None, "refused: rotated by 90 degrees clockwise", "the size of the stored picture"),
    (8, (120, 80), "apply", "refused: counterclockwise", "--exif does not overrule what the row says"),
    (5, (80, 120), "ignore", "refused: mirrored and rotated by 90", "nor the other way"),
    (7, (90, 70), None, "refused: mirrored and rotated by 270", "the size of neither"),
    (6, (120, 80), "ignore", "known", "boxes and sizes of the stored picture"),
    (3, (120, 80), None, "unknown", "a half turn keeps the sides"),
    (2, None, None, "unknown", "no sizes"),
    (8, None, None, "unknown", "no sizes, a quarter turn"),
    (4, None, "apply", "known", "the user says it"),
    (1, (120, 80), None, "upright", "nothing to ask"),
]


@pytest.mark.parametrize(("orientation", "size", "exif", "wanted", "why"), ROWS, ids=[row[-1] for row in ROWS])
def test_what_a_rotated_photograph_becomes(
    tmp_path: Path, orientation: int, size: tuple[float, float] | None, exif: Exif | None, wanted: str, why: str
) -> None:
    photograph(tmp_path / "p.jpg", orientation)
    told: dict[str, Any] = {"width": size[0], "height": size[1]} if size else {}
    if wanted.startswith("refused"):
        with pytest.raises(DataError) as caught:
            coco(tmp_path, "p.jpg", exif, **told)
        assert wanted.removeprefix("refused: ") in str(caught.value) and "by EXIF" in str(caught.value), why
        assert ("--exif" in str(caught.value)) == (size in ((120, 80), (80, 120)))
        return
    report = coco(tmp_path, "p.jpg", exif, **told)
    assert report.rotated == ({"p.jpg": orientation} if wanted == "unknown" else {}), why
    folder = DatasetFolder.open(tmp_path / "out")
    warned = check_dataset(folder, CheckConfig(look="header")).warnings
    assert warned.counts["rotated_by_exif"] == (wanted == "unknown"), why
    sheet, _ = show(folder, tmp_path / "sheet.html")
    assert any(ROTATED_NOTE in note for note in sheet.notes) == (wanted == "unknown"), why


def test_ignore_needs_to_see_which_are_rotated(tmp_path: Path) -> None:
    """Without a look no box would be turned, and nobody would notice."""
    photograph(tmp_path / "p.png", 6)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ConfigError, match="needs a look"):
        options = ImportOptions(root=str(tmp_path), exif="ignore", look="none")
        import_dataset("sharegpt", tmp_path / "a.json", tmp_path / "out", options)


def test_frames_of_0_to_1000_are_set_upright_too(tmp_path: Path) -> None:
    """The frame is the stored picture for numbers of 0 to 1000, too; boxes inside texts are turned with the others."""
    photograph(tmp_path / "p.png", 6)
    photograph(tmp_path / "q.png", 1)
    relative = [round(1000 * v / STORED[k % 2]) for k, v in enumerate(DRAWN)]
    row = {
        "id": "r",
        "messages": [
            {"role": "user", "content": f"<image><image>Where is what Image-1 shows at {relative}?"},
            {"role": "assistant", "content": json.dumps([{"image": 1, "bbox_2d": relative, "label": "sign"}])},
        ],
        "images": ["p.png", "q.png"],
    }
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    options = ImportOptions(root=str(tmp_path), exif="ignore", frame="relative_1000")
    import_dataset("sharegpt", tmp_path / "rows.json", tmp_path / "out", options)
    (sample,) = DatasetFolder.open(tmp_path / "out").read()
    assert sample.targets[0].box == pytest.approx(upright_box((0.1, 0.2, 0.5, 0.5), 6))


def test_distractors_without_boxes_are_not_counted(tmp_path: Path) -> None:
    photograph(tmp_path / "p.png", 6)
    photograph(tmp_path / "q.png", 1)
    row = {
        "id": "r",
        "messages": [
            {"role": "user", "content": "<image><image>Where is the sign?"},
            {"role": "assistant", "content": "Image-2: (100,200),(500,500)"},
        ],
        "images": ["p.png", "q.png"],
    }
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    options = ImportOptions(root=str(tmp_path), frame="relative_1000")
    report = import_dataset("sharegpt", tmp_path / "rows.json", tmp_path / "out", options)
    assert report.samples == 1 and report.rotated == {}


def test_composed_samples_keep_what_was_decided(tmp_path: Path) -> None:
    """A composed sample says it of each image: the first one is settled, of the second one nothing is known."""
    photograph(tmp_path / "p.png", 6)
    coco(tmp_path, "p.png", "apply")
    folder = DatasetFolder.open(tmp_path / "out")
    (image,) = read_pool(folder, ComposeRecipe(source="out")).images
    assert image.exif == "apply"
    (sample,) = folder.read()
    two = sample.model_copy(update={"images": sample.images * 2, "meta": {"exif": [image.exif, ""]}})
    header = image_header(tmp_path / "p.png")
    assert [place for place, _ in rotated(two, lambda _: header)] == [1]
