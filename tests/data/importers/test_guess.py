"""A file of another format, or of none: one sentence says what it looks like and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.annotation_tools import write
from fakes.importing import pictures
from mirg.data.importers.formats import SOURCES
from mirg.data.importers.guess import LISTED, looks_like
from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import import_dataset
from mirg.errors import ConfigError, MirgError

BOX = {"x": 1, "y": 2, "width": 3, "height": 4}
COCO = {"categories": [{"id": 1, "name": "dog"}], "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}]}
VOTT = {"asset": {"name": "a.jpg"}, "regions": [{"tags": ["dog"], "boundingBox": BOX}], "version": "2.2.0"}
CASES: list[tuple[dict[str, Any], str, str]] = [
    # files, the words that must be said, why
    ({"x.json": [{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]}, "use kind label-studio", "Label Studio"),
    ({"x.json": [{"id": 1, "image": "a.jpg", "label": [BOX]}]}, "use kind label-studio", "JSON-MIN"),
    ({"x.xml": "<annotations><image/></annotations>"}, "use kind cvat", "CVAT"),
    ({"x.xml": "\ufeff<?xml version='1.0'?><!-- by hand --><annotation/>"}, "use kind voc", "Pascal VOC"),
    ({"x/a.xml": "<annotation/>", "x/a.jpg": b"x"}, "use kind voc", "a folder of Pascal VOC"),
    ({"x/data.yaml": "names: [dog]", "x/labels/a.txt": "0 .5 .5 .1 .1"}, "use kind yolo", "YOLO"),
    ({"x/classes.txt": "dog", "x/labels/a.txt": "0 .5 .5 .1 .1"}, "use kind yolo", "YOLO without YAML"),
    ({"x.yaml": "names: [dog]"}, "use kind yolo", "data.yaml"),
    ({"x/film/gt/gt.txt": "1,1,1,1,1,1", "x/film/img1/1.jpg": b"x"}, "use kind video-tracks", "MOT"),
    ({"x/film/groundtruth.txt": "1,1,1,1"}, "use kind video-tracks", "GOT-10k"),
    ({"x.json": {"info": {}, "images": [{"id": 1, "file_name": "a.jpg"}], **COCO}}, "use kind coco", "COCO"),
    ({"x.json": {"images": [{"id": 1, "neg_category_ids": [2]}], **COCO}}, "LVIS JSON: use kind coco", "LVIS"),
    ({"x.json": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]}, "predictions", "results"),
    ({"x.json": {"size": {"height": 4, "width": 6}, "objects": [{"classTitle": "dog"}]}}, "Supervisely", "an image"),
    ({"x/meta.json": {"classes": [], "tags": []}, "x/ds/ann/a.jpg.json": {}}, "Supervisely", "a project"),
    ({"x.json": {"version": "5", "shapes": [], "imagePath": "a.jpg", "imageData": "x" * 9000}}, "labelme2coco", "."),
    ({"x/a.json": {"shapes": [], "imagePath": "a.jpg"}, "x/a.jpg": b"x"}, "LabelMe", "a folder of LabelMe"),
    ({"x.json": {"_via_settings": {}, "_via_img_metadata": {}}}, "a VIA project", "VIA"),
    ({"x.json": {"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}}, "VIA JSON", "VIA"),
    ({"x/train-00.tfrecord": b"\x00\x01"}, "TFRecord: export COCO from the tool", "TFRecord"),
    ({"x.tfrecord": b"\x00\x01"}, "TFRecord", "TFRecord"),
    ({"x.json": [{"image": "a.jpg", "annotations": [{"label": "dog", "coordinates": BOX}]}]}, "CreateML", "CreateML"),
    ({"x.json": VOTT}, "export Pascal VOC from VoTT: kind voc", "VoTT"),
    ({"x.json": {"dataset": "d", "image": {}, "annotations": [{"bounding_box": {}}]}}, "Darwin JSON of V7", "V7 1.0"),
    ({"x.json": {"version": "2.0", "item": {"name": "a"}, "annotations": []}}, "Darwin JSON of V7", "V7 2.0"),
    ({"x.ndjson": '{"data_row": {"id": "a"}, "projects": {}}\n'}, "a Labelbox export", "Labelbox"),
    ({"x.json": {"samples": [{"filepath": "a.jpg"}]}}, "a FiftyOne export", "FiftyOne"),
    ({"x.json": [{"name": "a.jpg", "labels": [{"category": "car", "box2d": {}}]}]}, "BDD100K", "BDD100K"),
    ({"x.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"}, "a table (CSV)", "makesense, Roboflow"),
    ({"x.json": {"metainfo": {}, "data_list": [{"img_path": "a.jpg"}]}}, "MMDetection JSON: convert", "MMDetection"),
    ({"x.json": [{"filename": "a.jpg", "detection": {"instances": []}}]}, "ODVG", "Grounding DINO"),
    ({"x.json": [{"noun_chunks": [], "ref_exps": [], "url": "u"}]}, "GRIT rows of Kosmos-2", "GRIT"),
    ({"x.json": [{"sentences": [{"raw": "dog"}], "bbox": [1, 2, 3, 4]}]}, "rows of RefCOCO", "RefCOCO"),
    ({"x.jsonl": '{"image": "a.jpg", "prefix": "", "suffix": "<loc0001>"}\n'}, "PaliGemma or Florence", "PaliGemma"),
    ({"x.jsonl": '{"contents": [{"role": "user", "parts": []}]}\n'}, "requests of Gemini", "Gemini"),
    ({"x.txt": "0--Parade/a.jpg\n1\n64 96 128 96 0 0\n"}, "a text file of boxes", "WIDER FACE"),
    ({"x.txt": "64,96,128.5,96,1,4,0,0\n"}, "a text file of boxes", "VisDrone"),
    ({"x/data.parquet": b"PAR1"}, "use kind hf", "a hub dataset"),
    ({"x/a.jpg": b"x", "x/b/c.png": b"x"}, "photographs without labels: use kind photos", "photographs"),
    ({"x.jsonl": '{"messages": [], "objects": {}, "images": []}\n'}, "use kind ms-swift", "ms-swift"),
    ({"x.json": {"data": [{"messages": [], "images": []}]}}, "one object that holds rows under 'data'", "wrapped"),
    ({"x.json": {"r1": {"messages": []}, "r2": {"messages": []}}}, "rows under 'r1'", "a row under every key"),
    ({"x.json": [{"messages": [], "images": []}]}, "use kind sharegpt", "LLaMA-Factory"),
    ({"x.jsonl": '{"image": "a.jpg", "sent": "cup", "bbox": [1, 2, 3, 4]}\n'}, "use kind refcoco", "Qwen-VL"),
    ({"x.json": [{"image_path": "a.jpg", "instruction": "?", "boxes": []}]}, "use kind lisa", "UniVG-R1"),
    ({"x.json": [{"image_list": [], "question": "?", "bbox_list": []}]}, "use kind reasonvos", "UniVG-R1"),
    ({"x.json": {"text": ["?"], "is_sentence": True, "shapes": []}}, "use kind lisa", "ReasonSeg"),
]  # fmt: skip


def put(folder: Path, files: dict[str, Any]) -> Path:
    texts = {name: v if isinstance(v, str | bytes) else json.dumps(v) for name, v in files.items()}
    return write(folder, texts) / next(iter(texts)).split("/")[0]


def said(kind: str, path: Path, root: Path) -> str:
    with pytest.raises(MirgError) as caught:
        import_dataset(kind, path, root.parent / "out", ImportOptions(root=str(root)))
    return str(caught.value)


@pytest.mark.parametrize(("files", "words", "why"), CASES, ids=[f"{case[2]}-{k}" for k, case in enumerate(CASES)])
def test_the_wrong_kind(tmp_path: Path, files: dict[str, Any], words: str, why: str) -> None:
    """Every format, given to three readers that do not read it; univg first looks for the numbers of images."""
    path = put(tmp_path / "data", files)
    root = pictures(tmp_path / "images", ["a.jpg"])
    found = looks_like(path)
    assert found is not None, why
    for kind in ("migbench", "univg", "mc-bench" if found.kind == "coco" else "coco"):
        text = said(kind, path, root)
        assert words in text and LISTED in text and "this looks like" in text, f"{why}: {text}"


def test_rows_of_vlm_r1_for_another_reader(tmp_path: Path) -> None:
    path = put(tmp_path / "data", {"x.json": [{"image": "a.jpg", "problem": "?", "solution": "[1, 2, 3, 4]"}]})
    assert "use kind univg" in said("sharegpt", path, pictures(tmp_path / "images", ["a.jpg"]))


def test_every_kind_that_is_named_exists() -> None:
    from mirg.data.importers import guess

    named = {found.kind for table in (guess._ROWS, guess._OBJECTS) for found, _ in table} - {""}
    assert named <= set(SOURCES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"{",
        b"[",
        b"[[[[[",
        b'{"a": {"b": [1, 2',
        b"<",
        b"<a>",
        b"\xff\xfe",
        b"[1, 2]",
        b'"text"',
        b"{}",
    ],
)
def test_a_file_of_no_format_is_no_crash(tmp_path: Path, content: bytes) -> None:
    path = put(tmp_path / "data", {"x.json": content, "y.xml": content})
    assert looks_like(path) is None and looks_like(path.with_name("y.xml")) is None
    assert looks_like(path.parent) is None and looks_like(tmp_path / "missing") is None
    root = pictures(tmp_path / "images", ["a.jpg"])
    for kind in ("coco", "voc", "yolo", "cvat", "label-studio", "video-tracks"):
        said(kind, path, root)


def test_what_the_reader_says_is_kept(tmp_path: Path) -> None:
    """A file of the right kind keeps its hint, and rows that resemble each other have the guess at the end."""
    root = pictures(tmp_path / "images", ["a.jpg"])
    path = put(tmp_path / "data", {"x.json": {"images": [{"id": 1, "file_name": "a.jpg"}]}})
    assert "see the COCO data format" in said("coco", path, root)
    assert "looks like" not in said("coco", path, root)


def test_a_kind_that_is_written_otherwise() -> None:
    for wrong, right in (("labelstudio", "label-studio"), ("Label_Studio", "label-studio"), ("yolov8", "yolo")):
        with pytest.raises(ConfigError) as caught:
            import_dataset(wrong, "x", "out", ImportOptions(root="."))
        assert f"did you mean {right!r}?" in str(caught.value)
