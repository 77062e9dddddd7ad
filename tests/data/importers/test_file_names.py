"""Names of image files as other systems write them: Unicode, percent signs, links, and a wrong root."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mirg.data.importers.raw import ImportOptions
from mirg.data.importers.run import ImportReport, import_dataset
from mirg.errors import DataError, ImageError
from mirg.samples import DatasetFolder
from mirg.samples.roots import Roots, find_inside


def picture(path: Path, shade: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (shade, 9, 200)).save(path)
    return path


def imported(tmp_path: Path, names: list[str], root: Path, **settings: Any) -> ImportReport:
    rows = [
        {
            "id": f"r{k}",
            "messages": [
                {"role": "user", "content": "<image>Where?"},
                {"role": "assistant", "content": "Image-1: (100,200),(500,500)"},
            ],
            "images": [name],
        }
        for k, name in enumerate(names)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    options = ImportOptions(root=str(root), frame="relative_1000", **settings)
    return import_dataset("sharegpt", tmp_path / "rows.json", tmp_path / "out", options, overwrite=True)


NFD, NFC = (unicodedata.normalize(form, "Zürich/café 한글.png") for form in ("NFD", "NFC"))

# (name in the row, file below the root or None if it is refused, why)
NAMES = [
    (NFC, NFD, "composed in the row, decomposed on the disk of a Mac"),
    (NFD, NFC, "the other way"),
    ("a b #2 %.png", "a b #2 %.png", "blanks and signs are letters like any other"),
    ("100%25.png", "100%25.png", "a file of exactly this name comes first"),
    ("a%20b/%E6%97%A5%232.png", "a b/日#2.png", "percent-encoded"),
    ("caf%C3%A9.png", unicodedata.normalize("NFD", "café.png"), "percent-encoded, and decomposed on the disk"),
    ("%2e%2e/out.png", None, "an encoded path cannot leave the root"),
    ("A.png", None, "case is not ignored"),
]


@pytest.mark.parametrize(("told", "there", "why"), NAMES, ids=[why for *_, why in NAMES])
@pytest.mark.parametrize("look", ["hash", "none"])
def test_names(tmp_path: Path, told: str, there: str | None, why: str, look: str) -> None:
    root = tmp_path / "root"
    picture(root / "plain.png", 1)
    picture(root / "100%.png", 2)
    picture(root / "a.png", 3)
    picture(tmp_path / "out.png", 4)
    if there:
        picture(root / there, 200)
    report = imported(tmp_path, ["plain.png", told], root, look=look)
    bad: list[Any] = []
    samples = list(DatasetFolder.open(tmp_path / "out").read(bad.append, images="decode"))
    if there is None:
        assert [s.id for s in samples] == ["r0-1"] and (report.refused or bad), why
        return
    folder = DatasetFolder.open(tmp_path / "out")
    assert folder.open_image(samples[1].images[0]).getpixel((0, 0)) == (200, 9, 200), why
    if look == "hash":
        assert samples[1].images[0].path.endswith(f"/{there}"), "rows are written as the disk spells them"


def test_two_files_that_differ_in_normalisation_only_are_not_guessed(tmp_path: Path) -> None:
    """A third spelling, partly composed, is neither of them; an exact name is."""
    mixed = "caf\u00e9 u\u0308.png"
    composed, decomposed = (unicodedata.normalize(form, mixed) for form in ("NFC", "NFD"))
    for k, name in enumerate((composed, decomposed)):
        picture(tmp_path / "root" / name, k)
    with pytest.raises(ImageError, match="may be several files"):
        find_inside(tmp_path / "root", mixed)
    assert find_inside(tmp_path / "root", decomposed).name == decomposed


def test_the_cache_of_the_hub(tmp_path: Path) -> None:
    """snapshots/REVISION/a.png is a link to ../../blobs/DIGEST; a link to anywhere else is refused as a link."""
    repo = (tmp_path / "hub" / "datasets--org--name").resolve()
    snapshot = repo / "snapshots" / "0a1b" / "images"
    snapshot.mkdir(parents=True)
    picture(repo / "blobs" / "f00d.png").rename(repo / "blobs" / "f00d")
    secret = picture(tmp_path / "elsewhere" / "secret.png")
    (snapshot / "a.png").symlink_to(Path("../../../blobs/f00d"))
    (snapshot / "b.png").symlink_to(secret)
    report = imported(tmp_path, ["a.png", "b.png"], snapshot)
    assert (report.rows_used, report.rows_refused) == (1, 1)
    assert f"is a link to {secret.resolve()}, which lies outside" in report.first[0].reason
    assert f"--root ({tmp_path.resolve()})" in report.first[0].hint
    (sample,) = DatasetFolder.open(tmp_path / "out").read(images="decode")
    assert sample.images[0].path == "@images/a.png"
    # The folder above both, as the advice for any other link says.
    assert imported(tmp_path, ["snapshots/0a1b/images/a.png"], repo).samples == 1


@pytest.mark.parametrize("target", ["nowhere.png", "../../elsewhere/nowhere.png"])
def test_a_link_to_nothing_is_refused_as_a_link(tmp_path: Path, target: str) -> None:
    """A copy without the blobs of the hub's cache, or a disk that is not mounted: the row names the link."""
    root = picture(tmp_path / "root" / "a.png").parent
    (root / "b.png").symlink_to(target)
    report = imported(tmp_path, ["a.png", "b.png"], root)
    assert (report.rows_used, report.rows_refused) == (1, 1)
    assert report.first[0].reason == f"image b.png is a link to {target}, which is not there"


def test_blobs_are_only_those_of_the_same_repository(tmp_path: Path) -> None:
    for name in ("one", "two"):
        picture(tmp_path / name / "blobs" / "d.png")
        (tmp_path / name / "snapshots" / "r").mkdir(parents=True)
    (tmp_path / "one" / "snapshots" / "r" / "a.png").symlink_to(tmp_path / "two" / "blobs" / "d.png")
    with pytest.raises(ImageError, match="is a link to"):
        find_inside((tmp_path / "one" / "snapshots" / "r").resolve(), "a.png")


def test_the_whole_disk_is_no_root(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="every file of this machine") as caught:
        imported(tmp_path, [str(tmp_path / "a.png")], Path("/"))
    assert "closest folder" in caught.value.hint
    with pytest.raises(DataError, match="every file of this machine"):
        Roots(tmp_path, {"all": "/"})
    assert imported(tmp_path, [str(tmp_path.resolve() / "a.png")], tmp_path).samples == 1, "absolute, below the root"


# (path of the rows, file, options that would find it)
MISPLACED = [
    ("a.png", "top/train/a.png", "--root {t}/top/train"),
    ("train/a.png", "top/images/train/a.png", "--root {t}/top/images"),
    ("/data/ann/set/train/a.png", "top/train/a.png", "--strip /data/ann/set/"),
    ("C:\\data\\set\\a.png", "top/a.png", "--strip C:/data/set/"),
    ("old/a.png", "images/a.png", "--root {t}/images --strip old/"),
    ("train/a.png", "train/a.png", "--root {t}"),
    ("{t}/images/train/a.png", "images/train/a.png", "--root {t}"),
    ("a.png", None, "no file a.png is below"),
    ("a.png", "top/A.PNG", "differs from it in upper and lower case"),
]


@pytest.mark.parametrize(("told", "there", "options"), MISPLACED, ids=[str(k) for k in range(len(MISPLACED))])
def test_a_wrong_root_is_named_with_the_right_one(tmp_path: Path, told: str, there: str | None, options: str) -> None:
    root = tmp_path.resolve() / "top"
    told = told.format(t=tmp_path.resolve())
    root.mkdir()
    if there:
        picture(tmp_path / there)
    wanted = options.format(t=tmp_path.resolve())
    with pytest.raises(DataError) as caught:
        imported(tmp_path, [told], root)
    assert wanted in caught.value.hint and "kind" not in caught.value.hint
    if not wanted.startswith("--"):
        return
    words = wanted.split()
    given = dict(zip(words[::2], words[1::2], strict=True))
    right = Path(given.get("--root", root))
    assert imported(tmp_path, [told], right, strip=given.get("--strip", "")).samples == 1, "the advice works"
    assert str(root) in caught.value.hint
