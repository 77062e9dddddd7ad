"""Images in the page: exact where small, shrunk where large, counted against the budget."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image, ImageChops

from mirg.report.data import Picture
from mirg.report.images import MAX_SIDE, ImageBudget, data_uri


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_small_images_are_kept_exactly() -> None:
    image = Image.effect_noise((96, 96), 90).convert("RGB")
    assert ImageChops.difference(decoded(data_uri(image)), image).getbbox() is None


def test_large_images_are_shrunk() -> None:
    image = decoded(data_uri(Image.new("RGB", (3000, 1500), "#3050d0")))
    assert image.size == (MAX_SIDE, MAX_SIDE // 2)


def test_a_shelf_takes_all_pictures_of_a_card_or_none(pictures: tuple[Picture, ...]) -> None:
    shelf = ImageBudget(budget=10)
    assert not shelf.take(pictures) and shelf.images == [] and shelf.left == 10
    roomy = ImageBudget(budget=100_000)
    assert roomy.take(pictures) and len(roomy.images) == 2
    left = roomy.left
    assert roomy.take(pictures) and roomy.left == left, "the same images cost nothing again"


def test_a_broken_image_is_a_reason_not_an_end(pictures: tuple[Picture, ...], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG broken")
    shelf = ImageBudget(100_000)
    assert shelf.take((pictures[0], Picture(bad, 96, 96)))
    assert shelf.get(bad) is None and "bad.png" in shelf.problems[bad]
