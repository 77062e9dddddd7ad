"""Stage 2: exercises in words over pictures whose correspondences are known.

An exercise is pictures (``Image-1`` ...), a request, and what a model with eyesight would say:

    Match: Image-3.                     Found: Image-1 (120,80),(400,360).
    Match: Image-2, Image-4.            Found: Image-1 (...),(...). Found: none.
    Compare Image-1 and Image-3.        Different: Image-1 (...),(...). Image-3 (...),(...).
    Compare Image-1 and Image-3.        Same.
    Changed.                            Changed: Image-2 (...),(...).
    Follow: Image-1 (...),(...).        Found: Image-2 (...),(...). Image-3 none.
    Match: Image-1 everywhere.          Found: Image-2 (...),(...). Image-2 (...),(...).
    Odd.                                Odd: Image-2.

If a question of the photograph tasks asks for the same, a share of the exercises puts it instead of the request. Its
completion is an answer block (:func:`research.photo.language.said`), so that the model can be evaluated as it ships.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirg.answers.markup import spell
from mirg.data.compose.photos.tasks import QUESTIONS
from mirg.families import MIRG_TINY
from mirg.frames import to_frame
from mirg.geometry import Box, clip
from research.photo import draw
from research.photo.pictures import NOWHERE, Layer, Picture, centres, matches, shown_at

Photos = Sequence[Image.Image]
_ONE, _ONE_OF_SEVERAL = 0.35, 0.3  # shares of look-ups with one scene: one crop of it, and several


@dataclass(frozen=True)
class Exercise:
    """Pictures in order, the request after them, and the completion.

    ``altered`` is the number of the picture that is altered at one place, and ``holes`` that place in every picture
    that shows it. ``question`` is that of a photograph task which asks for the same; "" if no task does.
    """

    pictures: tuple[Picture, ...]
    request: str
    completion: str
    question: str = ""
    altered: int = 0
    holes: Mapping[int, Box] = field(default_factory=dict)


class Goals(NamedTuple):
    """For every visual token of some pictures, the first earlier picture that shows the same place."""

    number: NDArray[np.int64]  # (tokens,) of that picture, from 1; 0 for none
    place: NDArray[np.float64]  # (tokens, 2) the place in it, fractions
    boxes: NDArray[np.float64]  # (tokens, 8) the box of all that both show, there and here, fractions


def goals(pictures: Sequence[Picture]) -> Goals:
    """What the visual tokens of all pictures, in order, should know about earlier pictures."""
    parts = []
    for k, picture in enumerate(pictures):
        count = picture.grid[0] * picture.grid[1]
        part = Goals(np.zeros(count, np.int64), np.zeros((count, 2)), np.zeros((count, 8)))
        for j in range(k):
            points, boxes = matches(picture, pictures[j])
            new = (part.number == 0) & ~np.isnan(points[:, 0])
            part.number[new], part.place[new], part.boxes[new] = j + 1, points[new], boxes[new]
        parts.append(part)
    return Goals(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def holes(exercise: Exercise) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which visual tokens lie in a place where their picture differs from an earlier one, and that place.

    Returns (tokens,) and (tokens, 8): the box there and the box here, as in :class:`Goals`.
    """
    flags, boxes = [], []
    for k, picture in enumerate(exercise.pictures, 1):
        points = centres(picture)
        earlier = [j for j in sorted(exercise.holes) if j < k and exercise.altered in (j, k)]
        flag, box = np.zeros(len(points), bool), np.zeros((len(points), 8))
        if k in exercise.holes and earlier:
            here = exercise.holes[k]
            flag = np.all((points >= here[:2]) & (points < here[2:]), axis=1)
            box[:] = (*clip(exercise.holes[earlier[0]]), *clip(here))
        flags.append(flag)
        boxes.append(box)
    return np.concatenate(flags), np.concatenate(boxes)


def spelled(number: int, box: Box) -> str:
    """``Image-2 (120,80),(400,360)``"""
    return f"Image-{number} {coordinates(box)}"


def coordinates(box: Box) -> str:
    """The box as the family writes it."""
    return spell(to_frame(clip(box), (256, 256), MIRG_TINY), MIRG_TINY)


def match(rng: np.random.Generator, photos: Photos) -> Exercise:
    """One to three crops and one to three scenes in any order; whose part is a crop, and where?"""
    kind = rng.random()
    several = _ONE <= kind < _ONE + _ONE_OF_SEVERAL
    if kind < _ONE:
        n_scenes, n_crops = 1, 1
    elif several:
        n_scenes, n_crops = 1, int(rng.integers(2, 4))
    else:
        n_scenes, n_crops = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    n_crops = min(n_crops, 5 - n_scenes)
    scenes = [draw.scene(rng, photos, int(k)) for k in rng.choice(len(photos), n_scenes + 1, replace=False)]
    missing = scenes.pop()
    zoom = (0.9, 1.1) if rng.random() < 0.6 else (0.7, 2.2)
    crops: list[tuple[Picture, int | None, Box]] = []
    taken: dict[int, list[Box]] = {}
    for _ in range(n_crops):
        where: int | None = int(rng.integers(n_scenes))
        if rng.random() < 0.12:
            where = None
        scene = missing if where is None else scenes[where]
        box = draw.textured(rng, scene, photos, taken.setdefault(-1 if where is None else where, []))
        taken[-1 if where is None else where].append(box)
        crops.append((draw.crop(rng, scene, box, zoom), where, box))
    if rng.random() < 0.3:
        crops = [(replace(c, tone=draw.tone(rng, 0.4)), w, b) for c, w, b in crops]
    scenes_first = rng.random() < (0.7 if several else 0.5)
    pictures = [*scenes, *(c for c, _, _ in crops)] if scenes_first else [*(c for c, _, _ in crops), *scenes]
    scene_at, crop_at = (0, n_scenes) if scenes_first else (n_crops, 0)
    n_asked = 1 if several and rng.random() < 0.6 else int(rng.integers(1, min(n_crops, 2) + 1))
    asked = sorted(rng.choice(n_crops, n_asked, replace=False).tolist())
    said = []
    for k in asked:
        _, where, box = crops[k]
        said.append("Found: none." if where is None else f"Found: {spelled(scene_at + where + 1, box)}.")
    request = "Match: " + ", ".join(f"Image-{crop_at + k + 1}" for k in asked) + "."
    return Exercise(tuple(pictures), request, " ".join(said), _part_question(n_scenes, n_crops, asked, said, scene_at))


def _part_question(n_scenes: int, n_crops: int, asked: list[int], said: list[str], scene_at: int) -> str:
    """How a task asks for the part that :func:`match` asks for."""
    if scene_at == 0 and n_scenes == 1 and len(asked) == 1 and "none" not in said[0]:
        return QUESTIONS["region"].format(k=asked[0] + 2)
    if scene_at and n_crops == 1:
        return QUESTIONS["none_part" if "none" in said[0] else "refer"]
    return ""


def compare(rng: np.random.Generator, photos: Photos) -> Exercise:
    """A scene twice, exactly or from elsewhere, one of them altered at one place or not; and perhaps another scene."""
    first, other = (draw.scene(rng, photos, int(k)) for k in rng.choice(len(photos), 2, replace=False))
    second = first if rng.random() < 0.6 else _moved(rng, first)
    if rng.random() < 0.15:
        said: list[Box] = []
    else:
        first, second, said = _altered(rng, first, second, photos)
    pictures, labels, odd_one = [first, second], [1, 2], 1
    if rng.random() < 0.5:
        pictures, said, odd_one = [second, first], said[::-1], 0
    if rng.random() < 0.3:
        spot = int(rng.integers(3))
        pictures.insert(spot, other)
        labels = [k + 1 for k in range(3) if k != spot]
    words = " ".join(f"{spelled(n, b)}." for n, b in zip(labels, said, strict=False))
    request = f"Compare Image-{labels[0]} and Image-{labels[1]}."
    if not said:
        return Exercise(tuple(pictures), request, "Same.")
    places = dict(zip(labels, said, strict=True))
    return Exercise(tuple(pictures), request, f"Different: {words}", altered=labels[odd_one], holes=places)


def changed(rng: np.random.Generator, photos: Photos) -> Exercise:
    """A scene three or four times, one of them altered: the odd one is known because the others agree."""
    base = draw.scene(rng, photos, int(rng.integers(len(photos))))
    count = int(rng.integers(3, 5))
    copies = [base if rng.random() < 0.3 else _moved(rng, base) for _ in range(count)]
    spot = int(rng.integers(count))
    intact = copies[spot]
    _, copies[spot], said = _altered(rng, base, intact, photos)
    window = draw.inside(intact.layers[0], said[1])
    places = {k: shown_at(c.layers[0], window) for k, c in enumerate(copies, 1)}
    words = f"Changed: {spelled(spot + 1, said[1])}."
    return Exercise(tuple(copies), "Changed.", words, QUESTIONS["odd_one_out"], altered=spot + 1, holes=places)


def follow(rng: np.random.Generator, photos: Photos) -> Exercise:
    """A part of the first picture, or a patch pasted onto it, is pasted onto others, or not."""
    count = int(rng.integers(1, 4))
    numbers = rng.choice(len(photos), count + 2, replace=False)
    first, donor, *others = (draw.scene(rng, photos, int(k)) for k in numbers)
    source = draw.textured(rng, donor, photos)
    patch = Layer(donor.layers[0].photo, draw.inside(donor.layers[0], source), flipped=donor.layers[0].flipped)
    shape = [(source[k + 2] - source[k]) * donor.size[k] for k in (0, 1)]  # pixels
    if rng.random() < 0.7:
        box = draw.spot(rng, first, shape, 1.0)
        first = draw.paste(rng, first, patch, box)
    else:
        first, box = donor, source
    pictures, said = [first], []
    for k, scene in enumerate(others):
        if rng.random() < 0.25:
            pictures.append(scene)
            said.append(f"Image-{k + 2} none.")
            continue
        spot = draw.spot(rng, scene, shape, float(np.exp(rng.uniform(np.log(0.75), np.log(1.33)))))
        pictures.append(draw.paste(rng, scene, patch, spot))
        said.append(f"{spelled(k + 2, spot)}.")
    question = QUESTIONS["tracking_one" if count == 1 else "tracking_all"].format(box=coordinates(box), k=2)
    shown = "" if any("none" in text for text in said) else question
    return Exercise(tuple(pictures), f"Follow: {spelled(1, box)}.", f"Found: {' '.join(said)}", shown)


def again(rng: np.random.Generator, photos: Photos) -> Exercise:
    """A crop, and scenes onto which it is pasted in several places."""
    count = int(rng.integers(1, 4))
    numbers = rng.choice(len(photos), count + 1, replace=False)
    donor, *scenes = (draw.scene(rng, photos, int(k)) for k in numbers)
    source = draw.textured(rng, donor, photos, sides=(0.2, 0.4))
    part = draw.crop(rng, donor, source, (0.9, 1.3))
    shape = [(source[k + 2] - source[k]) * donor.size[k] for k in (0, 1)]
    said: list[str] = []
    free: dict[int, list[Box]] = {k: [] for k in range(count)}
    for _ in range(int(rng.integers(1, 5))):
        k = int(rng.integers(count))
        box = draw.spot(rng, scenes[k], shape, float(np.exp(rng.uniform(np.log(0.8), np.log(1.25)))))
        if all(_apart(box, other) for other in free[k]):
            free[k].append(box)
    for k, boxes in free.items():
        for box in sorted(boxes):
            scenes[k] = draw.paste(rng, scenes[k], part.layers[0], box)
            said.append(f"{spelled(k + 2, box)}.")
    words = f"Found: {' '.join(said)}"
    return Exercise((part, *scenes), "Match: Image-1 everywhere.", words, QUESTIONS["multi_target"])


def odd(rng: np.random.Generator, photos: Photos) -> Exercise:
    """Three or four views, all but one of the same scene."""
    base, other = (draw.scene(rng, photos, int(k)) for k in rng.choice(len(photos), 2, replace=False))
    count = int(rng.integers(3, 5))
    spot = int(rng.integers(count))
    if rng.random() < 0.5:
        views = [_moved(rng, base) for _ in range(count)]
        views[spot] = other
    else:  # crops, of which one is of another place
        box = draw.textured(rng, base, photos)
        views = [draw.crop(rng, base, _nudged(rng, box), (0.9, 1.3)) for _ in range(count)]
        views[spot] = draw.crop(
            rng, base if rng.random() < 0.5 else other, draw.textured(rng, base, photos, [box]), (0.9, 1.3)
        )
    return Exercise(tuple(views), "Odd.", f"Odd: Image-{spot + 1}.")


EXERCISES: dict[str, Callable[[np.random.Generator, Photos], Exercise]] = {
    "match": match,
    "compare": compare,
    "changed": changed,
    "follow": follow,
    "again": again,
    "odd": odd,
}


def _moved(rng: np.random.Generator, picture: Picture) -> Picture:
    """Most of what ``picture`` shows, from a window a little smaller."""
    base = picture.layers[0]
    box = (rng.uniform(0, 0.22), rng.uniform(0, 0.22), rng.uniform(0.78, 1), rng.uniform(0.78, 1))
    window = draw.inside(base, box)
    scale = draw.LONG / max(window[2] - window[0], window[3] - window[1])
    return draw.view(base.photo, window, scale, flipped=base.flipped)


def _altered(
    rng: np.random.Generator, first: Picture, second: Picture, photos: Photos
) -> tuple[Picture, Picture, list[Box]]:
    """``second`` with a patch over a place that both show; and that place in both of them."""
    box = draw.textured(rng, second, photos)
    a, b = first.layers[0], second.layers[0]
    window = draw.inside(b, box)
    there = shown_at(a, window)
    if min(there[0], there[1]) < 0 or max(there[2], there[3]) > 1:  # not all of it is shown by the first
        middle = (0.3, 0.3, 0.62, 0.62)
        box = middle
        there = clip(shown_at(a, draw.inside(b, box)))
    if rng.random() < 0.6:
        donor = draw.scene(rng, photos, int(rng.integers(len(photos))))
        other = draw.textured(rng, donor, photos, sides=(box[2] - box[0], box[2] - box[0] + 0.01))
        layer = replace(donor.layers[0], source=draw.inside(donor.layers[0], other))
    else:
        part = np.asarray(photos[b.photo].resize((1, 1), Image.Resampling.BOX, box=window), np.float64)
        red, green, blue = (part[0, 0] / 255).tolist()
        layer = Layer(NOWHERE, (0, 0, 1, 1), colour=(red, green, blue))
    return first, draw.paste(rng, second, layer, box), [there, box]


def _apart(box: Box, other: Box) -> bool:
    return min(box[2], other[2]) <= max(box[0], other[0]) or min(box[3], other[3]) <= max(box[1], other[1])


def _nudged(rng: np.random.Generator, box: Box) -> Box:
    """``box`` moved by up to a fifth of its sides, inside the picture."""
    wide, high = box[2] - box[0], box[3] - box[1]
    x = float(np.clip(box[0] + rng.uniform(-0.2, 0.2) * wide, 0, 1 - wide))
    y = float(np.clip(box[1] + rng.uniform(-0.2, 0.2) * high, 0, 1 - high))
    return (x, y, x + wide, y + high)
