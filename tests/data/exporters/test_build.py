"""An export is whole or absent, its images are what their readers see, and what it leaves out is counted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakes.commands import invoke
from mirg.data.exporters.build import FORMATS, format_of, make_plan
from mirg.data.exporters.files import is_turned
from mirg.data.exporters.render import rendered
from mirg.errors import AnswerError, ConfigError, DataError, ImageError
from mirg.families import FAMILIES
from mirg.samples import DatasetCard, DatasetFolder, DatasetWriter, ImageRef, Sample, Target, Trajectory
from mirg.storage import folder_manifest

EXIF_ORIENTATION = 0x0112
RENDERED = [name for name, form in FORMATS.items() if form.rendered]


run = partial(invoke, "data", "export")


def images_of(out: Path, to: str) -> list[str]:
    """The paths of all images, by row."""
    if to == "coco":
        return [row["file_name"] for row in json.loads((out / "annotations.json").read_text())["images"]]
    if to == "llamafactory":
        return [path for row in json.loads((out / "sft.json").read_text()) for path in row["images"]]
    if to == "ms-swift":
        return [path for line in (out / "grpo.jsonl").read_text().splitlines() for path in json.loads(line)["images"]]
    from pyarrow import parquet

    (file,) = out.glob("grpo.parquet" if to == "trl" else "*.parquet")
    found = [image for row in parquet.read_table(file).to_pylist() for image in row["images"]]
    return [image if isinstance(image, str) else image.get("path") or image["image"] for image in found]


@pytest.mark.parametrize("to", FORMATS)
def test_absolute_paths(exported, dataset: DatasetFolder, to: str) -> None:
    out, report = exported(to)
    found = {Path(path) for path in images_of(out, to)}
    assert all(path.is_absolute() and path.is_file() for path in found)
    assert report.images == {"referred": dataset.card.n_images, "copied": 0, "turned": 0}
    assert not (out / "images").exists()


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("copy", [False, True])
def test_relative_paths(exported, dataset: DatasetFolder, to: str, copy: bool) -> None:
    out, report = exported(to, relative=True, copy=copy)
    found = set(images_of(out, to))
    assert all(not Path(path).is_absolute() and (out / path).is_file() for path in found)
    assert all(path.startswith("images/") == copy for path in found)
    assert report.images["copied"] == (dataset.card.n_images if copy else 0)


def test_copies_are_the_files(exported, dataset: DatasetFolder) -> None:
    out, _ = exported("coco", copy=True)
    assert folder_manifest(out / "images") == folder_manifest(dataset.root / "images")
    assert all(Path(path).is_relative_to(out) for path in images_of(out, "coco"))


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_export_twice_is_the_same(exported, to: str) -> None:
    """Byte for byte, but for the name of the folder in its README."""
    first, _ = exported(to, name="one")
    second, _ = exported(to, name="two")
    ignored = frozenset({"README.md"})
    assert folder_manifest(first, ignore=ignored) == folder_manifest(second, ignore=ignored)


@pytest.fixture
def turned(tmp_path: Path) -> DatasetFolder:
    """A photograph that is stored lying, and one that is not: 40 x 20 pixels upright."""
    (tmp_path / "photos").mkdir()
    lying = Image.new("RGB", (20, 40), "red")
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    lying.save(tmp_path / "photos" / "lying.jpg", exif=exif)
    Image.new("RGB", (40, 20), "red").save(tmp_path / "photos" / "upright.jpg")
    with DatasetWriter(tmp_path / "turned", name="turned") as writer:
        root = writer.add_root("photos", tmp_path / "photos")
        refs = tuple(ImageRef(path=f"@{root}/{name}.jpg") for name in ("lying", "upright"))
        target = Target(image=1, box=(0.0, 0.0, 0.5, 1.0))
        told = Trajectory(thinking="So.", answer=(target,), writer="rules")
        writer.add(Sample(id="s", task="t", question="?", images=refs, targets=(target,), trajectory=told))
    return DatasetFolder.open(tmp_path / "turned")


@pytest.mark.parametrize(
    ("suffix", "orientation", "expected", "why"),
    [
        (".jpg", 6, True, "turned"),
        (".jpg", 3, True, "upside down"),
        (".jpg", 2, True, "mirrored: its sides do not tell"),
        (".jpg", 1, False, "said to be upright"),
        (".jpg", None, False, "says nothing"),
        (".png", 6, True, "PNG may tell, too"),
        (".png", None, False, "plain PNG"),
        (".webp", 8, True, "WebP"),
        (".bmp", None, False, "has no such data"),
    ],
)
def test_is_turned(tmp_path: Path, suffix: str, orientation: int | None, expected: bool, why: str) -> None:
    file = tmp_path / f"x{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[EXIF_ORIENTATION] = orientation
    Image.new("RGB", (8, 4)).save(file, **({"exif": exif} if orientation else {}))
    assert is_turned(file, "s") is expected, why


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0deXIf", b"<html>"])
def test_no_image_is_an_error_or_not_turned(tmp_path: Path, data: bytes) -> None:
    """Bounded, and never another exception; a look finds the rest."""
    file = tmp_path / "x.png"
    file.write_bytes(data)
    try:
        assert is_turned(file, "s") is False
    except ImageError as error:
        assert "sample s" in error.message


@pytest.mark.parametrize("to", [name for name, form in FORMATS.items() if form.upright])
def test_files_that_are_stored_turned_are_set_upright(exported, turned: DatasetFolder, to: str) -> None:
    """Readers that ignore EXIF see the picture that the boxes are about; rows without a size get one by the look."""
    out, report = exported(to, source=turned)
    lying, upright = images_of(out, to)[:2]
    assert Path(lying).parent == out / "images" and Path(upright).parent.name == "photos"
    with Image.open(lying) as image:
        assert image.size == (40, 20)
    assert report.images == {"referred": 1, "copied": 0, "turned": 1}


def test_lossless_parquet_refers_to_the_file_itself(exported, turned: DatasetFolder) -> None:
    from mirg.data.exporters.parquet import read_card, read_samples

    out, report = exported("parquet", source=turned)
    (sample,) = read_samples(out / "samples.parquet")
    card = read_card(out / "samples.parquet")
    assert [ref.path for ref in sample.images] == ["@photos/lying.jpg", "@photos/upright.jpg"]
    assert DatasetFolder(turned.root, card).open_image(sample.images[0]).size == (40, 20)
    assert report.images["turned"] == 0 and Path(card.roots["photos"]).is_absolute()


def one_sample(path: Path, **changes: Any) -> DatasetFolder:
    """A dataset of a good sample and one that ``changes`` make a bad one."""
    target = Target(image=1, box=(0.1, 0.1, 0.5, 0.5), label="ring")
    told = Trajectory(thinking="So.", answer=(target,), writer="rules")
    with DatasetWriter(path, name="d") as writer:
        ref = writer.add_image(Image.new("RGB", (50, 40)), "x")
        good = Sample(id="good", task="t", question="?", images=(ref,), targets=(target,), trajectory=told)
        writer.add(good)
        writer.add(good.model_copy(update={"id": "bad", **changes}))
    return DatasetFolder.open(path)


def test_an_image_of_two_samples_has_the_id_of_neither(exported, tmp_path: Path) -> None:
    out, _ = exported("coco", source=one_sample(tmp_path / "d"))
    (image,) = json.loads((out / "annotations.json").read_text())["images"]
    assert "sample_id" not in image


@pytest.mark.parametrize(
    ("to", "changes", "said"),
    [
        ("llamafactory", {"question": "What is <image>?"}, "holds <image>"),
        ("verl", {"question": "Any <video> here?"}, "holds <video>"),
        ("ms-swift", {"question": "Say <ref-object>."}, "holds <ref-object>"),
        ("trl", {"question": "Read <|image_pad|>."}, "image_pad"),
        ("easyr1", {"targets": (Target(image=1, box=(0, 0, 1, 1), label="<image>"),)}, "holds <image>"),
        (
            "llamafactory",
            {"trajectory": Trajectory(thinking="<audio>", answer=(), writer="x")},
            "holds <audio>",
        ),
        ("trl", {"trajectory": Trajectory(thinking="</think>", answer=(), writer="x")}, "</think>"),
        ("verl", {"question": "Like <box image=7>0,0,1,1</box>?"}, "Image-7 does not exist"),
    ],
)
def test_texts_that_a_format_cannot_take(exported, tmp_path: Path, to: str, changes: dict, said: str) -> None:
    out, report = exported(to, source=one_sample(tmp_path / "d", **changes))
    (rejection,) = report.rejections
    assert (rejection.id, rejection.row) == ("bad", 2) and said in rejection.reason
    assert report.n_kept == 1 and max(report.files.values()) == 1
    (line,) = (out / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["id"] == "bad"


def test_unknown_sizes_are_rejected_where_nobody_looks(exported, turned: DatasetFolder) -> None:
    with pytest.raises(DataError, match="no sample .* can be exported; first: .*size of image"):
        exported("verl", source=turned, look="none")


def test_missing_images_are_rejected(exported, tmp_path: Path) -> None:
    folder = one_sample(tmp_path / "d")
    (folder.root / "images" / "x.png").unlink()
    for look in ("none", "header", "decode"):
        with pytest.raises(DataError, match=r"can be exported; first: .*x\.png"):
            exported("coco", source=folder, look=look)
    assert not (tmp_path / "out").exists()


def without_trajectories(dataset: DatasetFolder, path: Path) -> DatasetFolder:
    from mirg.samples import Carrier

    with DatasetWriter(path, name="plain") as writer:
        carrier = Carrier(dataset, writer)
        for sample in dataset:
            writer.add(carrier.carry(sample.model_copy(update={"trajectory": None})))
    return DatasetFolder.open(path)


def test_without_trajectories(exported, dataset: DatasetFolder, tmp_path: Path) -> None:
    plain = without_trajectories(dataset, tmp_path / "plain")
    with pytest.raises(DataError, match="has a trajectory, and llamafactory takes answers only") as caught:
        exported("llamafactory", source=plain)
    assert "mirg trajectories build" in caught.value.hint and not (tmp_path / "out").exists()
    for to in ("ms-swift", "trl"):
        out, report = exported(to, name=to, source=plain)
        assert set(report.files.values()) == {len(dataset)} and report.n_without == len(dataset)
        assert not list(out.glob("sft.*")), "a file without rows is not left"
        assert any("grpo." in line for line in report.settings) and not any("sft." in line for line in report.settings)


@pytest.mark.parametrize("inside", ["source", "."])
def test_a_source_is_not_written_over(dataset: DatasetFolder, tmp_path: Path, inside: str) -> None:
    folder = without_trajectories(dataset, tmp_path / "source")
    result = run(folder.root, tmp_path / inside, "--to", "coco", "--overwrite")
    assert result.exit_code == 2 and "which is read from" in result.stderr
    assert len(list(folder)) == len(dataset)


def test_an_existing_folder_is_refused(exported) -> None:
    exported("coco")
    with pytest.raises(Exception, match="exists already"):
        exported("verl")
    out, _ = exported("verl", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "train.parquet"]


def test_unknown_formats_and_families() -> None:
    with pytest.raises(ConfigError, match="did you mean 'llamafactory'"):
        format_of("llama-factory")
    result = run("nowhere", "out", "--to", "coco")
    assert result.exit_code == 2 and "not a folder" in result.stderr


def test_objects_belong_to_ms_swift(exported) -> None:
    with pytest.raises(ConfigError, match="means nothing to verl"):
        exported("verl", objects=True)
    with pytest.raises(ConfigError, match="ms-swift does not write boxes as gemma-4 does"):
        exported("ms-swift", family="gemma-4", objects=True)


@pytest.mark.parametrize("to", FORMATS)
def test_the_command_line(dataset: DatasetFolder, tmp_path: Path, to: str) -> None:
    """What is printed holds the settings; as JSON the same, and the README of the folder too."""
    args = (dataset.root, tmp_path / "out", "--to", to, "--max-pixels", 100352)
    said = run(*args)
    assert said.exit_code == 0 and "16 samples, 0 rejected, 8 without a trajectory" in said.stdout
    again = run(*args, "--overwrite", "--json")
    report = json.loads(again.stdout)
    assert report["rows"] == report["samples"] == 16 and report["to"] == to
    readme = (tmp_path / "out" / "README.md").read_text()
    for line in report["settings"]:
        assert line in said.stdout and line in readme
    if to in ("llamafactory", "ms-swift", "easyr1", "trl"):
        assert any("100352" in line for line in report["settings"])
    for name in report["files"]:
        assert to == "llamafactory" or any(name in line for line in report["settings"])


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@settings(max_examples=60)
@given(
    question=st.one_of(texts, st.sampled_from(["<image>", "a <imag", "<image", "<<image>>"])),
    label=texts,
    n=st.integers(1, 12),
    name=st.sampled_from(sorted(FAMILIES)),
    to=st.sampled_from(RENDERED),
    objects=st.booleans(),
)
def test_placeholders_equal_images(question: str, label: str, n: int, name: str, to: str, objects: bool) -> None:
    """Whatever a sample says, a row has one placeholder for each image, or there is no row."""
    target = Target(image=n, box=(0.25, 0.25, 0.5, 0.5), label=label)
    refs = tuple(ImageRef(path=f"{k}.png", width=300 + k, height=200) for k in range(n))
    told = Trajectory(thinking=label, answer=(target,), writer="x")
    sample = Sample(id="s", task="t", question=question, images=refs, targets=(target,), trajectory=told)
    folder = DatasetFolder(Path("nowhere"), DatasetCard(name="d", n_samples=0, n_images=0, digest=""))
    plan = make_plan(folder, "out", name, objects=objects and to == "ms-swift", resize=FORMATS[to].resize)
    try:
        row = rendered(sample, [ref.path for ref in refs], plan, FORMATS[to].reserved)
    except AnswerError:
        return
    assert (row.prompt + (row.completion or "")).count("<image>") == n
    assert [part["type"] for part in row.messages[0]["content"]].count("image") == n  # type: ignore[union-attr]
    if plan.objects:
        assert (row.prompt + (row.completion or "")).count("<bbox>") == len(row.boxes)
