"""Which file an annotation means: one whose path ends in the same way, or none."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirg.data.importers.pictures import Pictures
from mirg.data.importers.rows import Refused
from mirg.errors import DataError

FOLDERS = ["", "train", "test", "cam 1/train", "Cam 1/test"]
NAMES = ["a", "b", "A", "a.b", "\u00fc"]
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES), st.sampled_from([".jpg", ".PNG"]))


def touch(root: Path, paths: list[str]) -> Pictures:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return Pictures(root)


@given(st.lists(PLACES, min_size=1, max_size=8, unique=True), st.sampled_from(["", "/disk/set/", "C:\\set\\", "./"]))
def test_a_whole_path_is_always_found(tmp_path_factory: pytest.TempPathFactory, places: list, before: str) -> None:
    """In any spelling; a file is never taken for one of another folder or of another name."""
    paths = [f"{folder}/{name}{suffix}".lstrip("/") for folder, name, suffix in places]
    pictures = touch(tmp_path_factory.mktemp("root"), paths)
    for path in paths:
        given_name = unicodedata.normalize("NFD", before + path)
        try:
            found = pictures.find(given_name)
        except Refused as refused:
            assert "fits" in refused.refusal.reason
            continue
        wanted, got = path.casefold().split("/"), found.casefold().split("/")
        count = min(len(wanted), len(got))
        assert got[-count:] == wanted[-count:]
        if not before or before == "./":
            assert found == path


@pytest.mark.parametrize(
    ("files", "name", "found", "why"),
    [
        (["a.jpg"], "a", "a.jpg", "a name without a suffix"),
        (["a.png"], "a.jpg", None, "another suffix is another file"),
        (["v1.2.jpg"], "v1.2", "v1.2.jpg", "a point in the name is no suffix"),
        (["a.jpg", "x/a.jpg"], "a.jpg", "a.jpg", "the whole path comes before a part"),
        (["x/a.jpg", "y/a.jpg"], "y/a.jpg", "y/a.jpg", "folders tell them apart"),
        (["x/a.jpg", "y/a.jpg"], "a.jpg", None, "two fit"),
        (["a.jpg", "A.jpg"], "A.jpg", "A.jpg", "the same letters come before another case"),
        (["._a.jpg", "a.txt"], "a", None, "hidden files and texts are no images"),
        (["a.jpg"], "", None, "no name"),
        (["images/a.jpg"], "../images/a.jpg", "images/a.jpg", "relative to the folder of the annotation"),
        (["images/a.jpg"], "../frames/a.jpg", None, "relative to it, in another folder"),
    ],
)
def test_find(tmp_path: Path, files: list[str], name: str, found: str | None, why: str) -> None:
    pictures = touch(tmp_path, files)
    if found is None:
        with pytest.raises(Refused):
            pictures.find(name)
    else:
        assert pictures.find(name) == found, why


def test_the_whole_machine_is_not_searched() -> None:
    with pytest.raises(DataError, match="every file of this machine"):
        Pictures("/").find("a.jpg")
