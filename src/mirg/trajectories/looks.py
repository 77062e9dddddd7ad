"""Looks in the chains of the rules: the model looks again where a target is too small to be recognised at first.

A chain looks around each small target, and sometimes first at a small object of another image, which turns out to be
something else. After each look it says what the crop shows, by the annotation. Other chains are unchanged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from mirg.answers.looks import crop_name
from mirg.answers.markup import look_markup
from mirg.geometry import Box, share_inside
from mirg.samples.coverage import INCOMPLETE, label_key
from mirg.samples.schema import Sample, Trajectory
from mirg.trajectories.chain import mentioned, prose_of, sentence_spans
from mirg.trajectories.voice import Voice, kinds_of
from mirg.trajectories.writer import ordered, subject

SMALL = 0.01  # share of the image; a chain looks at targets up to this size
ZOOM = (2.5, 4.0)  # sides of a look in sides of the object
LEAST = 0.12  # side of a look, as a share of that of the image
MARGIN = 0.02  # around the object, more than the rounding of any frame
READ_OFF = 0.5  # share of an object that a crop must show to show it

Place = tuple[int, Box]  # an image and the box of a look in it, or of an object in it
Around = Callable[[Box, random.Random], Box]  # the box of an object -> the box of a look at it


def _around(box: Box, rng: random.Random) -> Box:
    """A look that shows ``box`` at some place inside it, not always in the middle."""
    sides = [_side(box[k], box[k + 2], rng) for k in (0, 1)]
    return (sides[0][0], sides[1][0], sides[0][1], sides[1][1])


def with_looks(
    trajectory: Trajectory, sample: Sample, max_looks: int, *, plain: bool, seed: int = 0, around: Around = _around
) -> Trajectory:
    """``trajectory`` with up to ``max_looks`` looks in front of what it says about the images; a pure function.

    ``plain``: in sentences, else in terse forms. It is returned unchanged if no target is small.
    """
    rng = random.Random(f"{seed} looks {sample.id}")
    places = places_to_look(sample, max_looks, rng, around)
    if not places:
        return trajectory
    said, counts, voice = "", dict[int, int](), Voice(sample, seed)
    for image, box in places:
        counts[image] = counts.get(image, 0) + 1
        name = crop_name(image, counts[image])
        before, after = _sentences(voice, image, name, box) if plain else ("", _terse(sample, image, name, box))
        said += f"{before}{look_markup(image, box)}{after} "
    thinking = trajectory.thinking
    start, end = sentence_spans(thinking)[0]
    # The subject of the question comes before the looks.
    first = end + 1 if end < len(thinking) and not mentioned(prose_of(thinking[start:end])) else 0
    chain = f"{thinking[:first]}{said}{thinking[first:]}"
    return trajectory.model_copy(update={"thinking": chain, "writer": f"{trajectory.writer}+looks/1"})


def places_to_look(sample: Sample, max_looks: int, rng: random.Random, around: Around = _around) -> list[Place]:
    """Where a chain of ``sample`` looks, in order; empty if no target is small."""
    looks: list[Place] = []
    for target in ordered(sample.targets):
        seen = any(image == target.image and share_inside(target.box, box) >= 1.0 for image, box in looks)
        if _is_small(target.box) and not seen and len(looks) < max_looks:
            looks.append((target.image, around(target.box, rng)))
    if not looks or not sample.image_hidden or sample.meta.get(INCOMPLETE):
        return looks
    others = [
        (k, note.box)
        for k, image in enumerate(sample.images, 1)
        for note in image.objects
        if k not in sample.target_images and image.role != "reference" and _is_small(note.box)
    ]
    chosen = rng.sample(others, min(len(others), rng.randint(0, max_looks - len(looks))))
    further = [(k, around(box, rng)) for k, box in sorted(chosen)]
    return [
        place for place in further if label_key(subject(sample)) not in map(label_key, shown(sample, *place))
    ] + looks


def shown(sample: Sample, image: int, box: Box) -> list[str]:
    """The labels of the objects of an image of which ``box`` shows the larger part, those of targets first."""
    things = [(target.label or subject(sample), target.box) for target in sample.targets if target.image == image]
    things += [(note.label, note.box) for note in sample.images[image - 1].objects]
    return [*dict.fromkeys(label for label, place in things if label and share_inside(place, box) >= READ_OFF)]


def _is_small(box: Box) -> bool:
    return (box[2] - box[0]) * (box[3] - box[1]) <= SMALL


def _side(low: float, high: float, rng: random.Random) -> tuple[float, float]:
    low, high = max(low - MARGIN, 0.0), min(high + MARGIN, 1.0)
    size = min(max((high - low) * rng.uniform(*ZOOM), LEAST), 1.0)
    start = rng.uniform(max(high - size, 0.0), min(low, 1.0 - size))
    return math.floor(start * 1000) / 1000, min(math.ceil((start + size) * 1000) / 1000, 1.0)


def _terse(sample: Sample, image: int, name: str, box: Box) -> str:
    return f"{name}: {', '.join(shown(sample, image, box)) or 'nothing'}."


def _sentences(voice: Voice, image: int, name: str, box: Box) -> tuple[str, str]:
    voice.say("closer")
    labels: Sequence[str] = shown(voice.sample, image, box)
    found = label_key(voice.label) in map(label_key, labels) or not voice.is_named
    voice.say("shows_it" if found else "lacks", image=name, list=kinds_of(labels) or "nothing of interest")
    return f"{voice.said[-2]} ", voice.said[-1]
