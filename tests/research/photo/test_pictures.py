"""Correspondences of composed pictures: known by construction, so they can be checked against the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mirg.answers.read import read
from mirg.families import MIRG_TINY
from research.photo import draw
from research.photo.exercises import EXERCISES, goals, spelled
from research.photo.language import said
from research.photo.pictures import (
    FACTOR,
    MAX_TOKENS,
    Layer,
    Picture,
    centres,
    find,
    matches,
    model_size,
    render,
    sources,
)


def gradient(width: int, height: int, blue: int) -> Image.Image:
    """A photograph whose colours tell the place: red is x and green is y, 0 to 255 over its sides."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, blue)], axis=2).round().astype(np.uint8))


PHOTOS = [
    gradient(600, 400, 0),
    gradient(320, 500, 120),
    gradient(450, 450, 240),
    gradient(500, 300, 60),
    gradient(300, 300, 180),
]


def test_a_place_is_found_where_its_pixels_are() -> None:
    """Colours tell photograph and place, so what ``sources`` says can be read off the rendered pixels."""
    base = Layer(0, (30.0, 20.0, 590.0, 390.0), flipped=True)
    patch = Layer(1, (10.0, 50.0, 200.0, 300.0), place=(0.5, 0.25, 0.9, 0.75))
    picture = Picture((base, patch), (252, 168))
    pixels = render(picture, PHOTOS)
    points = centres(picture)
    photo, where = sources(picture, points)
    assert set(photo.tolist()) == {0, 1}
    for point, number, place in zip(points, photo, where, strict=True):
        x, y = (int(c * side) for c, side in zip(point, picture.size, strict=True))
        red, green, blue = (int(v) for v in pixels[y, x])
        assert blue == pytest.approx(120 * number, abs=4)
        assert [red, green] == pytest.approx((255 * place / PHOTOS[number].size).tolist(), abs=6)
    assert find(picture, photo, where) == pytest.approx(points)


def test_a_covered_place_is_not_found() -> None:
    """A patch hides what lies behind it: the other picture's tokens there have no match."""
    whole = Picture((Layer(0, (0.0, 0.0, 600.0, 400.0)),), (252, 168))
    covered = Picture((*whole.layers, Layer(1, (0.0, 0.0, 100.0, 100.0), place=(0.0, 0.0, 0.5, 1.0))), (252, 168))
    points, boxes = matches(whole, covered)
    hidden = centres(whole)[:, 0] < 0.5
    assert np.isnan(points[hidden]).all() and points[~hidden] == pytest.approx(centres(whole)[~hidden])
    assert (boxes[~hidden] == [0, 0, 1, 1] * 2).all()


@pytest.mark.parametrize("size", [(256, 192), (256, 256), (1000, 100), (30, 20), (1, 1), (4000, 3000)])
def test_sizes_are_those_of_the_processor(size: tuple[int, int]) -> None:
    """Multiples of 28 pixels, at least one and at most 64 visual tokens, of about the shape of the image."""
    width, height = model_size(*size)
    assert width % FACTOR == height % FACTOR == 0
    assert 1 <= width * height // FACTOR**2 <= MAX_TOKENS


@pytest.mark.parametrize("kind", EXERCISES)
def test_an_exercise_names_what_its_pictures_show(kind: str) -> None:
    """Image numbers exist, pictures fit the model, and the dense goals point to earlier pictures only."""
    rng = np.random.default_rng(1)
    for _ in range(12):
        exercise = EXERCISES[kind](rng, PHOTOS)
        count = len(exercise.pictures)
        for text in (exercise.request, exercise.completion):
            numbers = [int(part.split()[0].strip(".,")) for part in text.split("Image-")[1:]]
            assert all(1 <= number <= count for number in numbers)
        number, where, _ = goals(exercise.pictures)
        owner = np.concatenate([np.full(len(centres(p)), k + 1) for k, p in enumerate(exercise.pictures)])
        assert (number < owner).all() and (number >= 0).all()
        assert ((where >= 0) & (where <= 1)).all()
        assert all(render(p, PHOTOS).shape == (p.size[1], p.size[0], 3) for p in exercise.pictures)


def test_a_crop_matches_its_place() -> None:
    """The tokens of a crop are found inside the box that it was cut from, for any zoom, mirrored or not."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = draw.scene(rng, PHOTOS, int(rng.integers(len(PHOTOS))))
        box = draw.place(rng)
        points, boxes = matches(draw.crop(rng, scene, box, (0.7, 2.0)), scene)
        assert boxes == pytest.approx(np.tile([*box, 0, 0, 1, 1], (len(points), 1)))
        assert ((points >= np.array(box[:2]) - 1e-9) & (points <= np.array(box[2:]) + 1e-9)).all()


@pytest.mark.parametrize("kind", EXERCISES)
def test_a_question_of_a_task_gets_an_answer_that_mirg_reads(kind: str) -> None:
    """The boxes of the sentence, or none, in an answer block; a request gets the sentence."""
    rng, asked = np.random.default_rng(2), 0
    for _ in range(30):
        exercise = EXERCISES[kind](rng, PHOTOS)
        assert said(exercise) == f" {exercise.completion}"
        if not exercise.question:
            continue
        asked += 1
        answer = read(
            said(replace(exercise, request=exercise.question)), [(256, 256)] * len(exercise.pictures), MIRG_TINY
        )
        boxes = [spelled(box.image, box.box) for box in answer.boxes]
        assert answer.failure is None and all(box in exercise.completion for box in boxes)
        assert len(boxes) == exercise.completion.count("),(")
    assert asked > 0 or kind in ("compare", "odd")
