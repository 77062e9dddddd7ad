"""Drawn stand-ins for the benchmarks whose answers are boxes, written as their real files are.

Every object is a rectangle in its own colour, so that the decoded picture is the oracle of a box.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mirg.samples import DatasetFolder, Sample

Corners = tuple[int, int, int, int]
RED, BLUE = (230, 20, 20), (20, 20, 230)
SIZES = ((320, 200), (180, 260), (241, 97))


def photograph(path: Path, size: tuple[int, int], red: Corners, blue: Corners, *, orientation: int = 1) -> Path:
    """A photograph of ``size`` with a red and a blue rectangle; corners in pixels, right and lower edge excluded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (150, 160, 150))
    for (x1, y1, x2, y2), colour in ((red, RED), (blue, BLUE)):
        ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    image.save(path, exif=exif, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return path


def drawn_box(folder: DatasetFolder, sample: Sample, image: int, colour: Sequence[int]) -> tuple[float, ...]:
    """Where Image-``image`` shows the rectangle of ``colour``, in fractions."""
    upright = folder.open_image(sample.images[image - 1])
    pixels = np.asarray(upright).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - np.array(colour)).sum(axis=2) < 90)
    width, height = upright.size
    right, lower = columns.max() + 1, rows.max() + 1
    return tuple(float(v) for v in (columns.min() / width, rows.min() / height, right / width, lower / height))


def coco_folder(root: Path, *, year: int = 2014) -> list[str]:
    """Three photographs in the layout of COCO's train2014 or train2017; the paths of train2014 as Qwen-VL's rows."""
    names = []
    for k, (width, height) in enumerate(SIZES):
        number = f"{1000 + 37 * k:012d}"
        name = f"train2014/COCO_train2014_{number}.jpg" if year == 2014 else f"train2017/{number}.jpg"
        photograph(root / name, (width, height), *objects(k))
        names.append(f"data/coco/train2014/COCO_train2014_{number}.jpg")
    return names


def objects(k: int) -> tuple[Corners, Corners]:
    """The red and the blue rectangle of photograph ``k``; the red one reaches the right edge of the second."""
    width, height = SIZES[k]
    red: Corners = (width // 2, 10 + k, width - 20 * (k != 1), height // 2)
    return red, (4 + k, height // 2 + 5, width // 3, height - 7)


def refcoco_rows(names: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of Qwen-VL's evaluation: two phrases about each photograph."""
    rows = []
    for k, name in enumerate(names):
        width, height = SIZES[k]
        for phrase, corners in zip(("red thing", "the blue one below"), objects(k), strict=True):
            bbox = [float(v) for v in corners]
            rows.append({"image": name, "sent": phrase, "bbox": bbox, "height": height, "width": width})
    return rows


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def refcoco_table(folder: Path, split: str, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """One parquet file with the columns and types of lmms-lab's tables; the pictures are inside, as PNG or JPEG."""
    import datasets

    scratch = folder / ".pictures"
    names = coco_folder(scratch)
    cells = []
    for k, name in enumerate(names):
        (x1, y1, x2, y2), _ = objects(k)
        cells.append(
            {
                "question_id": str(469306 + k),
                "image": {"bytes": (scratch / name.removeprefix("data/coco/")).read_bytes(), "path": None},
                "question": "Please carefully observe the area circled in the image and come up with a caption.",
                "answer": ["red thing", "the red rectangle", "upper right"][: 3 - k],
                "segmentation": [float(v) for v in (x1, y1, x2, y1, x2, y2)],
                "bbox": [float(v) for v in (x1, y1, x2 - x1, y2 - y1)],
                "iscrowd": 0,
                "file_name": f"{Path(name).stem}_{k}.jpg",
            }
        )
    value = datasets.Value
    features = datasets.Features(
        {
            "question_id": value("string"), "image": datasets.Image(), "question": value("string"),
            "answer": datasets.List(value("string")), "segmentation": datasets.List(value("float32")),
            "bbox": datasets.List(value("float32")), "iscrowd": value("int8"), "file_name": value("string"),
        }
    )  # fmt: skip
    rows = [cell | change for cell, change in zip(cells, rows or [{}] * len(cells), strict=True)]
    table = datasets.Dataset.from_list(rows, features=features)
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(path))
    for file in sorted(scratch.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    scratch.rmdir()
    return path


def lisa_rows(root: Path) -> list[dict[str, Any]]:
    """Rows of UniVG-R1's ``lisa_val.json``, whose paths are those of another machine; photographs below ``root``."""
    rows = []
    for k, size in enumerate(SIZES):
        red, blue = objects(k)
        photograph(root / "val" / f"{k}_a.jpg", size, red, blue)
        boxes = [list(red), list(blue)] if k == 2 else [list(red)]
        asked = f"Which part would stop you at a crossing ({k})?"
        rows.append({"image_path": f"/data/ReasonSeg/val/{k}_a.jpg", "instruction": asked, "boxes": boxes})
    return rows


def reasonvos_rows(root: Path) -> list[dict[str, Any]]:
    """Rows of UniVG-R1's ``ReasonVOS_eval.json``: five frames, and the answer is in the third."""
    rows = []
    for film in ("bear", "goat"):
        frames, boxes = [], []
        for k in range(5):
            red: Corners = (20 + 30 * k, 10 + 5 * k, 60 + 30 * k, 70 + 5 * k)
            name = f"JPEGImages/{film}/{3 * k:05d}.jpg"
            photograph(root / name, SIZES[0], red, (2, 150, 40, 190))
            frames.append(name)
            boxes.append(str(list(red)))
        question = f"Which object crosses the scene ({film})?"
        rows.append({"image_list": frames, "question": question, "bbox_list": boxes, "video": film})
    return rows


def reasonseg_folder(root: Path) -> Path:
    """ReasonSeg as LISA publishes it: photographs with a JSON of polygons beside each."""
    for k, size in enumerate(SIZES):
        red, blue = objects(k)
        photograph(root / "val" / f"{k}_a.jpg", size, red, blue)
        (x1, y1, x2, y2), middle = red, (red[0] + red[2]) / 2
        # Two polygons of the target, one of them beyond the right edge; an ignored region counts for nothing.
        shapes = [
            {"label": "target", "points": [[x1, y1], [middle, y1], [middle, y2]]},
            {"label": "target", "points": [[middle, y1], [x2 + 30 * (k == 1), y2], [middle, y2]]},
            {"label": "ignore", "points": [[0, 0], [5, 0], [5, 5]]},
        ]
        note = {"text": [f"the part that says stop, café {k}"], "is_sentence": k == 1, "shapes": shapes}
        encoding = "cp1252" if k == 2 else "utf-8"
        (root / "val" / f"{k}_a.json").write_text(json.dumps(note, ensure_ascii=False), encoding=encoding)
    return root / "val"
