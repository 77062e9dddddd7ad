"""Boxes drawn on images: in the right place, telling kinds apart, never failing on a model's boxes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from mirg.report.data import Mark
from mirg.report.draw import COLOURS, MAX_SIDE, TAG_HEIGHT, DrawnBox, draw_boxes, draw_sample, drawable, side_by_side
from mirg.report.draw import fit_for_viewing as fit

GREY = (128, 128, 128)


def coloured(image: Image.Image, kind: str) -> list[tuple[int, int]]:
    colour = ImageColor.getrgb(COLOURS[kind])  # type: ignore[index]
    return [(x, y) for x in range(image.width) for y in range(image.height) if image.getpixel((x, y)) == colour]


def test_a_true_box_lies_where_it_should() -> None:
    image = draw_boxes(Image.new("RGB", (400, 300), GREY), [DrawnBox((0.25, 0.5, 0.75, 1.0), "true")])
    found = coloured(image, "true")
    xs, ys = [p[0] for p in found], [p[1] for p in found]
    assert (min(xs), min(ys)) == (pytest.approx(100, abs=3), pytest.approx(150, abs=3))
    assert (max(xs), max(ys)) == (pytest.approx(299, abs=3), pytest.approx(299, abs=3))
    assert image.getpixel((200, 225)) == GREY, "the inside stays visible"


def test_predicted_boxes_are_dashed_true_ones_are_not() -> None:
    base, box = Image.new("RGB", (400, 400), GREY), (0.1, 0.1, 0.9, 0.9)
    solid = draw_boxes(base, [DrawnBox(box, "true")])
    dashed = draw_boxes(base, [DrawnBox(box, "predicted")])
    assert len(coloured(dashed, "predicted")) < 0.8 * len(coloured(solid, "true"))


def test_small_images_grow_by_a_whole_factor_without_new_colours() -> None:
    image = Image.effect_noise((96, 96), 80).convert("RGB")
    view = fit(image)
    assert view.size == (384, 384) and view.getpixel((7, 3)) == image.getpixel((1, 0))
    assert fit(Image.new("RGB", (4000, 1000))).size == (MAX_SIDE, 256)
    assert fit(Image.new("RGB", (500, 300))).size == (500, 300)


def test_the_image_given_is_not_drawn_on() -> None:
    image = Image.new("RGB", (300, 300), GREY)
    draw_boxes(image, [DrawnBox((0.1, 0.1, 0.9, 0.9), "true", "label")], tag="Image-1")
    assert image.getcolors() == [(90_000, GREY)]


def test_a_tag_adds_a_strip_above() -> None:
    assert draw_boxes(Image.new("RGB", (400, 300)), [], tag="Image-1").size == (400, 300 + TAG_HEIGHT)


@settings(max_examples=40)
@given(st.tuples(*[st.floats() | st.floats(0, 1)] * 4), st.text(max_size=50), st.integers(1, 60), st.integers(1, 60))
def test_whatever_a_model_says_is_drawn_or_left_out(
    box: tuple[float, float, float, float], label: str, width: int, height: int
) -> None:
    image = Image.new("RGB", (width, height))
    drawn = draw_boxes(image, [DrawnBox(box, "predicted", label)], tag=label)
    assert (drawn == draw_boxes(image, [], tag=label)) == (drawable(box) is None)


def test_drawable_keeps_what_lies_inside() -> None:
    assert drawable((-0.5, 0.2, 0.5, 1.5)) == (0.0, 0.2, 0.5, 1.0)
    for bad in ((0.5, 0.5, 0.1, 0.9), (0.1, 0.1, 0.1, 0.5), (math.nan, 0, 1, 1), (2.0, 2.0, 3.0, 3.0)):
        assert drawable(bad) is None


def test_sample_strip_puts_each_box_on_its_image() -> None:
    images = [Image.new("RGB", (96, 96), GREY), Image.new("RGB", (96, 48), GREY)]
    strip = draw_sample(
        images, true=[Mark(1, (0.2, 0.2, 0.8, 0.8))], predicted=[Mark(2, (0, 0, 1, 1)), Mark(7, (0, 0, 1, 1))]
    )
    assert strip.size == (384 * 2 + 36, 384 + TAG_HEIGHT + 24)
    middle = strip.width / 2
    assert all(x < middle for x, _ in coloured(strip, "true"))
    assert all(x > middle for x, _ in coloured(strip, "predicted"))


def test_images_of_a_strip_lie_beside_each_other() -> None:
    strip = side_by_side([Image.new("RGB", size, GREY) for size in ((10, 10), (30, 20), (10, 5))])
    assert strip.size == (10 + 30 + 10 + 4 * 12, 20 + 2 * 12) and strip.getpixel((76, 12)) == GREY
    assert strip.getpixel((75, 12)) == strip.getpixel((76, 17)) == (255, 255, 255)


def test_a_strip_needs_an_image() -> None:
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])
