"""Samples brought into another dataset: where their images are referred to, and what is copied."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mirg.errors import ImageError
from mirg.samples import Carrier, Copy, DatasetFolder, DatasetWriter, ImageRef, Sample


@pytest.fixture
def source(tmp_path: Path) -> DatasetFolder:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 7), "red").save(tmp_path / "photos" / "a.png")
    with DatasetWriter(tmp_path / "source", name="source") as writer:
        own = writer.add_image(Image.new("RGB", (5, 6)), "own")
        root = writer.add_root("photos", tmp_path / "photos")
        writer.add(Sample(id="s", task="t", question="?", images=(own, ImageRef(path=f"@{root}/a.png"))))
    return DatasetFolder.open(tmp_path / "source")


def carried(source: DatasetFolder, copy: Copy) -> DatasetFolder:
    out = source.root.parent / f"with-{copy}"
    with DatasetWriter(out, name="carried") as target:
        carrier = Carrier(source, target, copy)
        for sample in source:
            target.add(carrier.carry(sample))
    return DatasetFolder.open(out)


@pytest.mark.parametrize(
    ("copy", "paths", "roots"),
    [
        ("none", ["@source/images/own.png", "@photos/a.png"], {"photos": "../photos", "source": "../source"}),
        ("own", ["images/own.png", "@photos/a.png"], {"photos": "../photos"}),
        ("all", ["images/own.png", "images/a.png"], {}),
    ],
)
def test_carry(source: DatasetFolder, copy: Copy, paths: list[str], roots: dict[str, str]) -> None:
    made = carried(source, copy)
    (sample,) = made.read(images="decode")
    assert [ref.path for ref in sample.images] == paths
    assert sample.sizes == [(5, 6), (9, 7)]
    assert made.card.roots == roots
    assert [made.open_image(ref).tobytes() for ref in sample.images] == [
        source.open_image(ref).tobytes() for ref in next(iter(source)).images
    ]


def test_what_cannot_be_copied_is_named(source: DatasetFolder) -> None:
    (source.root.parent / "photos" / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match="sample s: "):
        carried(source, "all")


@pytest.mark.parametrize("copied", [False, True], ids=["first", "copied already"])
def test_a_copy_has_the_size_of_its_row(source: DatasetFolder, copied: bool) -> None:
    (sample,) = source
    wrong = sample.images[0].model_copy(update={"width": 9, "height": 9})
    with DatasetWriter(source.root.parent / "out", name="out") as target:
        carrier = Carrier(source, target, "own")
        if copied:
            carrier.carry(sample)
        with pytest.raises(ImageError, match="sample s: image .*own.png is 5 x 6 pixels, the row says 9 x 9"):
            carrier.carry(sample.model_copy(update={"images": (wrong,)}))
    assert len(list(source.root.parent.glob("out/images/*"))) == copied, "a refused image is not copied"


def test_a_root_that_the_source_does_not_declare_is_named(source: DatasetFolder) -> None:
    lost = Sample(id="lost", task="t", question="?", images=(ImageRef(path="@lost/a.png"),))
    words = "sample lost: image @lost/a.png names the root 'lost', declared: photos"
    with DatasetWriter(source.root.parent / "out", name="out") as target, pytest.raises(ImageError, match=words):
        Carrier(source, target).carry(lost)
