"""Edits of pixels: what changes, what does not, and boxes that follow the pixels into another view."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from fakes.photographs import photograph
from mirg.data.compose.edits import View, around, cut, lit, matte, pasted, place_of, recoloured, soft_rim, wandered
from mirg.data.compose.pixels import as_pixels, change, fraction_box
from mirg.geometry import box_problem, iou
from mirg.samples import ObjectNote

PLACE = (60, 40, 80, 60)


def with_disc(colour: tuple[int, int, int] = (200, 30, 30), seed: int = 3) -> tuple[Image.Image, np.ndarray]:
    """A picture with an ellipse that fills PLACE, and the truth about its pixels there."""
    image = photograph(seed)
    image = Image.fromarray((np.asarray(image) // 3 + 90).astype(np.uint8))
    x, y, width, height = PLACE
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse((x, y, x + width - 1, y + height - 1), fill=255)
    image.paste(colour, mask=mask)
    return image, np.asarray(mask)[y : y + height, x : x + width] > 0


@pytest.mark.parametrize("colour", [(200, 30, 30), (20, 40, 220), (250, 250, 240), (5, 5, 5)])
def test_the_matte_finds_the_object(colour: tuple[int, int, int]) -> None:
    image, true = with_disc(colour)
    found = matte(image, PLACE)[..., 0] > 0.5
    assert (found & true).sum() / (found | true).sum() > 0.85


def test_a_matte_that_finds_nothing_takes_the_whole_box() -> None:
    flat = Image.new("RGB", (200, 150), (120, 130, 140))
    assert matte(flat, (1, 2, 6, 6))[..., 0] == pytest.approx(soft_rim((6, 6))), "too small to estimate"
    whole = matte(flat, (0, 0, 200, 150))
    assert whole.shape == (150, 200, 1) and 0 <= whole.min() <= whole.max() <= 1, "nothing is left around it"


def outside(size: tuple[int, int], place: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.ones((size[1], size[0]), dtype=bool)
    x, y, width, height = place
    mask[y : y + height, x : x + width] = False
    return mask


def test_edits_change_nothing_outside_of_their_place_and_no_argument() -> None:
    image, _ = with_disc()
    before = image.copy()
    donor, _ = with_disc((20, 40, 220), seed=9)
    elsewhere = (180, 120, 50, 70)
    for edited, place in (
        (pasted(image, cut(donor, PLACE), elsewhere), elsewhere),
        (recoloured(image, PLACE, 0.5), PLACE),
    ):
        gap = np.abs(as_pixels(edited) - as_pixels(before)).max(axis=2)
        assert not gap[outside(image.size, place)].any()
        assert change(before, edited, place) > 0.08
        assert edited.mode == "RGB" and edited.size == image.size
    np.testing.assert_array_equal(as_pixels(image), as_pixels(before))


def test_a_pasted_object_leaves_its_background_behind() -> None:
    donor, true = with_disc((20, 40, 220), seed=9)
    ground = Image.new("RGB", (320, 240), (210, 210, 90))
    result = as_pixels(pasted(ground, cut(donor, PLACE), PLACE))[40:100, 60:140] * 255
    blue = np.abs(result - (20, 40, 220)).max(axis=2) < 40
    kept = np.abs(result - (210, 210, 90)).max(axis=2) < 40
    assert (blue & true).sum() > 0.8 * true.sum()
    assert (kept & ~true).sum() > 0.7 * (~true).sum()


def test_a_recoloured_object_has_the_hue_and_its_surroundings_keep_theirs() -> None:
    image, true = with_disc()
    result = as_pixels(recoloured(image, PLACE, 1 / 3))[40:100, 60:140]
    middle = result[true].mean(axis=0)
    assert middle[1] > max(middle[0], middle[2]) + 0.1, "green now, it was red"
    gap = np.abs(result - as_pixels(image)[40:100, 60:140]).max(axis=2)
    assert gap[~true].mean() < 0.25 * gap[true].mean()


def test_light() -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (2, 1, 3)))
    np.testing.assert_array_equal(np.asarray(lit(ramp, 1.0, 1.0)), np.asarray(ramp))
    values = np.asarray(lit(ramp, 1.1, 0.8))[0, :, 0].astype(int)
    assert (np.diff(values) >= 0).all() and values[0] == 0 and values[255] == 255 and values[100] > 100


fractions = st.floats(0.02, 0.98)


@given(st.tuples(fractions, fractions, fractions, fractions), st.floats(0, 0.3))
def test_places_lie_in_the_image_and_have_pixels(values: tuple[float, ...], margin: float) -> None:
    (x1, x2), (y1, y2) = sorted(values[:2]), sorted(values[2:])
    x, y, width, height = place_of((x1, y1, max(x2, x1 + 0.001), max(y2, y1 + 0.001)), (97, 61), margin)
    assert 0 <= x < x + width <= 97 and 0 <= y < y + height <= 61


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.booleans())
def test_boxes_follow_the_pixels_into_a_view(seed: int, near: bool) -> None:
    """A drawn rectangle is found again, by its colour, where the view says that it is."""
    rng = random.Random(seed)
    size = (rng.randint(120, 260), rng.randint(120, 260))
    place = (rng.randint(0, size[0] - 41), rng.randint(0, size[1] - 41), rng.randint(24, 40), rng.randint(24, 40))
    image = Image.new("RGB", size, (0, 0, 60))
    image.paste((255, 255, 0), (place[0], place[1], place[0] + place[2], place[1] + place[3]))
    box = fraction_box(place, size)
    view = (around(rng, box) if near else wandered(rng, 0.2)).snapped(size)
    if view.visible(box) < 0.5:
        return
    pixels = np.asarray(view.render(image)).astype(int)
    rows, columns = np.nonzero(pixels[..., 0] > 90)
    height, width = pixels.shape[:2]
    found = (columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height)
    assert iou(found, view.box(box)) > 0.9
    assert box_problem(view.box(box)) is None


def test_a_view_notes_what_it_shows() -> None:
    view = View((0.5, 0.0, 1.0, 0.5))
    notes = [
        ObjectNote(label="in", box=(0.6, 0.1, 0.7, 0.2)),
        ObjectNote(label="half", box=(0.4, 0.1, 0.6, 0.2)),
        ObjectNote(label="hardly", box=(0.1, 0.1, 0.6, 0.2)),
        ObjectNote(label="out", box=(0.1, 0.6, 0.2, 0.7)),
    ]
    seen = view.notes(notes)
    assert [note.label for note in seen] == ["in", "half"]
    assert seen[0].box == pytest.approx((0.2, 0.2, 0.4, 0.4)) and seen[1].box == pytest.approx((0.0, 0.2, 0.2, 0.4))
    assert View((0.5, 0.0, 0.75, 0.8)).covered((0.6, 0.0, 0.7, 0.4)) == pytest.approx(0.2)
