"""The choice of answers is bounded, spread over tasks and stable; images are counted against the budget."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from mirg.report.cards import build_frames, select
from mirg.report.data import GalleryItem, Mark, Picture
from mirg.report.images import LOSSLESS_SIDE, MAX_SIDE, ImageBudget, Thumbs, data_uri


def test_every_task_has_its_turn(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", task="rare" if i < 2 else "common") for i in range(100)]
    assert Counter(item.task for item in select(items, per_outcome=6)) == {"rare": 2, "common": 4}


def test_models_show_the_same_samples_whatever_the_order(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", model=m) for m in ("base", "RL") for i in range(60)]
    first, second = select(items, 9), select(items[::-1], 9)
    assert {i.sample_id for i in first if i.model == "RL"} == {i.sample_id for i in first if i.model == "base"}
    assert {(i.sample_id, i.model) for i in first} == {(i.sample_id, i.model) for i in second}


def test_any_beginning_is_balanced(make_item: Callable[..., GalleryItem]) -> None:
    items = [make_item(sample_id=f"s{i}", outcome=o) for o in ("right", "unreadable") for i in range(20)]
    assert Counter(item.outcome for item in select(items, 10)[:8]) == {"right": 4, "unreadable": 4}


def test_ids_that_cannot_be_encoded_are_sorted_too(make_item: Callable[..., GalleryItem]) -> None:
    assert len(select([make_item(sample_id="\ud800")])) == 1


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def test_small_images_are_kept_exactly() -> None:
    image = Image.effect_noise((96, 96), 90).convert("RGB")
    assert ImageChops.difference(decoded(data_uri(image)), image).getbbox() is None


@pytest.mark.parametrize(("noise", "exact", "why"), [(0, True, "a drawing"), (90, False, "a photograph")])
def test_photographs_are_compressed_and_not_drawn_with_hard_pixels(
    noise: int, exact: bool, why: str, tmp_path: Path
) -> None:
    image = Image.effect_noise((240, 160), noise).convert("RGB")
    image.save(tmp_path / "a.png")
    (made,) = Thumbs(lossless=LOSSLESS_SIDE).make([tmp_path / "a.png"]).values()
    assert made.crisp == exact == (ImageChops.difference(decoded(made.uri), image).getbbox() is None), why
    assert (made.width, made.height) == (240, 160)


def test_large_images_are_shrunk() -> None:
    image = decoded(data_uri(Image.new("RGB", (3000, 1500), "#3050d0")))
    assert image.size == (MAX_SIDE, MAX_SIDE // 2)


def test_a_shelf_takes_all_pictures_of_a_card_or_none(pictures: tuple[Picture, ...]) -> None:
    shelf = ImageBudget(budget=10)
    assert not shelf.take(pictures) and shelf.images == [] and shelf.left == 10
    roomy = ImageBudget(budget=100_000)
    wide = tuple(picture._replace(width=200, height=100) for picture in pictures)
    for _ in range(2):  # the same images cost nothing again
        assert roomy.take(wide) and [image[2:4] for image in roomy.images] == [(200, 100)] * 2
        assert roomy.left == 100_000 - sum(len(image.uri) for image in roomy.images)


def test_boxes_are_in_pixels_with_the_truth_on_top(pictures: tuple[Picture, ...]) -> None:
    marks = [Mark(2, (0.1, 0.2, 0.5, 0.8)), Mark(2, (0.0, 0.0, 1.0, 1.0)), Mark(1, (0.5, 0.5, 1.0, 1.0))]
    wide = tuple(picture._replace(width=200, height=100) for picture in pictures)
    _, frame = build_frames(wide, (marks[0],), (marks[2],), [("before", (marks[1],))], ImageBudget(0))
    assert [rect.kind for rect in frame.rects] == ["before", "true"]
    assert frame.rects[1][2:6] == pytest.approx((20, 20, 80, 60)), "left, top, width, height"


def test_a_broken_image_is_a_reason_not_an_end(pictures: tuple[Picture, ...], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG broken")
    shelf = ImageBudget(100_000)
    assert shelf.take((pictures[0], Picture(bad, 96, 96)))
    assert shelf.get(bad) is None and "bad.png" in shelf.problems[bad]
