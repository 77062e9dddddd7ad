"""Bad input gets a clear error, is counted, and costs nothing else: datasets, photographs, models, recipes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.hostile_images import huge_header_png
from fakes.photographs import folder_of_photographs
from mirg.data.scenes.generate import write_scenes

N = 6


@pytest.fixture
def dataset(shared: Callable[..., Path], tmp_path: Path) -> Path:
    """A dataset that a test may spoil."""
    made = shared("good-scenes", lambda out: write_scenes(out, N, split="train", tasks=["group_grounding"]))
    return Path(shutil.copytree(made, tmp_path / "data"))


def rows(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset / "samples.jsonl").read_text().splitlines()]


def write_rows(dataset: Path, values: list[dict[str, Any]]) -> None:
    (dataset / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in values))


def image_of(dataset: Path, row: int) -> Path:
    return dataset / rows(dataset)[row]["images"][0]["path"]


def spoil_image(data: bytes | None) -> Callable[[Path], None]:
    def spoil(dataset: Path) -> None:
        path = image_of(dataset, 2)
        path.unlink() if data is None else path.write_bytes(data)

    return spoil


def cut_image(dataset: Path) -> None:
    path = image_of(dataset, 2)
    path.write_bytes(path.read_bytes()[:200])


def edit_row(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(dataset: Path) -> None:
        values = rows(dataset)
        change(values[2])
        write_rows(dataset, values)

    return edit


def break_row(dataset: Path) -> None:
    lines = (dataset / "samples.jsonl").read_text().splitlines(keepends=True)
    lines[2] = lines[2][:50] + "\n"
    (dataset / "samples.jsonl").write_text("".join(lines))


SPOILT = [
    ("a missing image", spoil_image(None), "images.0", "does not exist", True),
    ("a truncated image", cut_image, "images.0", "is damaged", True),
    ("an absurdly large image", spoil_image(huge_header_png()), "images.0", "is too large", True),
    ("a page instead of an image", spoil_image(b"<html></html>"), "images.0", "is not an image", True),
    ("a broken row", break_row, "line", "not JSON", False),
    (
        "a box outside of its image",
        edit_row(lambda row: row["targets"][0].update(box=[0.5, 0.5, 1.4, 0.9])),
        "targets.0.box",
        "is outside",
        True,
    ),
    (
        "an inverted box",
        edit_row(lambda row: row["targets"][0].update(box=[0.9, 0.5, 0.1, 0.9])),
        "targets.0.box",
        "is inverted",
        True,
    ),
    ("a target in no image", edit_row(lambda row: row["targets"][0].update(image=99)), "row", "Image-99", True),
    ("a missing field", edit_row(lambda row: row.pop("question")), "question", "required", True),
    ("an unknown field", edit_row(lambda row: row.update(boxes=[])), "boxes", "not permitted", True),
    ("an image outside of the folder", edit_row(lambda row: row["images"][0].update(path="../x.png")),
     "images.0", "outside", True),
    ("an image behind a link to the web", edit_row(lambda row: row["images"][0].update(path="https://x.org/a.png")),
     "images.0", "URL", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("why", "spoil", "field", "words", "named"), SPOILT, ids=[row[0].replace(" ", "_") for row in SPOILT]
)
def test_one_bad_sample_is_named_counted_and_the_rest_is_used(
    mirg, dataset: Path, tmp_path: Path, why: str, spoil: Callable[[Path], None], field: str, words: str, named: bool
) -> None:
    name = rows(dataset)[2]["id"]
    spoil(dataset)
    result = mirg("data", "check", dataset, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["rows"], report["accepted"], report["rejected"]) == (N, N - 1, 1)
    (rejection,) = report["rejections"]
    assert rejection["row"] == 3 and rejection["file"].endswith("samples.jsonl")
    assert rejection["id"] == (name if named else None)
    assert rejection["field"] == field and words in rejection["reason"] and rejection["hint"]
    plain = mirg("data", "check", dataset)
    assert plain.exit_code == 1 and words in plain.stdout and f"{N} rows: {N - 1} accepted, 1 rejected" in plain.stdout
    built = mirg("trajectories", "build", dataset, tmp_path / "out")
    assert built.exit_code == 0 and f"{N} rows: {N - 1} verified" in built.stdout and "1 rejected" in built.stdout
    assert not named or name in built.stdout


def test_bad_photographs_are_named_and_counted(mirg, tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path / "photos", 4)
    (root / "cut.png").write_bytes((root / "photo 0.png").read_bytes()[:5000])
    (root / "vast.png").write_bytes(huge_header_png())
    (root / "\x1b[31mred.jpg").write_bytes(b"not an image")
    result = mirg("data", "photos", root, tmp_path / "out", "--n", 3, "--side", 96)
    assert result.exit_code == 0 and "7 image files: 4 photographs, 0 copies, 3 rejected" in result.stdout
    assert "rejected cut.png: image cut.png is damaged" in result.stdout
    assert "rejected vast.png: image vast.png is too large" in result.stdout
    assert "\x1b" not in result.stdout and "red.jpg" in result.stdout
    assert len((tmp_path / "out" / "rejected.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("why", "args", "words"),
    [
        ("no such folder", ["data", "photos", "{tmp}/none", "{tmp}/out"], "is not a folder"),
        ("no photographs", ["data", "photos", "{tmp}/empty", "{tmp}/out"], "no photograph"),
        ("a bad size", ["data", "photos", "{tmp}/empty", "{tmp}/out", "--side", "1"], "--side 1:"),
        (
            "no photograph for the split",
            ["data", "photos", "{tmp}/empty", "{tmp}/out", "--test-share", "1"],
            "leaves no photograph for the split train: set split=test",
        ),
        ("an unknown photo task", ["data", "photos", "{tmp}/empty", "{tmp}/out", "--tasks", "regoin"], "--tasks"),
        ("no dataset", ["data", "check", "{tmp}/empty"], "is not a dataset"),
        ("nothing there", ["trajectories", "build", "{tmp}/none", "{tmp}/out"], "is not a folder"),
        ("an unknown task", ["data", "scenes", "{tmp}/out", "--tasks", "refr"], "unknown task 'refr'"),
        ("an unknown split", ["data", "scenes", "{tmp}/out", "--split", "dev"], "unknown split 'dev'"),
        ("an unknown difficulty", ["data", "scenes", "{tmp}/out", "--difficulty", "x"], "unknown difficulty"),
    ],
)
def test_wrong_arguments_end_with_a_message_and_leave_nothing(
    mirg, tmp_path: Path, why: str, args: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    result = mirg(*(arg.format(tmp=tmp_path) for arg in args))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("why", "args", "words", "hint"),
    [
        ("no such kind of number", ["--dtype", "float99"], "unknown dtype 'float99'", "bfloat16"),
        ("a kind of number that holds no weights", ["--dtype", "int8"], "unknown dtype 'int8'", "bfloat16"),
        ("no such device", ["--device", "foo"], "cannot use device 'foo'", "here: cpu"),
        ("a GPU that no machine has", ["--device", "cuda:99"], "cannot use device 'cuda:99'", "here: cpu"),
        ("weights that were cut off", [], "cannot load the weights of", "fetch them again"),
    ],
)
def test_a_model_that_cannot_be_loaded_here(
    mirg, dataset: Path, folders: dict[str, Path], tmp_path: Path, why: str, args: list[str], words: str, hint: str
) -> None:
    model = shutil.copytree(folders["qwen3_vl"], tmp_path / "model")
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    result = mirg("evaluate", model, dataset, "--out", tmp_path / "out", *args)
    assert result.exit_code == 2
    assert f"error: {words}" in result.stderr and hint in result.stderr.partition("hint: ")[2]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command", [["data", "scenes"], ["data", "photos", "{photos}"], ["trajectories", "build", "{data}"]]
)
@pytest.mark.parametrize("kind", ["below a file", "no permission"])
def test_an_unwritable_output_folder_is_said_at_once(mirg, tmp_path: Path, command: list[str], kind: str) -> None:
    photos = folder_of_photographs(tmp_path / "photos", 3)
    assert mirg("data", "scenes", tmp_path / "data", "--n", 2).exit_code == 0
    parent = tmp_path / "parent"
    if kind == "below a file":
        parent.write_text("a file")
    else:
        if os.geteuid() == 0:
            pytest.skip("nothing is forbidden to root")
        parent.mkdir(mode=0o500)
    args = [part.format(photos=photos, data=tmp_path / "data") for part in command]
    result = mirg(*args, parent / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: cannot write") and str(parent / "out") in result.stderr
    assert kind != "below a file" or parent.read_text() == "a file"


def test_an_existing_dataset_is_not_touched(mirg, dataset: Path) -> None:
    before = (dataset / "samples.jsonl").read_bytes()
    result = mirg("data", "scenes", dataset, "--n", 2)
    assert result.exit_code == 2 and "exists already" in result.stderr and "hint: " in result.stderr
    assert (dataset / "samples.jsonl").read_bytes() == before


def test_a_failed_run_keeps_the_old_dataset(mirg, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in dataset.iterdir())
    assert mirg("data", "photos", tmp_path / "empty", dataset, "--overwrite").exit_code == 2
    assert sorted(path.name for path in dataset.iterdir()) == before
    assert mirg("data", "check", dataset).exit_code == 0
