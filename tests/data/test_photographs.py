"""The photographs that ship with mirg: small, without metadata, and each with its source and license."""

from __future__ import annotations

import re

from PIL import Image

from mirg.data.compose.photos.pool import PHOTOGRAPHS


def test_every_file_has_a_source_and_a_free_license() -> None:
    files = {path.name for path in PHOTOGRAPHS.iterdir()} - {"SOURCES.md"}
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", (PHOTOGRAPHS / "SOURCES.md").read_text(encoding="utf-8"), re.M)
    assert len(files) == 12 and {name for name, _ in rows} == files
    for name, row in rows:
        cells = row.split(" | ")
        assert len(cells) == 5 and all(cells) and cells[2] in ("public domain", "CC0 1.0"), name


def test_they_are_small_and_say_nothing_of_a_camera() -> None:
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    assert sum(path.stat().st_size for path in files) < 2**20
    for path in files:
        with Image.open(path) as image:
            assert max(image.size) == 320 and not image.getexif() and "icc_profile" not in image.info, path
