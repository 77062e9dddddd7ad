"""Folders of photographs: what is read, what is rejected and why, and who is in which split."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fakes.hostile_images import huge_header_png
from fakes.photographs import folder_of_photographs, photograph
from mirg.data.compose.photos.pool import Photo, PhotoConfig, PhotoPool, find_photos, of_split, other_words
from mirg.data.compose.pixels import shrink
from mirg.errors import DataError


def test_bad_files_are_rejected_with_name_and_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path / "photos", 5)
    whole = (root / "photo 0.png").read_bytes()
    bad = {
        "cut.png": (whole[: len(whole) // 2], "is damaged"),
        "empty.jpg": (b"", "is empty"),
        "page.jpg": (b"<html></html>", "is not an image"),
        "vast.png": (huge_header_png(), "is too large"),
    }
    for name, (data, _) in bad.items():
        (root / name).write_bytes(data)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "notes.txt").write_text("not an image by its name")
    (root / "._photo 0.png").write_bytes(b"left by a file manager")
    (root / ".hidden").mkdir()
    shutil.copy(root / "photo 0.png", root / ".hidden" / "x.png")
    shutil.copy(root / "photo 3.png", root / "copy.png")
    found = find_photos(root, PhotoConfig())
    rejected = {row.file: row for row in found.rejected}
    assert set(rejected) == {*bad, "gone.png"}
    for name, (_, words) in bad.items():
        assert words in rejected[name].reason and rejected[name].hint and name in rejected[name].reason
        assert str(tmp_path) not in rejected[name].reason
    assert (found.n_files, found.other.total(), found.n_copies, found.n_readable) == (11, 1, 1, 5)
    assert found.n_files == found.n_readable + found.n_copies + len(found.rejected)


def test_files_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    """A telephone's folder: what is not read is counted, also if nothing else is there."""
    for name in (*(f"IMG_{k}.HEIC" for k in range(5)), "a.heic", "b.avif", "c.MOV", "notes"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"0 tried, 9 other files \(\.heic 6, "):
        find_photos(tmp_path, PhotoConfig())
    Image.new("RGB", (64, 48)).save(tmp_path / "d.jpeg")
    (tmp_path / "d.jpeg").rename(tmp_path / "d.jfif")
    found = find_photos(tmp_path, PhotoConfig())
    assert (found.n_files, found.n_readable, found.other.total()) == (1, 1, 9)
    assert dict(found.other) == {".heic": 6, ".avif": 1, ".mov": 1, "": 1}
    assert "without a suffix 1" in other_words(found.other)


@pytest.mark.parametrize(
    ("why", "make", "words"),
    [
        ("no folder", lambda root: None, "is not a folder"),
        ("empty", lambda root: root.mkdir(), "no photograph"),
        ("nothing readable", lambda root: (root.mkdir(), (root / "a.jpg").write_bytes(b"x")), "first: image a.jpg"),
    ],
)  # fmt: skip
def test_a_folder_without_photographs_is_an_error(tmp_path: Path, why: str, make, words: str) -> None:
    make(tmp_path / "photos")
    with pytest.raises(DataError, match=words):
        find_photos(tmp_path / "photos", PhotoConfig())


def photos_with(places: list[float]) -> list[Photo]:
    return [Photo(Path(f"{k}"), f"{k}", f"{int(place * 16**13):013x}" + "0" * 51) for k, place in enumerate(places)]


@pytest.mark.parametrize(
    ("why", "places", "train", "test"),
    [
        ("below the share is for testing", [0.1, 0.5, 0.15, 0.9], {0.5, 0.9}, {0.1, 0.15}),
        ("none below: the nearest is taken", [0.9, 0.5, 0.4], {0.5, 0.9}, {0.4}),
        ("all below: the nearest is left", [0.1, 0.15, 0.05], {0.15}, {0.05, 0.1}),
        ("one photograph is for training", [0.5], {0.5}, set()),
        ("or for testing, never both", [0.1], set(), {0.1}),
    ],
)
def test_splits(why: str, places: list[float], train: set[float], test: set[float]) -> None:
    photos = photos_with(places)
    random.Random(0).shuffle(photos)
    for split, expected in (("train", train), ("test", test)):
        got = {round(photo.place_in_split, 6) for photo in of_split(photos, split, 0.2)}
        assert got == expected


@pytest.mark.parametrize(("share", "test", "train"), [(1.0, 3, 0), (0.0, 0, 3)])
def test_a_whole_folder_for_one_split(share: float, test: int, train: int) -> None:
    photos = photos_with([0.0, 0.5, 0.9999])
    assert (len(of_split(photos, "test", share)), len(of_split(photos, "train", share))) == (test, train)
    empty = "train" if train == 0 else "test"
    with pytest.raises(ValueError, match=f"leaves no photograph for the split {empty}"):
        PhotoConfig(split=empty, test_share=share)


def test_every_photograph_is_in_exactly_one_split_and_a_new_one_moves_none() -> None:
    rng = random.Random(1)
    places = [rng.random() for _ in range(200)]
    before = {s: {p.digest for p in of_split(photos_with(places), s, 0.2)} for s in ("train", "test")}
    assert not before["train"] & before["test"] and len(before["train"] | before["test"]) == 200
    after = {s: {p.digest for p in of_split(photos_with([*places, 0.01, 0.99]), s, 0.2)} for s in ("train", "test")}
    assert before["train"] < after["train"] and before["test"] < after["test"]


def test_the_split_follows_the_pixels_not_the_file(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path / "a", 6)
    other = tmp_path / "b"
    other.mkdir()
    for k, path in enumerate(sorted(root.rglob("*.png"))):
        from PIL import Image

        with Image.open(path) as image:
            image.save(other / f"{9 - k}.bmp")
    for split in ("train", "test"):
        config = PhotoConfig(split=split)
        assert {p.digest for p in find_photos(root, config).photos} == {
            p.digest for p in find_photos(other, config).photos
        }


def test_a_large_folder_is_sampled_and_says_so(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path, 6, size=(64, 48))
    found = find_photos(root, PhotoConfig(max_photos=4))
    assert (found.n_files, found.n_unused, found.n_readable) == (6, 2, 4)


def test_a_pool_gives_the_sizes_asked_for(tmp_path: Path) -> None:
    root = folder_of_photographs(tmp_path, 3)
    config = PhotoConfig(side=160)
    pool = PhotoPool(find_photos(root, config).photos, config)
    assert pool.image(0).size == (160, 120) and pool.thumb(0).shape == (48, 64, 3)
    square = PhotoConfig(side=96, square=True)
    assert PhotoPool(pool.photos, square).image(0).size == (96, 96)


@pytest.mark.parametrize(
    ("size", "side", "expected"), [((100, 50), 40, (40, 20)), ((30, 20), 40, (30, 20)), ((400, 4), 40, (40, 1))]
)
def test_shrink_keeps_the_ratio_and_never_enlarges(size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    assert shrink(photograph(0, size), side).size == expected
